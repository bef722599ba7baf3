"""Weights: a file is what the card says, told from a pickle and a bomb without reading or running it."""

import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_folders import swapped, write_model

from geoseg.catalog.card import read_model
from geoseg.errors import ModelError
from geoseg.models import loading, weights


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def model(whole, tmp_path):
    return read_model(shutil.copytree(whole.folder, tmp_path / "model"))


def test_other_bytes_than_the_card_says_are_refused(model):
    data = bytearray(model.weights.read_bytes())
    data[-1] ^= 1
    model.weights.write_bytes(data)
    for check in (weights.read, weights.check_hash):
        with pytest.raises(ModelError, match=r"weights.safetensors has sha256 [0-9a-f]{64}, but the card says"):
            check(model)


def test_a_pickle_is_refused_by_its_content_and_never_run(model, tmp_path):
    traps = [pickle.dumps(Trap(tmp_path / "sprung"), protocol) for protocol in range(6)]
    torch.save({"a": torch.ones(1)}, tmp_path / "zip")
    torch.save({"a": torch.ones(1)}, tmp_path / "old", _use_new_zipfile_serialization=False)
    for data in (*traps, (tmp_path / "zip").read_bytes(), (tmp_path / "old").read_bytes()):
        with pytest.raises(ModelError, match=r"is a pickle, which can run code|is no safetensors file"):
            loading.load(swapped(model, data), "cpu")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["weights.pt", "weights.PTH", "weights.pkl", "weights.bin"])
def test_a_pickle_is_refused_by_its_name(model, name):
    held = {"file": name, "sha256": "0" * 64}
    with pytest.raises(ModelError, match=r"is a pickle, .* convert the weights to \*\.safetensors"):
        weights.size_of(swapped(model, weights=held))


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("weights.h5", r"weights are \*\.safetensors, \*\.onnx or \*\.pt2"),
        ("absent.safetensors", "cannot be read: No such file"),
    ],
)
def test_weights_are_a_file_of_a_known_kind(model, file, said):
    with pytest.raises(ModelError, match=said):
        weights.size_of(swapped(model, weights={"file": file, "sha256": "0" * 64}))


@pytest.mark.parametrize(
    "data",
    [
        (2**40).to_bytes(8, "little") + b"{" * 100,
        (2**63).to_bytes(8, "little"),
        (92).to_bytes(8, "little") + b"{" * 92,
        (2).to_bytes(8, "little") + b"{}" + b"trailing",
        b"",
        b"{}",
    ],
    ids=["1 TB header", "8 EB header", "nested header", "trailing bytes", "empty", "two bytes"],
)
def test_a_hostile_header_is_refused_at_once(model, data):
    start = time.process_time()
    with pytest.raises(ModelError, match="is no safetensors file"):
        loading.load(swapped(model, data), "cpu")
    assert time.process_time() - start < 1


def test_a_file_that_is_too_large_is_refused_unread(model):
    with model.weights.open("ab") as file:
        file.truncate(weights.LARGEST + 1)  # a hole, no bytes on disk
    start = time.process_time()
    with pytest.raises(ModelError, match=r"has 4\.0 GB; weights files have at most 4 GB"):
        weights.size_of(model)
    assert time.process_time() - start < 1


def test_the_bytes_that_the_card_names_are_read(model):
    data = model.weights.read_bytes()
    assert weights.size_of(model) == len(data)
    assert weights.read(model) == data
    weights.check_hash(model)


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: os.mkfifo(path)], ids=["folder", "pipe"])
@pytest.mark.timeout(20)
def test_what_is_no_plain_file_is_not_opened(model, make):
    model.weights.unlink()
    make(model.weights)
    with pytest.raises(ModelError, match="is no plain file, but a folder, pipe or device"):
        weights.size_of(model)


def test_a_file_that_goes_away_is_named(model):
    model.weights.unlink()
    for check in (weights.size_of, weights.check_hash, weights.read):
        with pytest.raises(ModelError, match=r"cannot be read: No such file .*; check weights\.file in the"):
            check(model)


@given(start=st.binary(max_size=40), size=st.integers(0, 10**8))
def test_bytes_by_chance_are_no_header(start, size):
    with pytest.raises(ModelError, match="is no safetensors file"):
        weights.check_header(Path("w.safetensors"), start, size)


SHAPES = st.dictionaries(st.text(max_size=5), st.lists(st.integers(0, 5), max_size=3), min_size=1, max_size=4)


@given(shapes=SHAPES, more=st.integers(-3, 3))
def test_what_safetensors_writes_is_let_in_and_nothing_longer_or_shorter(shapes, more):
    data = safetensors.torch.save({name: torch.zeros(shape) for name, shape in shapes.items()}, {"by": "a test"})
    header = data[: 8 + int.from_bytes(data[:8], "little")]
    if more == 0:
        weights.check_header(Path("w.safetensors"), header, len(data))
        return
    with pytest.raises(ModelError, match=r"its header describes \d+ bytes, but it has|its header claims"):
        weights.check_header(Path("w.safetensors"), header, len(data) + more)


def test_weights_are_checked_without_torch(model):
    code = (
        "import sys; from geoseg.catalog.card import read_model; from geoseg.models import weights; "
        f"weights.check_hash(read_model({model.folder!r})); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

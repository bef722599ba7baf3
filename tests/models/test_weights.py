"""Weights: nothing but the network that the card describes gets in, and it is read once."""

import os
import pickle
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from hand_made_onnx import convolution
from model_folders import sha256, write_model

from geoseg import process
from geoseg.catalog.card import read_model
from geoseg.errors import JobError, ModelError
from geoseg.inference.predictor import prepare
from geoseg.models import loading, weights


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture(autouse=True)
def _nothing_loaded():
    process.renew()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def model(whole, tmp_path):
    return read_model(shutil.copytree(whole.folder, tmp_path / "model"))


def swapped(model, data=None, **keys):
    """The model with other bytes for weights, their hash on the card, and other keys on it."""
    card = yaml.safe_load((model.weights.parent / "card.yaml").read_text())
    card.update(keys)
    path = model.weights.parent / card["weights"]["file"]
    if data is not None:
        path.write_bytes(data)
        card["weights"]["sha256"] = sha256(path)
    (model.weights.parent / "card.yaml").write_text(yaml.safe_dump(card))
    return read_model(model.folder)


def changed(model, change):
    tensors = safetensors.torch.load_file(model.weights)
    change(tensors)
    return swapped(model, safetensors.torch.save(tensors))


def test_a_network_comes_back_ready_and_only_once_per_process(model, monkeypatch):
    loads, read = [], loading._load

    def slow(*args):
        loads.append(threading.get_ident())
        time.sleep(0.2)
        return read(*args)

    monkeypatch.setattr(loading, "_load", slow)
    with ThreadPoolExecutor(4) as pool:
        networks = list(pool.map(lambda _: loading.load(model, "cpu"), range(8)))
    assert len(loads) == 1
    assert all(each is networks[0] for each in networks)
    assert not networks[0].training
    assert not any(each.requires_grad for each in networks[0].parameters())


def test_old_networks_make_room_for_new_ones(model):
    for seed in range(loading.KEPT + 2):
        loading.load(changed(model, lambda tensors: tensors["head.bias"].fill_(seed)), "cpu")  # noqa: B023
    assert len(process.kept(loading._Networks).by_key) == loading.KEPT


def test_other_bytes_than_the_card_says_are_refused(model):
    data = bytearray(model.weights.read_bytes())
    data[-1] ^= 1
    model.weights.write_bytes(data)
    with pytest.raises(ModelError, match=r"weights.safetensors has sha256 [0-9a-f]{64}, but the card says"):
        loading.load(model, "cpu")


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
        loading.load(swapped(model, weights=held), "cpu")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("weights.h5", r"weights are \*\.safetensors or \*\.onnx"),
        ("absent.safetensors", "cannot be read: No such file"),
    ],
)
def test_weights_are_a_file_of_a_known_kind(model, file, said):
    with pytest.raises(ModelError, match=said):
        loading.load(swapped(model, weights={"file": file, "sha256": "0" * 64}), "cpu")


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
        loading.load(model, "cpu")
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("head.bias"), "lacks tensor 'head.bias', which the network has"),
        (lambda t: t.update(more=torch.ones(1)), "has tensor 'more', which the network lacks"),
        (lambda t: t.update({"head.bias": torch.ones(4)}), r"'head.bias' is torch.float32 \(4,\), .* \(3,\)"),
        (lambda t: t.update({"head.bias": torch.ones(3).double()}), "'head.bias' is torch.float64"),
        (lambda t: t["head.bias"].fill_(float("nan")), "'head.bias' holds numbers that are not finite"),
        (lambda t: t["head.weight"].fill_(float("inf")), "'head.weight' holds numbers that are not finite"),
    ],
)
def test_tensors_that_are_not_the_networks_are_refused(model, change, said):
    with pytest.raises(ModelError, match=said):
        loading.load(changed(model, change), "cpu")


def test_a_card_that_contradicts_its_network_is_refused(model):
    with pytest.raises(ModelError, match="says stride 1, but its network needs multiples of 2"):
        loading.load(swapped(model, stride=1), "cpu")
    with pytest.raises(ModelError, match="no architecture is called 'compcat'"):
        loading.load(swapped(model, architecture={"name": "compcat"}), "cpu")


# ------------------------------------------------------------------------------------------- ONNX


def onnx(model, data, **keys):
    """The model with an ONNX file in place of its weights."""
    held = {"file": "weights.onnx", "sha256": "0" * 64}
    return swapped(model, data, architecture={"name": "onnx"}, weights=held, stride=1, halo=2, **keys)


@pytest.mark.parametrize("side", [None, 20])
@pytest.mark.parametrize("stitch", ["crop", "blend"])
def test_an_onnx_file_labels_as_its_graph_says(model, side, stitch):
    pytest.importorskip("onnxruntime")
    weight = np.random.default_rng(0).normal(size=(3, 2, 1, 1)).astype("float32")
    predict = prepare(onnx(model, convolution(weight, side)), device="cpu", stitch=stitch, threads=2)
    margin = predict.margin
    pixels = np.random.default_rng(1).normal(size=(2, 32 + 2 * margin, 48 + 2 * margin)).astype("float32")
    labels, confidence = (each[margin:-margin, margin:-margin] for each in predict(pixels))
    scores = np.einsum("cb,brk->crk", weight[:, :, 0, 0], pixels[:, margin:-margin, margin:-margin])
    assert np.array_equal(labels, np.array([3, 7, 200])[scores.argmax(axis=0)])
    share = np.exp(scores.max(axis=0)) / np.exp(scores).sum(axis=0)
    assert np.abs(confidence - share * 254).max() < 0.51


def test_an_onnx_file_that_does_not_fit_its_card_is_refused(model):
    pytest.importorskip("onnxruntime")
    weight = np.zeros((3, 2, 1, 1), "float32")
    with pytest.raises(
        JobError, match=r"takes windows of 24 pixels only; with a halo of 2 inference.window is 20, not 16"
    ):
        prepare(onnx(model, convolution(weight, 24)))
    with pytest.raises(ModelError, match=r"its card asks for one float32 input \(1, 2, row, col\)"):
        prepare(onnx(model, convolution(np.zeros((4, 2, 1, 1), "float32"))))
    with pytest.raises(ModelError, match="is no ONNX file that runs here"):
        prepare(onnx(model, b"not a graph"))


def test_an_onnx_model_without_onnxruntime_says_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"pip install 'geoseg\[onnx\]'"):
        loading.load(onnx(model, b"anything"), "cpu")

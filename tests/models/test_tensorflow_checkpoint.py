"""TensorFlow checkpoint: tensors are read bit for bit, and damage is a sentence."""

import shutil

import numpy as np
import pytest

from geoseg.errors import ModelError
from geoseg.models import tensorflow_checkpoint as checkpoint

INDEX, DATA = "variables.index", "variables.data-00000-of-00001"


@pytest.fixture
def folder(shared_data, tmp_path):
    held = shared_data / "dynamic_world" / "model" / "forward" / "variables"
    for name in (INDEX, DATA):
        shutil.copyfile(held / name, tmp_path / name)
    return tmp_path


def test_all_tensors_are_found_and_cover_the_data(folder):
    found = checkpoint.tensors(folder)
    assert sum(each.size for each in found.values()) == 231_209
    assert found["variables/0/.ATTRIBUTES/VARIABLE_VALUE"].shape == (3, 3, 9, 64)
    raw = (folder / DATA).read_bytes()
    in_order = [found[f"variables/{at}/.ATTRIBUTES/VARIABLE_VALUE"].tobytes() for at in range(len(found))]
    assert raw.startswith(b"".join(in_order))  # the variables lie one behind the other


def test_any_damage_is_a_sentence_or_changes_nothing_that_is_read(folder):
    good, whole = checkpoint.tensors(folder), (folder / INDEX).read_bytes()
    dice = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        data = bytearray(whole)
        if dice.random() < 0.3:
            data = data[: dice.integers(len(data))]
        else:
            data[dice.integers(len(data))] ^= 1 << int(dice.integers(8))
        (folder / INDEX).write_bytes(data)
        try:
            found = checkpoint.tensors(folder)
        except ModelError:
            refused += 1
            continue
        assert all(each.dtype == np.float32 for each in found.values())
    assert refused > 100
    (folder / INDEX).write_bytes(whole)
    (folder / DATA).write_bytes((folder / DATA).read_bytes()[:1000])
    with pytest.raises(ModelError, match="lies beyond its data file"):
        checkpoint.tensors(folder)
    assert len(good) == 146


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(ModelError, match="name the folder of a SavedModel"):
        checkpoint.tensors(tmp_path)

"""Checkpoint: what was held comes back bit for bit, and never that of another training."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from labelled_scenes import loaded

from geoseg.errors import ModelError
from geoseg.storage.store import Store
from geoseg.training import checkpoint, recipe
from geoseg.training.checkpoint import Checkpoint, identity

HELD = Checkpoint(
    {
        "network": {"a.b.weight": torch.randn(3, 4), "a.count": torch.tensor(7)},
        "chance": {"torch": torch.get_rng_state()},
    },
    {"rows": [{"epoch": 1.0, "iou water": float("nan"), "loss": 0.1 + 0.2}], "draw": {"state": 2**127 + 1}},
)


def test_what_was_saved_is_loaded(tmp_path):
    store = Store(str(tmp_path / "model"))
    assert checkpoint.load(store, "x") is None
    checkpoint.save(store, HELD, "x")
    found = checkpoint.load(store, "x")
    for group, tensors in HELD.tensors.items():
        assert found.tensors[group].keys() == tensors.keys()
        assert all(torch.equal(found.tensors[group][name], each) for name, each in tensors.items())
    assert json.dumps(found.facts) == json.dumps(HELD.facts)


def test_that_of_another_training_is_refused_and_with_overwrite_forgotten(tmp_path):
    store = Store(str(tmp_path))
    checkpoint.save(store, HELD, "x")
    with pytest.raises(
        ModelError, match="another spec, other imagery or labels, or another torch; name another folder"
    ):
        checkpoint.load(store, "y")
    assert checkpoint.load(store, "y", overwrite=True) is None
    assert checkpoint.load(store, "x", overwrite=True) is not None


@pytest.mark.parametrize("damage", [b"", b"no tensors at all", "half"])
def test_a_damaged_one_is_told(tmp_path, damage):
    store = Store(str(tmp_path))
    checkpoint.save(store, HELD, "x")
    path = tmp_path / checkpoint.NAME
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if damage == "half" else damage)
    with pytest.raises(ModelError, match=r"is no checkpoint of a training: .*start over with overwrite"):
        checkpoint.load(store, "x")
    assert checkpoint.load(store, "x", overwrite=True) is None


@pytest.mark.filterwarnings("ignore:Pydantic serializer")
def test_all_that_matters_is_in_its_identity(folder):
    spec, scene = recipe.read(folder / "training.yaml"), loaded(folder)
    first = identity(spec, [scene], "cpu")
    assert (
        identity(
            spec.model_copy(update={"out": "elsewhere", "title": "t", "licence": "l", "memory": 5}), [scene], "cpu"
        )
        == first
    )
    for key, field in type(spec).model_fields.items():
        free = ("catalog", "out", "title", "licence", "split", "memory", "readers", "baseline")
        if key in (*free, "imagery", "reference", "crosswalk"):
            continue
        other = spec.model_copy(update={key: "other" if key != "architecture" else {"name": "smp"}})
        assert identity(other, [scene], "cpu") != first, (key, field)
    for name in ("pixels", "labels", "division"):
        changed = getattr(scene, name).copy()
        changed.flat[-1] = np.nan_to_num(changed.flat[-1]) + 1
        assert identity(spec, [replace(scene, **{name: changed})], "cpu") != first
    assert identity(spec, [scene], "cuda") != first
    assert identity(spec, [scene, scene], "cpu") != first

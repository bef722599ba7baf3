"""Checking: what is told of a network is so, and a card that is wrong is called wrong."""

import numpy as np
import pytest
from hand_made_onnx import convolution
from model_folders import swapped, write_model

from geoseg import process
from geoseg.catalog.card import read_model
from geoseg.errors import ModelError
from geoseg.imagery import Statistics
from geoseg.inference import checking


@pytest.fixture(autouse=True)
def _nothing_loaded(monkeypatch):
    process.renew()
    monkeypatch.setattr(checking, "_LEAST_S", 0.01)


def findings(model, *more):
    return {each.what: each for each in checking.check(model, *more)}


def test_all_is_measured_and_agrees_with_the_card(tmp_path):
    model = write_model(tmp_path / "model")
    found = findings(model)
    assert [*found] == [
        *("weights", "output", "receptive field", "effective halo", "bfloat16", "float16", "memory", "speed")
    ]
    assert not any(each.trouble for each in found.values())
    facts = dict(fact for each in found.values() for fact in each.facts)
    assert (facts["halo"], facts["field"]) == (model.card.halo, "bounded")
    assert 0 <= facts["effective_halo_on_noise"] <= model.card.halo
    assert 0.9 < facts["bfloat16_agreement"] <= 1
    assert facts["window_bytes"] > 0


@pytest.mark.parametrize(
    ("keys", "trouble"),
    [({"halo": 2}, "the card's halo must be"), ({"field": "image-wide"}, ""), ({"halo": 64}, "")],
)
def test_a_card_that_says_too_little_is_called_wrong(tmp_path, keys, trouble):
    found = findings(swapped(write_model(tmp_path / "model"), **keys))["receptive field"]
    assert found.trouble.startswith(trouble)
    assert bool(found.trouble) is bool(trouble)


def test_imagery_and_its_statistics_are_what_it_is_tried_on(tmp_path):
    model = write_model(tmp_path / "model", normalisation={"kind": "scene"})
    side = checking.side_of(model)
    pixels = np.random.default_rng(0).normal(500, 100, (2, side, side)).astype("float32")
    found = findings(model, pixels, Statistics((500.0, 500.0), (100.0, 100.0), 1))
    assert "on imagery" in found["effective halo"].found
    with pytest.raises(ModelError, match="the sample has shape"):
        findings(model, pixels[:, 1:], Statistics((0.0, 0.0), (1.0, 1.0), 1))


@pytest.mark.parametrize("side", [None, 24])
def test_a_graph_is_measured_too(tmp_path, side):
    pytest.importorskip("onnxruntime")
    weight = np.random.default_rng(0).normal(size=(3, 2, 3, 3)).astype("float32")
    held = {"file": "weights.onnx", "sha256": "0" * 64}
    model = swapped(
        write_model(tmp_path / "model"), convolution(weight, side), architecture={"name": "onnx"}, weights=held,
        stride=1, halo=1, window=22 if side else 16,
    )  # fmt: skip
    found = findings(read_model(model.folder))
    assert not any(each.trouble for each in found.values())
    assert dict(found["receptive field"].facts)["halo"] == 1
    assert "bfloat16" not in found

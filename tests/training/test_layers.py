"""Layers: those that follow bands and classes are found by their shapes."""

import pytest
import torch

from geoseg.errors import ModelError
from geoseg.training import layers


@pytest.mark.parametrize("stem", [1, 2])
def test_the_first_and_the_last_layer_of_compact_follow_bands_and_classes(stem):
    architecture = {"name": "compact", "width": 4, "depth": 2, "stem": stem}
    state = torch.random.get_rng_state()
    assert layers.of_bands(architecture, 3, 5) == ["encoders.0.0.0.weight"]
    assert layers.of_classes(architecture, 3, 5) == ["head.weight", "head.bias"]
    assert torch.equal(torch.random.get_rng_state(), state)


def test_bands_keep_their_weights_and_a_new_one_has_the_mean():
    weight = torch.arange(2 * 6 * 3 * 3, dtype=torch.float32).reshape(2, 6, 3, 3)  # 3 bands of a stem's 2 pixels
    found = layers.other_bands("first", weight, ("a", "b", "c"), ("c", "x", "a"))
    assert torch.equal(found[:, 0:2], weight[:, 4:6])
    assert torch.equal(found[:, 4:6], weight[:, 0:2])
    torch.testing.assert_close(found[:, 2:4], (weight[:, 0:2] + weight[:, 2:4] + weight[:, 4:6]) / 3)


@pytest.mark.parametrize("weight", [torch.zeros(4), torch.zeros(2, 5, 1, 1)])
def test_weights_that_do_not_go_by_band_are_refused(weight):
    with pytest.raises(ModelError, match=r"first is .* for 3 bands; train with bands: \[a, b, c\]"):
        layers.other_bands("first", weight, ("a", "b", "c"), ("a",))

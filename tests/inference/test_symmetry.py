"""Symmetry: eight different ways, each undone, and a mean that does not know which way is up."""

import numpy as np
import pytest
import torch

from geoseg.inference import symmetry


def test_the_ways_are_the_eight_symmetries_of_the_square():
    square = torch.arange(9).reshape(1, 3, 3)
    images = {tuple(symmetry.turned(square, how).flatten().tolist()) for how in symmetry.D4}
    numpys = {
        tuple(np.rot90(each, turns).ravel().tolist())
        for each in (square[0].numpy(), square[0].numpy().T)
        for turns in range(4)
    }
    assert images == numpys
    assert len(images) == 8


@pytest.mark.parametrize("how", symmetry.D4)
def test_turning_back_undoes_turning(how):
    pixels = torch.rand(2, 3, 4, 7)
    assert torch.equal(symmetry.turned_back(symmetry.turned(pixels, how), how), pixels)
    assert symmetry.turned(pixels, how).shape[2:] == ((4, 7), (7, 4))[how[0] % 2]


def test_the_mean_turns_with_its_input():
    weight = torch.rand(1, 1, 3, 3, dtype=torch.float64)

    def network(x):
        return torch.nn.functional.conv2d(x, weight, padding=1)

    def scores(x):
        return symmetry.mean(lambda how: network(symmetry.turned(x, how)))

    pixels = torch.rand(1, 1, 5, 8, dtype=torch.float64)
    for how in symmetry.D4:
        torch.testing.assert_close(scores(symmetry.turned(pixels, how)), symmetry.turned(scores(pixels), how))
    assert not torch.allclose(scores(pixels), network(pixels))

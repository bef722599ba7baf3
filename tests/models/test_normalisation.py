"""Normalisation: the published formulas, to rounding, and a fill for what is not there."""

import numpy as np
import pytest
import torch

from geoseg.errors import ModelError
from geoseg.models.normalisation import LINEAR, normalised

MEAN, STD = (torch.tensor(each)[:, None, None] for each in ([1.7, 2.3], [2.0, 2.6]))


@pytest.mark.parametrize("kind", LINEAR)
def test_linear_kinds_subtract_and_divide(kind):
    values = torch.tensor([[[1.7, 3.7, torch.nan]], [[2.3, -0.3, torch.inf]]])
    assert torch.allclose(normalised(kind, values, MEAN, STD), torch.tensor([[[0.0, 1, 0]], [[0.0, -1, 0]]]))


def test_dynamic_world_is_the_published_formula():
    numbers = np.linspace(0, 16_000, 50).reshape(1, 5, 10).repeat(2, axis=0)
    x = np.log(numbers * 0.005 + 1)
    x = (x - MEAN.numpy()) / STD.numpy()
    x = np.exp(x * 5.0 - 1)
    wanted = x / (x + 1)
    found = normalised("dynamic-world", torch.from_numpy(numbers).float(), MEAN, STD)
    assert np.abs(found.numpy() - wanted).max() < 1e-6


def test_dynamic_world_takes_negative_numbers_for_0_and_missing_ones_for_the_mean():
    values = torch.tensor([[[-900.0, 0.0, torch.nan]]]).repeat(2, 1, 1)
    found = normalised("dynamic-world", values, MEAN, STD)
    assert torch.equal(found[..., 0], found[..., 1])
    assert torch.allclose(found[..., 2], torch.sigmoid(torch.tensor(-1.0)))


def test_percentiles_become_0_and_1_and_the_rest_is_cut_off():
    low, width = torch.tensor([[[10.0]], [[-1.0]]]), torch.tensor([[[20.0]], [[4.0]]])
    values = torch.tensor([[[10.0, 30, 20, -5, 99, torch.nan]], [[-1, 3, 1, -9, torch.inf, 4]]])
    found = normalised("percentile", values, low, width)
    assert found.tolist() == [[[0, 1, 0.5, 0, 1, 0]], [[0, 1, 0.5, 0, 0, 1]]]


def test_an_unknown_kind_is_refused():
    with pytest.raises(ModelError, match="no normalisation is called 'new'"):
        normalised("new", torch.zeros(2, 1, 1), MEAN, STD)

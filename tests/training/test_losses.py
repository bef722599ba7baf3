"""Losses: those of torch and segmentation-models-pytorch, on labelled pixels alone."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from geoseg.training import losses
from geoseg.training.recipe import LossSpec


def drawn(seed=0, classes=4):
    """Scores and labels, a third of them missing."""
    chance = torch.Generator().manual_seed(seed)
    scores = torch.randn((3, classes, 7, 9), generator=chance, dtype=torch.float64)
    labels = torch.randint(-1, classes, (3, 7, 9), generator=chance)
    labels[torch.rand((3, 7, 9), generator=chance) < 0.3] = -1
    return scores, labels, torch.rand(classes, generator=chance, dtype=torch.float64) + 0.5


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_without_a_power_focal_loss_is_cross_entropy(smoothing):
    scores, labels, weights = drawn()
    expected = functional.cross_entropy(scores, labels, weights, ignore_index=-1, label_smoothing=smoothing)
    assert torch.equal(losses.focal(scores, labels, weights, 0.0, smoothing), expected)
    nearly = losses.focal(scores, labels, weights, 1e-12, 0.0)
    plain = functional.cross_entropy(scores, labels, weights, ignore_index=-1)
    torch.testing.assert_close(nearly, plain)


@pytest.mark.parametrize("power", [0.5, 2.0])
def test_focal_loss_is_the_published_formula(power):
    scores, labels, weights = drawn()
    chances = np.exp(scores.numpy()) / np.exp(scores.numpy()).sum(1, keepdims=True)
    total = counted = 0.0
    for at in np.ndindex(labels.shape):
        kind = int(labels[at])
        if kind >= 0:
            chance, weight = chances[at[0], kind, at[1], at[2]], float(weights[kind])
            total += weight * (1 - chance) ** power * -np.log(chance)
            counted += weight
    assert float(losses.focal(scores, labels, weights, power)) == pytest.approx(total / counted)


@pytest.mark.slow  # segmentation-models-pytorch takes seconds to import
def test_dice_is_that_of_segmentation_models_pytorch():
    import segmentation_models_pytorch as smp

    for seed in range(5):
        scores, labels, _ = drawn(seed)
        labels[labels == 3] = 0  # a class that is not there counts in neither
        theirs = smp.losses.DiceLoss("multiclass", classes=[0, 1, 2], ignore_index=-1)(scores, labels)
        torch.testing.assert_close(losses.dice(scores, labels), theirs, rtol=1e-5, atol=1e-6)


def test_dice_of_certain_scores_is_worked_out_by_hand():
    labels = torch.tensor([[[0, 0, 1, -1]]])
    scores = torch.full((1, 2, 1, 4), -50.0)
    for col, kind in enumerate((0, 1, 1, 0)):
        scores[0, kind, 0, col] = 50.0
    # class 0: 2 labels, 1 found, 1 right: 2 / 3; class 1: 1 label, 2 found, 1 right: 2 / 3
    assert float(losses.dice(scores, labels)) == pytest.approx(1 / 3)


@pytest.mark.parametrize("spec", [{}, {"dice": 0.4}, {"dice": 1.0}, {"focal": 2.0, "smoothing": 0.1, "dice": 0.5}])
def test_pixels_without_a_label_change_neither_loss_nor_gradient(spec):
    scores, labels, weights = drawn()
    loss = losses.of(LossSpec(**spec), weights.float())
    other = torch.where((labels < 0)[:, None], scores + 9 * torch.randn_like(scores), scores)
    found = []
    for each in (scores, other):
        each = each.float().requires_grad_()
        value = loss(each, labels)
        value.backward()
        assert not each.grad.permute(0, 2, 3, 1)[labels < 0].any()
        found.append(value)
    torch.testing.assert_close(*found)


def test_shares_add_up():
    scores, labels, weights = drawn()
    weights = weights.float()
    parts = [float(losses.of(LossSpec(dice=share), weights)(scores, labels)) for share in (0.0, 1.0, 0.3)]
    assert parts[2] == pytest.approx(0.7 * parts[0] + 0.3 * parts[1])

"""Losses: what training makes small, on the labelled pixels alone.

Scores are (batch, class, row, col), labels (batch, row, col) int64 with -1 where there is none.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from geoseg.training.recipe import LossSpec

Loss = Callable[[Tensor, Tensor], Tensor]
"""Scores and labels to a number."""
_NONE = -1


def of(spec: LossSpec, weights: Tensor) -> Loss:
    """The loss that a spec asks for.

    Parameters
    ----------
    spec
        Shares of its parts.
    weights
        (class,) float32: how much a pixel of each class counts in cross-entropy and focal loss; Dice counts classes
        alike.
    """

    def loss(scores: Tensor, labels: Tensor) -> Tensor:
        scores = scores.float()
        found = focal(scores, labels, weights, spec.focal, spec.smoothing)
        return found if not spec.dice else (1 - spec.dice) * found + spec.dice * dice(scores, labels)

    return loss


def focal(scores: Tensor, labels: Tensor, weights: Tensor, power: float, smoothing: float = 0.0) -> Tensor:
    """Focal loss of Lin et al. 2017, a mean weighted by class; with power 0 it is cross-entropy.

    Parameters
    ----------
    scores, labels
        As the module says.
    weights
        (class,) of each class.
    power
        Gamma: the loss of a pixel is multiplied by (1 - p) ** gamma, p the probability given to its label.
    smoothing
        Share of each label that is given to all classes alike.
    """
    whole = functional.cross_entropy(scores, labels, weights, ignore_index=_NONE, label_smoothing=smoothing)
    if not power:
        return whole
    each = functional.cross_entropy(
        scores, labels, weights, ignore_index=_NONE, label_smoothing=smoothing, reduction="none"
    )
    known = labels != _NONE
    right = functional.softmax(scores, 1).gather(1, labels.clamp(min=0)[:, None])[:, 0]
    return (each * (1 - right) ** power)[known].sum() / weights[labels[known]].sum()


def dice(scores: Tensor, labels: Tensor) -> Tensor:
    """1 - Dice of the probabilities, a mean over the classes that the batch has labels of (Milletari et al. 2016).

    Parameters
    ----------
    scores, labels
        As the module says.
    """
    known = labels != _NONE
    chances = functional.softmax(scores, 1) * known[:, None]
    truth = functional.one_hot(labels.clamp(min=0), scores.shape[1]).permute(0, 3, 1, 2) * known[:, None]
    both, either = (chances * truth).sum((0, 2, 3)), (chances + truth).sum((0, 2, 3))
    there = truth.sum((0, 2, 3)) > 0
    return (1 - 2 * both[there] / either[there]).mean() if there.any() else torch.zeros((), device=scores.device)

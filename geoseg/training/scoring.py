"""Scoring: what a network in training gets right on the squares of its scenes that it does not learn from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from geoseg.accuracy.confusion import iou, mean_iou, pixel_accuracy
from geoseg.catalog.legend import Legend
from geoseg.grid import cut
from geoseg.models import receptive_field
from geoseg.training.division import BEYOND, DIVISIONS, TEST, VALIDATION
from geoseg.training.scenes import LabelledScene

CORE = 256
"""Core of the windows that are scored, and the one that a card suggests, pixels; rounded up to the stride."""

WIDE = 64
"""Halo above which cores are twice as long, since most of a window would be halo; pixels."""

Row = dict[str, float]
"""One line of the learning curves."""


def core_of(field: receptive_field.Field) -> int:
    """Edge of the cores that suit a network, pixels.

    Parameters
    ----------
    field
        Its receptive field.
    """
    return -(-(CORE if field.halo <= WIDE else 2 * CORE) // field.stride) * field.stride


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What a network makes of labelled pixels; `+` takes two sets of them together."""

    matrix: np.ndarray
    """(class, class) int64: pixels, rows are the reference, columns the network."""
    loss: float
    """Cross-entropy of each pixel times its weight, summed."""
    weight: float
    """Sum of the weights."""

    def __add__(self, other: Judged) -> Judged:
        return Judged(self.matrix + other.matrix, self.loss + other.loss, self.weight + other.weight)

    @property
    def mean_loss(self) -> float:
        """As the loss of training is taken; NaN where no pixel counts."""
        return self.loss / self.weight if self.weight > 0 else math.nan


def confusion(
    network: nn.Module, field: receptive_field.Field, scene: LabelledScene, division: int, classes: int
) -> np.ndarray:
    """Count a division's reference labels (rows) against the network's (columns), window by window as in a map.

    Parameters
    ----------
    network, field, scene, division, classes
        As for `judge`.

    Returns
    -------
    (class, class) int64
    """
    return judge(network, field, scene, division, torch.ones(classes)).matrix


def judge(
    network: nn.Module, field: receptive_field.Field, scene: LabelledScene, division: int, weights: Tensor
) -> Judged:
    """Compare the network with the reference on the labelled pixels of a division, window by window as in a map.

    Validation and test squares are labelled without sight of what lies beyond the scene's part.

    Parameters
    ----------
    network
        In evaluation mode, on its device.
    field
        Its receptive field.
    scene
        What it is scored on.
    division
        VALIDATION, TEST or BEYOND.
    weights
        (class,) float32: of each class in the loss.
    """
    classes = len(weights)
    found = Judged(np.zeros((classes, classes), np.int64), 0.0, 0.0)
    shown = scene.around if division == BEYOND else scene.seen
    where = next(network.parameters()).device
    core = core_of(field)
    for window in cut(scene.window, core):
        part = window.meet(scene.window)
        if part is None or not (inside := scene.division_in(part) == division).any():
            continue
        chosen = inside & (scene.labels_in(part) >= 0)
        if not chosen.any():
            continue
        chip = torch.from_numpy(np.nan_to_num(shown(window.grown(field.halo)), nan=0.0))[None].to(where)
        with torch.inference_mode():
            scores = network(chip.contiguous(memory_format=torch.channels_last))[0]
        reference = scene.labels_in(part)[chosen].astype(np.int64)
        found += _compared(scores[:, *part.within(window.grown(field.halo))].cpu()[:, chosen], reference, weights)
    return found


def _compared(scores: Tensor, reference: np.ndarray, weights: Tensor) -> Judged:
    """(class, pixel) scores against (pixel,) indices of classes."""
    classes, truth = len(weights), torch.from_numpy(reference)
    counts = np.bincount(reference * classes + scores.argmax(0).numpy(), minlength=classes**2)
    loss = nn.functional.cross_entropy(scores.float().T, truth, weights.cpu(), reduction="sum")
    return Judged(counts.reshape(classes, classes), float(loss), float(weights.cpu()[truth].sum()))


def scores_of(matrix: np.ndarray, legend: Legend) -> dict[str, Any]:
    """What a card says of a confusion matrix; null for a class found in neither map nor reference.

    Parameters
    ----------
    matrix
        (class, class) pixel counts, rows are the reference.
    legend
        Names of the classes.
    """
    each = {name: None if math.isnan(v) else round(float(v), 4) for name, v in zip(legend.names, iou(matrix))}
    return {
        "mean_iou": round(mean_iou(matrix), 4),
        "pixel_accuracy": round(pixel_accuracy(matrix), 4),
        "pixels": int(matrix.sum()),
        "iou": each,
    }


def scores_by_scene(
    network: nn.Module, field: receptive_field.Field, scenes: Sequence[LabelledScene], legend: Legend
) -> dict[str, Any]:
    """Scores of each scene's divisions that were not trained on, and of all scenes' together.

    'all unseen' are test squares and what lies beyond the parts: nothing was learnt from them nor chosen on them.

    Parameters
    ----------
    network, field
        As for `confusion`.
    scenes
        All that were trained on, each under its name.
    legend
        Names of the classes.
    """
    found: dict[str, Any] = {}
    chosen_on, unseen = np.zeros((2, len(legend), len(legend)), np.int64)
    for scene in scenes:
        for division in (VALIDATION, TEST, BEYOND):
            matrix = confusion(network, field, scene, division, len(legend))
            if matrix.any():
                found.setdefault(scene.name, {})[DIVISIONS[division]] = scores_of(matrix, legend)
                (chosen_on if division == VALIDATION else unseen)[:] += matrix
    for name, matrix in (("all validation", chosen_on), ("all unseen", unseen)):
        if matrix.any():
            found[name] = scores_of(matrix, legend)
    return found


def row_of(epoch: int, loss: float, judged: Judged, rate: float, legend: Legend, seconds: float) -> Row:
    """One line of the learning curves.

    Parameters
    ----------
    epoch
        From 0.
    loss
        Mean loss of its batches.
    judged
        All scenes' validation squares, with the weights of the loss.
    rate
        Learning rate at its end.
    legend
        Names of the classes.
    seconds
        How long it took.
    """
    scores = {"mean_iou": mean_iou(judged.matrix), "pixel_accuracy": pixel_accuracy(judged.matrix)}
    classes = {f"iou {name}": float(each) for name, each in zip(legend.names, iou(judged.matrix))}
    losses = {"loss": loss, "validation_loss": judged.mean_loss}
    return {"epoch": epoch + 1, **losses, **scores, **classes, "learning_rate": rate, "seconds": seconds}

"""Scoring: what a network in training gets right on the squares of its scenes that it does not learn from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from geoseg.accuracy.confusion import iou, mean_iou, pixel_accuracy
from geoseg.catalog.legend import Legend
from geoseg.grid import Window, cut
from geoseg.models import receptive_field
from geoseg.training.division import BEYOND
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
    network: nn.Module,
    field: receptive_field.Field,
    scene: LabelledScene,
    division: int,
    weights: Tensor,
    turn: tuple[int, int] = (0, 1),
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
    turn
        As for `looked_at`.
    """
    classes = len(weights)
    found = Judged(np.zeros((classes, classes), np.int64), 0.0, 0.0)
    for seen in looked_at(network, field, scene, division, turn):
        found += _compared(seen.scores, seen.labels, weights)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A window of a scene, as a network sees it."""

    window: Window
    """Inside of the scene."""
    chosen: np.ndarray
    """(row, col) bool: the labelled pixels of the division."""
    scores: Tensor
    """(class, pixel) of the chosen ones, on the CPU."""
    labels: np.ndarray
    """(pixel,) int64: their classes in the reference."""


def looked_at(
    network: nn.Module,
    field: receptive_field.Field,
    scene: LabelledScene,
    division: int,
    turn: tuple[int, int] = (0, 1),
) -> Iterator[Seen]:
    """The windows of a scene with labelled pixels of a division, as they are in a map.

    Parameters
    ----------
    network, field, scene, division
        As for `judge`.
    turn
        The first and the step of the windows to look at.
    """
    shown = scene.around if division == BEYOND else scene.seen
    where = next(network.parameters()).device
    core = core_of(field)
    first, step = turn
    for window in islice(cut(scene.window, core), first, None, step):
        part = window.meet(scene.window)
        if part is None or not (inside := scene.division_in(part) == division).any():
            continue
        labels = scene.labels_in(part)
        chosen = inside & (labels >= 0)
        if not chosen.any():
            continue
        wide = window.grown(field.halo)
        chip = torch.from_numpy(np.nan_to_num(shown(wide), nan=0.0))[None].to(where)
        with torch.inference_mode():
            scores = network(chip.contiguous(memory_format=torch.channels_last))[0]
        yield Seen(part, chosen, scores[:, *part.within(wide)].cpu()[:, chosen], labels[chosen].astype(np.int64))


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

"""Evaluation: one pass of a finished network over all that it did not learn from.

It gives scores with intervals, a sample of scores to calibrate on, and how well each window went.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from geoseg.accuracy import blocks as block_counts
from geoseg.accuracy import intervals
from geoseg.accuracy.blocks import Blocks
from geoseg.catalog.legend import Legend
from geoseg.grid import Window
from geoseg.models.receptive_field import Field
from geoseg.training import scoring
from geoseg.training.division import BEYOND, DIVISIONS, TEST, VALIDATION
from geoseg.training.scenes import LabelledScene

GROUPS = {"all validation": (VALIDATION,), "all unseen": (TEST, BEYOND)}
"""Nothing was learnt from the latter nor chosen on it."""
_SAMPLE = 500_000
"""Pixels of a group that are kept with their scores."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Pixels spread evenly over a group."""

    scores: np.ndarray
    """(pixel, class) float32, before softmax."""
    labels: np.ndarray
    """(pixel,) int64."""


@dataclass(frozen=True, slots=True)
class Looked:
    """A window that was scored."""

    scene: int
    """Number of the scene."""
    division: int
    window: Window
    pixels: int
    """Labelled ones of the division."""
    right: int
    """Those that the network labels as the reference does."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """What a network is worth."""

    scores: dict[str, Any]
    """For a card: of each scene's divisions, and of all scenes' together with intervals."""
    matrices: Mapping[str, np.ndarray]
    """(class, class) pixels of each group, rows are the reference."""
    samples: Mapping[str, Sample]
    """Of each group that has labels."""
    windows: Sequence[Looked]


def evaluate(network: nn.Module, field: Field, scenes: Sequence[LabelledScene], legend: Legend) -> Evaluated:
    """Score a network on each scene's divisions that were not trained on, and on all scenes' together.

    Parameters
    ----------
    network
        In evaluation mode, on its device.
    field
        Its receptive field.
    scenes
        All that were trained on, each under its name.
    legend
        Names of the classes.
    """
    classes = len(legend)
    scores: dict[str, Any] = {}
    windows: list[Looked] = []
    matrices, samples = {}, {}
    together: dict[str, dict[str, Any]] = {}
    edge = max(block_counts.edge_for(each.window, classes**2) for each in scenes)
    for group, divisions in GROUPS.items():
        total = sum(int(each.counts(kind, classes).sum()) for each in scenes for kind in divisions)
        kept = _Kept(max(1, -(-total // _SAMPLE)))
        matrices[group] = np.zeros((classes, classes), np.int64)
        counted: list[Blocks] = []
        for at, scene in enumerate(scenes):
            blocks = block_counts.nothing(scene.window, edge, classes)
            for division in divisions:
                matrix = np.zeros((classes, classes), np.int64)
                for seen in scoring.looked_at(network, field, scene, division):
                    found = seen.scores.argmax(0).numpy()
                    matrix += np.bincount(seen.labels * classes + found, minlength=classes**2).reshape(classes, -1)
                    right = int((found == seen.labels).sum())
                    windows.append(Looked(at, division, seen.window, len(found), right))
                    kept.take(seen.scores.numpy().T, seen.labels)
                    _count(blocks, seen, found)
                if matrix.any():
                    scores.setdefault(scene.name, {})[DIVISIONS[division]] = scoring.scores_of(matrix, legend)
                matrices[group] += matrix
            counted.append(blocks)
        if matrices[group].any():
            samples[group] = kept.found()
            errors = intervals.of(_side_by_side(counted), given=False)
            together[group] = {**scoring.scores_of(matrices[group], legend), "intervals": _said(errors, legend)}
    return Evaluated(scores | together, matrices, samples, windows)


class _Kept:
    """Every so many pixels of what is taken."""

    def __init__(self, step: int) -> None:
        self.step, self.next = step, 0
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []

    def take(self, scores: np.ndarray, labels: np.ndarray) -> None:
        self.parts.append((scores[self.next :: self.step].astype(np.float32), labels[self.next :: self.step]))
        self.next = (self.next - len(labels)) % self.step

    def found(self) -> Sample:
        scores, labels = zip(*self.parts)
        return Sample(np.concatenate(scores), np.concatenate(labels))


def _count(blocks: Blocks, seen: scoring.Seen, found: np.ndarray) -> None:
    """Add the pixels of a window to the blocks that they lie in."""
    rows, cols = np.nonzero(seen.chosen)
    down = (rows + seen.window.row) // blocks.edge - blocks.window.row
    across = (cols + seen.window.col) // blocks.edge - blocks.window.col
    height, width, _, classes = blocks.sums.shape
    place = (down * width + across) * classes
    right = found == seen.labels
    for kind, flat in enumerate((place[right] + found[right], place + seen.labels, place + found)):
        counts = np.bincount(flat, minlength=height * width * classes)
        blocks.sums[:, :, kind] += counts.reshape(height, width, classes)


def _side_by_side(counted: Sequence[Blocks]) -> Blocks:
    """Blocks of several scenes as those of one, so far apart that none is near another scene's."""
    if len(counted) == 1:
        return counted[0]
    gap = max(max(each.window.shape) for each in counted)
    width = max(each.window.width for each in counted)
    rows = np.cumsum([0, *(each.window.height + gap for each in counted)]).tolist()
    sums = np.zeros((rows[-1], width, *counted[0].sums.shape[2:]), np.int64)
    for row, each in zip(rows, counted):
        sums[row : row + each.window.height, : each.window.width] = each.sums
    return Blocks(counted[0].edge, Window(0, 0, rows[-1], width), sums, np.zeros(sums.shape[:2], np.int64))


def _said(found: intervals.Intervals, legend: Legend) -> dict[str, Any]:
    """Intervals as a card has them; null for a measure that has none."""
    if found.why_not:
        return {"why_not": found.why_not}
    classes = {name: _pair(each) for name, each in zip(legend.names, found.classes["iou"])}
    overall = {name: _pair(each) for name, each in found.overall.items()}
    if not any((*classes.values(), *overall.values())):
        return {"why_not": "errors hang together over too large a part of what is held out, or classes are too rare"}
    return {"level": intervals.LEVEL, "block_px": found.block, "blocks": found.blocks, **overall, "iou": classes}


def _pair(each: Sequence[float] | np.ndarray) -> list[float] | None:
    low, high = (float(edge) for edge in each)
    return None if math.isnan(low) or math.isnan(high) else [round(low, 4), round(high, 4)]

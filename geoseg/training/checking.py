"""Checking: what labels can teach and judge, before anything is learnt of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from geoseg.catalog.legend import Legend
from geoseg.grid import Window, count, cut
from geoseg.quantities import counted
from geoseg.report.divisions import EDGE, MOST, Drawn
from geoseg.training.division import BUFFER, DIVISIONS, TEST, TRAIN, VALIDATION
from geoseg.training.preparation import prepared
from geoseg.training.recipe import Recipe
from geoseg.training.scenes import LabelledScene

HEAD = ("class", "train px", "in scenes", "validation px", "in scenes", "test px", "in scenes")
FARTHEST = 4
"""Pixels by which labels are moved to see whether they fit better."""
_SHARPER = 1.1
"""How much steeper the imagery must be along outlines that are moved, to say that they lie off."""
_SQUARE = 4096
"""Edge of what is looked at of a larger scene, pixels."""
_FEWEST = 500
"""Pixels along outlines that say something."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What there is to learn from."""

    legend: Legend
    rows: list[tuple[str | int, ...]]
    """By class: labelled pixels, and the scenes that have some, in training, validation and test."""
    notes: list[str]
    """What is missing or doubtful, as sentences."""
    scenes: tuple[LabelledScene, ...]

    @property
    def drawn(self) -> list[Drawn]:
        """For a picture."""
        return [Drawn(each.name, *_thinned(each)) for each in self.scenes[:MOST]]


def check(recipe: Recipe) -> Checked:
    """Load and divide all scenes as a training would, and look at their labels.

    Parameters
    ----------
    recipe
        The training's.

    Raises
    ------
    GeosegError
        As `fit.train` before its first epoch.
    """
    with torch.random.fork_rng(devices=[]):
        found = prepared(recipe)
    scenes, legend = found.split.scenes, found.legend
    counts = np.array([[each.counts(kind, len(legend)) for kind in range(len(DIVISIONS))] for each in scenes])
    rows: list[tuple[str | int, ...]] = []
    notes = list(found.split.notes)
    for at, name in enumerate(legend.names):
        pairs = [(int(counts[:, kind, at].sum()), int((counts[:, kind, at] > 0).sum())) for kind in _JUDGED]
        rows.append((name, *(number for pair in pairs for number in pair)))
        if not counts[:, :, at].any():
            notes.append(f"class {name!r} has no label at all; correct the crosswalk, or take it out of the legend")
    notes += [each for scene in scenes for each in _of_scene(scene)]
    lost, learnt = int(counts[:, BUFFER].sum()), int(counts[:, TRAIN].sum())
    if lost > learnt:
        notes.append(
            f"{lost / (lost + learnt):.0%} of the labels to learn from lie within chips.buffer of what is held out and "
            "are left out"
        )
    return Checked(legend, rows, notes, scenes)


_JUDGED = (TRAIN, VALIDATION, TEST)


def _of_scene(scene: LabelledScene) -> list[str]:
    """What is wrong with a scene's labels."""
    if not scene.survey().counts.any():
        return [f"imagery {scene.name!r} has no label; check that {scene.reference!r} overlaps it, and its crosswalk"]
    notes = []
    window = _telling(scene)
    down, right = shift_of(scene.pixels_in(window), scene.labels_in(window))
    if max(abs(down), abs(right)) > 1:
        ways = [(down, "down", "up"), (right, "right", "left")]
        moves = [f"{counted(abs(by), 'pixel')} {one if by > 0 else other}" for by, one, other in ways if by]
        notes.append(
            f"labels of imagery {scene.name!r} would fit it better {' and '.join(moves)}; check the CRS and the "
            "geotransform of both"
        )
    return notes


def _telling(scene: LabelledScene) -> Window:
    """The scene, or of a large one the square that most is learnt from."""
    if count(scene.window, _SQUARE) == 1 or scene.window.pixels <= _SQUARE**2:
        return scene.window
    best, most = scene.window, -1
    for square in cut(scene.window, _SQUARE):
        part = square.meet(scene.window)
        assert part is not None
        found = sum(each.within(part) for each in scene.survey().places.values())
        if found > most:
            best, most = part, found
    return best


def _thinned(scene: LabelledScene) -> tuple[np.ndarray, np.ndarray]:
    """Labels and division of every so many rows and columns, no more than a picture shows."""
    step = max(1, -(-max(scene.window.shape) // EDGE))
    rows, cols = (-(-length // step) for length in scene.window.shape)
    labels, division = np.empty((rows, cols), np.int16), np.empty((rows, cols), np.uint8)
    for block in scene.blocks():
        top, left = block.row - scene.window.row, block.col - scene.window.col
        inside = np.s_[-top % step :: step, -left % step :: step]
        found = scene.labels_in(block)[inside]
        first_row, first_col = -(-top // step), -(-left // step)
        at = np.s_[first_row : first_row + found.shape[0], first_col : first_col + found.shape[1]]
        labels[at], division[at] = found, scene.division_in(block)[inside]
    return labels, division


def shift_of(pixels: np.ndarray, labels: np.ndarray) -> tuple[int, int]:
    """By how many (rows, columns) labels would have to be moved for their outlines to follow edges in the imagery.

    The imagery's gradient is averaged along the outlines of labels, for each move of at most `FARTHEST` pixels. (0, 0)
    where none is clearly better, or outlines are short.

    Parameters
    ----------
    pixels
        (band, row, col) float, NaN where there is none.
    labels
        (row, col) integers, below 0 where there is none.
    """
    steps = np.abs(np.diff(pixels, axis=1))[:, :, :-1] + np.abs(np.diff(pixels, axis=2))[:, :-1]
    steep = np.minimum(np.nan_to_num(steps).sum(axis=0), 4 * np.nanmedian(steps.sum(axis=0)))
    inner = labels[:-1, :-1]
    beside = [(labels[1:, :-1], inner), (labels[:-1, 1:], inner)]
    outline = np.logical_or.reduce([(one != other) & (one >= 0) & (other >= 0) for one, other in beside])
    rows, cols = np.nonzero(outline)
    inside = (rows >= FARTHEST) & (cols >= FARTHEST)
    inside &= (rows < steep.shape[0] - FARTHEST) & (cols < steep.shape[1] - FARTHEST)
    rows, cols = rows[inside], cols[inside]
    if len(rows) < _FEWEST:
        return 0, 0
    moves = range(-FARTHEST, FARTHEST + 1)
    found = {(down, right): float(steep[rows + down, cols + right].mean()) for down in moves for right in moves}
    best = max(found, key=lambda move: (found[move], -abs(move[0]) - abs(move[1])))
    return best if found[best] > _SHARPER * found[0, 0] else (0, 0)


def table(found: Checked) -> tuple[Sequence[str], list[list[str | float | int | None]]]:
    """Head and rows, the sum last.

    Parameters
    ----------
    found
        From `check`.
    """
    rows: list[list[str | float | int | None]] = [list(each) for each in found.rows]
    sums = [sum(int(each[at]) for each in found.rows) for at in (1, 3, 5)]
    rows.append(["all", sums[0], None, sums[1], None, sums[2], None])
    return HEAD, rows

"""Boundaries: pixels near the border of another class, as (row, col) arrays of classes have them.

Near is by the longer of the distances in rows and in columns. A gap in the data is no border: only another class is.
A pixel's answer depends on the pixels within its distance alone. No files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from geoseg.accuracy.confusion import share
from geoseg.catalog.legend import Legend


@dataclass(frozen=True, slots=True)
class Boundaries:
    """What is asked about boundaries; distances in pixels of the comparison's grid."""

    width: int = 0
    """Pixels that near a border count for the Boundary IoU; 0: it is not asked for."""
    ignored: int = 0
    """Pixels that near a border of the reference are not scored; 0: all are."""

    @property
    def halo(self) -> int:
        """Pixels around a window that its answers depend on."""
        return max(self.width, self.ignored)


NOT_ASKED = Boundaries()


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What was found near boundaries; adds up over any split of the pixels."""

    sums: np.ndarray
    """(3, class) int64: compared pixels near a border of their class in both, in the reference, on the map."""
    ignored: int
    """Labelled pixels that were not scored, since they are near a border of the reference."""

    @property
    def iou(self) -> np.ndarray:
        """Boundary IoU of each class (Cheng et al. 2021, CVPR); NaN where it has no border in either.

        Pixels that are the class and near its border in both, of those that are so in either.
        """
        both, reference, mapped = self.sums
        return share(both, reference + mapped - both)


def near(classes: np.ndarray, count: int, distance: int) -> np.ndarray:
    """Where a pixel with a class has one of another class within a distance.

    Parameters
    ----------
    classes : (row, col) integers
        `count` and more: no class.
    count : int
        How many classes there are.
    distance : int
        Pixels.

    Returns
    -------
    (row, col) bool

    Examples
    --------
    >>> near(np.array([[0, 0, 0, 1, 9]]), 2, 1).tolist()
    [[False, False, True, True, False]]
    """
    known = classes < count
    size = 2 * distance + 1
    low = ndimage.minimum_filter(np.where(known, classes, count).astype(np.int32), size, mode="nearest")
    high = ndimage.maximum_filter(np.where(known, classes, -1).astype(np.int32), size, mode="nearest")
    found: np.ndarray = known & (low != high)
    return found


def tally(reference: np.ndarray, mapped: np.ndarray, borders: tuple[np.ndarray, np.ndarray], count: int) -> np.ndarray:
    """What `Found.sums` holds, of some compared pixels.

    Parameters
    ----------
    reference, mapped : (pixel,) integers
        Classes, all below `count`.
    borders : two of (pixel,) bool
        Where the reference and the map are near a border.
    count : int
        How many classes there are.
    """
    both = reference[borders[0] & borders[1] & (reference == mapped)]
    each = (both, reference[borders[0]], mapped[borders[1]])
    return np.stack([np.bincount(ids, minlength=count) for ids in each]).astype(np.int64)


def plain(found: Found, asked: Boundaries, legend: Legend) -> dict[str, Any]:
    """What accuracy.json holds.

    Parameters
    ----------
    found : Found
        In all pixels.
    asked : Boundaries
        What was asked.
    legend : Legend
        The classes compared.
    """
    held: dict[str, Any] = {}
    if asked.width:
        known = found.iou[np.isfinite(found.iou)]
        each = {name: _number(value) for name, value in zip(legend.names, found.iou)}
        mean = _number(known.mean()) if len(known) else None
        held["boundary"] = {"width_pixels": asked.width, "mean_iou": mean, "iou": each}
    if asked.ignored:
        held["boundary_ignored"] = {"distance_pixels": asked.ignored, "pixels": found.ignored}
    return held


def sentence(held: dict[str, Any]) -> str:
    """The Boundary IoU in words, from what `plain` gives under 'boundary'."""
    mean = "-" if held["mean_iou"] is None else f"{held['mean_iou']:.3f}"
    each = ", ".join(f"{name} {value:.3f}" for name, value in held["iou"].items() if value is not None)
    return f"Boundary IoU within {held['width_pixels']} px of borders: mean {mean}{': ' if each else ''}{each}"


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None

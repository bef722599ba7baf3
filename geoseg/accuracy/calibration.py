"""Calibration: whether a map's confidence tells how often it is right.

Pixels are counted by 255 levels of confidence, those of geoseg's own rasters, so that counts add up over any split of
the pixels and nothing is sampled. Confidence is the share that the map's class has, 0 to 1. Arrays are (row, col).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoseg.accuracy.confusion import share as ratio
from geoseg.accuracy.references import LabelRaster, opened
from geoseg.catalog import Reference
from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import GridError, RasterError
from geoseg.grid import Window
from geoseg.rasters import footprints

LEVELS = 255
"""Of confidence: the nearest of 0/254, 1/254, ... 254/254."""
BINS = 15
"""Of equal width, as in Guo et al. 2017."""
_ANY = Legend("confidence", (LandClass(0, "any", "#000000"),))
_SLACK = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """A map's confidence against how often it is right."""

    levels: np.ndarray
    """(level, 2) int64: compared pixels that are wrong, that are right."""

    @property
    def pixels(self) -> int:
        """Compared pixels with a confidence."""
        return int(self.levels.sum())

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of accuracy and confidence over bins, weighted by their pixels.

        After Guo et al. 2017 (ICML, eq. 3); NaN without any pixel.
        """
        pixels, confidence, accuracy = self.bins
        found = pixels > 0
        off = np.abs(accuracy[found] - confidence[found]) * pixels[found]
        return float(off.sum() / pixels.sum()) if found.any() else math.nan

    @property
    def bins(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels, mean confidence and accuracy of each of `BINS` bins, each (bin,); NaN where a bin has no pixel."""
        values = np.arange(LEVELS) / (LEVELS - 1)
        at = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], values)
        by_level = self.levels.sum(1)
        pixels = np.bincount(at, by_level, BINS)
        right = np.bincount(at, self.levels[:, 1], BINS)
        sums = np.bincount(at, by_level * values, BINS)
        return pixels.astype(np.int64), ratio(sums, pixels), ratio(right, pixels)

    @property
    def coverage(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Threshold, share of pixels at least as confident, their accuracy; for each level met, the highest first."""
        by_level = self.levels.sum(1)[::-1]
        met = by_level > 0
        pixels, right = np.cumsum(by_level)[met], np.cumsum(self.levels[::-1, 1])[met]
        threshold = (np.arange(LEVELS)[::-1] / (LEVELS - 1))[met]
        return threshold, pixels / max(1, self.pixels), ratio(right, pixels)


@dataclass(frozen=True, slots=True)
class Confidence:
    """An open raster of confidence on a map's own pixels."""

    raster: LabelRaster
    corner: Window
    """The pixels of the map's grid that it fills."""

    def levels(self, window: Window) -> np.ndarray:
        """Levels of a window of the map's grid, (row, col) int64; -1 where there is none.

        Raises
        ------
        RasterError
            If the file cannot be read or holds what is no share.
        """
        found = np.full(window.shape, -1, np.int64)
        part = window.meet(self.corner)
        if part is None:
            return found
        values, known = self.raster.raw(Window(part.row - self.corner.row, part.col - self.corner.col, *part.shape))
        file, at = self.raster.file, self.raster.band - 1
        shares = values.astype(np.float64) * file.scales[at] + file.offsets[at]
        known = known & np.isfinite(shares)
        beyond = known & ((shares < -_SLACK) | (shares > 1 + _SLACK))
        if beyond.any():
            raise RasterError(
                f"{self.raster.source.path} holds {shares[beyond][0]:g}, and confidence is a share of 0 to 1; give the "
                "band its scale, as geoseg's own confidence.tif has it"
            )
        found[part.within(window)][known] = np.rint(shares[known] * (LEVELS - 1)).astype(np.int64)
        return found


@contextmanager
def on(path: Path, mapped: LabelRaster) -> Iterator[Confidence]:
    """A raster of confidence, which must have the map's pixels.

    Parameters
    ----------
    path : Path
        Its first band holds shares of 0 to 1, or integers with a scale.
    mapped : LabelRaster
        The map.

    Raises
    ------
    RasterError, GridError
        If it cannot be read, or its pixels are not the map's.
    """
    with opened(Reference("confidence", str(path), 1, _ANY, None), any_nodata=True) as raster:
        corner = footprints.own(raster.source, mapped.grid)
        if corner is None or corner.meet(mapped.window) is None:
            raise GridError(f"the pixels of {path} are not those of {mapped.source.path}; give this map's confidence")
        yield Confidence(raster, corner)


def tally(levels: np.ndarray, verdicts: np.ndarray) -> np.ndarray:
    """Count pixels by level and verdict: (level, 2) int64.

    Parameters
    ----------
    levels : (row, col) int64
        -1 where there is no confidence.
    verdicts : (row, col) integers
        0 where nothing is compared, 1 where map and reference differ, 2 where they agree.
    """
    chosen = (levels >= 0) & (verdicts > 0)
    keys = levels[chosen] * 2 + verdicts[chosen] - 1
    return np.bincount(keys, minlength=2 * LEVELS).reshape(LEVELS, 2)


def plain(found: Calibration) -> dict[str, object]:
    """What accuracy.json holds; null where a bin has no pixel."""
    pixels, confidence, accuracy = found.bins
    threshold, covered, right = found.coverage
    edges = np.linspace(0, 1, BINS + 1)
    return {
        "pixels": found.pixels,
        "expected_calibration_error": _number(found.error),
        "bins": {
            "low": edges[:-1].tolist(),
            "high": edges[1:].tolist(),
            "pixels": pixels.tolist(),
            "confidence": [_number(each) for each in confidence],
            "accuracy": [_number(each) for each in accuracy],
        },
        "coverage": {"threshold": threshold.tolist(), "share": covered.tolist(), "accuracy": right.tolist()},
    }


def sentence(scores: dict[str, object]) -> str:
    """What a reader should know, from what `plain` gives."""
    error, held = scores["expected_calibration_error"], scores["coverage"]
    if not isinstance(error, float) or not isinstance(held, dict):
        return "no compared pixel has a confidence"
    half = int(np.searchsorted(held["share"], 0.5))
    return (
        f"expected calibration error of the confidence {error:.3f}; of the {held['share'][half]:.0%} most confident "
        f"pixels {held['accuracy'][half]:.1%} agree"
    )


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None

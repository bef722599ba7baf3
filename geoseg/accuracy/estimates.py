"""Estimates: accuracy and areas from a stratified random sample of points that someone labelled. No files.

The estimators are those for strata that may differ from the map's classes (Stehman 2014, Int. J. Remote Sens. 35,
4923-4939). Where the strata are the map's classes they are those of Olofsson et al. 2014, Remote Sens. Environ. 148,
42-57. Sampled points are few beside the pixels of a stratum, so there is no finite population correction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 2
"""Points that a stratum needs: one has no variance."""
Z_95 = 1.96


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number estimated from a sample."""

    value: float
    standard_error: float
    """NaN, as the value, where the sample holds nothing to estimate it from."""

    @property
    def margin(self) -> float:
        """Half the width of the 95 % interval."""
        return Z_95 * self.standard_error

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval; not cut at 0 or 1."""
        return self.value - self.margin, self.value + self.margin


@dataclass(frozen=True, slots=True)
class ClassEstimates:
    """What the sample says of one class."""

    share: Estimate
    """Of the area, by the reference."""
    users_accuracy: Estimate
    """Of what is mapped as the class, the share that is it."""
    producers_accuracy: Estimate
    """Of what is the class, the share that is mapped as it."""
    f1: Estimate
    iou: Estimate
    mapped: int
    """Points that the map gives the class."""
    labelled: int
    """Points that the reference gives it."""


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """What the sample says of a map."""

    classes: Mapping[int, ClassEstimates]
    overall_accuracy: Estimate
    matrix: np.ndarray
    """(map class, reference class) float64: shares of the area, classes in the order of `classes`; sums to 1."""


def estimate(
    strata: Sequence[int], mapped: Sequence[int], labelled: Sequence[int], sizes: Mapping[int, float]
) -> Estimates:
    """Accuracy and areas from points.

    Parameters
    ----------
    strata, mapped, labelled : (point,) int
        The stratum that each point was drawn from, its class on the map, its class by the reference.
    sizes : mapping
        Area of each stratum, in any unit.

    Raises
    ------
    ValueError
        If a stratum has fewer points than `FEWEST`, or a point lies in a stratum without a size.
    """
    sample = _Sample(np.asarray(strata), sizes)
    of_map, truth = np.asarray(mapped), np.asarray(labelled)
    ids = sorted({*of_map.tolist(), *truth.tolist()})
    everywhere = np.ones(len(of_map))
    classes = {}
    for each in ids:
        a, b = of_map == each, truth == each
        classes[each] = ClassEstimates(
            share=sample.ratio(b, everywhere),
            users_accuracy=sample.ratio(a & b, a),
            producers_accuracy=sample.ratio(a & b, b),
            f1=sample.ratio(2 * (a & b), 1 * a + b),
            iou=sample.ratio(a & b, a | b),
            mapped=int(a.sum()),
            labelled=int(b.sum()),
        )
    matrix = np.array([[sample.ratio((of_map == i) & (truth == j), everywhere).value for j in ids] for i in ids])
    return Estimates(classes, sample.ratio(of_map == truth, everywhere), matrix)


class _Sample:
    """Points by their strata, and how much of the ground each stratum is."""

    def __init__(self, strata: np.ndarray, sizes: Mapping[int, float]) -> None:
        self._strata = [strata == each for each in sizes]
        counts = [int(each.sum()) for each in self._strata]
        if sum(counts) != len(strata) or min(counts, default=0) < FEWEST:
            raise ValueError(f"strata of sizes {dict(sizes)} have {counts} of {len(strata)} points")
        self._counts = counts
        total = sum(sizes.values())
        self._weights = [size / total for size in sizes.values()]

    def ratio(self, of: np.ndarray, per: np.ndarray) -> Estimate:
        """Ratio of two totals, with the variance of its linearisation (Stehman 2014, eq. 27 and 28)."""
        y, x = of.astype(np.float64), per.astype(np.float64)
        total_y, total_x = (sum(w * each[at].mean() for w, at in zip(self._weights, self._strata)) for each in (y, x))
        if total_x == 0:
            return Estimate(float("nan"), float("nan"))
        found = total_y / total_x
        variance = sum(
            w**2 * np.var((y - found * x)[at], ddof=1) / count
            for w, at, count in zip(self._weights, self._strata, self._counts)
        )
        return Estimate(float(found), float(np.sqrt(variance) / total_x))

"""Confusion: matrices of land classes, and the measures taken from them.

Matrices are (class, class) int64, rows the reference, columns the map; counts add up over any split of the pixels.
Arrays of labels are (row, col), -1 where there is no label. No files, no coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

from geoseg.catalog.legend import Legend
from geoseg.errors import CatalogError

UNLABELLED = -1
"""No label: nodata, or beyond the raster's edge."""


# ----------------------------------------------------------------------------------------- counts


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """Pixels of each reference class by what the map says there; adds up over any split of the pixels."""

    matrix: np.ndarray
    """(class, class) int64: rows the reference, columns the map."""
    unlabelled: np.ndarray
    """(class,) int64: pixels of each reference class where the map is nodata."""
    left_out: np.ndarray
    """(class,) int64: pixels of each reference class where the map's class has no counterpart in the crosswalk."""
    ignored: int
    """Pixels without a reference label, or whose reference class the crosswalk leaves out."""

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(
            self.matrix + other.matrix,
            self.unlabelled + other.unlabelled,
            self.left_out + other.left_out,
            self.ignored + other.ignored,
        )


def confusion(labels: np.ndarray, reference: np.ndarray, legend: Legend) -> Confusion:
    """Count two label arrays of one legend against each other.

    Parameters
    ----------
    labels, reference : (row, col) integers
        Class ids of the map and of the reference, -1 where there is no label.
    legend : Legend
        Order of the rows and columns.

    Returns
    -------
    Confusion

    Raises
    ------
    CatalogError
        If an id is neither in the legend nor -1.
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> from geoseg.catalog.legend import LandClass
    >>> legend = Legend("two", (LandClass(0, "land", "#000000"), LandClass(1, "water", "#0000ff")))
    >>> confusion(np.array([[0, 1, -1]]), np.array([[0, 0, 1]]), legend).matrix
    array([[1, 1],
           [0, 0]])
    """
    if labels.shape != reference.shape:
        raise ValueError(f"labels of shape {labels.shape} cannot be compared with a reference of {reference.shape}")
    for what, array in (("the map", labels), ("the reference", reference)):
        unknown = np.setdiff1d(array, (*legend.ids, -1))
        if unknown.size:
            raise unknown_ids(what, unknown.tolist(), legend)
    index = positions(legend)
    counts = tally(index[reference], index[labels], len(legend), len(legend))
    same = np.arange(len(legend) + 2)
    return fold(counts, same, same, len(legend))


# ---------------------------------------------------------------------------------------- measures


def iou(matrix: np.ndarray) -> np.ndarray:
    """Intersection over union of each class (Jaccard index), as in Everingham et al. 2015, IJCV 111:98.

    Parameters
    ----------
    matrix : (class, class) integers
        Rows are the reference, columns the map.

    Returns
    -------
    (class,) float64
        TP / (TP + FP + FN) in [0, 1]; NaN for a class found in neither map nor reference.

    Examples
    --------
    >>> iou(np.array([[3, 1], [0, 4]]))
    array([0.75, 0.8 ])
    """
    hits = np.diag(matrix)
    return share(hits, matrix.sum(0) + matrix.sum(1) - hits)


def precision(matrix: np.ndarray) -> np.ndarray:
    """User's accuracy of each class: of the pixels mapped as it, the share that are (Congalton 1991, RSE 37:35).

    NaN for a class that the map never gives.

    >>> precision(np.array([[3, 1], [0, 4]]))
    array([1. , 0.8])
    """
    return share(np.diag(matrix), matrix.sum(0))


def recall(matrix: np.ndarray) -> np.ndarray:
    """Producer's accuracy of each class: of the pixels that are it, the share mapped so (Congalton 1991, RSE 37:35).

    NaN for a class that the reference never gives.

    >>> recall(np.array([[3, 1], [0, 4]]))
    array([0.75, 1.  ])
    """
    return share(np.diag(matrix), matrix.sum(1))


def f1(matrix: np.ndarray) -> np.ndarray:
    """F1 (Dice) of each class: 2 TP / (2 TP + FP + FN); NaN for a class found in neither.

    >>> f1(np.array([[2, 2], [0, 4]])).round(3)
    array([0.667, 0.8  ])
    """
    return share(2 * np.diag(matrix), matrix.sum(0) + matrix.sum(1))


def mean_iou(matrix: np.ndarray) -> float:
    """Mean of the classes' IoU, classes found in neither map nor reference left out; NaN without any pixel.

    After Long, Shelhamer and Darrell 2015 (CVPR, section 5).

    >>> mean_iou(np.array([[90, 0], [10, 0]]))  # all called background
    0.45
    """
    each = iou(matrix)
    return float(each[np.isfinite(each)].mean()) if matrix.sum() else math.nan


def pixel_accuracy(matrix: np.ndarray) -> float:
    """Share of the compared pixels on which map and reference agree (overall accuracy); NaN without any pixel.

    >>> pixel_accuracy(np.array([[90, 0], [10, 0]]))
    0.9
    """
    return float(share(np.trace(matrix), matrix.sum()))


def frequency_weighted_iou(matrix: np.ndarray) -> float:
    """IoU of the classes weighted by their share of the reference; NaN without any pixel.

    After Long, Shelhamer and Darrell 2015 (CVPR, section 5).

    >>> round(frequency_weighted_iou(np.array([[90, 0], [10, 0]])), 2)
    0.81
    """
    weights = matrix.sum(1)
    found = weights > 0
    return float((weights[found] * iou(matrix)[found]).sum() / weights.sum()) if found.any() else math.nan


def balanced_accuracy(matrix: np.ndarray) -> float:
    """Mean recall of the classes that the reference has, each counting alike (Brodersen et al. 2010, ICPR).

    NaN without any pixel.

    >>> balanced_accuracy(np.array([[90, 0], [10, 0]]))
    0.5
    """
    each = recall(matrix)
    return float(each[np.isfinite(each)].mean()) if matrix.sum() else math.nan


def kappa(matrix: np.ndarray) -> float:
    """Cohen's kappa: agreement beyond that of a map with the same totals, placed at random (Cohen 1960, EPM 20:37).

    NaN where that agreement is 1 already: a single class in both, or no pixel.

    >>> kappa(np.array([[90, 0], [10, 0]]))
    0.0
    """
    total, hits, by_chance = _exact(matrix)
    return (total * hits - by_chance) / (total**2 - by_chance) if total**2 > by_chance else math.nan


def quantity_disagreement(matrix: np.ndarray) -> float:
    """Share of pixels that disagree because a class has more or fewer of them on the map than in the reference.

    After Pontius and Millones 2011, Int. J. Remote Sens. 32:4407, eq. 2 and 3; NaN without any pixel.

    >>> quantity_disagreement(np.array([[80, 10], [5, 5]]))
    0.05
    """
    return float(share(np.abs(matrix.sum(0) - matrix.sum(1)).sum() // 2, matrix.sum()))


def allocation_disagreement(matrix: np.ndarray) -> float:
    """Share of pixels that disagree though no class has too many or too few: they lie in the wrong places.

    After Pontius and Millones 2011, eq. 4 and 5; with `quantity_disagreement` it makes 1 - `pixel_accuracy`. NaN
    without any pixel.

    >>> allocation_disagreement(np.array([[80, 10], [5, 5]]))
    0.1
    """
    misplaced = matrix.sum() - np.trace(matrix) - np.abs(matrix.sum(0) - matrix.sum(1)).sum() // 2
    return float(share(misplaced, matrix.sum()))


def confused(matrix: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Pairs of a reference class and the other class that the map gives instead, most pixels first.

    Parameters
    ----------
    matrix : (class, class) integers
        Rows are the reference, columns the map.
    most : int
        How many pairs at most.

    >>> confused(np.array([[5, 2], [3, 9]]), 5)
    [(1, 0), (0, 1)]
    """
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    return [(int(row), int(col)) for row, col in zip(*np.unravel_index(order, wrong.shape)) if wrong[row, col]]


OVERALL: Mapping[str, Callable[[np.ndarray], float]] = {
    "mean_iou": mean_iou,
    "pixel_accuracy": pixel_accuracy,
    "frequency_weighted_iou": frequency_weighted_iou,
    "balanced_accuracy": balanced_accuracy,
    "kappa": kappa,
    "quantity_disagreement": quantity_disagreement,
    "allocation_disagreement": allocation_disagreement,
}
"""Measures of all classes together, by the names that files use."""
BY_CLASS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "iou": iou,
    "precision": precision,
    "recall": recall,
    "f1": f1,
}
"""Measures of each class."""


# ------------------------------------------------------------------------- counting in two legends


def tally(reference: np.ndarray, labels: np.ndarray, reference_classes: int, map_classes: int) -> np.ndarray:
    """Count pairs of classes of two legends, which need not be the same.

    Parameters
    ----------
    reference, labels : integers of one shape
        Positions in the two legends, as `positions` gives them.
    reference_classes, map_classes : int
        Classes of each legend.

    Returns
    -------
    (reference_classes + 2, map_classes + 2) int64
        Adds up over any split of the pixels; `fold` makes a Confusion of it.
    """
    shape = reference_classes + 2, map_classes + 2
    codes = reference * shape[1] + labels
    return np.bincount(codes.ravel(), minlength=shape[0] * shape[1]).astype(np.int64).reshape(shape)


def fold(counts: np.ndarray, rows: np.ndarray, cols: np.ndarray, classes: int) -> Confusion:
    """Bring counts in two legends onto the classes of one.

    Parameters
    ----------
    counts : (reference class + 2, map class + 2) int64
        From `tally`.
    rows : (reference class + 2,) integers
        Class of each position in the reference's legend; `classes` or more: not labelled.
    cols : (map class + 2,) integers
        Class of each position in the map's legend; `classes`: not labelled; more: no counterpart.
    classes : int
        How many classes are compared.
    """
    folded = np.zeros((classes + 1, classes + 2), np.int64)
    np.add.at(folded, (np.minimum(rows, classes)[:, None], np.minimum(cols, classes + 1)[None, :]), counts)
    return Confusion(
        folded[:classes, :classes].copy(),
        folded[:classes, classes].copy(),
        folded[:classes, classes + 1].copy(),
        int(folded[classes].sum()),
    )


def positions(legend: Legend) -> np.ndarray:
    """Where each class id stands in a legend of n classes.

    Returns
    -------
    (65537,) int32
        For each id 0..65535 its position; n + 1 where the legend lacks it. The last element, which -1 finds, is n.
    """
    table = np.full(65537, len(legend) + 1, np.int32)
    table[list(legend.ids)] = np.arange(len(legend))
    table[UNLABELLED] = len(legend)
    return table


def unknown_ids(what: str, ids: Collection[int], legend: Legend) -> CatalogError:
    """The error that refuses ids which a legend lacks.

    Parameters
    ----------
    what : str
        The raster, as messages call it.
    ids : collection of int
        The first twelve are listed.
    legend : Legend
        Which lacks them.
    """
    listed = ", ".join(map(str, sorted(ids)[:12])) + (", ..." if len(ids) > 12 else "")
    return CatalogError(
        f"{what} holds id {listed}, which legend {legend.name!r} lacks (its ids are "
        f"{', '.join(map(str, legend.ids))}); correct the legend or nodata"
    )


def _exact(matrix: np.ndarray) -> tuple[int, int, int]:
    """Pixels, those that agree, and the pixels squared times the agreement by chance; beyond 64 bits."""
    by_chance = sum(row * col for row, col in zip(matrix.sum(1).tolist(), matrix.sum(0).tolist()))
    return int(matrix.sum()), int(np.trace(matrix)), by_chance


def share(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """Quotient in float64, NaN for 0 / 0.

    Parameters
    ----------
    over, under : integers of one shape
        What is divided, and by what.
    """
    under = np.asarray(under, np.float64)
    return np.divide(over, under, out=np.full(under.shape, np.nan), where=under > 0)

"""Regions: pixels of one value that touch along edges, in one block and across the borders between blocks.

Arrays are (row, col) int32; values below 0 belong to no region. Integers only; no coordinates, no files.
"""

from __future__ import annotations

import numpy as np

from geoseg.vectors.compiled import compiled

OUTSIDE = -1
"""Value of a pixel that belongs to no region."""


@compiled
def components(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Number of each pixel's region in the order of their topmost, then leftmost pixels; and how many there are.

    Examples
    --------
    >>> labels, count = components(np.array([[4, 7, 4], [4, 4, 4], [-1, 7, 7]], np.int32))
    >>> labels.tolist(), count
    ([[0, 1, 0], [0, 0, 0], [-1, 2, 2]], 3)
    """
    rows, cols = values.shape
    labels = np.full((rows, cols), -1, np.int32)
    parent = np.empty(rows * cols, np.int32)
    found = 0
    for row in range(rows):
        for col in range(cols):
            value = values[row, col]
            if value < 0:
                continue
            label = -1
            if col > 0 and values[row, col - 1] == value:
                label = labels[row, col - 1]
            if row > 0 and values[row - 1, col] == value:
                above = labels[row - 1, col]
                label = above if label < 0 or label == above else unite(parent, label, above)
            if label < 0:
                label = found
                parent[found] = found
                found += 1
            labels[row, col] = label
    count = 0
    number = np.empty(found, np.int32)
    for label in range(found):  # a root is the first of its region's labels
        if parent[label] == label:
            number[label] = count
            count += 1
        else:
            number[label] = number[root(parent, label)]
    for row in range(rows):
        for col in range(cols):
            if labels[row, col] >= 0:
                labels[row, col] = number[labels[row, col]]
    return labels, count


@compiled
def root(parent: np.ndarray, label: int) -> int:
    """The first label of those united with one.

    Parameters
    ----------
    parent : (label,) integers
        The union-find forest; paths are shortened.
    label : int
        Where to begin.
    """
    while parent[label] != label:
        parent[label] = parent[parent[label]]
        label = parent[label]
    return label


@compiled
def unite(parent: np.ndarray, one: int, other: int) -> int:
    """Unite two labels; the root is the smaller one's.

    Parameters
    ----------
    parent : (label,) integers
        The union-find forest, changed.
    one, other : int
        Labels.
    """
    one, other = root(parent, one), root(parent, other)
    if one > other:
        one, other = other, one
    parent[other] = one
    return one


@compiled
def unite_lines(
    parent: np.ndarray, values: np.ndarray, labels: np.ndarray, across: np.ndarray, others: np.ndarray
) -> None:
    """Unite the regions that touch across a line between two blocks.

    Parameters
    ----------
    parent : (label,) int64
        The union-find forest, changed.
    values, labels : (pixel,)
        Of the pixels on one side.
    across, others : (pixel,)
        Values and labels on the other side.
    """
    for pixel in range(len(values)):
        if values[pixel] >= 0 and values[pixel] == across[pixel]:
            unite(parent, labels[pixel], others[pixel])


@compiled
def roots(parent: np.ndarray) -> np.ndarray:
    """The root of every label."""
    found = np.empty(len(parent), np.int64)
    for label in range(len(parent)):
        found[label] = root(parent, label)
    return found

"""Blocks: what was compared, by squares of the comparison's lattice: agreeing pixels, and those of each class.

Integers that add up over any split of the pixels. Squares begin at multiples of their edge from the lattice's origin,
so they depend on the grid alone. No files.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from geoseg.errors import GridError
from geoseg.grid import Window, count
from geoseg.quantities import length

MOST = 128**2
"""Blocks at most."""
_FINEST = 8
_WANTED = 64**2
_COUNTERS = 2**22


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Counts of blocks; arrays begin with (row, col) of the block."""

    edge: int
    """Of a block, pixels."""
    window: Window
    """Rows and columns of blocks, from the lattice's origin."""
    sums: np.ndarray
    """(row, col, 3, class) int64: pixels on which both agree, that are the class in the reference, on the map."""
    unlabelled: np.ndarray
    """(row, col) int64: pixels with a reference where the map is nodata."""

    @property
    def compared(self) -> np.ndarray:
        """(row, col) int64: compared pixels."""
        found: np.ndarray = self.sums[:, :, 1].sum(-1)
        return found

    @property
    def wrong(self) -> np.ndarray:
        """(row, col) int64: compared pixels on which map and reference differ."""
        found: np.ndarray = self.compared - self.sums[:, :, 0].sum(-1)
        return found

    def add(self, other: Blocks) -> None:
        """Take in what was counted elsewhere, by the same blocks."""
        self.sums[:] += other.sums
        self.unlabelled[:] += other.unlabelled

    def take(
        self, rows: np.ndarray, cols: np.ndarray, counts: np.ndarray, of_row: np.ndarray, of_col: np.ndarray
    ) -> None:
        """Take in counts of pairs.

        Parameters
        ----------
        rows : (group,) int
            Row of the block that each group of rows belongs to; never decreasing.
        cols : (col,) int
            Columns of blocks, each once.
        counts : (group, col, reference class + 2, map class + 2) int64
            Pixels.
        of_row, of_col : (reference class + 2,), (map class + 2,) integers
            Which class each counts as, as `confusion.fold` takes them.
        """
        classes = self.sums.shape[-1]
        starts = np.flatnonzero(np.diff(rows, prepend=rows[0] - 1))
        counts = counts if len(starts) == len(rows) else np.add.reduceat(counts, starts, axis=0)
        at = rows[starts] - self.window.row, cols - self.window.col
        row, col = of_row < classes, of_col < classes
        agreeing = np.argwhere(of_row[row][:, None] == of_col[col][None, :])
        compared = counts[:, :, row][:, :, :, col]
        found = (compared[:, :, agreeing[:, 0], agreeing[:, 1]], compared.sum(3), compared.sum(2))
        for kind, (values, of) in enumerate(zip(found, (of_row[row][agreeing[:, 0]], of_row[row], of_col[col]))):
            rows_at, cols_at, of_at = np.ix_(*at, of)
            np.add.at(self.sums[:, :, kind], (rows_at, cols_at, of_at), values)
        self.unlabelled[np.ix_(*at)] += counts[:, :, row][:, :, :, of_col == classes].sum((2, 3))

    def merged(self, times: int) -> Blocks:
        """Blocks whose edge is `times` as long."""
        whole = self.window.snapped(times)
        rows, cols = (np.arange(n) // times for n in whole.shape)
        at = np.ix_(*(each[part] for each, part in zip((rows, cols), self.window.within(whole))))
        coarse = Window(whole.row // times, whole.col // times, whole.height // times, whole.width // times)
        sums = np.zeros((*coarse.shape, *self.sums.shape[2:]), np.int64)
        unlabelled = np.zeros(coarse.shape, np.int64)
        np.add.at(sums, at, self.sums)
        np.add.at(unlabelled, at, self.unlabelled)
        return Blocks(self.edge * times, coarse, sums, unlabelled)


def nothing(extent: Window, edge: int, classes: int) -> Blocks:
    """Blocks that cover an extent, in which nothing is counted yet.

    Parameters
    ----------
    extent : Window
        Pixels.
    edge : int
        Of a block, pixels.
    classes : int
        How many classes are compared.
    """
    whole = extent.snapped(edge)
    window = Window(whole.row // edge, whole.col // edge, whole.height // edge, whole.width // edge)
    return Blocks(edge, window, np.zeros((*window.shape, 3, classes), np.int64), np.zeros(window.shape, np.int64))


def edge_for(extent: Window, pairs: int) -> int:
    """The smallest power of two, from 8 pixels on, with which an extent has a few thousand blocks at most.

    Parameters
    ----------
    extent : Window
        Pixels.
    pairs : int
        Pairs of classes that are counted; with very many, blocks are larger.
    """
    edge = _FINEST
    while count(extent, edge) > _WANTED or (1024 // edge) * pairs > _COUNTERS:
        edge *= 2
    return edge


def given(text: str, side_m: float, extent: Window) -> int:
    """The edge in pixels that a text such as '64 px', '500 m' or '2 km' asks for.

    Parameters
    ----------
    text : str
        A number and a unit.
    side_m : float
        Side of a pixel, metres.
    extent : Window
        Pixels.

    Raises
    ------
    GridError
        If it is no such text, less than a pixel, or the extent has more than `MOST` such blocks.
    """
    found = re.fullmatch(r"([0-9.]+) *(px|m|km)", text.strip())
    try:
        size = float(found[1]) if found else math.nan
    except ValueError:
        size = math.nan
    if found is None or not 0 < size < math.inf:
        raise GridError(f"a block of {text!r} was asked for; give a length such as '64 px', '500 m' or '2 km'")
    edge = round(size / {"px": 1.0, "m": side_m, "km": side_m / 1000}[found[2]])
    if edge < 1:
        raise GridError(f"blocks of {text} were asked for, and a pixel has {length(side_m)}; give at least that")
    if count(extent, edge) > MOST:
        least = edge
        while count(extent, least) > MOST:
            least *= 2
        raise GridError(f"blocks of {text} would be {count(extent, edge):,}, more than {MOST:,}; give {least} px, say")
    return edge


def measures(blocks: Blocks) -> tuple[np.ndarray, np.ndarray]:
    """IoU of each class in each block, and the mean of those that occur there.

    Parameters
    ----------
    blocks : Blocks
        Of any edge.

    Returns
    -------
    (row, col, class) float64
        NaN where the class occurs in neither map nor reference.
    (row, col) float64
        NaN where nothing was compared.
    """
    hits, reference, mapped = np.moveaxis(blocks.sums, 2, 0)
    union = reference + mapped - hits
    iou = np.divide(hits, union, out=np.full(union.shape, np.nan), where=union > 0)
    found = np.isfinite(iou).sum(-1)
    mean = np.divide(np.nansum(iou, -1), found, out=np.full(found.shape, np.nan), where=found > 0)
    return iou, mean

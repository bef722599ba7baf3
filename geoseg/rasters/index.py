"""Index: which of many raster files can have pixels in a window of a grid, found without looking at each file.

A layer may have thousands of files and a job thousands of blocks; each block asks here first. No pixels are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine

from geoseg.grid import Grid, Window
from geoseg.rasters.files import Source
from geoseg.rasters.footprints import own, sags, spread


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """Many files on one grid, laid out so that a window can be compared with all of them at once."""

    own: np.ndarray
    """(file, 5) of files whose pixels are the grid's: their numbers, and row, row_end, col, col_end on the grid."""
    others: tuple[_Zone, ...]
    """The files that would have to be warped, by their CRS."""


@dataclass(frozen=True, slots=True, eq=False)
class _Zone:
    """Files of one CRS. A file's (col, row) of a point is `turns[turn] @ (x, y) + shift`."""

    crs: str
    numbers: np.ndarray
    """(file,)"""
    turns: np.ndarray
    """(turn, 2, 2), few: most files of a layer share their pixels' size and direction."""
    turn: np.ndarray
    """(file,)"""
    shift: np.ndarray
    """(file, 2) of (col, row)."""
    size: np.ndarray
    """(file, 2) of (cols, rows)."""


def of(files: Sequence[Source], grid: Grid) -> Index:
    """What `near` needs to know of many files.

    Parameters
    ----------
    files : sequence of Source
        Their numbers count from 0 in this order.
    grid : Grid
        The one grid that windows will be of.
    """
    aligned, zones = [], dict[str, list[int]]()
    for number, source in enumerate(files):
        if (there := own(source, grid)) is None:
            zones.setdefault(source.crs, []).append(number)
        else:
            aligned.append((number, there.row, there.row_end, there.col, there.col_end))
    others = tuple(_zone(crs, numbers, files) for crs, numbers in zones.items())
    return Index(np.array(aligned, np.int64).reshape(-1, 5), others)


def near(known: Index, grid: Grid, window: Window) -> Iterator[int]:
    """Numbers of the files that a window may need; each comes once, in no order.

    They are all those for which `footprints.needed` is not None, and perhaps a few more: it is the same rule with a
    pixel to spare, looked at for all files together.

    Parameters
    ----------
    known : Index
        From `of`.
    grid, window : Grid, Window
        The grid of the index, and pixels of it.
    """
    numbers, row, row_end, col, col_end = known.own.T
    meet = (row < window.row_end) & (row_end > window.row) & (col < window.col_end) & (col_end > window.col)
    yield from numbers[meet].tolist()
    for zone in known.others:
        yield from _near(zone, grid, window).tolist()


def holds(known: Index, window: Window) -> bool:
    """Whether one file whose pixels are the grid's has all of a window, and so a part of whatever lies in it.

    Parameters
    ----------
    known : Index
        From `of`.
    window : Window
        Pixels of the index's grid.
    """
    _, row, row_end, col, col_end = known.own.T
    inside = (row <= window.row) & (row_end >= window.row_end) & (col <= window.col) & (col_end >= window.col_end)
    return bool(inside.any())


def _near(zone: _Zone, grid: Grid, window: Window) -> np.ndarray:
    points = spread(zone.crs, grid, window)
    if not np.isfinite(points).all():
        return zone.numbers
    spots = np.tensordot(zone.turns, points, 1)  # (turn, 2, 17, 17)
    first, last = (edge[zone.turn] + zone.shift for edge in (spots.min(axis=(2, 3)), spots.max(axis=(2, 3))))
    bulge = 2 + (last - first) / 100 + sags(spots)[zone.turn]
    found: np.ndarray = zone.numbers[((last >= -bulge) & (first <= zone.size + bulge)).all(axis=1)]
    return found


def _zone(crs: str, numbers: list[int], files: Sequence[Source]) -> _Zone:
    inverse = np.array([tuple(~Affine(*files[number].transform))[:6] for number in numbers]).reshape(-1, 2, 3)
    turns, turn = np.unique(inverse[:, :, :2], axis=0, return_inverse=True)
    size = np.array([files[number].shape[::-1] for number in numbers])
    return _Zone(crs, np.array(numbers), turns, turn.ravel(), inverse[:, :, 2], size)

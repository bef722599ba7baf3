"""Survey: one pass over a scene, block by block: its labels counted by division and class, and where they lie.

Blocks are the same ones however a scene is read, so nothing here depends on that. Places are counts by row and square,
a hundredth of the scene's own size, from which the n-th pixel of a class is found again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from geoseg.grid import Window
from geoseg.rasters.footprints import SQUARE
from geoseg.training.division import DIVISIONS, TRAIN


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where the training labels of a class lie."""

    window: Window
    """The scene's."""
    counts: np.ndarray
    """(row, square) uint16: pixels of the class in each row of each column of squares."""
    ends: np.ndarray
    """(row,) int64: pixels up to the end of each row."""

    def __len__(self) -> int:
        return int(self.ends[-1])

    def nth(self, number: int) -> tuple[Window, int]:
        """The piece of a row that holds a pixel, and how many pixels of the class come before it there.

        Parameters
        ----------
        number
            Of the pixel, from 0, row by row.
        """
        row = int(np.searchsorted(self.ends, number, side="right"))
        left = number - (int(self.ends[row - 1]) if row else 0)
        ends = np.cumsum(self.counts[row], dtype=np.int64)
        square = int(np.searchsorted(ends, left, side="right"))
        left -= int(ends[square - 1]) if square else 0
        edge = (self.window.col // SQUARE + square) * SQUARE
        first, end = max(edge, self.window.col), min(edge + SQUARE, self.window.col_end)
        return Window(self.window.row + row, first, 1, end - first), left

    def within(self, part: Window) -> int:
        """How many pixels lie in some rows and, to a square, columns.

        Parameters
        ----------
        part
            Of the scene, its columns those of whole squares.
        """
        first, end = (col // SQUARE - self.window.col // SQUARE for col in (part.col, part.col_end + SQUARE - 1))
        top = part.row - self.window.row
        return int(self.counts[top : top + part.height, first:end].sum(dtype=np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What one pass over a scene has found."""

    counts: np.ndarray
    """(division, class) int64: labelled pixels."""
    places: Mapping[int, Places]
    """Of the classes that have labels to learn from."""
    digest: bytes
    """Hash of all pixels, labels and divisions."""

    def of(self, division: int, classes: int) -> np.ndarray:
        """Labelled pixels of each class in a division, (class,) int64.

        Parameters
        ----------
        division
            Number of it.
        classes
            How many the legend has.
        """
        found = self.counts[division, :classes]
        return np.pad(found, (0, classes - len(found)))


class Surveyor:
    """Takes in a scene block by block."""

    def __init__(self, extent: Window) -> None:
        self.extent = extent
        self.counts = np.zeros((len(DIVISIONS), 0), np.int64)
        self.places: dict[int, np.ndarray] = {}
        self.hash = hashlib.sha256(repr(extent.shape).encode())
        self.first = extent.col // SQUARE
        self.squares = -(-extent.col_end // SQUARE) - self.first

    def take(self, block: Window, pixels: np.ndarray, labels: np.ndarray, division: np.ndarray) -> None:
        """Take in a block.

        Parameters
        ----------
        block
            Inside of the scene; all blocks are taken in one order.
        pixels, labels, division
            What it holds.
        """
        for values in (pixels, labels, division):
            self.hash.update(np.ascontiguousarray(values).data)
        known = labels >= 0
        if not known.any():
            return
        most = max(self.counts.shape[1], int(labels.max(initial=-1)) + 1)
        self.counts = np.pad(self.counts, ((0, 0), (0, most - self.counts.shape[1])))
        flat = division[known].astype(np.int64) * most + labels[known]
        self.counts += np.bincount(flat, minlength=len(DIVISIONS) * most).reshape(-1, most)
        self._place(block, known & (division == TRAIN), labels, most)

    def _place(self, block: Window, learnt: np.ndarray, labels: np.ndarray, classes: int) -> None:
        if not learnt.any():
            return
        first = block.col // SQUARE
        squares = -(-block.col_end // SQUARE) - first
        across = np.arange(block.col, block.col_end) // SQUARE - first
        flat = ((np.arange(block.height)[:, None] * squares + across) * classes + labels)[learnt]
        found = np.bincount(flat, minlength=block.height * squares * classes).reshape(block.height, squares, classes)
        top, left = block.row - self.extent.row, first - self.first
        for kind in np.flatnonzero(found.any(axis=(0, 1))).tolist():
            counts = self.places.setdefault(kind, np.zeros((self.extent.height, self.squares), np.uint16))
            counts[top : top + block.height, left : left + squares] += found[..., kind].astype(np.uint16)

    def found(self) -> Survey:
        """What there is, after the last block."""
        ends = {kind: np.cumsum(counts.sum(axis=1, dtype=np.int64)) for kind, counts in self.places.items()}
        places = {kind: Places(self.extent, counts, ends[kind]) for kind, counts in self.places.items()}
        return Survey(self.counts, places, self.hash.digest())

"""Division: which pixels of a scene are learnt from, and which are held out to judge by.

Squares of the lattice go to training, validation or test by a hash of their position, so the division depends on
nothing but the seed. A network sees `halo` pixels around each one that it labels; training pixels within the buffer
of a held-out one would show it what it is judged on, so their labels are not learnt from. Arrays are (row, col).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from geoseg.grid import Window
from geoseg.training.recipe import ChipsSpec, Side, SplitSpec

if TYPE_CHECKING:
    from geoseg.models.receptive_field import Field  # which loads torch; processes that read chips do without

TRAIN, VALIDATION, TEST, BEYOND, BUFFER = 0, 1, 2, 3, 4
"""Divisions of a scene; BEYOND lies outside its `part`, BUFFER on training squares but too near to what is held out."""
DIVISIONS = ("train", "validation", "test", "beyond", "buffer")
_SMALLEST = 64  # pixels: edge of squares where the spec says nothing and the network sees little


@dataclass(frozen=True, slots=True)
class Squares:
    """How scenes are divided."""

    edge: int
    """Pixels."""
    validation: float
    """Share of the squares that the best epoch is chosen on."""
    test: float
    """Share of the squares that nothing is chosen on."""
    buffer: int
    """Pixels of training squares within this distance (along rows and columns) of held-out ones are not learnt from."""
    seed: int
    folds: int | None = None
    """What is no test square is cut into so many parts."""
    fold: int = 0
    """Which of them is for validation, instead of a share."""
    moved: Mapping[tuple[int, int], int] = field(default_factory=dict)
    """Groups, see `group`, of squares (row, col) that go elsewhere than chance would have them."""

    @classmethod
    def of(cls, chips: ChipsSpec, seed: int, field: Field, split: SplitSpec | None = None) -> Squares:
        """What a spec asks for, or what fits the network where it says nothing.

        Parameters
        ----------
        chips
            Its `buffer` defaults to the halo of a bounded network and to half a chip for an image-wide one; its
            `square` to four times the buffer, so that about half the labels are learnt from, and at least 64.
        seed
            Of the hash.
        field
            The network's receptive field.
        split
            Its folds, if any.
        """
        buffer = chips.buffer
        if buffer is None:
            buffer = field.halo if field.kind == "bounded" else chips.size // 2
        edge = chips.square if chips.square is not None else max(_SMALLEST, 4 * buffer)
        split = split or SplitSpec()
        return cls(edge, chips.validation, chips.test, buffer, seed, split.folds, split.fold)

    @property
    def groups(self) -> int:
        """How many groups there are: train, validation and test; or test and each of the folds."""
        return 3 if self.folds is None else 1 + self.folds

    def group(self, chance: float) -> int:
        """Where a number that chance draws leads: a division, or with folds 0 for test and the fold's number + 1.

        Parameters
        ----------
        chance
            From 0 to 1.
        """
        if self.folds is None:
            if chance < self.validation:
                return VALIDATION
            return TEST if chance < self.validation + self.test else TRAIN
        if chance < self.test:
            return 0
        return 1 + min(int((chance - self.test) / (1 - self.test) * self.folds), self.folds - 1)

    def division(self, group: int) -> int:
        """What a group is used for: TRAIN, VALIDATION or TEST.

        Parameters
        ----------
        group
            From `group`.
        """
        if self.folds is None:
            return group
        return TEST if group == 0 else VALIDATION if group == self.fold + 1 else TRAIN

    def drawn(self, row: int, col: int) -> int:
        """The group of a square.

        Parameters
        ----------
        row, col
            Its position among squares, from the lattice's origin.
        """
        moved = self.moved.get((row, col))
        return self.group(chance(f"{self.seed} {row} {col}")) if moved is None else moved


def divide(window: Window, part: Mapping[Side, float], squares: Squares, of: Window | None = None) -> np.ndarray:
    """Which division each pixel of a window belongs to.

    Without a part it depends on the pixel's position and the squares alone, so scenes of one lattice that overlap or
    touch are divided alike.

    Parameters
    ----------
    window
        Pixels of the scene's lattice.
    part
        What is seen of the window, `{west: 0.5}`; all else is BEYOND.
    squares
        How it is divided.
    of
        The pixels asked about, inside of the window; default: all of it.

    Returns
    -------
    (row, col) uint8
    """
    of = of or window
    wide = of.grown(squares.buffer)
    rows = np.arange(wide.row, wide.row_end) // squares.edge
    cols = np.arange(wide.col, wide.col_end) // squares.edge
    drawn = np.array(
        [
            [squares.division(squares.drawn(row, col)) for col in range(cols[0], cols[-1] + 1)]
            for row in range(rows[0], rows[-1] + 1)
        ],
        np.uint8,
    )
    around = drawn[rows - rows[0]][:, cols - cols[0]]
    near = grown(around != TRAIN, squares.buffer)[of.within(wide)]
    division = around[of.within(wide)].copy()
    reach = wide.meet(window)
    assert reach is not None
    for side, share in part.items():
        beyond = _beyond(window, side, share, reach)
        division[beyond[of.within(reach)]] = BEYOND
        near |= grown(beyond, squares.buffer)[of.within(reach)]
    division[near & (division == TRAIN)] = BUFFER
    return division


class Rectangles:
    """A mask, taken in from the top, as windows that cover each of its pixels once: few where it is made of squares."""

    def __init__(self) -> None:
        self.windows: list[Window] = []
        self.line: np.ndarray | None = None
        """The row that all rows from `top` to `end` are like."""
        self.top = self.end = self.left = 0

    def take(self, window: Window, mask: np.ndarray) -> None:
        """Take in what lies below the rows before.

        Parameters
        ----------
        window
            All columns.
        mask
            (row, col) bool.
        """
        changes = (np.flatnonzero((mask[1:] != mask[:-1]).any(axis=1)) + 1).tolist()
        if self.line is None or (mask[0] != self.line).any():
            changes.insert(0, 0)
        for at in changes:
            self.end = window.row + at
            self._close()
            self.line, self.top, self.left = mask[at].copy(), window.row + at, window.col
        self.end = window.row_end

    def found(self) -> list[Window]:
        """The windows, after the last rows."""
        self._close()
        return self.windows

    def _close(self) -> None:
        if self.line is None:
            return
        line = np.concatenate([[False], self.line, [False]])
        edges = np.flatnonzero(line[1:] != line[:-1]).tolist()
        for left, right in zip(edges[::2], edges[1::2]):
            self.windows.append(Window(self.top, self.left + left, self.end - self.top, right - left))
        self.line = None


def rectangles(mask: np.ndarray, window: Window) -> list[Window]:
    """A whole mask as `Rectangles`.

    Parameters
    ----------
    mask
        (row, col) bool.
    window
        The pixels that it is of.
    """
    made = Rectangles()
    made.take(window, mask)
    return made.found()


def _beyond(window: Window, side: Side, share: float, of: Window) -> np.ndarray:
    """Where some pixels lie outside of the part on one side of a window, that share of it wide."""
    first, length, start, count = (
        (window.col, window.width, of.col, of.width)
        if side in ("west", "east")
        else (window.row, window.height, of.row, of.height)
    )
    at = np.arange(start - first, start - first + count)
    kept = math.floor(share * length + 0.5)
    out = at >= kept if side in ("west", "north") else at < length - kept
    whole = out[None] if side in ("west", "east") else out[:, None]
    return np.ascontiguousarray(np.broadcast_to(whole, of.shape))


def grown(mask: np.ndarray, distance: int) -> np.ndarray:
    """Where a pixel of the mask lies within a distance along both axes, which is the shape of what a network sees.

    Parameters
    ----------
    mask
        (row, col) bool.
    distance
        Pixels.
    """
    size = 2 * distance + 1
    grown = ndimage.maximum_filter1d(mask.view(np.uint8), size, axis=0, mode="constant")
    found: np.ndarray = ndimage.maximum_filter1d(grown, size, axis=1, mode="constant").view(bool)
    return found


def chance(text: str) -> float:
    """A number from 0 to 1 by a hash: the same for the same text on every machine.

    Parameters
    ----------
    text
        A seed and what is drawn for.
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64

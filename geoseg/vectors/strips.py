"""Strips: what some rows of a map show of its regions, traced block by block; `stream` joins them.

Each strip is traced by itself, by any thread or process, from its pixels and the row of pixels above and below it.
Integers only; no files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from geoseg.errors import RasterError
from geoseg.vectors import pieces as block_pieces
from geoseg.vectors import rings
from geoseg.vectors.pieces import PIECE
from geoseg.vectors.regions import OUTSIDE
from geoseg.vectors.rings import Batch

BLOCK_COLS = 2048
Weights = Callable[[int, int], np.ndarray]
"""From the first row and the number of rows to the size of each pixel, (row, col) or (row, 1) int64."""
Amounts = Callable[[int, int], np.ndarray]
"""From the first row and the number of rows to what is summed over each pixel, (row, col) int64; NO_AMOUNT: none."""
NO_AMOUNT = np.iinfo(np.int64).min


def ones(row: int, rows: int) -> np.ndarray:
    """Each pixel counts as one.

    Parameters
    ----------
    row, rows : int
        First row, and how many.
    """
    return np.ones((rows, 1), np.int64)


@dataclass(frozen=True, slots=True)
class Block:
    """What a block has shown; `touching` regions alone have numbers in the lines."""

    complete: Batch
    values: np.ndarray
    sizes: np.ndarray
    firsts: np.ndarray
    sums: np.ndarray
    pieces: np.ndarray
    corners: np.ndarray
    top: np.ndarray
    bottom: np.ndarray
    left: np.ndarray
    right: np.ndarray
    left_values: np.ndarray
    right_values: np.ndarray


@dataclass(frozen=True, slots=True)
class Strip:
    """What some rows show."""

    row: int
    """The first."""
    end: int
    """The one after the last."""
    top: np.ndarray
    bottom: np.ndarray
    below: np.ndarray
    """(col,) int32: pixels of the first row, of the last, and of the one after that."""
    blocks: list[Block]
    """From left to right."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a map and what is counted in them, ready to be traced."""

    framed: np.ndarray
    """(row + 2, col + 2) int32: the pixels, with one all around; OUTSIDE beyond the map."""
    row: int
    """The first of the pixels that are traced."""
    sizes: np.ndarray
    """(row, col) or (row, 1) int64."""
    amounts: np.ndarray | None
    """(row, col) int64, see `Amounts`."""
    block_cols: int = BLOCK_COLS

    @property
    def blocks(self) -> int:
        """Into how many blocks they are cut."""
        return -(-(self.framed.shape[1] - 2) // self.block_cols)

    def block(self, index: int, *, flagged: bool) -> Block:
        """Trace one block.

        Parameters
        ----------
        index : int
            From the left.
        flagged : bool
            See `pieces`.
        """
        cols = self.framed.shape[1] - 2
        start = index * self.block_cols
        end = min(start + self.block_cols, cols)
        sizes = self.sizes[:, start:end] if self.sizes.shape[1] > 1 else self.sizes
        amounts = None if self.amounts is None else self.amounts[:, start:end]
        return _block(self.framed[:, start : end + 2], self.row, start, cols, sizes, amounts, flagged)

    def strip(self, blocks: list[Block]) -> Strip:
        """All that they show.

        Parameters
        ----------
        blocks : list of Block
            All of them, traced.
        """
        top, bottom, below = (self.framed[at, 1:-1].copy() for at in (1, -2, -1))
        return Strip(self.row, self.row + len(self.framed) - 2, top, bottom, below, blocks)


def prepared(
    framed: np.ndarray, row: int, weights: Weights, amounts: Amounts | None, block_cols: int = BLOCK_COLS
) -> Rows:
    """Rows with what is counted in them.

    Parameters
    ----------
    framed, row, block_cols
        As `Rows` has them.
    weights, amounts : callable
        As for `stream.trace`.

    Raises
    ------
    RasterError
        If a pixel of a region has no amount.
    """
    rows = len(framed) - 2
    summed = None if amounts is None else amounts(row, rows)
    if summed is not None:
        _check_amounts(summed, framed[1:-1, 1:-1], row)
    return Rows(framed, row, weights(row, rows), summed, block_cols)


def framed(strips: Iterable[np.ndarray], cols: int) -> Iterator[tuple[np.ndarray, int]]:
    """Each strip with a pixel around it, and its first row.

    Parameters
    ----------
    strips : iterable of (row, col) int32
        From top to bottom.
    cols : int
        Columns of the map.
    """
    nothing = np.full(cols, OUTSIDE, np.int32)
    row, above, current = 0, nothing, None
    for strip in strips:
        if not strip.size:
            continue
        if current is not None:
            yield frame(current, above, strip[0]), row
            row, above = row + len(current), current[-1]
        current = strip
    if current is not None:
        yield frame(current, above, nothing), row


def frame(strip: np.ndarray, above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """(row + 2, col + 2) int32: pixels with one all around.

    Parameters
    ----------
    strip : (row, col) int32
        The pixels, whole rows of the map.
    above, below : (col,) int32
        The rows next to them.
    """
    found = np.full((len(strip) + 2, strip.shape[1] + 2), OUTSIDE, np.int32)
    found[0, 1:-1], found[1:-1, 1:-1], found[-1, 1:-1] = above, strip, below
    return found


def _check_amounts(amounts: np.ndarray, values: np.ndarray, row: int) -> None:
    missing = (amounts == NO_AMOUNT) & (values >= 0)
    if missing.any():
        down, right = np.argwhere(missing)[0].tolist()
        raise RasterError(
            f"the confidence has no data at row {row + down}, column {right}, where the map has a class; "
            "give the confidence that was made with the map"
        )


def _block(
    values: np.ndarray,
    row: int,
    col: int,
    cols: int,
    weights: np.ndarray,
    amounts: np.ndarray | None,
    flagged: bool,
) -> Block:
    values, weights = np.ascontiguousarray(values), np.ascontiguousarray(weights)  # one kind of array to compile for
    labels, of_region, sizes, firsts, touching, raw, corners = block_pieces.trace(
        values, row, col, cols, weights, flagged
    )
    sums = np.zeros(len(of_region), np.int64)
    if amounts is not None:
        known = labels >= 0
        np.add.at(sums, labels[known], amounts[known])
    found = np.zeros(len(raw), PIECE)
    for index, name in enumerate(block_pieces.NAMES):
        found[name] = raw[:, index]
    number = np.append(np.where(touching, np.cumsum(touching) - 1, -1), -1)
    goes_on = touching[found["region"]]
    numbers, *outline = rings.whole(found[~goes_on], [corners], flagged=flagged)
    complete = Batch(of_region[numbers], sizes[numbers], firsts[numbers], sums[numbers], *outline)
    held = found[goes_on]
    kept = rings.gathered([corners], held["chunk"], held["offset"], held["length"])
    held["offset"] = np.cumsum(held["length"]) - held["length"]
    held["region"] = number[held["region"]]
    top, bottom, left, right = (number[line] for line in (labels[0], labels[-1], labels[:, 0], labels[:, -1]))
    inner = values[1:-1, 1:-1]
    return Block(
        complete,
        of_region[touching],
        sizes[touching],
        firsts[touching],
        sums[touching],
        held,
        kept,
        top,
        bottom,
        left,
        right,
        inner[:, 0].copy(),
        inner[:, -1].copy(),
    )

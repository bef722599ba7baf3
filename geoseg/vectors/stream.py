"""Stream: a map's regions and their rings, block by block, in the order of their topmost, then leftmost pixels.

Rows arrive in strips from top to bottom, strips are cut into blocks, and threads trace these at once. Regions are
joined across blocks by union-find and their arcs by where they begin and end. How the map is cut changes no result.
Memory holds a few strips, the regions that touch the last of them, and some finished regions that wait for an earlier
one; the others wait in a temporary file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoseg.errors import RasterError
from geoseg.vectors import pieces as block_pieces
from geoseg.vectors import regions, rings
from geoseg.vectors.pieces import PIECE
from geoseg.vectors.regions import OUTSIDE
from geoseg.vectors.rings import Batch
from geoseg.vectors.waiting import HELD_BYTES, Waiting

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


def trace(
    strips: Iterable[np.ndarray],
    cols: int,
    *,
    weights: Weights = ones,
    amounts: Amounts | None = None,
    block_cols: int = BLOCK_COLS,
    workers: int = 1,
    flagged: bool = False,
    spill: Path | None = None,
    held_bytes: int = HELD_BYTES,
) -> Iterator[Batch]:
    """All regions of a map.

    Parameters
    ----------
    strips : iterable of (row, col) int32
        The pixels from top to bottom, any number of rows at a time; below 0 outside of all regions.
    cols : int
        Columns of the map.
    weights : callable
        Size of the pixels of some rows; 1 each by default.
    amounts : callable, optional
        What is summed over each region; 0 by default.
    block_cols : int
        Columns that are traced at a time.
    workers : int
        Threads that trace.
    flagged : bool
        Whether corners stand at junctions too and carry flags, see `pieces`.
    spill : Path, optional
        Folder of the temporary file; the system's by default.
    held_bytes : int
        Most bytes of finished regions that wait in memory.

    Yields
    ------
    Batch
        Regions in order.

    Raises
    ------
    RasterError
        If a pixel of a region has no amount.

    Examples
    --------
    >>> (batch,) = trace([np.array([[7, 7]], np.int32), np.array([[7, -1]], np.int32)], 2)
    >>> batch.values.tolist(), batch.sizes.tolist()
    ([7], [3])
    >>> batch.corners.tolist()
    [[0, 0], [0, 2], [1, 2], [1, 1], [2, 1], [2, 0]]
    """
    with ThreadPoolExecutor(workers) as pool, Waiting(spill, held_bytes) as waiting:
        joined = _Joined(cols, flagged)
        ahead: deque[_Strip] = deque()
        blocks_ahead = 2 * workers

        def join(strip: _Strip) -> Iterator[Batch]:
            waiting.begin(strip.row * cols)
            for batch in joined.add(strip):
                waiting.add(batch)
            yield from waiting.released(joined.oldest)

        try:
            for framed, row in _framed(strips, cols):
                ahead.append(_submitted(pool, framed, row, block_cols, weights, amounts, flagged))
                while sum(len(each.blocks) for each in ahead) > max(blocks_ahead, len(ahead[0].blocks)):
                    yield from join(ahead.popleft())
            while ahead:
                yield from join(ahead.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _Block:
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
class _Strip:
    row: int
    top: np.ndarray
    bottom: np.ndarray
    below: np.ndarray
    blocks: list[Future[_Block]]


def _framed(strips: Iterable[np.ndarray], cols: int) -> Iterator[tuple[np.ndarray, int]]:
    """Each strip with a pixel around it, and its first row."""
    row, above, current = 0, np.full(cols, OUTSIDE, np.int32), None

    def frame(strip: np.ndarray, below: np.ndarray) -> np.ndarray:
        framed = np.full((len(strip) + 2, cols + 2), OUTSIDE, np.int32)
        framed[0, 1:-1], framed[1:-1, 1:-1], framed[-1, 1:-1] = above, strip, below
        return framed

    for strip in strips:
        if not strip.size:
            continue
        if current is not None:
            yield frame(current, strip[0]), row
            row, above = row + len(current), current[-1]
        current = strip
    if current is not None:
        yield frame(current, np.full(cols, OUTSIDE, np.int32)), row


def _submitted(
    pool: ThreadPoolExecutor,
    framed: np.ndarray,
    row: int,
    block_cols: int,
    weights: Weights,
    amounts: Amounts | None,
    flagged: bool,
) -> _Strip:
    rows, cols = len(framed) - 2, framed.shape[1] - 2
    sizes = weights(row, rows)
    summed = None if amounts is None else amounts(row, rows)
    if summed is not None:
        _check_amounts(summed, framed[1:-1, 1:-1], row)
    blocks = []
    for col in range(0, cols, block_cols):
        end = min(col + block_cols, cols)
        part = sizes[:, col:end] if sizes.shape[1] > 1 else sizes
        amount = None if summed is None else summed[:, col:end]
        blocks.append(pool.submit(_block, framed[:, col : end + 2], row, col, cols, part, amount, flagged))
    return _Strip(row, framed[1, 1:-1].copy(), framed[-2, 1:-1].copy(), framed[-1, 1:-1].copy(), blocks)


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
) -> _Block:
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
    return _Block(
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


class _Joined:
    """The regions that touch the last strip; their numbers are provisional, and change with each strip."""

    def __init__(self, cols: int, flagged: bool) -> None:
        self.flagged = flagged
        self.values = np.empty(0, np.int32)
        self.sizes = self.firsts = self.sums = np.empty(0, np.int64)
        self.pieces = np.empty(0, PIECE)
        self.chunks: dict[int, np.ndarray] = {}
        self.next_chunk = 0
        self.line = np.full(cols, -1, np.int64)
        self.line_values = np.full(cols, OUTSIDE, np.int32)

    @property
    def oldest(self) -> int | None:
        """First pixel of the first region that goes on."""
        return int(self.firsts.min()) if len(self.firsts) else None

    def add(self, strip: _Strip) -> Iterator[Batch]:
        """The regions that end in a strip."""
        blocks = [each.result() for each in strip.blocks]
        strip.blocks.clear()
        yield from (block.complete for block in blocks)
        counts = [len(block.values) for block in blocks]
        bases = len(self.values) + np.cumsum([0, *counts])
        parent = np.arange(bases[-1])
        for index in range(1, len(blocks)):
            one, other = blocks[index - 1], blocks[index]
            regions.unite_lines(
                parent, one.right_values, one.right + bases[index - 1], other.left_values, other.left + bases[index]
            )
        top = np.concatenate([block.top + base for block, base in zip(blocks, bases)])
        bottom = np.concatenate([block.bottom + base for block, base in zip(blocks, bases)])
        regions.unite_lines(parent, strip.top, top, self.line_values, self.line)
        root = regions.roots(parent)
        goes_on = np.zeros(len(root), bool)
        down = (strip.bottom == strip.below) & (strip.bottom != OUTSIDE)
        goes_on[root[bottom[down]]] = True

        values = np.concatenate([self.values, *(block.values for block in blocks)])
        sizes = np.concatenate([self.sizes, *(block.sizes for block in blocks)])
        firsts = np.concatenate([self.firsts, *(block.firsts for block in blocks)])
        sums = np.concatenate([self.sums, *(block.sums for block in blocks)])
        total, summed, least = np.zeros_like(sizes), np.zeros_like(sums), firsts.copy()
        np.add.at(total, root, sizes)
        np.add.at(summed, root, sums)
        np.minimum.at(least, root, firsts)
        held = [self.pieces]
        for block, base in zip(blocks, bases):
            block.pieces["region"] += base
            block.pieces["chunk"] = self.next_chunk
            self.chunks[self.next_chunk] = block.corners
            self.next_chunk += 1
            held.append(block.pieces)
        found = np.concatenate(held)
        found["region"] = root[found["region"]]
        ends = ~goes_on[found["region"]]
        if ends.any():
            yield self._finished(found[ends], values, total, least, summed)
        self._keep(found[~ends], root, goes_on, values, total, least, summed)
        self.line, self.line_values = np.where(down, self._renumbered[bottom], -1), strip.bottom

    def _finished(self, found: np.ndarray, *of_regions: np.ndarray) -> Batch:
        used, found["chunk"] = np.unique(found["chunk"], return_inverse=True)
        numbers, *outline = rings.whole(found, [self.chunks[each] for each in used.tolist()], flagged=self.flagged)
        return Batch(*(each[numbers] for each in of_regions), *outline)

    def _keep(self, found: np.ndarray, root: np.ndarray, goes_on: np.ndarray, *of_regions: np.ndarray) -> None:
        """Number the regions that go on anew, and forget all else."""
        kept = np.flatnonzero(goes_on)
        number = np.full(len(root) + 1, -1)
        number[kept] = np.arange(len(kept))
        self._renumbered = number[root] if len(root) else number
        self.values, self.sizes, self.firsts, self.sums = (each[kept] for each in of_regions)
        found["region"] = number[found["region"]]
        chunks = {}
        for index in np.unique(found["chunk"]).tolist():
            corners, here = self.chunks[index], np.flatnonzero(found["chunk"] == index)
            offset, length = found["offset"][here], found["length"][here]
            if 2 * length.sum() < len(corners):  # most of it is of regions that are finished
                corners = rings.gathered([corners], np.zeros(len(here), int), offset, length)
                found["offset"][here] = np.cumsum(length) - length
            chunks[index] = corners
        self.pieces, self.chunks = found, chunks

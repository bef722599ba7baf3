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

from geoseg.vectors import regions, rings, strips
from geoseg.vectors.pieces import PIECE
from geoseg.vectors.regions import OUTSIDE
from geoseg.vectors.rings import Batch
from geoseg.vectors.strips import BLOCK_COLS, Amounts, Block, Strip, Weights, ones
from geoseg.vectors.waiting import HELD_BYTES, Waiting


@dataclass(frozen=True, slots=True)
class Stand:
    """How far a map has been traced."""

    row: int
    """Rows that are done, from the top."""
    blocks: int
    """Blocks that are done."""


def _silent(_: Stand) -> None:
    """Nobody is told."""


def trace(
    pixels: Iterable[np.ndarray],
    cols: int,
    *,
    weights: Weights = ones,
    amounts: Amounts | None = None,
    block_cols: int = BLOCK_COLS,
    workers: int = 1,
    flagged: bool = False,
    spill: Path | None = None,
    held_bytes: int = HELD_BYTES,
    progress: Callable[[Stand], None] = _silent,
) -> Iterator[Batch]:
    """All regions of a map.

    Parameters
    ----------
    pixels : iterable of (row, col) int32
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
    progress : callable
        Called after each strip, when its regions have been taken.

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
    traced = _in_threads(pixels, cols, weights, amounts, block_cols, workers, flagged=flagged)
    yield from joined(traced, cols, flagged=flagged, spill=spill, held_bytes=held_bytes, progress=progress)


def joined(
    traced: Iterable[Strip],
    cols: int,
    *,
    flagged: bool = False,
    spill: Path | None = None,
    held_bytes: int = HELD_BYTES,
    progress: Callable[[Stand], None] = _silent,
) -> Iterator[Batch]:
    """All regions of a map whose strips have been traced, wherever that was.

    Parameters
    ----------
    traced : iterable of Strip
        From top to bottom, with all of the map's rows; emptied.
    cols, flagged, spill, held_bytes, progress
        As for `trace`.

    Yields
    ------
    Batch
        Regions in order.
    """
    blocks = 0
    with Waiting(spill, held_bytes) as waiting:
        so_far = _Joined(cols, flagged)
        for strip in traced:
            blocks += len(strip.blocks)
            waiting.begin(strip.row * cols)
            for batch in so_far.add(strip):
                waiting.add(batch)
            yield from waiting.released(so_far.oldest)
            progress(Stand(strip.end, blocks))


def _in_threads(
    pixels: Iterable[np.ndarray],
    cols: int,
    weights: Weights,
    amounts: Amounts | None,
    block_cols: int,
    workers: int,
    *,
    flagged: bool,
) -> Iterator[Strip]:
    """Each strip when it is traced, some blocks ahead."""
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[tuple[Strip, list[Future[Block]]]] = deque()

        def next_strip() -> Strip:
            strip, blocks = ahead.popleft()
            while blocks:
                strip.blocks.append(blocks.pop(0).result())
            return strip

        try:
            for framed, row in strips.framed(pixels, cols):
                rows = strips.prepared(framed, row, weights, amounts, block_cols)
                submitted = [pool.submit(rows.block, index, flagged=flagged) for index in range(rows.blocks)]
                ahead.append((rows.strip([]), submitted))
                while sum(len(each) for _, each in ahead) > max(2 * workers, len(ahead[0][1])):
                    yield next_strip()
            while ahead:
                yield next_strip()
        finally:
            pool.shutdown(cancel_futures=True)


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

    def add(self, strip: Strip) -> Iterator[Batch]:
        """The regions that end in a strip, which is emptied."""
        blocks = list(strip.blocks)
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

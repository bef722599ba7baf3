"""Rings: pieces of outlines joined into whole rings, and rings into regions, in an order that no cutting can change.

Integers only; no coordinates, no files. Rings start at their topmost, then leftmost corner; a region's rings, and the
regions of a batch, follow each other by where they start, so that a region's shell comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoseg.vectors.compiled import compiled
from geoseg.vectors.pieces import BORDER, BORDER_PASSED, CLOSED, FLAG_BITS, PINCHED, rotate


@dataclass(frozen=True, slots=True)
class Batch:
    """Some regions with their rings. Shells run anticlockwise as seen with row 0 at the top, holes clockwise."""

    values: np.ndarray
    """(region,) int32, value of the pixels."""
    sizes: np.ndarray
    """(region,) int64, summed size of the pixels."""
    firsts: np.ndarray
    """(region,) int64, the topmost, then leftmost pixel: row * cols + col."""
    sums: np.ndarray
    """(region,) int64, summed amounts of the pixels, see `stream.trace`."""
    region_starts: np.ndarray
    """(region + 1,) int64, where each region begins among the rings: its shell first, then its holes."""
    ring_starts: np.ndarray
    """(ring + 1,) int64, where each ring begins in `corners`."""
    corners: np.ndarray
    """(corner, 2) int32, (col, row); rings are not closed. With flags a column is 8 * col + flags, see `pieces`."""

    def __len__(self) -> int:
        """How many regions."""
        return len(self.values)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(each.nbytes for each in self.arrays)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All fields, in their order."""
        of_regions = self.values, self.sizes, self.firsts, self.sums
        return *of_regions, self.region_starts, self.ring_starts, self.corners

    def take(self, regions: np.ndarray) -> Batch:
        """Some of the regions, by index."""
        region_starts, ring = ranges(self.region_starts, regions)
        lengths = np.diff(self.ring_starts)[ring]
        corners = gathered([self.corners], np.zeros(len(ring), int), self.ring_starts[ring], lengths)
        values, sizes, firsts, sums = (each[regions] for each in (self.values, self.sizes, self.firsts, self.sums))
        return Batch(values, sizes, firsts, sums, region_starts, _starts(lengths), corners)


def concatenated(batches: Sequence[Batch]) -> Batch:
    """Batches one after the other."""
    if len(batches) == 1:
        return batches[0]
    if not batches:
        none = np.empty(0, np.int64)
        starts = _starts(none)
        return Batch(np.empty(0, np.int32), none, none, none, starts, starts, np.empty((0, 2), np.int32))
    arrays = zip(*((b.values, b.sizes, b.firsts, b.sums, b.corners) for b in batches))
    values, sizes, firsts, sums, corners = (np.concatenate(each) for each in arrays)
    rings = np.concatenate([np.diff(b.region_starts) for b in batches])
    lengths = np.concatenate([np.diff(b.ring_starts) for b in batches])
    return Batch(values, sizes, firsts, sums, _starts(rings), _starts(lengths), corners)


def whole(pieces: np.ndarray, chunks: Sequence[np.ndarray], *, flagged: bool) -> tuple[np.ndarray, ...]:
    """Rings of regions of which all pieces are known.

    Parameters
    ----------
    pieces : (piece,) PIECE
        All pieces of these regions, in any order.
    chunks : sequence of (corner, 2) int32
        Where their corners are, by each piece's chunk.
    flagged : bool
        Whether corners carry flags.

    Returns
    -------
    regions : (region,) int64
        Numbers of the regions, in the order in which their rings follow.
    region_starts, ring_starts, corners
        As in `Batch`.
    """
    closed = (pieces["kind"] & CLOSED) != 0
    rings, arcs = pieces[closed], pieces[~closed]
    region, least = rings["region"], rings["least"]
    found, chunk, offset, length = list(chunks), rings["chunk"], rings["offset"], rings["length"]
    if len(arcs):
        corners = gathered(chunks, arcs["chunk"], arcs["offset"], arcs["length"])
        ends, following = _linked(arcs, corners, flagged)
        owners, minima, starts, linked = _walked(following, arcs["region"], ends, corners, flagged)
        region, least = np.append(region, owners), np.append(least, minima)
        chunk = np.append(chunk, np.full(len(owners), len(found)))
        offset, length = np.append(offset, starts[:-1]), np.append(length, np.diff(starts))
        found.append(linked)
    order = np.lexsort((least, region))
    corners = gathered(found, chunk[order], offset[order], length[order])
    region = region[order]
    firsts = np.flatnonzero(np.diff(region, prepend=-1))
    return region[firsts], np.append(firsts, len(region)), _starts(length[order]), corners


def gathered(chunks: Sequence[np.ndarray], chunk: np.ndarray, offset: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Corners of some pieces or rings, one after the other.

    Parameters
    ----------
    chunks : sequence of (corner, 2) int32
        Where they are.
    chunk, offset, length : (piece,) integers
        In which chunk each lies, where it begins there, how many corners it has.
    """
    to = _starts(length)
    corners = np.empty((to[-1], 2), np.int32)
    for index in np.unique(chunk):
        here = np.flatnonzero(chunk == index)
        _copy(chunks[index], offset[here], length[here], corners, to[here])
    return corners


def ranges(starts: np.ndarray, picked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Members of some of the groups that lie one after the other.

    Parameters
    ----------
    starts : (group + 1,) int64
        Where each group begins.
    picked : (pick,) integers
        Groups.

    Returns
    -------
    (pick + 1,) int64
        Where each begins among the members picked.
    (member,) int64
        Index of each member.

    Examples
    --------
    >>> [each.tolist() for each in ranges(np.array([0, 2, 5]), np.array([1, 0]))]
    [[0, 3, 5], [2, 3, 4, 0, 1]]
    """
    lengths = np.diff(starts)[picked]
    to = _starts(lengths)
    return to, np.arange(to[-1]) + np.repeat(starts[picked] - to[:-1], lengths)


def _starts(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _linked(arcs: np.ndarray, corners: np.ndarray, flagged: bool) -> tuple[np.ndarray, np.ndarray]:
    """Where each arc's corners end, and which arc follows it."""
    ends, end = _starts(arcs["length"]), arcs["end"].copy()
    # Two arcs of one region that end at one point: its pixels meet there diagonally, and each goes on to the right.
    pinched = np.flatnonzero(arcs["kind"] & PINCHED)
    pinched = pinched[np.lexsort((end[pinched] >> 2, arcs["region"][pinched]))]
    point, region = end[pinched] >> 2, arcs["region"][pinched]
    twice = np.flatnonzero((point[1:] == point[:-1]) & (region[1:] == region[:-1]))
    passed = pinched[np.concatenate([twice, twice + 1])]
    end[passed] ^= 2
    if flagged:
        last = ends[passed + 1] - 1
        col = corners[last, 0]
        corners[last, 0] = np.where(col & BORDER_PASSED, col | BORDER, col & ~BORDER)
    order = np.argsort(arcs["start"])
    return ends, order[np.searchsorted(arcs["start"][order], end)]


@compiled
def _copy(corners: np.ndarray, offset: np.ndarray, length: np.ndarray, out: np.ndarray, to: np.ndarray) -> None:
    for piece in range(len(offset)):
        for step in range(length[piece]):
            out[to[piece] + step, 0] = corners[offset[piece] + step, 0]
            out[to[piece] + step, 1] = corners[offset[piece] + step, 1]


@compiled
def _walked(
    following: np.ndarray, region: np.ndarray, ends: np.ndarray, corners: np.ndarray, flagged: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Arcs that follow each other as rings: region and least corner of each, where each begins, the corners."""
    count = len(following)
    bits = FLAG_BITS if flagged else 0
    seen = np.zeros(count, np.bool_)
    owners, minima = np.empty(count, np.int64), np.empty(count, np.int64)
    starts = np.zeros(count + 1, np.int64)
    out = np.empty_like(corners)
    rings, used = 0, 0
    for first in range(count):
        if seen[first]:
            continue
        arc, begin, least = first, used, used
        while not seen[arc]:
            seen[arc] = True
            for step in range(ends[arc], ends[arc + 1]):
                out[used] = corners[step]
                row, col = out[used, 1], out[used, 0] >> bits
                if row < out[least, 1] or (row == out[least, 1] and col < out[least, 0] >> bits):
                    least = used
                used += 1
            arc = following[arc]
        owners[rings] = region[first]
        minima[rings] = (np.int64(out[least, 1]) << 32) + (out[least, 0] >> bits)
        rotate(out, begin, used, least)
        rings += 1
        starts[rings] = used
    return owners[:rings], minima[:rings], starts[: rings + 1], out

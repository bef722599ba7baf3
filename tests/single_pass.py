"""The judge of traced maps: one pass over the whole, with NumPy and SciPy.

Outlines of equal-valued regions of pixels, as corners (col, row) on the lines between pixels.

Integers only; no coordinates, no files. A region is a set of pixels of one value that touch along edges
(4-connectivity); pixels below 0 belong to none. Rows arrive in strips from top to bottom, and nothing
depends on where one strip ends and the next begins: corners are found from 2 x 2 pixels, and which corners
follow each other is decided when all are known. Memory grows with the corners, not with the pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

OUTSIDE = -1
"""Value of a pixel that belongs to no region."""
Size = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class Outlines:
    """Regions and their rings, in the order of each region's topmost, then leftmost pixel."""

    values: np.ndarray
    """(region,) value of the pixels."""
    sizes: np.ndarray
    """(region,) float64, summed size of the pixels; their number by default."""
    corners: np.ndarray
    """(corner, 2) int32, (col, row) of the rings' corners, each ring closed."""
    ring_starts: np.ndarray
    """(ring + 1,) where each ring begins in `corners`."""
    region_starts: np.ndarray
    """(region + 1,) where each region begins among the rings: its shell first, then its holes."""


def outline(strips: Iterable[np.ndarray], cols: int, size: Size | None = None) -> Outlines:
    """Outlines of all regions, with corners only where an outline turns.

    Shells run anticlockwise as seen with row 0 at the top, holes clockwise. Where two pixels of one region
    meet in a corner alone, the rings touch there without crossing, so that the polygons are valid.

    Parameters
    ----------
    strips : iterable of (row, col) integer arrays
        The pixels from top to bottom, any number of rows at a time, `cols` columns each.
    cols : int
        Number of columns.
    size : callable, optional
        From the (row, first col, length) of runs of pixels to the size of each; its length by default.

    Examples
    --------
    >>> traced = outline([np.array([[7, 7], [7, -1]])], 2)
    >>> traced.values.tolist(), traced.sizes.tolist()
    ([7], [3.0])
    >>> traced.corners.tolist()
    [[0, 0], [0, 2], [1, 2], [1, 1], [2, 1], [2, 0], [0, 0]]
    """
    finds = _Finds(cols, size or (lambda row, col, length: length))
    for strip in strips:
        finds.add(strip)
    return finds.joined()


class _Finds:
    """What the strips so far have shown; regions are provisional until all strips are known."""

    def __init__(self, cols: int, size: Size) -> None:
        self.size = size
        self.row = 0
        self.regions = 0
        self.last = np.full((1, cols + 2), OUTSIDE, np.int32)
        self.last_regions: np.ndarray | None = None
        self.values: list[np.ndarray] = []
        self.sizes: list[np.ndarray] = []
        self.seams: list[np.ndarray] = []
        self.corners: list[np.ndarray] = []

    def add(self, strip: np.ndarray) -> None:
        """Regions and corners of the next rows; the last row before them is looked at again."""
        framed = np.full((len(strip) + 1, self.last.shape[1]), OUTSIDE, np.int32)
        framed[0], framed[1:, 1:-1] = self.last, strip
        starts = np.ones(framed.shape, bool)
        np.not_equal(framed[:, 1:], framed[:, :-1], out=starts[:, 1:])
        same = framed[1:] == framed[:-1]
        firsts = np.flatnonzero(starts)
        lengths = np.diff(firsts, append=framed.size)
        run = np.repeat(np.arange(len(firsts), dtype=np.int32), lengths).reshape(framed.shape)
        touching = np.flatnonzero(same & (starts[1:] | starts[:-1]))
        above, below = run.ravel()[touching], run.ravel()[touching + framed.shape[1]]
        found, region = _components(len(firsts), above, below)
        region += self.regions
        self._count(framed, firsts, lengths, region - self.regions, found)
        if self.last_regions is not None:
            self.seams.append(np.stack([self.last_regions, region[: len(self.last_regions)]]))
        self.last, self.last_regions = framed[-1:], region[run[-1, 0] :]
        self._corners(framed, starts, same, region, run)
        self.row, self.regions = self.row + len(strip), self.regions + found

    def _count(
        self, framed: np.ndarray, firsts: np.ndarray, lengths: np.ndarray, region: np.ndarray, found: int
    ) -> None:
        values = np.empty(found, np.int32)
        values[region] = framed.ravel()[firsts]
        width = framed.shape[1]
        lengths[firsts < width] = 0  # the row seen before
        sizes = self.size(self.row - 1 + firsts // width, firsts % width - 1, lengths)
        self.values.append(values)
        self.sizes.append(np.bincount(region, sizes, found))

    def _corners(
        self, framed: np.ndarray, starts: np.ndarray, same: np.ndarray, region: np.ndarray, run: np.ndarray
    ) -> None:
        turns = (starts[:-1, 1:] | starts[1:, 1:]) & ~(same[:, :-1] & same[:, 1:])
        row, col = np.nonzero(turns)
        # Of the four pixels around a point: does the upper pair differ, the lower, the left, the right?
        across = starts[row, col + 1], starts[row + 1, col + 1]
        along = ~same[row, col], ~same[row, col + 1]
        for down in (0, 1):
            for right in (0, 1):
                alone = across[down] & along[right]
                notch = alone & ~across[1 - down] & ~along[1 - right]
                for is_notch, here, (dy, dx) in ((0, alone, (down, right)), (1, notch, (1 - down, 1 - right))):
                    y, x = row[here], col[here]
                    owned = framed[y + dy, x + dx] != OUTSIDE
                    y, x = y[owned], x[owned]
                    corner = np.empty((4, len(y)), np.int32)
                    corner[0] = region[run[y + dy, x + dx]]
                    corner[1], corner[2] = y + self.row, x
                    corner[3] = right + 2 * down + 4 * ((down == right) ^ is_notch)
                    self.corners.append(corner)

    def joined(self) -> Outlines:
        """Outlines of all rows seen."""
        self.add(np.full((1, self.last.shape[1] - 2), OUTSIDE, np.int32))
        above, below = np.concatenate([*self.seams, np.empty((2, 0), np.int32)], axis=1)
        found, region = _components(self.regions, above, below)
        values = np.empty(found, np.int32)
        values[region] = np.concatenate(self.values)
        sizes = np.bincount(region, np.concatenate(self.sizes), found)
        corners = np.concatenate(self.corners, axis=1)
        self.corners.clear()
        corners[0] = region[corners[0]]
        return _link(corners, values, sizes)


def _link(corners: np.ndarray, values: np.ndarray, sizes: np.ndarray) -> Outlines:
    """Rings through the corners (region, row, col, flags): arm to the right 1, arm downwards 2, leaves along the row 4.

    Along a row's line the corners of a region pair up, and so they do along a column's; each pair is an edge.
    """
    region, row, col, flags = corners
    order = np.lexsort((flags & 1, col, row, region))
    region, row, col, flags = (each[order] for each in (region, row, col, flags))
    # Two corners of a region at one point: its pixels meet there diagonally. Swap the vertical arms.
    twice = np.flatnonzero((region[1:] == region[:-1]) & (row[1:] == row[:-1]) & (col[1:] == col[:-1]))
    flags[twice] ^= 2
    flags[twice + 1] ^= 2
    count = len(region)
    following = np.arange(count, dtype=np.int32) ^ 1
    order = np.lexsort((flags & 2, row, col, region)).astype(np.int32)
    partner = np.empty(count, np.int32)
    partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    following = np.where(flags & 4, partner, following)

    ring, first, walk = _walk(following)
    shells = np.flatnonzero(np.diff(region[first], prepend=-1))
    ring_starts = np.append(np.flatnonzero(np.diff(ring[walk], prepend=-1)), count)
    rings = len(first)
    closed = np.insert(walk, ring_starts[1:], walk[ring_starts[:-1]])
    # Regions in the order of their first corners, which no strip's height can change.
    starts = np.append(shells, rings)
    turn = np.lexsort((col[first[shells]], row[first[shells]]))
    pick = _ranges(starts[turn], starts[turn + 1])
    ends = ring_starts + np.arange(rings + 1)
    corners = closed[_ranges(ends[pick], ends[pick + 1])]
    owner = region[first[shells]][turn]
    return Outlines(
        values[owner],
        sizes[owner],
        np.stack([col[corners], row[corners]], axis=1),
        np.append(0, np.cumsum(np.diff(ends)[pick])),
        np.append(0, np.cumsum(np.diff(starts)[turn])),
    )


def _walk(following: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ring of each corner, first corner of each ring in ascending order, and the corners ring by ring."""
    count = len(following)
    if count == 0:
        return following, following, following
    corner = np.arange(count, dtype=np.int32)
    rings, ring = _components(count, corner, following)
    first = np.empty(rings, np.int32)
    first[ring[::-1]] = corner[::-1]
    rank = np.argsort(first)
    position = np.empty(rings, np.int32)
    position[rank] = np.arange(rings)
    first, ring = first[rank], position[ring]
    # Cut each ring before its first corner and tie it to the next: one path, which SciPy walks in C.
    before = np.empty(count, np.int32)
    before[following] = corner
    path = following.copy()
    path[before[first]] = np.roll(first, -1)
    graph = csr_array((np.ones(count), path, np.arange(count + 1, dtype=np.int32)), shape=(count, count))
    return ring, first, breadth_first_order(graph, first[0], return_predecessors=False)


def _components(count: int, one: np.ndarray, other: np.ndarray) -> tuple[int, np.ndarray]:
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(count, count))
    return connected_components(graph, directed=False)


def _ranges(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Concatenated aranges from each start to its end."""
    lengths = ends - starts
    before = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - before, lengths)

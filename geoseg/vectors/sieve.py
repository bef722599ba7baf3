"""Sieve: regions smaller than a minimum mapping unit join the neighbour with which they share the longest border.

The smallest region goes first, of equal ones the one whose topmost, then leftmost pixel comes first; of equal borders
the larger neighbour is taken, then the lower class id. Regions of one class that come to touch are one from then on.
Pixels without data neither grow nor shrink. The table of regions is that of the whole map, so that nothing depends on
how it is read; memory grows with the number of regions, not with the pixels. Integers only; no files.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from geoseg.vectors import regions
from geoseg.vectors.compiled import compiled
from geoseg.vectors.regions import OUTSIDE
from geoseg.vectors.strips import Weights, ones

Strips = Callable[[], Iterable[np.ndarray]]
"""Makes the pixels anew each time: (row, col) int32 from top to bottom, the same strips each time."""
_MOST_IDS = 65536


@dataclass(frozen=True, slots=True)
class Sieved:
    """A map of which it is known what each region becomes."""

    source: Strips
    becomes: np.ndarray
    """(part,) int32, the class that each strip's regions become, strip after strip."""
    before: Mapping[int, int]
    """Summed size of each class in the map as it was."""
    after: Mapping[int, int]
    """The same when sieved."""
    merged: int
    """Regions that became part of another."""
    starts: np.ndarray
    """(strip + 1,) int64, where each strip begins in `becomes`."""

    def strips(self) -> Iterator[np.ndarray]:
        """The pixels, sieved."""
        for at, strip in enumerate(self.source()):
            yield changed(strip, self.of_strip(at))

    def of_strip(self, at: int) -> np.ndarray:
        """(part,) int32, the classes that the regions of a strip become.

        Parameters
        ----------
        at : int
            Number of the strip, from the top.
        """
        return self.becomes[self.starts[at] : self.starts[at + 1]]


def changed(strip: np.ndarray, becomes: np.ndarray) -> np.ndarray:
    """The pixels of a strip, sieved.

    Parameters
    ----------
    strip : (row, col) int32
        As they were.
    becomes : (part,) int32
        From `Sieved.of_strip`.
    """
    labels, _ = regions.components(np.ascontiguousarray(strip))
    return np.append(becomes, OUTSIDE).astype(np.int32)[labels]


def sieve(
    source: Strips,
    least: Mapping[int, int],
    other: int = 0,
    *,
    weights: Weights = ones,
    sides: tuple[float, float] = (1.0, 1.0),
    workers: int = 1,
    parts: Iterable[Part] | None = None,
) -> Sieved:
    """Decide what becomes of every region.

    Parameters
    ----------
    source : callable
        Makes the map's strips; called now, and again for the sieved pixels.
    least : mapping of int to int
        Least size of a region, by class id.
    other : int
        That of all other classes.
    weights : callable
        Size of the pixels of some rows; 1 each by default.
    sides : (height, width)
        Of a pixel, in any unit; how long borders are.
    workers : int
        Threads.
    parts : iterable of Part, optional
        What `part` makes of each strip, in their order, where that is done elsewhere.

    Examples
    --------
    >>> labels = np.array([[1, 1, 1, 1], [1, 3, 2, 2], [2, 2, 2, 2]], np.int32)
    >>> next(sieve(lambda: [labels], {}, 2).strips()).tolist()
    [[1, 1, 1, 1], [1, 2, 2, 2], [2, 2, 2, 2]]
    """
    found = _parts(source, weights, workers) if parts is None else list(parts)
    region, values, sizes, before = _regions(found)
    pairs = _borders(found, region, len(values), sides)
    lowest = np.full(_MOST_IDS, other, np.int64)
    for id, size in least.items():
        if id < _MOST_IDS:
            lowest[id] = size
    parent, becomes = _merge(values, sizes, *pairs, lowest)
    root = regions.roots(parent)
    after: dict[int, int] = {}
    for id in np.unique(becomes[root]).tolist():
        after[id] = int(sizes[becomes[root] == id].sum())
    starts = np.cumsum([0, *(len(each.values) for each in found)])
    return Sieved(source, becomes[root][region], before, after, len(root) - len(np.unique(root)), starts)


@dataclass(frozen=True, slots=True)
class Part:
    """A strip's regions; `beside` and `below` are pairs of them that share a border of one pixel's side."""

    values: np.ndarray
    sizes: np.ndarray
    firsts: np.ndarray
    top: np.ndarray
    bottom: np.ndarray
    beside: tuple[np.ndarray, np.ndarray]
    below: tuple[np.ndarray, np.ndarray]


def _parts(source: Strips, weights: Weights, workers: int) -> list[Part]:
    found: list[Part] = []
    waiting: deque[Future[Part]] = deque()
    row = 0
    with ThreadPoolExecutor(workers) as pool:
        for strip in source():
            waiting.append(pool.submit(part, np.ascontiguousarray(strip), row, weights(row, len(strip))))
            row += len(strip)
            if len(waiting) > workers:
                found.append(waiting.popleft().result())
        found += [each.result() for each in waiting]
    return found


def part(strip: np.ndarray, row: int, weights: np.ndarray) -> Part:
    """A strip's regions.

    Parameters
    ----------
    strip : (row, col) int32
        Its pixels.
    row : int
        The first row.
    weights : (row, col) or (row, 1) int64
        Size of each pixel.
    """
    labels, count = regions.components(strip)
    values, sizes, firsts = _facts(strip, labels, count, row, np.ascontiguousarray(weights))
    beside, below = _touching(labels)
    counted = [np.unique(pairs, return_counts=True) for pairs in (beside, below)]
    return Part(values, sizes, firsts, labels[0].copy(), labels[-1].copy(), counted[0], counted[1])


def _regions(found: list[Part]) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[int, int]]:
    """Region of each part's regions, numbered by their first pixels; class and size of each; sizes of classes."""
    bases = np.cumsum([0, *(len(each.values) for each in found)])
    parent = np.arange(bases[-1])
    for index in range(1, len(found)):
        one, other = found[index - 1], found[index]
        above, here = np.append(one.values, OUTSIDE)[one.bottom], np.append(other.values, OUTSIDE)[other.top]
        regions.unite_lines(parent, above, one.bottom + bases[index - 1], here, other.top + bases[index])
    root = regions.roots(parent)
    firsts = np.concatenate([np.empty(0, np.int64), *(each.firsts for each in found)])
    values = np.concatenate([np.empty(0, np.int32), *(each.values for each in found)])
    sizes = np.concatenate([np.empty(0, np.int64), *(each.sizes for each in found)])
    kept, region = np.unique(root, return_inverse=True)
    least = np.full(len(kept), np.iinfo(np.int64).max)
    np.minimum.at(least, region, firsts)
    order = np.argsort(least)
    number = np.empty(len(kept), np.int64)
    number[order] = np.arange(len(kept))
    region = number[region]
    total = np.zeros(len(kept), np.int64)
    np.add.at(total, region, sizes)
    before = {id: int(sizes[values == id].sum()) for id in np.unique(values).tolist()}
    return region, values[kept][order], total, before


def _borders(
    found: list[Part], region: np.ndarray, count: int, sides: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each region's neighbours begin, the neighbours, and the length of the border with each."""
    tall, wide = (max(1, round(2**20 * side / max(sides))) for side in sides)
    keys, lengths = [np.empty(0, np.int64)], [np.empty(0, np.int64)]

    def add(one: np.ndarray, other: np.ndarray, length: np.ndarray) -> None:
        keys.extend((one * count + other, other * count + one))
        lengths.extend((length, length))

    base = 0
    for index, each in enumerate(found):
        for (pairs, times), side in ((each.beside, tall), (each.below, wide)):
            add(region[base + (pairs >> 32)], region[base + (pairs & 0xFFFFFFFF)], times * side)
        if index + 1 < len(found):
            after = base + len(each.values)
            one, other = each.bottom, found[index + 1].top
            both = (one >= 0) & (other >= 0)
            above, below = region[one[both] + base], region[other[both] + after]
            apart = above != below
            add(above[apart], below[apart], np.full(np.count_nonzero(apart), wide))
            base = after
    key, where = np.unique(np.concatenate(keys), return_inverse=True)
    total = np.zeros(len(key), np.int64)
    np.add.at(total, where, np.concatenate(lengths))
    starts = np.searchsorted(key, np.arange(count + 1) * count)
    return starts, key % max(count, 1), total


@compiled
def _facts(
    strip: np.ndarray, labels: np.ndarray, count: int, row: int, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value, size and first pixel of each region of a strip."""
    rows, cols = labels.shape
    values, sizes = np.empty(count, np.int32), np.zeros(count, np.int64)
    firsts = np.full(count, -1, np.int64)
    across = weights.shape[1] > 1
    for y in range(rows):
        for x in range(cols):
            label = labels[y, x]
            if label < 0:
                continue
            if firsts[label] < 0:
                firsts[label] = np.int64(row + y) * cols + x
                values[label] = strip[y, x]
            sizes[label] += weights[y, x if across else 0]
    return values, sizes, firsts


@compiled
def _touching(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of regions side by side, and one above the other: 2**32 * smaller + larger, one for each pixel's side."""
    rows, cols = labels.shape
    beside, below = np.empty(rows * cols, np.int64), np.empty(rows * cols, np.int64)
    across, down = 0, 0
    for y in range(rows):
        for x in range(cols):
            one = np.int64(labels[y, x])
            if one < 0:
                continue
            if x + 1 < cols:
                other = np.int64(labels[y, x + 1])
                if other >= 0 and other != one:
                    beside[across] = (min(one, other) << 32) + max(one, other)
                    across += 1
            if y + 1 < rows:
                other = np.int64(labels[y + 1, x])
                if other >= 0 and other != one:
                    below[down] = (min(one, other) << 32) + max(one, other)
                    down += 1
    return beside[:across].copy(), below[:down].copy()


@compiled
def _merge(
    values: np.ndarray,
    sizes: np.ndarray,
    starts: np.ndarray,
    others: np.ndarray,
    lengths: np.ndarray,
    lowest: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The union-find forest of what belongs together, and the class of each root."""
    count = len(values)
    parent = np.arange(count)
    values, sizes = values.copy(), sizes.copy()
    following, last = np.full(count, -1, np.int64), np.arange(count)  # members of a root, as a list
    border, touched = np.zeros(count, np.int64), np.empty(count, np.int64)
    heap = [(np.int64(0), np.int64(0)) for _ in range(0)]
    for region in range(count):
        if sizes[region] < lowest[values[region]]:
            heap.append((sizes[region], np.int64(region)))
    heapq.heapify(heap)
    while len(heap) > 0:
        size, smallest = heapq.heappop(heap)
        here = int(smallest)
        if parent[here] != here or sizes[here] != size or size >= lowest[values[here]]:
            continue
        found = 0
        member = here
        while member >= 0:
            for edge in range(starts[member], starts[member + 1]):
                other = regions.root(parent, others[edge])
                if other != here:
                    if border[other] == 0:
                        touched[found] = other
                        found += 1
                    border[other] += lengths[edge]
            member = following[member]
        if found == 0:
            continue
        best = touched[0]
        for index in range(1, found):
            other = touched[index]
            if border[other] != border[best]:
                better = border[other] > border[best]
            elif sizes[other] != sizes[best]:
                better = sizes[other] > sizes[best]
            elif values[other] != values[best]:
                better = values[other] < values[best]
            else:
                better = other < best
            if better:
                best = other
        value, joined = values[best], here
        for index in range(found):
            other = touched[index]
            border[other] = 0
            if values[other] == value:
                total, one = sizes[joined] + sizes[other], joined
                joined = regions.unite(parent, joined, other)
                away = other if joined == one else one
                following[last[joined]] = away
                last[joined] = last[away]
                sizes[joined] = total
        values[joined] = value
        if sizes[joined] < lowest[value]:
            heapq.heappush(heap, (sizes[joined], np.int64(joined)))
    return parent, values

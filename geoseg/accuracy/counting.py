"""Counting: two rasters of class ids on one grid, square by square, as integers that add up over any split.

Whatever is counted depends on the rasters, the grid and the extent alone, not on how the extent is cut or in which
order. Arrays are (row, col); pixels of a raster stand at positions in its legend, see `confusion.positions`.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from odc.geo.geom import Geometry

from geoseg.accuracy import blocks, boundaries, calibration, seen
from geoseg.accuracy.boundaries import NOT_ASKED, Boundaries
from geoseg.accuracy.calibration import Confidence
from geoseg.accuracy.confusion import UNLABELLED
from geoseg.accuracy.ignore import Ignore
from geoseg.accuracy.references import LabelRaster, Resampling
from geoseg.accuracy.zones import Zones
from geoseg.catalog.legend import Legend
from geoseg.grid import Grid, Window, cut, read_crs
from geoseg.rasters import masks
from geoseg.vectors import areas

T = TypeVar("T")
STEP = 1024
"""Edge in pixels of what is read at once."""
_BINS = 2**21
"""Counters at once, unless a single row needs more."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What is compared, and where."""

    legends: tuple[Legend, Legend]
    """Of the map and of the reference."""
    grid: Grid
    extent: Window
    resampling: tuple[Resampling, Resampling]
    """How the map and the reference come onto the grid."""
    ignore: Ignore
    ground: Geometry | None
    """What pixels must lie in, in the grid's CRS; None: everywhere."""
    trained: seen.Ground | None
    """Where the map's model was trained."""
    classes: tuple[np.ndarray, np.ndarray, int]
    """Which class each position in the reference's and in the map's legend counts as, and how many there are: see
    `comparison.join`."""
    edge: int
    """Of the blocks, pixels."""
    zones: Zones | None = None
    confidence: Confidence | None = None
    """Of the map; its pixels are the grid's."""
    boundaries: Boundaries = NOT_ASKED

    @property
    def shape(self) -> tuple[int, int]:
        """Of tables of pairs: (reference class + 2, map class + 2)."""
        return len(self.legends[1]) + 2, len(self.legends[0]) + 2

    @property
    def verdicts(self) -> np.ndarray:
        """(pairs,) int8 by the codes of pairs: 0 where nothing is compared, 1 where both differ, 2 where they agree."""
        rows, cols, n = self.classes
        compared = (rows < n)[:, None] & (cols < n)[None, :]
        return np.where(compared, 1 + (rows[:, None] == cols[None, :]), 0).astype(np.int8).ravel()

    @property
    def squares(self) -> list[Window]:
        """The windows that are counted one by one; together they are the extent."""
        return [part for square in cut(self.extent, STEP) if (part := square.meet(self.extent)) is not None]


class Counts:
    """What was found in some squares of a comparison; `add` takes in another's."""

    def __init__(self, asked: Comparison) -> None:
        self.pairs = np.zeros(asked.shape, np.int64)
        """(reference class + 2, map class + 2): pixels, as `confusion.fold` takes them."""
        self.sizes = np.zeros(asked.shape, np.int64)
        """The same, each pixel counting as the integer that `areas.weights` gives it; 0 where there is no reference."""
        self.unknown: tuple[set[int], set[int]] = (set(), set())
        """Ids of the map and of the reference that their legends lack."""
        self.ignored = 0
        """Pixels of classes to be ignored."""
        self.met = {kind: np.zeros(asked.shape, np.int64) for kind in seen.KINDS} if asked.trained is not None else {}
        """Pairs where the model was trained, for each kind of such areas."""
        self.levels = np.zeros((calibration.LEVELS, 2), np.int64)
        """Compared pixels by level of confidence that are wrong, that are right."""
        self.borders = np.zeros((3, asked.classes[2]), np.int64)
        """As `boundaries.Found.sums`."""
        self.near = 0
        """Labelled pixels left out since they are near a border of the reference."""
        self.zones: dict[int, np.ndarray] = {}
        """Pairs in each zone that was met, by its number."""
        self.blocks = blocks.nothing(asked.extent, asked.edge, asked.classes[2])

    def add(self, other: Counts) -> None:
        """Take in what was found elsewhere."""
        self.pairs += other.pairs
        self.sizes += other.sizes
        self.ignored += other.ignored
        for mine, theirs in zip(self.unknown, other.unknown):
            mine |= theirs
        for kind, pairs in other.met.items():
            self.met[kind] += pairs
        for zone, pairs in other.zones.items():
            self.take_zone(zone, pairs)
        self.levels += other.levels
        self.borders += other.borders
        self.near += other.near
        self.blocks.add(other.blocks)

    def take_zone(self, zone: int, pairs: np.ndarray) -> None:
        """Take in pairs of one zone.

        Parameters
        ----------
        zone : int
            Its number.
        pairs : (reference class + 2, map class + 2) int64
            Pixels.
        """
        self.zones[zone] = self.zones[zone] + pairs if zone in self.zones else pairs


def in_threads(
    count: Callable[[Iterator[Window]], T],
    windows: Sequence[Window],
    threads: int,
    progress: Callable[[int], None] = lambda done: None,
) -> list[T]:
    """What several threads make of windows, of which each takes the next when it is done with one.

    Parameters
    ----------
    count : callable
        Called in each thread with the windows that it gets; opens files of its own, since no two threads share one.
    windows : sequence of Window
        All of them.
    threads : int
        At most as many; at least one.
    progress : callable
        Called in the threads, one at a time, with how many windows are done.

    Returns
    -------
    list
        What each thread found, in no order.
    """
    shared, lock, done = iter(windows), threading.Lock(), itertools.count(1)

    def following() -> Iterator[Window]:
        while True:
            with lock:
                window = next(shared, None)
            if window is None:
                return
            yield window
            with lock:
                progress(next(done))

    threads = max(1, min(threads, len(windows)))
    if threads == 1:
        return [count(following())]
    with ThreadPoolExecutor(threads) as pool:
        return [each.result() for each in [pool.submit(count, following()) for _ in range(threads)]]


def area_weights(asked: Comparison) -> tuple[Callable[[int, int], np.ndarray], float]:
    """Integers that stand for the areas of the extent's pixels, and the m² of their unit: see `areas.weights`."""
    crs = read_crs(asked.grid.crs, "the grid of the comparison").proj
    return areas.weights(crs, asked.grid.transform_of(asked.extent), asked.extent.shape)


def pixel_side_m(asked: Comparison) -> float:
    """Side of a square as large as a pixel in the middle of the extent, metres."""
    weights, unit_m2 = area_weights(asked)
    return math.sqrt(float(weights(asked.extent.height // 2, 1).mean()) * unit_m2)


def count(asked: Comparison, mapped: LabelRaster, reference: LabelRaster, windows: Iterable[Window]) -> Counts:
    """Count what map and reference hold in some windows.

    Parameters
    ----------
    asked : Comparison
        What is compared.
    mapped, reference : LabelRaster
        Open.
    windows : iterable of Window
        Of `Comparison.squares`.

    Raises
    ------
    RasterError
        If a file cannot be read.
    """
    found = Counts(asked)
    tables = asked.ignore.tables(*asked.legends)
    weights, _ = area_weights(asked)
    alike = not read_crs(asked.grid.crs, "the grid of the comparison").proj.is_geographic
    for window in windows:
        inside = None if asked.ground is None else masks.inside(asked.ground, asked.grid, window)
        if inside is not None and not inside.any():
            continue
        if inside is not None and inside.all():
            inside = None
        wide = window.grown(asked.boundaries.halo)
        ours = mapped.labels(asked.grid, wide, asked.resampling[0])
        other = reference.labels(asked.grid, wide, asked.resampling[1])
        if _nothing_known(asked, other[window.within(wide)]):
            _take_map_alone(found, ours[window.within(wide)], inside, tables[0])
            continue
        at, other_at = tables[0][ours], tables[1][other]
        near, borders = _near(asked, at, other_at, window.within(wide))
        ours, other, at, other_at = (each[window.within(wide)] for each in (ours, other, at, other_at))
        if asked.ignore.map or asked.ignore.reference:
            dropped = asked.ignore.among(ours, other)
            other_at[dropped] = asked.shape[0] - 2
            found.ignored += int((dropped if inside is None else dropped & inside).sum())
        if near is not None:
            near &= asked.classes[0][other_at] < asked.classes[2]
            other_at[near] = asked.shape[0] - 2
            found.near += int((near if inside is None else near & inside).sum())
        codes = other_at * asked.shape[1] + at
        _take_measures(found, asked, window, codes, inside, borders)
        sizes = None if alike else weights(window.row - asked.extent.row, window.height)
        down = np.arange(window.row, window.row_end) // asked.edge
        along = np.arange(window.col, window.col_end) // asked.edge
        rows = down - down[0] if sizes is None else np.arange(window.height)
        pairs = np.zeros(asked.shape, np.int64)
        for part, tallied in _tallies(codes, inside, rows, along - along[0], asked.shape):
            by_row = tallied.sum(1)
            pairs += by_row.sum(0)
            if sizes is not None and sizes.shape[1] == 1:
                found.sizes += np.tensordot(sizes[part, 0], by_row, 1)
            of_rows = down[0] + np.arange(part.start, part.stop) if sizes is None else down[part]
            found.blocks.take(of_rows, np.unique(along), tallied, *asked.classes[:2])
        if sizes is not None and sizes.shape[1] > 1:
            sizes = sizes[:, window.within(asked.extent)[1]]
            np.add.at(found.sizes.reshape(-1), *((a if inside is None else a[inside]) for a in (codes, sizes)))
        found.pairs += pairs
        if pairs[-1].any() or pairs[:, -1].any():
            for ids, pixels, place, lacking in zip(found.unknown, (ours, other), (at, other_at), asked.shape[::-1]):
                strange = place == lacking - 1
                ids.update(np.unique(pixels[strange if inside is None else strange & inside]).tolist())
    if alike:
        found.sizes[:] = found.pairs
    found.sizes[-2] = 0
    return found


def _nothing_known(asked: Comparison, other: np.ndarray) -> bool:
    """Whether a window without a reference, as most are of a map that is mostly sea, needs no more than a count."""
    plain = asked.zones is None and not (asked.ignore.map or asked.ignore.reference)
    return plain and not (other != UNLABELLED).any()


def _take_map_alone(found: Counts, ours: np.ndarray, inside: np.ndarray | None, table: np.ndarray) -> None:
    """Count the map's classes where there is no reference."""
    ids = ours.ravel() if inside is None else ours[inside]
    if not (ids != UNLABELLED).any():
        found.pairs[-2, -2] += ids.size
        return
    at = table[ids]
    found.pairs[-2] += np.bincount(at, minlength=found.pairs.shape[1])
    found.unknown[0].update(np.unique(ids[at == found.pairs.shape[1] - 1]).tolist())


def _take_measures(
    found: Counts,
    asked: Comparison,
    window: Window,
    codes: np.ndarray,
    inside: np.ndarray | None,
    borders: tuple[np.ndarray, np.ndarray] | None,
) -> None:
    """Count what was asked for besides pairs: borders, ground of training, zones, confidence."""
    judged = asked.verdicts[codes] if borders is not None or asked.confidence is not None else np.zeros(0, np.int8)
    if inside is not None and judged.size:
        judged = np.where(inside, judged, 0)
    if borders is not None:
        chosen = judged > 0
        other_at, at = np.divmod(codes[chosen], asked.shape[1])
        pair = asked.classes[0][other_at], asked.classes[1][at]
        found.borders += boundaries.tally(*pair, (borders[0][chosen], borders[1][chosen]), asked.classes[2])
    for kind, mask in (asked.trained.within(window) if asked.trained is not None else {}).items():
        there = mask if inside is None else mask & inside
        found.met[kind] += np.bincount(codes[there], minlength=found.pairs.size).reshape(asked.shape)
    if asked.zones is not None:
        for zone, tallied in asked.zones.tally(codes, inside, window, found.pairs.size).items():
            found.take_zone(zone, tallied.reshape(asked.shape))
    if asked.confidence is not None:
        found.levels += calibration.tally(asked.confidence.levels(window), judged)


def _near(
    asked: Comparison, at: np.ndarray, other_at: np.ndarray, inner: tuple[slice, slice]
) -> tuple[np.ndarray | None, tuple[np.ndarray, np.ndarray] | None]:
    """Where the reference is too near a border to be scored, and where reference and map are near borders."""
    want, (rows, cols, n) = asked.boundaries, asked.classes
    near = boundaries.near(rows[other_at], n, want.ignored)[inner] if want.ignored else None
    if not want.width:
        return near, None
    return near, (
        boundaries.near(rows[other_at], n, want.width)[inner],
        boundaries.near(cols[at], n, want.width)[inner],
    )


def _tallies(
    codes: np.ndarray, inside: np.ndarray | None, rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]
) -> Iterator[tuple[slice, np.ndarray]]:
    """How often each code occurs in each group of rows and of columns.

    Groups are numbered from 0 and never decrease. Yields some groups of rows at a time, and for them
    (group of rows, group of columns, *shape) counts.
    """
    across, pairs, down = int(cols[-1]) + 1, shape[0] * shape[1], int(rows[-1]) + 1
    step = max(1, _BINS // (across * pairs))
    for first in range(0, down, step):
        groups = min(step, down - first)
        start, end = np.searchsorted(rows, [first, first + groups])
        keys = codes[start:end]
        if groups * across > 1:
            keys = keys + (cols * pairs).astype(np.int32)
            keys += ((rows[start:end, None] - first) * (across * pairs)).astype(np.int32)
        if inside is not None:
            keys = keys[inside[start:end]]
        counted = np.bincount(keys.ravel(), minlength=groups * across * pairs)
        yield slice(first, first + groups), counted.astype(np.int64).reshape(groups, across, *shape)

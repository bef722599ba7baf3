"""Simplify: outlines with fewer corners, each border drawn once for both of its sides, so that no gap or overlap opens.

The map is cut into fixed squares. In each, GEOS simplifies the regions as a coverage (Visvalingam-Whyatt with topology
kept), pixels without data being a region too; what lies on the square's edge stays. That says of each corner of the
pixel lattice whether it is kept, and the outlines of the whole map, traced exactly, are then thinned to these corners.
So the result depends on the map and the tolerance alone. Integers of pixels, no coordinates.
"""

from __future__ import annotations

import re
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine

from geoseg.errors import CatalogError, RasterError
from geoseg.vectors import features, smooth, stream
from geoseg.vectors.compiled import compiled
from geoseg.vectors.heights import Heights
from geoseg.vectors.pieces import FLAG_BITS, JUNCTION, rotate
from geoseg.vectors.regions import OUTSIDE
from geoseg.vectors.rings import Batch
from geoseg.vectors.strips import Weights, ones

SQUARE = 1024
"""Edge of the squares, pixels."""
_VOID = 65536
"""What pixels without data are called while they are a region."""


def tolerance(text: str, side_m: float) -> float:
    """A tolerance in pixels.

    Parameters
    ----------
    text : str
        Such as '30m', '0.1km' or '1.5px'.
    side_m : float
        Side of a pixel, or of a square of its area, in metres.

    Raises
    ------
    CatalogError
        If it is no length above 0.

    Examples
    --------
    >>> tolerance("30m", 10.0), tolerance("1.5 px", 10.0)
    (3.0, 1.5)
    """
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(px|m|km)\s*", text)
    size = float(found[1]) / {"px": 1.0, "m": side_m, "km": side_m / 1000}[found[2]] if found else 0.0
    if not size > 0:
        raise CatalogError(f"{text!r} is no tolerance to simplify by; write 30m, 0.1km or 1.5px")
    return size


def check(text: str | None, crs: Any, transform: Affine, name: str) -> None:
    """Refuse a tolerance that cannot be read, and a map whose pixels differ along rows.

    Parameters
    ----------
    text : str, optional
        The tolerance; None where corners are rounded only.
    crs : pyproj CRS
        Of the map.
    transform : Affine
        From (col, row) to coordinates.
    name : str
        What the map is called in messages.

    Raises
    ------
    CatalogError
        For the tolerance.
    RasterError
        For a map that is rotated and in degrees.
    """
    if text is not None:
        tolerance(text, 1.0)
    if crs.is_geographic and transform.d != 0:
        raise RasterError(
            f"{name} is rotated and in degrees, and such a map is neither simplified nor smoothed; bring it to a "
            "projected CRS, with gdalwarp for instance"
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """Which corners of the pixel lattice outlines may turn at."""

    bits: np.ndarray
    """(row + 1, (col + 8) // 8) uint8: bit col % 8 of byte col // 8."""
    sizes: Mapping[int, tuple[float, float]]
    """Area of each class before and after, in the unit of the weights."""
    height: Heights
    shape: tuple[int, int]
    """(rows, cols) of the map."""
    square: int
    """Edge of the squares, pixels."""
    reach: np.ndarray | None = None
    """Reach of each corner where corners are to be rounded, see `smooth.rounded`."""

    def outlines(self, batch: Batch) -> tuple[Batch, np.ndarray]:
        """Regions with these corners alone, rounded or not, and (region,) float64 areas in the unit of the weights.

        Parameters
        ----------
        batch : Batch
            With flags, of all classes.
        """
        ring_starts, corners, fixed = _thinned(batch.ring_starts, batch.corners, self.bits, self.square)
        made = replace(batch, ring_starts=ring_starts, corners=corners)
        if self.reach is not None:
            made = smooth.rounded(made, fixed, self.reach, self.shape)
        return made, self.height.sizes(made)


def kept(
    strips: Iterable[np.ndarray],
    shape: tuple[int, int],
    pixels: float,
    *,
    weights: Weights = ones,
    rounded: bool = False,
    workers: int = 1,
    folder: Path | None = None,
    square: int = SQUARE,
) -> Kept:
    """Find the corners that stay.

    Parameters
    ----------
    strips : iterable of (row, col) int32
        All classes of the map from top to bottom, any number of rows at a time.
    shape : (rows, cols)
        Of the map.
    pixels : float
        Tolerance, the side of a square of the area of the triangles that are cut off, in pixels.
    weights : callable
        Size of the pixels of some rows, (row, 1).
    rounded : bool
        Whether corners are to be rounded.
    workers : int
        Threads.
    folder : Path, optional
        Where a temporary file of one bit for each pixel lies, or one of a byte; the system's by default.
    square : int
        Edge of the squares, pixels; with another one other corners are kept.
    """
    height = Heights(weights, shape[0])
    found = _in_threads(strips, pixels, height, rounded, workers, square)
    return gathered(found, shape, height, rounded=rounded, folder=folder, square=square)


def gathered(
    found: Iterable[Square],
    shape: tuple[int, int],
    height: Heights,
    *,
    rounded: bool = False,
    folder: Path | None = None,
    square: int = SQUARE,
) -> Kept:
    """The corners that all squares keep, wherever these were simplified.

    Parameters
    ----------
    found : iterable of Square
        All of the map, in the order of rows, then of columns.
    shape, rounded, folder, square
        As for `kept`.
    height : Heights
        Of the map.
    """
    rows, cols = shape
    bits = _on_disk((rows + 1, cols // 8 + 1), folder)
    reach = _on_disk((rows + 1, cols + 1), folder) if rounded else None
    totals: dict[int, list[float]] = {}
    for each in found:
        np.bitwise_or.at(bits, (each.rows, each.cols >> 3), (1 << (each.cols & 7)).astype(np.uint8))
        if reach is not None and each.reach is not None:
            reach[each.rows, each.cols] = each.reach  # 0 on the edges of squares, which several have
        for id, before, after in zip(each.ids.tolist(), each.before.tolist(), each.after.tolist()):
            total = totals.setdefault(id, [0.0, 0.0])
            total[0] += before
            total[1] += after
    totals.pop(_VOID, None)
    sizes = {id: (before, after) for id, (before, after) in sorted(totals.items())}
    return Kept(bits, sizes, height, shape, square, reach)


def squares(
    strip: np.ndarray, row: int, pixels: float, height: Heights, *, rounded: bool, square: int = SQUARE
) -> Iterator[Callable[[], Square]]:
    """The squares of some rows from left to right, each to be simplified when it is called.

    Parameters
    ----------
    strip : (row, col) int32
        The pixels of a row of squares.
    row : int
        Of the first of them.
    pixels, height, rounded, square
        As for `kept` and `gathered`.
    """
    for col in range(0, strip.shape[1], square):
        part = strip[:, col : col + square]
        part = np.where(part == OUTSIDE, np.int32(_VOID), part)
        yield partial(_square, part, row, col, pixels, height, rounded)


def _in_threads(
    strips: Iterable[np.ndarray],
    pixels: float,
    height: Heights,
    rounded: bool,
    workers: int,
    square: int,
) -> Iterator[Square]:
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[Future[Square]] = deque()
        for row, strip in _strips_of(strips, square):
            for each in squares(strip, row, pixels, height, rounded=rounded, square=square):
                ahead.append(pool.submit(each))
                while len(ahead) > 2 * workers:
                    yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


@dataclass(frozen=True, slots=True)
class Square:
    """What a square keeps, and what becomes of its classes."""

    rows: np.ndarray
    cols: np.ndarray
    ids: np.ndarray
    before: np.ndarray
    after: np.ndarray
    reach: np.ndarray | None


def _square(values: np.ndarray, row: int, col: int, pixels: float, height: Heights, rounded: bool) -> Square:
    batches = [_unflagged(each) for each in stream.trace([values], values.shape[1], flagged=True)]
    exact = features.concatenated([features.located(each, Affine.identity(), 1.0) for each in batches])
    shapes = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, exact.points, (exact.ring_starts, exact.polygon_starts)
    )
    simple = shapely.coverage_simplify(shapes, pixels, simplify_boundary=False)
    _, points, offsets = shapely.to_ragged_array(shapely.orient_polygons(simple))
    found = features.from_ragged(exact.class_ids, exact.areas_m2, points, offsets)
    ids, at = np.unique(exact.class_ids, return_inverse=True)
    before, after = (np.bincount(at, _areas(each, row, height), len(ids)) for each in (exact, found))
    if rounded:
        corners, reach = smooth.reaches(found.ring_starts, found.points, values.shape)
    else:
        corners, reach = np.unique(points.astype(np.int64), axis=0), None
    return Square(corners[:, 1] + row, corners[:, 0] + col, ids, before, after, reach)


def _areas(found: features.Features, row: int, height: Heights) -> np.ndarray:
    corners = found.points.astype(np.int32) + np.array([0, row], np.int32)
    return np.abs(height.of_rings(found.polygon_starts, found.ring_starts, corners))


def _unflagged(batch: Batch) -> Batch:
    corners = batch.corners.copy()
    corners[:, 0] >>= FLAG_BITS
    return replace(batch, corners=corners)


def _strips_of(strips: Iterable[np.ndarray], rows: int) -> Iterator[tuple[int, np.ndarray]]:
    """The same pixels in strips of so many rows, each with its first row."""
    first, held = 0, np.empty((0, 0), np.int32)
    for strip in strips:
        held = strip if not len(held) else np.concatenate([held, strip])
        while len(held) >= rows:
            yield first, held[:rows]
            first, held = first + rows, held[rows:]
    if len(held):
        yield first, held


def _on_disk(shape: tuple[int, int], folder: Path | None) -> Any:
    """Zeros in a temporary file that goes when they do."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)


@compiled
def _thinned(
    ring_starts: np.ndarray, corners: np.ndarray, bits: np.ndarray, square: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rings with the corners that are kept; without flags, each from its least corner. Which of them are junctions."""
    rings = len(ring_starts) - 1
    starts = np.zeros(rings + 1, np.int64)
    crossings, longest = 0, 0
    for ring in range(rings):
        here = 0
        for at in range(ring_starts[ring], ring_starts[ring + 1]):
            after = at + 1 if at + 1 < ring_starts[ring + 1] else ring_starts[ring]
            col, row = corners[at, 0] >> FLAG_BITS, corners[at, 1]
            here += (abs((corners[after, 0] >> FLAG_BITS) - col) + abs(corners[after, 1] - row)) // square + 1
        crossings += here
        longest = max(longest, here + ring_starts[ring + 1] - ring_starts[ring])
    out = np.empty((crossings + len(corners), 2), np.int32)
    out_fixed = np.empty(len(out), np.bool_)
    held, fixed = np.empty((longest, 2), np.int64), np.empty(longest, np.bool_)
    used = 0
    for ring in range(rings):
        start, end = ring_starts[ring], ring_starts[ring + 1]
        count = 0
        for at in range(start, end):
            after = at + 1 if at + 1 < end else start
            col, row = np.int64(corners[at, 0] >> FLAG_BITS), np.int64(corners[at, 1])
            to_col, to_row = np.int64(corners[after, 0] >> FLAG_BITS), np.int64(corners[after, 1])
            if bits[row, col >> 3] >> (col & 7) & 1:
                held[count, 0], held[count, 1] = col, row
                fixed[count] = (corners[at, 0] & JUNCTION) != 0
                count += 1
            along = to_col - col + to_row - row  # one of them is 0
            step = 1 if along > 0 else -1
            at_line = row if col == to_col else col
            line = (at_line // square + 1) * square if step > 0 else (at_line - 1) // square * square
            while (line - at_line) * step < along * step:
                held[count, 0] = col if col == to_col else line
                held[count, 1] = line if col == to_col else row
                fixed[count] = False
                count += 1
                line += step * square
        begin, least = used, used
        for at in range(count):
            before, after = (at - 1) % count, (at + 1) % count
            across = (held[at, 0] - held[before, 0]) * (held[after, 1] - held[at, 1])
            across -= (held[at, 1] - held[before, 1]) * (held[after, 0] - held[at, 0])
            if across == 0 and not fixed[at]:
                continue
            out[used, 0], out[used, 1], out_fixed[used] = held[at, 0], held[at, 1], fixed[at]
            if out[used, 1] < out[least, 1] or (out[used, 1] == out[least, 1] and out[used, 0] < out[least, 0]):
                least = used
            used += 1
        rotate(out, begin, used, least)
        rotate(out_fixed, begin, used, least)
        starts[ring + 1] = used
    return starts, out[:used].copy(), out_fixed[:used].copy()

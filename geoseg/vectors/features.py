"""Features: polygons as flat arrays of coordinates, and their bytes as WKB and as records of a Shapefile.

Coordinates are (x, y) in the file's CRS; rings are closed, shells anticlockwise, holes clockwise. No files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from affine import Affine

from geoseg.errors import RasterError
from geoseg.vectors.compiled import compiled
from geoseg.vectors.rings import Batch, ranges


@dataclass(frozen=True, slots=True)
class Features:
    """Polygons with their attributes."""

    class_ids: np.ndarray
    """(polygon,) int32."""
    areas_m2: np.ndarray
    """(polygon,) float64."""
    polygon_starts: np.ndarray
    """(polygon + 1,) int64, where each begins among the rings."""
    ring_starts: np.ndarray
    """(ring + 1,) int64, where each ring begins in `points`."""
    points: np.ndarray
    """(point, 2) float64."""
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Further attributes by name, (polygon,) each; see `attributes`."""

    def __len__(self) -> int:
        """How many polygons."""
        return len(self.class_ids)

    def part(self, start: int, end: int) -> Features:
        """Polygons [start, end).

        Parameters
        ----------
        start, end : int
            Which.
        """
        rings = self.polygon_starts[start : end + 1]
        points = self.ring_starts[rings[0] : rings[-1] + 1]
        return Features(
            self.class_ids[start:end],
            self.areas_m2[start:end],
            rings - rings[0],
            points - points[0],
            self.points[points[0] : points[-1]],
            {name: each[start:end] for name, each in self.columns.items()},
        )

    def take(self, polygons: np.ndarray) -> Features:
        """Some of the polygons, by index."""
        rings, ring = ranges(self.polygon_starts, polygons)
        lengths, point = ranges(self.ring_starts, ring)
        columns = {name: each[polygons] for name, each in self.columns.items()}
        return Features(self.class_ids[polygons], self.areas_m2[polygons], rings, lengths, self.points[point], columns)

    def parts(self, most_polygons: int, most_points: int) -> Iterator[Features]:
        """All of them, some at a time; a larger polygon comes alone.

        Parameters
        ----------
        most_polygons, most_points : int
            Most in a part.
        """
        ends = self.ring_starts[self.polygon_starts]
        start = 0
        while start < len(self):
            end = int(np.searchsorted(ends, ends[start] + most_points, side="right")) - 1
            end = min(max(end, start + 1), start + most_polygons)
            yield self.part(start, end) if end - start < len(self) else self
            start = end

    @property
    def boxes(self) -> np.ndarray:
        """(polygon, 4) float64: left, bottom, right, top."""
        return _boxes(self.polygon_starts, self.ring_starts, self.points)

    def wkb(self) -> tuple[np.ndarray, np.ndarray]:
        """Little-endian well-known binary of all, and (polygon + 1,) int64 where each begins."""
        return _wkb(self.polygon_starts, self.ring_starts, self.points)

    def records(self, first: int) -> tuple[np.ndarray, np.ndarray]:
        """Records of a .shp, with shells clockwise as the format wants them.

        Parameters
        ----------
        first : int
            Number of the first record, from 1.

        Returns
        -------
        words : (word,) int32
            Their bytes, four at a time.
        starts : (polygon + 1,) int64
            Where each begins in `words`.
        """
        points = self.points.view(np.int32).reshape(-1, 4)
        boxes = self.boxes.view(np.int32).reshape(-1, 8)
        return _records(self.polygon_starts, self.ring_starts, points, boxes, first)


def located(batch: Batch, transform: Affine, area_m2: float) -> Features:
    """Regions on the lattice as polygons in coordinates.

    Parameters
    ----------
    batch : Batch
        Without flags.
    transform : Affine
        From (col, row) to coordinates.
    area_m2 : float
        Of one unit of the regions' size.
    """
    points = _located(batch.corners, batch.ring_starts, transform.determinant > 0, *tuple(transform)[:6])
    ring_starts = batch.ring_starts + np.arange(len(batch.ring_starts))
    return Features(batch.values, batch.sizes * area_m2, batch.region_starts, ring_starts, points)


def moved(features: Features, transformer: Any) -> Features:
    """Polygons in other coordinates, corner by corner, so that neighbours that share corners still do.

    Parameters
    ----------
    features : Features
        Their areas stay what they were.
    transformer : pyproj Transformer
        With x before y.

    Raises
    ------
    RasterError
        If a corner cannot be brought there.
    """
    points = np.ascontiguousarray(np.column_stack(transformer.transform(features.points[:, 0], features.points[:, 1])))
    if not np.isfinite(points).all():
        raise RasterError(
            f"a part of the map lies where {transformer.target_crs.name} is not defined; choose another CRS"
        )
    return replace(features, points=points)


def concatenated(parts: Sequence[Features]) -> Features:
    """Polygons one after the other."""
    none = Features(np.empty(0, np.int32), np.empty(0), np.zeros(1, np.int64), np.zeros(1, np.int64), np.empty((0, 2)))
    parts = parts or [none]
    starts = []
    for name in ("polygon_starts", "ring_starts"):
        each = [np.diff(getattr(part, name)) for part in parts]
        starts.append(np.append(0, np.cumsum(np.concatenate(each))).astype(np.int64))
    ids, areas, points = (np.concatenate(each) for each in zip(*((p.class_ids, p.areas_m2, p.points) for p in parts)))
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    return Features(ids, areas, starts[0], starts[1], points, columns)


def from_ragged(class_ids: Any, areas_m2: Any, points: np.ndarray, offsets: tuple[np.ndarray, np.ndarray]) -> Features:
    """Features of what shapely makes of polygons.

    Parameters
    ----------
    class_ids, areas_m2 : (polygon,) numbers
        Attributes.
    points, offsets
        As `shapely.to_ragged_array` gives them, with shells anticlockwise.
    """
    rings, polygons = (np.asarray(each, np.int64) for each in offsets)
    first = rings[polygons[0]]
    points = np.ascontiguousarray(points[first : rings[polygons[-1]]], np.float64)
    ids, areas = np.asarray(class_ids, np.int32), np.asarray(areas_m2, np.float64)
    return Features(ids, areas, polygons - polygons[0], rings[polygons[0] : polygons[-1] + 1] - first, points)


@compiled
def _located(
    corners: np.ndarray,
    ring_starts: np.ndarray,
    turned: bool,
    a: float,
    b: float,
    c: float,
    d: float,
    e: float,
    f: float,
) -> np.ndarray:
    """Closed rings in coordinates; the other way round where rows run upwards, for so do the rings."""
    points = np.empty((len(corners) + len(ring_starts) - 1, 2), np.float64)
    at = 0
    for ring in range(len(ring_starts) - 1):
        start, end = ring_starts[ring], ring_starts[ring + 1]
        for step in range(end - start + 1):
            index = start + (step if step < end - start else 0)
            if turned and 0 < step < end - start:
                index = end - step
            col, row = float(corners[index, 0]), float(corners[index, 1])
            points[at, 0] = a * col + b * row + c
            points[at, 1] = d * col + e * row + f
            at += 1
    return points


@compiled
def _boxes(polygon_starts: np.ndarray, ring_starts: np.ndarray, points: np.ndarray) -> np.ndarray:
    boxes = np.empty((len(polygon_starts) - 1, 4), np.float64)
    for polygon in range(len(boxes)):
        shell = polygon_starts[polygon]
        first = ring_starts[shell]
        left, bottom = points[first]
        right, top = left, bottom
        for point in range(first + 1, ring_starts[shell + 1]):
            x, y = points[point]
            left, right = min(left, x), max(right, x)
            bottom, top = min(bottom, y), max(top, y)
        boxes[polygon] = left, bottom, right, top
    return boxes


@compiled
def _put(buffer: np.ndarray, at: int, value: int) -> int:
    for byte in range(4):
        buffer[at + byte] = value >> 8 * byte & 255
    return at + 4


@compiled
def _wkb(polygon_starts: np.ndarray, ring_starts: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    count = len(polygon_starts) - 1
    starts = np.empty(count + 1, np.int64)
    raw = points.view(np.uint8)  # 16 bytes a row
    buffer = np.empty(9 * count + 4 * (len(ring_starts) - 1) + 16 * len(points), np.uint8)
    at = 0
    for polygon in range(count):
        starts[polygon] = at
        first, last = polygon_starts[polygon], polygon_starts[polygon + 1]
        buffer[at] = 1
        at = _put(buffer, at + 1, 3)
        at = _put(buffer, at, last - first)
        for ring in range(first, last):
            start, end = ring_starts[ring], ring_starts[ring + 1]
            at = _put(buffer, at, end - start)
            for point in range(start, end):
                for byte in range(16):
                    buffer[at + byte] = raw[point, byte]
                at += 16
    starts[count] = at
    return buffer, starts


@compiled
def swapped(value: int) -> int:
    """A number of 32 bits with its bytes in the other order.

    >>> hex(swapped(0x01020304))
    '0x4030201'
    """
    return (value & 255) << 24 | (value >> 8 & 255) << 16 | (value >> 16 & 255) << 8 | value >> 24 & 255


@compiled
def _records(
    polygon_starts: np.ndarray, ring_starts: np.ndarray, points: np.ndarray, boxes: np.ndarray, first: int
) -> tuple[np.ndarray, np.ndarray]:
    """ESRI Shapefile Technical Description (1998), tables 2 and 10."""
    count = len(polygon_starts) - 1
    starts = np.empty(count + 1, np.int64)
    words = np.empty(13 * count + len(ring_starts) - 1 + 4 * len(points), np.int32)
    at = 0
    for polygon in range(count):
        starts[polygon] = at
        start, end = polygon_starts[polygon], polygon_starts[polygon + 1]
        here = ring_starts[start]
        rings, length = end - start, ring_starts[end] - here
        words[at] = np.int32(swapped(first + polygon))
        words[at + 1] = np.int32(swapped((44 + 4 * rings + 16 * length) // 2))
        words[at + 2] = 5
        words[at + 3 : at + 11] = boxes[polygon]
        words[at + 11], words[at + 12] = rings, length
        at += 13
        for ring in range(start, end):
            words[at] = ring_starts[ring] - here
            at += 1
        for ring in range(start, end):
            for point in range(ring_starts[ring + 1] - 1, ring_starts[ring] - 1, -1):
                for word in range(4):
                    words[at + word] = points[point, word]
                at += 4
    starts[count] = at
    return words, starts

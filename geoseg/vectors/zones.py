"""Zones: the area of each class inside polygons, with pixels on their edges counted by the part that lies inside.

Areas are those of `areas`: in the plane of a projected CRS, on the ellipsoid for a geographic one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyproj
import rasterio.features
import shapely
from affine import Affine

from geoseg.catalog.legend import Legend
from geoseg.catalog.regions import read_zones
from geoseg.errors import LedgerError, RasterError
from geoseg.storage import files
from geoseg.vectors import areas
from geoseg.vectors import source as sources
from geoseg.vectors.source import Source

WHOLE = "map"
"""Name of the zone where none are given."""


@dataclass(frozen=True, slots=True)
class ZoneArea:
    """One class in one zone."""

    zone: str
    class_id: int
    class_name: str
    area_m2: float


def measure(
    map_path: str | Path,
    zones: str | Path | None = None,
    *,
    column: str | None = None,
    legend: Legend | None = None,
) -> list[ZoneArea]:
    """Area of each class that occurs in each zone, zones in the order of the file, classes by their ids.

    Parameters
    ----------
    map_path : path
        Any raster of class ids.
    zones : path, optional
        A vector file of polygons in any CRS; their corners are reprojected, between which edges are straight in the
        map's CRS. By default the whole map is one zone.
    column : str, optional
        Attribute that names the zones; by default they are numbered from 1.
    legend : Legend, optional
        Names of classes; by default the one that the map carries.

    Raises
    ------
    RasterError, GridError
        If the map or the zones cannot be read.
    """
    of_map = sources.described(map_path, None, legend)
    rows, cols = of_map.shape
    names, shapes = [WHOLE], [shapely.box(0, 0, cols, rows)]
    if zones is not None:
        names, found, crs = read_zones(zones, column)
        shapes = _on_pixels(found, pyproj.CRS(crs), of_map)
    weights, unit_m2 = areas.weights(of_map.crs, of_map.transform, of_map.shape)
    totals: dict[tuple[int, int], float] = {}
    row = 0
    for strip in of_map.strips():
        sizes = weights(row, len(strip)) * unit_m2
        for index, shape in enumerate(shapes):
            for id, area in _inside(strip, sizes, row, shape).items():
                totals[index, id] = totals.get((index, id), 0.0) + area
        row += len(strip)
    known = of_map.names
    return [ZoneArea(names[index], id, known.get(id, str(id)), area) for (index, id), area in sorted(totals.items())]


def as_csv(found: Sequence[ZoneArea]) -> str:
    """A table with a line for each class in each zone."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["zone", "class_id", "class_name", "area_m2"])
    writer.writerows([each.zone, each.class_id, each.class_name, repr(each.area_m2)] for each in found)
    return text.getvalue()


def write_csv(found: Sequence[ZoneArea], out: Path) -> None:
    """Write the table, whole or not at all.

    Parameters
    ----------
    found : sequence of ZoneArea
        What `measure` returns.
    out : Path
        A .csv; an older one is replaced.
    """
    if out.suffix.lower() != ".csv":
        raise RasterError(f"{out}: areas are written to .csv, not to {out.suffix!r}; use that")
    try:
        files.put(out, as_csv(found).encode())
    except LedgerError as error:
        raise RasterError(f"{out} cannot be written: {error}") from error


def _on_pixels(shapes: Sequence[shapely.Geometry], crs: pyproj.CRS, of_map: Source) -> list[shapely.Geometry]:
    """Polygons as (col, row) of the map, where each pixel is a square of 1."""
    move = pyproj.Transformer.from_crs(crs, of_map.crs, always_xy=True)
    inverse = ~of_map.transform

    def to_pixels(points: np.ndarray) -> np.ndarray:
        x, y = move.transform(points[:, 0], points[:, 1])
        a, b, c, d, e, f = tuple(inverse)[:6]
        moved = np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)
        if not np.isfinite(moved).all():
            raise RasterError(f"zones lie where {of_map.crs.name} has no coordinates; leave these zones out")
        return moved

    return [shapely.make_valid(shapely.transform(each, to_pixels)) for each in shapes]


def _inside(strip: np.ndarray, sizes: np.ndarray, row: int, shape: shapely.Geometry) -> dict[int, float]:
    """Area of each class of a strip within a polygon."""
    left, top, right, bottom = shape.bounds
    rows, cols = strip.shape
    first, last = max(0, int(np.floor(top)) - row), min(rows, int(np.ceil(bottom)) - row)
    start, end = max(0, int(np.floor(left))), min(cols, int(np.ceil(right)))
    if first >= last or start >= end:
        return {}
    part = shapely.intersection(shape, shapely.box(start, row + first, end, row + last))
    if part.is_empty or part.area == 0:
        return {}
    pixels = strip[first:last, start:end]
    how = {"out_shape": pixels.shape, "transform": Affine.translation(start, row + first)}
    share = rasterio.features.rasterize([part], **how, dtype="uint8").astype(np.float64)
    edge = rasterio.features.rasterize([part.boundary], **how, all_touched=True, dtype="uint8").astype(bool)
    down, across = np.nonzero(_widened(edge))  # a line along the sides of pixels may touch either of them
    boxes = shapely.box(start + across, row + first + down, start + across + 1, row + first + down + 1)
    share[down, across] = shapely.area(shapely.intersection(part, boxes))
    known = pixels >= 0
    here = sizes[first:last, start:end] if sizes.shape[1] > 1 else sizes[first:last]
    area = np.bincount(pixels[known], (share * here)[known])
    return {int(id): float(area[id]) for id in np.flatnonzero(area)}


def _widened(mask: np.ndarray) -> np.ndarray:
    """With the eight pixels around each."""
    framed = np.pad(mask, 1)
    rows, cols = mask.shape
    found = np.zeros_like(mask)
    for down in range(3):
        for across in range(3):
            found |= framed[down : down + rows, across : across + cols]
    return found

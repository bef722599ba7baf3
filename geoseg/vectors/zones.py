"""Zones: the area of each class inside polygons, with pixels on their edges counted by the part that lies inside.

Areas are those of `areas`: in the plane of a projected CRS, on the ellipsoid for a geographic one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyproj
import rasterio.features
import shapely
from affine import Affine
from pyogrio.errors import DataLayerError, DataSourceError

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


def write(
    found: Sequence[ZoneArea],
    out: Path,
    map_path: str | Path,
    zones: str | Path | None = None,
    *,
    column: str | None = None,
) -> None:
    """Write the areas, whole or not at all; an older file is replaced.

    A .csv has a line for each class in each zone. A .gpkg has the zones as polygons in their own CRS with their name
    (`zone`), the area of each class (`<class>_m2`, 0 where it does not occur), the sum (`all_m2`) and the name of the
    class that covers most (`largest`); a zone without a pixel of the map has NULL there.

    Parameters
    ----------
    found : sequence of ZoneArea
        What `measure` returns of the same map and zones.
    out : Path
        A .csv or .gpkg.
    map_path, zones, column
        As in `measure`.

    Raises
    ------
    RasterError
        If the ending is another, or the file cannot be written.
    """
    ending = out.suffix.lower()
    if ending not in (".csv", ".gpkg"):
        raise RasterError(f"{out}: areas are written to .csv or .gpkg, not to {out.suffix!r}; use one of these")
    try:
        if ending == ".csv":
            files.put(out, as_csv(found).encode())
            return
        frame = _table(found, *_zones(map_path, zones, column))
        with files.folder_beside(out) as staging:
            frame.to_file(Path(staging, out.name), driver="GPKG", layer=out.stem)
            Path(staging, out.name).replace(out)
    except (LedgerError, OSError, DataSourceError, DataLayerError) as error:
        raise RasterError(f"{out} cannot be written: {error}") from error


def _zones(map_path: str | Path, zones: str | Path | None, column: str | None) -> tuple[list[str], list[Any], Any]:
    """Names, polygons and CRS of the zones."""
    if zones is not None:
        return read_zones(zones, column)
    of_map = sources.described(map_path)
    rows, cols = of_map.shape
    corners = [of_map.transform @ corner for corner in ((0, 0), (0, rows), (cols, rows), (cols, 0))]
    return [WHOLE], [shapely.Polygon(corners)], of_map.crs


def _table(found: Sequence[ZoneArea], names: list[str], shapes: list[Any], crs: Any) -> geopandas.GeoDataFrame:
    classes = {each.class_id: each.class_name for each in sorted(found, key=lambda each: each.class_id)}
    called = {id: f"{name}_m2" for id, name in classes.items()}
    if len({name.lower() for name in (*called.values(), "all_m2", "largest", "zone")}) < len(called) + 3:
        called = {id: f"class_{id}_m2" for id in classes}
    areas_m2 = np.zeros((len(names), len(classes)))
    at = {id: index for index, id in enumerate(classes)}
    for each in found:
        areas_m2[names.index(each.zone), at[each.class_id]] = each.area_m2
    sums = areas_m2.sum(axis=1)
    columns: dict[str, Any] = {"zone": names, **{called[id]: areas_m2[:, at[id]] for id in classes}, "all_m2": sums}
    most = areas_m2.argmax(axis=1) if classes else []
    columns["largest"] = [list(classes.values())[col] if total > 0 else None for col, total in zip(most, sums)]
    return geopandas.GeoDataFrame(columns, geometry=shapes, crs=crs)


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

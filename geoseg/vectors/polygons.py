"""Polygons: a map's land classes traced as polygons.

Coordinates are (x, y) in the map's CRS. A polygon is a set of pixels of one class that touch along edges
(4-connectivity; joining across corners would give invalid polygons). Nodata is left out. Outlines follow pixel
edges: nothing is smoothed, simplified or dropped here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio
import shapely
from rasterio.enums import ColorInterp
from rasterio.windows import Window as RasterWindow

from geoseg.catalog.legend import Legend
from geoseg.catalog.regions import read_region
from geoseg.catalog.yaml import nearest
from geoseg.errors import CatalogError, RasterError
from geoseg.grid import read_crs
from geoseg.rasters import checks, datasets, legend_tag, validity
from geoseg.rasters.environment import environment
from geoseg.rasters.legend_tag import LEGEND_TAG
from geoseg.vectors.areas import area_of
from geoseg.vectors.files import check_ending, write
from geoseg.vectors.rings import OUTSIDE, outline

__all__ = ["read_region", "trace", "vectorize", "write"]

_STRIP_PIXELS = 4_000_000
_CACHE_MB = 256
"""GDAL's cache of tiles; its default is 5 % of the machine's memory."""


def vectorize(
    map_path: str | Path,
    out: str | Path,
    *,
    classes: Sequence[int | str] | None = None,
    legend: Legend | None = None,
    per_class: bool = False,
) -> dict[Path, int]:
    """Trace a map and write its polygons, with a style in the legend's colours.

    Parameters
    ----------
    map_path, classes, legend
        As in `trace`.
    out, per_class
        As in `write`.

    Returns
    -------
    dict of Path to int
        Files written and the number of polygons in each.
    """
    out = Path(out)
    check_ending(out)
    frame, legend = _traced(Path(map_path), classes, legend, None)
    return write(frame, out, per_class=per_class, legend=legend)


def trace(
    map_path: str | Path,
    *,
    classes: Sequence[int | str] | None = None,
    legend: Legend | None = None,
    strip_rows: int | None = None,
) -> geopandas.GeoDataFrame:
    """Polygons of a map's land classes, in the order of their topmost, then leftmost pixel.

    Pixels without data (see `rasters.validity`) are left out. The map is read in strips of rows, whose height changes
    nothing in the result. Memory grows with the number of corners.

    Parameters
    ----------
    map_path : path
        A raster of one band of class ids (0..65535), such as a map of ours or a .vrt over its sheets; an alpha band
        may come with it.
    classes : sequence of ids or names, optional
        The land classes to trace; all by default.
    legend : Legend, optional
        Names of the classes; by default the one that the map carries. A class without name is called by its id.
    strip_rows : int, optional
        Rows read at a time; by default as many as make about four million pixels.

    Returns
    -------
    GeoDataFrame
        `class_id`, `class_name`, `area_m2` and `geometry`, in the map's CRS; `attrs` holds the map's file name
        and tags, its legend only where that is the one used. The area is that of the pixels: in the plane of a
        projected CRS, whatever that distorts (little in UTM or an equal-area CRS, much in Web Mercator); on the
        ellipsoid for a geographic CRS.

    Raises
    ------
    RasterError
        If the map cannot be read, has several bands or no CRS, or holds values that are no class ids.
    CatalogError
        If a class is asked for that the legend lacks.
    """
    return _traced(Path(map_path), classes, legend, strip_rows)[0]


def _traced(
    path: Path, classes: Sequence[int | str] | None, legend: Legend | None, strip_rows: int | None
) -> tuple[geopandas.GeoDataFrame, Legend | None]:
    """The polygons, and the legend by which they are named."""
    with _open_map(path) as source:
        tags = source.tags()
        if legend is None:
            legend = legend_tag.carried(tags, path)
        elif tags.get(LEGEND_TAG) != legend_tag.written(legend):
            tags.pop(LEGEND_TAG, None)
        wanted = None if classes is None else _ids(classes, legend)
        crs = read_crs(source.crs.to_string(), str(path))
        rows = strip_rows or _strip_rows(source)
        strips = (_codes(source, path, row, rows, wanted) for row in range(0, source.height, rows))
        outlines = outline(strips, source.width, area_of(crs.proj, source.transform))
        attrs = {"map": path.name, **tags}
        transform = source.transform
    a, b, c, d, e, f = tuple(transform)[:6]
    col, row = outlines.corners.T.astype(np.float64)
    points = np.stack([a * col + b * row + c, d * col + e * row + f], axis=1)
    shapes = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, points, (outlines.ring_starts, outlines.region_starts)
    )
    if transform.determinant > 0:  # rows run the other way, and so do the rings
        shapes = shapely.reverse(shapes)
    names = dict(zip(legend.ids, legend.names)) if legend else {}
    columns = {
        "class_id": outlines.values,
        "class_name": [names.get(value, str(value)) for value in outlines.values.tolist()],
        "area_m2": outlines.sizes,
    }
    frame = geopandas.GeoDataFrame(columns, geometry=shapes, crs=crs.proj)
    frame.attrs = attrs
    return frame, legend


@contextmanager
def _open_map(path: Path) -> Iterator[Any]:
    if not path.exists():
        raise RasterError(f"{path} does not exist; check the path of the map")
    try:
        driver = checks.driver_of(path)
        with environment(str(path)):
            source = datasets.opened(str(path), driver)
    except rasterio.errors.RasterioError as error:
        raise RasterError(f"{path} cannot be read as a raster: {error}") from error
    with source, environment(str(path)), rasterio.Env(GDAL_CACHEMAX=_CACHE_MB):
        bands = _class_bands(source)
        if len(bands) != 1:
            raise RasterError(f"{path} has {len(bands)} bands; a map has one band of class ids")
        checks.check_layout(source, path, source.indexes)
        dtype = source.dtypes[bands[0] - 1]
        if np.dtype(dtype).kind not in "iu":
            raise RasterError(f"{path} holds {dtype}; a map holds integer class ids")
        if source.crs is None:
            raise RasterError(f"{path} has no CRS; georeference the map first")
        if source.transform.is_degenerate:
            raise RasterError(f"{path} has a transform that cannot be inverted; georeference the map first")
        yield source


def _class_bands(source: Any) -> list[int]:
    return [index for index, kind in zip(source.indexes, source.colorinterp) if kind != ColorInterp.alpha]


def _ids(classes: Sequence[int | str], legend: Legend | None) -> list[int]:
    names = dict(zip(legend.names, legend.ids)) if legend else {}
    ids = []
    for each in classes:
        id = names.get(str(each), each)
        if not str(id).isdecimal():
            raise CatalogError(f"the map's legend has no class {each!r}; {nearest(str(each), tuple(names))}")
        if legend and int(id) not in legend.ids:
            known = ", ".join(map(str, legend.ids))
            raise CatalogError(f"the map's legend {legend.name!r} has no class with id {id}; its ids are {known}")
        ids.append(int(id))
    return ids


def _strip_rows(source: Any) -> int:
    """Whole rows of the file's own tiles where they are few pixels, so that each is read once."""
    rows = max(1, _STRIP_PIXELS // source.width)
    tile = source.block_shapes[0][0]
    return max(1, rows // tile) * tile if tile <= 4 * rows else rows


def _codes(source: Any, path: Path, row: int, rows: int, wanted: Sequence[int] | None) -> np.ndarray:
    """Class ids of some rows, OUTSIDE where there is no data or the class is not wanted."""
    window = RasterWindow(0, row, source.width, min(rows, source.height - row))
    band = _class_bands(source)[0]
    try:
        codes = source.read(band, window=window)
        valid = validity.valid(source, band, window, codes)
    except rasterio.errors.RasterioError as error:
        end = row + window.height
        raise RasterError(f"{path} cannot be read from row {row} to {end}: {error.__cause__ or error}") from error
    if wanted is not None:
        valid &= np.isin(codes, wanted)
    if codes.dtype != np.uint8 and valid.any():
        least, most = codes[valid].min(), codes[valid].max()
        if least < 0 or most > 65535:
            raise RasterError(f"{path} holds the value {least if least < 0 else most}; class ids run from 0 to 65535")
    return np.where(valid, codes.astype(np.int32, copy=False), OUTSIDE)

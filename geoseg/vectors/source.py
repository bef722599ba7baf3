"""Source: a map's class ids as strips of rows, with what else its polygons need of it. Nothing is written.

Any raster of one band of integers (0..65535) is a map; an alpha band may come with it. See `rasters.validity` for what
holds no data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.windows import Window as RasterWindow

from geoseg.catalog.legend import Legend
from geoseg.catalog.yaml import nearest
from geoseg.errors import CatalogError, RasterError
from geoseg.grid import read_crs
from geoseg.rasters import checks, datasets, legend_tag, validity
from geoseg.rasters.environment import environment
from geoseg.rasters.legend_tag import LEGEND_TAG
from geoseg.vectors.regions import OUTSIDE

_STRIP_PIXELS = 4_000_000
_CACHE_MB = 256
"""GDAL's cache of tiles; its default is 5 % of the machine's memory."""


@dataclass(frozen=True, slots=True)
class Source:
    """A map, not open."""

    path: Path
    crs: Any
    """pyproj CRS."""
    transform: Affine
    """From (col, row) to coordinates."""
    shape: tuple[int, int]
    """(rows, cols)"""
    legend: Legend | None
    """The one given, or the map's own."""
    tags: dict[str, str]
    """The map's file name and tags, its legend only where that is the one used."""
    wanted: tuple[int, ...] | None
    """Class ids to trace; None: all."""

    @property
    def names(self) -> dict[int, str]:
        """Names of classes by their ids."""
        return dict(zip(self.legend.ids, self.legend.names)) if self.legend else {}

    def strips(self, rows: int | None = None) -> Iterator[np.ndarray]:
        """Class ids from top to bottom, (row, col) int32; OUTSIDE where there is no data or the class is not wanted.

        Parameters
        ----------
        rows : int, optional
            Rows read at a time; by default as many as make about four million pixels.

        Raises
        ------
        RasterError
            If rows cannot be read, or hold values that are no class ids.
        """
        with opened(self.path) as source:
            rows = rows or _strip_rows(source)
            for row in range(0, source.height, rows):
                window = RasterWindow(0, row, source.width, min(rows, source.height - row))
                yield _codes(source, self.path, window, self.wanted)

    @property
    def strip_rows(self) -> int:
        """Rows that `strips` reads at a time where nothing else is asked for."""
        with opened(self.path) as source:
            return min(_strip_rows(source), source.height)

    def rows(self, start: int, end: int) -> np.ndarray:
        """Class ids of the rows [start, end), as in `strips`.

        Parameters
        ----------
        start, end : int
            Rows of the map.

        Raises
        ------
        RasterError
            As `strips`.
        """
        with opened(self.path) as source:
            return _codes(source, self.path, RasterWindow(0, start, source.width, end - start), self.wanted)

    def at(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """Class ids at pixels, (point,) int32; OUTSIDE beyond the map too.

        Parameters
        ----------
        rows, cols : (point,) int
            Of the pixels, from the map's first.

        Raises
        ------
        RasterError
            As `strips`.
        """
        found = np.full(len(rows), OUTSIDE, np.int32)
        height, width = self.shape
        inside = np.flatnonzero((rows >= 0) & (rows < height) & (cols >= 0) & (cols < width))
        with opened(self.path) as source:
            for each in inside[np.lexsort((cols[inside], rows[inside]))]:  # so that each tile is read once
                found[each] = _codes(source, self.path, RasterWindow(cols[each], rows[each], 1, 1), self.wanted)[0, 0]
        return found


def described(path: str | Path, classes: Sequence[int | str] | None = None, legend: Legend | None = None) -> Source:
    """What a map is.

    Parameters
    ----------
    path : path
        A map of ours, a .vrt over its sheets, or any other raster of class ids.
    classes : sequence of ids or names, optional
        The land classes to trace; all by default.
    legend : Legend, optional
        Names of the classes; by default the one that the map carries.

    Raises
    ------
    RasterError
        If the map cannot be read, has several bands or no CRS, or holds no integers.
    CatalogError
        If a class is asked for that the legend lacks.
    """
    path = Path(path)
    with opened(path) as source:
        tags = source.tags()
        if legend is None:
            legend = legend_tag.carried(tags, path)
        elif tags.get(LEGEND_TAG) != legend_tag.written(legend):
            tags.pop(LEGEND_TAG, None)
        wanted = None if classes is None else tuple(ids_of(classes, legend))
        crs = read_crs(source.crs.to_string(), str(path)).proj
        return Source(path, crs, source.transform, source.shape, legend, {"map": path.name, **tags}, wanted)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A map, open for reading.

    Raises
    ------
    RasterError
        If it cannot be read or is no map.
    """
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


def class_band(source: Any) -> int:
    """Number of the band of class ids, from 1."""
    return _class_bands(source)[0]


def _class_bands(source: Any) -> list[int]:
    return [index for index, kind in zip(source.indexes, source.colorinterp) if kind != ColorInterp.alpha]


def ids_of(classes: Sequence[int | str], legend: Legend | None) -> list[int]:
    """Ids of classes.

    Parameters
    ----------
    classes : sequence of ids or names
        Ids may be text.
    legend : Legend, optional
        Names; without it there are ids alone.

    Raises
    ------
    CatalogError
        If the legend lacks one.
    """
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


def _codes(source: Any, path: Path, window: RasterWindow, wanted: Sequence[int] | None) -> np.ndarray:
    """Class ids of a window, OUTSIDE where there is no data or the class is not wanted."""
    band = class_band(source)
    try:
        codes = source.read(band, window=window)
        valid = validity.valid(source, band, window, codes)
    except rasterio.errors.RasterioError as error:
        row, end = window.row_off, window.row_off + window.height
        raise RasterError(f"{path} cannot be read from row {row} to {end}: {error.__cause__ or error}") from error
    if wanted is not None:
        valid &= np.isin(codes, wanted)
    if codes.dtype != np.uint8 and valid.any():
        least, most = codes[valid].min(), codes[valid].max()
        if least < 0 or most > 65535:
            raise RasterError(f"{path} holds the value {least if least < 0 else most}; class ids run from 0 to 65535")
    return np.where(valid, codes.astype(np.int32, copy=False), OUTSIDE)

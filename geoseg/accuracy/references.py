"""References: rasters of class ids, read onto any grid.

Arrays are (row, col) int32 of class ids in the raster's own legend, -1 where there is no label. Ids are taken, never
interpolated, and a pixel's id depends on the raster and the grid alone, not on the window asked for.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.warp import Resampling as Kernel
from rasterio.warp import reproject, transform
from rasterio.windows import Window as FileWindow

from geoseg.accuracy.confusion import UNLABELLED, places, unknown_ids
from geoseg.catalog import Reference
from geoseg.errors import CatalogError, RasterError
from geoseg.grid import Grid, Window, cut, read_crs
from geoseg.rasters import checks
from geoseg.rasters import files as raster_files

Resampling = Literal["auto", "nearest", "mode"]
_SQUARE = 256
"""Warps are computed in whole lattice squares of this edge, so that no pixel depends on the window asked for."""
_NARROW = ((np.uint8, 255), (np.uint16, 65535), (np.int32, UNLABELLED))
"""Types in which ids are warped, the first that holds them, and what means no label in each."""
_MARGIN = 3
"""Reference pixels read beyond the outline of a square, against rounding."""


def on_grid(
    reference: Reference,
    grid: Grid,
    window: Window,
    *,
    resampling: Resampling = "auto",
    ignore_unknown: bool = False,
) -> np.ndarray:
    """Class ids of a reference on the pixels of a grid, still in the reference's own legend.

    Pixels that are nodata in the reference or lie beyond its edge are -1. Where the reference's pixels are the
    grid's they are read as they are; otherwise each lattice square of 256 x 256 is warped as a whole, so the value
    of a pixel never depends on `window`. No id is ever interpolated, and overviews are never used.

    Parameters
    ----------
    reference : Reference
        From the catalog.
    grid : Grid
        The grid wanted.
    window : Window
        The pixels wanted.
    resampling : {'auto', 'nearest', 'mode'}
        auto: the most frequent labelled id of a pixel where the reference is at least twice finer than the grid
        (by pixel side, decided for each lattice square), else the nearest.
    ignore_unknown : bool
        Make ids that the reference's legend lacks -1 instead of refusing them.

    Returns
    -------
    (row, col) int32

    Raises
    ------
    RasterError
        If the file cannot be read, has no CRS, or does not hold whole numbers.
    CatalogError
        If the window holds ids that the reference's legend lacks, or nodata is a class.
    """
    with opened(reference) as source:
        labels = source.labels(grid, window, resampling)
    table = places(reference.legend)
    unknown = np.unique(labels[table[labels] > len(reference.legend)])
    if unknown.size and not ignore_unknown:
        raise unknown_ids(f"reference {reference.name!r}", unknown.tolist(), reference.legend)
    labels[np.isin(labels, unknown)] = UNLABELLED
    return labels


def check(reference: Reference) -> None:
    """Refuse a reference that cannot be used: no such file, band or CRS, or a class as nodata; pixels are not read."""
    with opened(reference):
        pass


@dataclass(frozen=True, slots=True)
class Source:
    """An open raster of class ids."""

    file: Any
    path: str
    band: int
    nodata: float | None
    grid: Grid
    """Its own grid."""
    window: Window
    """The pixels of that grid which it fills."""

    def labels(self, grid: Grid, window: Window, resampling: Resampling) -> np.ndarray:
        """(row, col) int32 on `grid`, UNLABELLED beyond the edge."""
        out = np.full(window.shape, UNLABELLED, np.int32)
        aligned = grid.window_of(self.grid.geobox(self.window))
        for square in [aligned] if aligned else cut(window, _SQUARE):
            part = square.meet(window)
            if part is None:
                continue
            if aligned:
                row, col = part.row - aligned.row, part.col - aligned.col
                own = Window(self.window.row + row, self.window.col + col, *part.shape)
                out[part.within(window)] = self._read(own)
            else:
                out[part.within(window)] = self._warped(grid, square, resampling)[part.within(square)]
        return out

    def fineness(self, grid: Grid, square: Window) -> float:
        """How many of its pixel sides make one of the grid's, there; 0 where the square is out of its reach."""
        rows, cols = self._outline(grid, square)
        if not np.isfinite(rows).all():
            return 0.0
        area = 0.5 * abs(np.dot(cols, np.roll(rows, -1)) - np.dot(rows, np.roll(cols, -1)))
        return math.sqrt(area / square.pixels)

    def _warped(self, grid: Grid, square: Window, resampling: Resampling) -> np.ndarray:
        """A whole lattice square."""
        out = np.full(square.shape, UNLABELLED, np.int32)
        fineness = self.fineness(grid, square)
        if resampling == "auto":
            resampling = "mode" if round(fineness, 2) >= 2 else "nearest"
        # A much finer reference is taken in smaller squares, so that what is read at once stays small.
        step = _SQUARE if fineness <= 8 else max(16, _SQUARE >> math.ceil(math.log2(fineness / 8)))
        for small in cut(square, step):
            needed = self._needed(grid, small)
            if needed is None:
                continue
            labels = self._read(needed)
            # GDAL takes the mode of 8 and 16 bits by histogram, of 32 bits by a search that is 300 times slower.
            narrow, void = next(each for each in _NARROW if labels.max() < each[1] or each[1] == UNLABELLED)
            target = np.full(small.shape, void, narrow)
            with _faults(self.path):
                reproject(
                    np.where(labels == UNLABELLED, void, labels).astype(narrow),
                    target,
                    src_transform=self.grid.transform_of(needed),
                    src_crs=self.grid.crs,
                    src_nodata=void,
                    dst_transform=grid.transform_of(small),
                    dst_crs=grid.crs,
                    dst_nodata=void,
                    resampling=Kernel[resampling],
                    tolerance=0,  # the exact transformer: an approximate one would depend on the chunk
                )
            out[small.within(square)] = np.where(target == void, UNLABELLED, target.astype(np.int32))
        return out

    def _needed(self, grid: Grid, square: Window) -> Window | None:
        """Which pixels of the file, on its own grid, a square of `grid` needs."""
        rows, cols = self._outline(grid, square)
        rows, cols = rows[np.isfinite(rows)], cols[np.isfinite(rows)]
        if not rows.size:
            return None
        row, col = math.floor(rows.min()) - _MARGIN, math.floor(cols.min()) - _MARGIN
        height, width = math.ceil(rows.max()) + _MARGIN - row, math.ceil(cols.max()) + _MARGIN - col
        return Window(row, col, height, width).meet(self.window)

    def _outline(self, grid: Grid, square: Window) -> tuple[np.ndarray, np.ndarray]:
        """Points along a square's outline as (rows, cols) of the file's own grid; NaN where none can be told."""
        steps = np.arange(16) / 16
        up, down, flat = steps, 1 - steps, np.zeros(16)
        right, below = np.concatenate([up, flat + 1, down, flat]), np.concatenate([flat, up, flat + 1, down])
        xs, ys = _moved(grid.transform_of(square), right * square.width, below * square.height)
        xs, ys = _project(grid.crs, self.grid.crs, xs, ys)
        known = np.isfinite(xs) & np.isfinite(ys)
        # Neighbours of a projected grid that lie 180 degrees apart lie on the two sides of the antimeridian.
        far = known.any() and np.ptp(xs[known]) > 180
        if far and read_crs(self.grid.crs, self.path).geographic and not read_crs(grid.crs, "grid").geographic:
            raise RasterError(
                f"the map crosses the antimeridian of {self.path}, whose coordinates are degrees; "
                "bring the reference to the map's CRS first, with gdalwarp for instance"
            )
        cols, rows = _moved(~self.grid.affine, np.where(known, xs, np.nan), np.where(known, ys, np.nan))
        return rows, cols

    def _read(self, part: Window) -> np.ndarray:
        """Pixels of the file, on its own grid, as int32."""
        rows, cols = part.within(self.window)
        with _faults(self.path):
            values = self.file.read(self.band, window=FileWindow.from_slices(rows, cols))
        void = np.zeros(values.shape, bool) if self.nodata is None else _equal(values, self.nodata)
        if values.dtype not in (np.uint8, np.uint16):
            self._check(values[~void])
        labels = np.where(void, 0, values).astype(np.int32)
        labels[void] = UNLABELLED
        return labels

    def _check(self, values: np.ndarray) -> None:
        """Refuse what cannot be class ids."""
        if not np.isfinite(values).all() or (values % 1).any():
            raise RasterError(
                f"{self.path} holds fractions or NaN, not class ids; give the band of classes, or its 'nodata'"
            )
        beyond = values[(values < 0) | (values > 65535)]
        if beyond.size:
            raise CatalogError(
                f"{self.path} holds id {beyond[0]:g}; ids run from 0 to 65535, so if it means not labelled, "
                "state it as 'nodata' under the file's entry in data_catalog.yaml"
            )


@contextmanager
def opened(reference: Reference) -> Iterator[Source]:
    """Open a raster of class ids: a reference, or a map that is described as one.

    Raises
    ------
    RasterError
        If the file cannot be read, is refused as a VRT or for its layout, lacks the band or has no CRS.
    CatalogError
        If the nodata that the file declares is a class of the legend.
    """
    path, band, legend, crs = reference.file, reference.band, reference.legend, reference.crs
    nodata: float | None = reference.nodata
    driver = checks.driver_of(path, trust_vrt=reference.trust_vrt)
    with _faults(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # said below, as an error
        file = rasterio.open(path, driver=driver)
    with raster_files.environment(path), file:
        if not 1 <= band <= file.count:
            raise RasterError(f"{path} has {file.count} bands, band {band} was asked for; correct 'band'")
        checks.check_layout(file, path, [band])
        if crs is None and file.crs is None:
            raise RasterError(f"{path} has no CRS; state it as 'crs' under its entry in data_catalog.yaml")
        if nodata is None:
            nodata = file.nodatavals[band - 1]
            taken = next((each.name for each in legend.classes if each.id == nodata), None)
            if taken is not None:
                raise CatalogError(
                    f"{path} declares nodata {nodata:g}, which is class {taken!r} of legend {legend.name!r}; "
                    "correct the legend, or state the true 'nodata' under the file's entry in data_catalog.yaml"
                )
        own = read_crs(crs, path) if crs else file.crs.to_wkt()
        grid = Grid.of(GeoBox(file.shape, file.transform, own))
        yield Source(file, path, band, nodata, grid, Window(grid.row0, grid.col0, *file.shape))


@contextmanager
def _faults(path: str) -> Iterator[None]:
    """Whatever GDAL finds wrong with a file becomes a RasterError."""
    try:
        yield
    except (RasterioError, CPLE_BaseError) as error:
        raise RasterError(f"{path} cannot be read: {' '.join(str(error).split())}") from error


def _project(source: str, target: str, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in another CRS; infinite or NaN where that is not defined."""
    try:
        return tuple(np.asarray(each) for each in transform(source, target, xs, ys))  # type: ignore[return-value]
    except CPLE_BaseError:  # one point out of bounds fails them all
        if len(xs) == 1:
            return np.full(1, np.nan), np.full(1, np.nan)
        each = [_project(source, target, xs[i : i + 1], ys[i : i + 1]) for i in range(len(xs))]
        return np.concatenate([x for x, _ in each]), np.concatenate([y for _, y in each])


def _equal(values: np.ndarray, nodata: float) -> np.ndarray:
    return np.isnan(values) if math.isnan(nodata) else values == nodata


def _moved(affine: Affine, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b, c, d, e, f = tuple(affine)[:6]
    return a * xs + b * ys + c, d * xs + e * ys + f

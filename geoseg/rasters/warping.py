"""Warping: one raster's pixels on a grid that need not be its own; imagery's and references' alike.

A raster whose pixels are the grid's is read as it is. Any other is warped in squares of the lattice, each by
itself and with nothing but what the square determines, so that a pixel's value never depends on the window in
which it was asked for. Coordinates are true to 1/64 of a pixel. Pixels are (band, row, col): float32 in physical
units, NaN where there are no data, or int32 class ids, which are taken or counted and never interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio import warp
from rasterio.enums import Resampling

from geoseg.catalog import Band
from geoseg.errors import RasterError
from geoseg.grid import Grid, Window, cut
from geoseg.process import remembered
from geoseg.rasters import checks, footprints
from geoseg.rasters import files as raster_files
from geoseg.rasters.files import Source
from geoseg.rasters.footprints import SQUARE

_AT_ONCE = 2**21  # source pixels of imagery behind one square, beyond which it is halved
_IDS_AT_ONCE = 2**23  # the same of class ids, one band that is warped as uint8 mostly
_READ_AT_ONCE = 2**20  # pixels of an aligned file; fresh memory for a whole block costs more than its decoding
_BENT = 1 / 64  # of the longer pixel: how far GDAL's straight line through a row of a square may miss
_LIMIT = 2**26  # source pixels behind one pixel
_COARSER = 2.0  # a grid's pixel more than this many times as long as the file's takes their average
_ID_TYPES = ((np.uint8, 255), (np.uint16, 65535))  # GDAL's mode of 32 bits is 300 times slower, by search


class Raster(Protocol):
    """What the warper needs of a raster."""

    @property
    def source(self) -> Source:
        """Where it lies."""

    @property
    def count(self) -> int:
        """Bands that `read` gives."""

    @property
    def void(self) -> float:
        """What means no data in what `read` gives: NaN in float32; a negative number among int32 class ids."""

    def read(self, window: Window) -> np.ndarray:
        """(band, row, col) of a window of the file, counted from its first pixel."""


@dataclass(frozen=True, slots=True)
class Stack:
    """The bands of imagery that one file gives: a `Raster` of float32."""

    sources: tuple[Source, ...]
    """What is known of the file, for each band."""
    bands: tuple[Band, ...]
    """What the catalog says, for each band."""

    @property
    def source(self) -> Source:
        """The file, as its first band has it."""
        return self.sources[0]

    @property
    def count(self) -> int:
        """Number of bands."""
        return len(self.bands)

    @property
    def void(self) -> float:
        """Not-a-number."""
        return math.nan

    def read(self, window: Window) -> np.ndarray:
        """(band, row, col) float32 of a window of the file."""
        return raster_files.pixels(self.sources, self.bands, window)


def parts(
    raster: Raster, grid: Grid, window: Window, resampling: str, holes: np.ndarray | None = None
) -> Iterator[tuple[Window, np.ndarray]]:
    """The pieces of a window that one raster covers, with its pixels; where it has no data they are `raster.void`.

    Parameters
    ----------
    raster : Raster
        What to read.
    grid, window : Grid, Window
        The pixels wanted.
    resampling : str
        Of values 'nearest', 'bilinear' or 'cubic'; where the grid's pixels are more than twice as long as the
        file's, the latter two give way to the average of the valid pixels underneath. Of class ids 'nearest',
        'mode' (the most frequent id underneath), or 'auto': mode where the file is at least twice finer than the
        grid, by pixel side and for each lattice square, else nearest.
    holes : (row, col) bool, optional
        What is still to be filled; pieces without a hole are skipped. Default: all.

    Yields
    ------
    (Window, (band, row, col) array)
        Each piece, in the window, and its pixels.

    Raises
    ------
    RasterError
        If the file cannot be read or warped.
    """
    source = raster.source
    own = footprints.own(source, grid)
    if own is not None:
        need = footprints.needed(source, grid, window)
        if need is None:
            return
        step = max(1, _READ_AT_ONCE // need.width)
        for row in range(need.row, need.row_end, step):
            strip = Window(row, need.col, min(step, need.row_end - row), need.width)
            piece = Window(own.row + row, own.col + need.col, *strip.shape)
            if holes is None or holes[piece.within(window)].any():
                yield piece, raster.read(strip)
        return
    for square in cut(window, SQUARE):
        part = square.meet(window)
        if part is None or not (holes is None or holes[part.within(window)].any()):
            continue
        if footprints.needed(source, grid, square):
            kernel = resampling
            if resampling == "auto":
                kernel = "mode" if round(footprints.fineness(source, grid, square), 2) >= 2 else "nearest"
            rows, cols = part.within(square)
            yield part, _square(raster, grid, square, kernel)[:, rows, cols]


def _square(raster: Raster, grid: Grid, square: Window, resampling: str) -> np.ndarray:
    """One square of the lattice, warped by itself; halved while too large for memory or too bent."""
    source, ids = raster.source, not math.isnan(raster.void)
    out = np.full((raster.count, *square.shape), raster.void, np.int32 if ids else np.float32)
    need = footprints.needed(source, grid, square)
    if need is None:
        return out
    bent = square.width > 8 and _bent(source, grid, square)
    if bent or (need.pixels > (_IDS_AT_ONCE if ids else _AT_ONCE) and square.pixels > 1):
        for half in _halves(square, across=bent or square.width >= square.height):
            rows, cols = half.within(square)
            out[:, rows, cols] = _square(raster, grid, half, resampling)
        return out
    if need.pixels > _LIMIT:
        raise RasterError(
            f"one pixel of the grid lies over {need.pixels} pixels of {source.path}; choose a finer grid, coarser "
            "imagery, or a region that does not cross the antimeridian or a pole"
        )
    down, across = footprints.steps(source, grid, square)
    if max(down, across) > _COARSER and resampling in ("bilinear", "cubic"):
        resampling = "average"
    found, void = _narrowed(raster.read(need), raster.void)
    warped = np.full(out.shape, void, found.dtype)
    try:
        warp.reproject(
            found,
            warped,
            src_transform=_not_unit(Affine(*source.transform) @ Affine.translation(need.col, need.row)),
            src_crs=source.crs,
            src_nodata=void,
            dst_transform=_not_unit(grid.transform_of(square)),
            dst_crs=grid.crs,
            dst_nodata=void,
            resampling=Resampling[resampling],
            XSCALE=min(1.0, 1 / across),  # else GDAL guesses them from how much of the file the square meets
            YSCALE=min(1.0, 1 / down),
            **_datum_shift(source.crs, source.transform, source.shape),
        )
    except checks.FOREIGN as error:
        raise RasterError(
            f"{source.path} cannot be warped to {grid.crs} at rows {square.row}..{square.row_end}, columns "
            f"{square.col}..{square.col_end} of the grid: {error}"
        ) from error
    if found.dtype == out.dtype:
        return warped
    np.copyto(out, warped, where=warped != void, casting="unsafe")
    return out


def _narrowed(pixels: np.ndarray, void: float) -> tuple[np.ndarray, float]:
    """Class ids in the narrowest unsigned type that can hold them beside a value for no data; values as they are."""
    if pixels.dtype != np.int32:
        return pixels, void
    for kind, most in _ID_TYPES:
        if pixels.max() < most:
            return np.where(pixels == void, most, pixels).astype(kind), most
    return pixels, void


def _halves(window: Window, *, across: bool) -> tuple[Window, Window]:
    height, width = (window.height, window.width // 2) if across else (window.height // 2, window.width)
    first = Window(window.row, window.col, height, width)
    return first, Window(window.row_end - height, window.col_end - width, height, width)


def _bent(source: Source, grid: Grid, window: Window) -> bool:
    """Whether rows of a window, seen from a file, are too curved for a straight line through their ends.

    `reproject` follows such lines and has no switch for it; exact coordinates would cost eight times as much.
    """
    col, row = footprints.under(source, grid, window)
    down, across = footprints.steps(source, grid, window)
    share = np.linspace(0, 1, 17)
    sags = [
        np.abs(each - each[:, :1] - (each[:, -1:] - each[:, :1]) * share) / max(1, step)
        for each, step in ((row, down), (col, across))
    ]
    return bool(np.nanmax(sags) > _BENT) if np.isfinite(sags).any() else False


def _not_unit(transform: Affine) -> Affine:
    """The same transform, but 0.00002 pixels off where rasterio 1.4 and 1.5 would turn it upside down.

    `reproject` takes (1, 0, 0, 0, -1, 0) for a missing transform and puts the identity in its place.
    """
    unit = transform.almost_equals(Affine.identity()) or transform.almost_equals(Affine.scale(1, -1))
    return Affine.translation(2e-5, 2e-5) @ transform if unit else transform


@remembered(4096)
def _datum_shift(crs: str, transform: tuple[float, ...], shape: tuple[int, int]) -> dict[str, str]:
    """Let GDAL choose among datum shifts by the whole file, not by the window that a square happens to need."""
    bounds = GeoBox(shape, Affine(*transform), crs).extent.boundingbox.bbox
    try:
        west, south, east, north = warp.transform_bounds(crs, "EPSG:4326", *bounds)
    except checks.FOREIGN:
        return {}
    known = -180 <= west <= east <= 180 and -90 <= south <= north <= 90
    return {"AREA_OF_INTEREST": f"{west},{south},{east},{north}"} if known else {}

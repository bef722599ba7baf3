"""Warping: one file's pixels on a grid that need not be its own.

A file whose pixels are the grid's is read as it is. Any other is warped in squares of the lattice, each by
itself and with nothing but what the square determines, so that a pixel's value never depends on the window in
which it was asked for. Pixels are (band, row, col) float32, NaN where the file has no data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio import warp
from rasterio.enums import Resampling

from geoseg import sources
from geoseg.catalog import Band
from geoseg.errors import RasterError
from geoseg.grid import Grid
from geoseg.sources import Source
from geoseg.windows import Window, cut

SQUARE = 256
"""Edge in pixels of the lattice squares in which files are warped."""
_AT_ONCE = 2**21  # source pixels behind one square, beyond which it is halved
_READ_AT_ONCE = 2**20  # pixels of an aligned file; fresh memory for a whole block costs more than its decoding
_BENT = 1 / 64  # of the longer pixel: how far GDAL's straight line through a row of a square may miss
_FAR = 2**40  # pixels from the CRS origin
_LIMIT = 2**26  # source pixels behind one pixel
_COARSER = 2.0  # a grid's pixel more than this many times as long as the file's takes their average


@dataclass(frozen=True, slots=True)
class Stack:
    """The bands that one file gives."""

    sources: tuple[Source, ...]
    """What is known of the file, for each band."""
    bands: tuple[Band, ...]
    """What the catalog says, for each band."""


def cover(source: Source, grid: Grid) -> Window:
    """The window of `grid` around a file.

    Raises
    ------
    RasterError
        If the file as a whole cannot be expressed on the grid.
    """
    own = _own(source, grid)
    if own is not None:
        return own
    down, right = np.mgrid[0:65, 0:65] / 64  # not the outline alone: a hole inside is a sign of a place beyond
    rows, cols = source.shape
    x, y = _applied(Affine(*source.transform), right.ravel() * cols, down.ravel() * rows)
    x, y = _moved(source.crs, grid.crs, x, y)
    col, row = _applied(~grid.affine, x, y)
    lost = not (np.abs([row, col]) < _FAR).all()
    if lost or (CRS(grid.crs).geographic and not CRS(source.crs).geographic and np.ptp(x) > 180):
        raise RasterError(
            f"{source.path} as a whole cannot be expressed in {grid.crs}: it leaves the area where that is "
            "defined, or crosses the antimeridian; choose another grid, or cut the file"
        )
    first_row, first_col = math.floor(row.min() + 1e-6), math.floor(col.min() + 1e-6)
    height, width = math.ceil(row.max() - 1e-6) - first_row, math.ceil(col.max() - 1e-6) - first_col
    return Window(first_row, first_col, max(1, height), max(1, width))


def reach(source: Source, grid: Grid, window: Window) -> Window | None:
    """The part of a file, in its own rows and columns, that a window needs; None where they do not meet."""
    whole = Window(0, 0, *source.shape)
    own = _own(source, grid)
    if own is not None:
        return whole.meet(Window(window.row - own.row, window.col - own.col, *window.shape))
    col, row = _applied(~Affine(*source.transform), *_seen(source.crs, grid, window))
    known = np.isfinite(col) & np.isfinite(row)
    if not known.all() and max(window.shape) > SQUARE:
        return whole  # partly beyond the projection; only its squares, each by itself, can tell
    if not known.any():
        return None
    top, bottom, left, right = row[known].min(), row[known].max(), col[known].min(), col[known].max()
    # An edge may bulge between the points looked at.
    bulge_rows, bulge_cols = 1 + (bottom - top) / 100, 1 + (right - left) / 100
    if (
        bottom < -bulge_rows
        or right < -bulge_cols
        or top > whole.height + bulge_rows
        or left > whole.width + bulge_cols
    ):
        return None
    # The kernels reach two pixels of the coarser grid.
    down, across = _steps(source, grid, window)
    more_rows, more_cols = math.ceil(3 * max(1, down) + bulge_rows), math.ceil(3 * max(1, across) + bulge_cols)
    first_row, first_col = math.floor(top) - more_rows, math.floor(left) - more_cols
    height, width = math.ceil(bottom) + more_rows - first_row, math.ceil(right) + more_cols - first_col
    return whole.meet(Window(first_row, first_col, height, width))


def parts(
    stack: Stack, grid: Grid, window: Window, holes: np.ndarray, resampling: str
) -> Iterator[tuple[Window, np.ndarray]]:
    """The pieces of a window that one file covers, with its pixels.

    Parameters
    ----------
    holes : (row, col) bool
        What is still to be filled; pieces without a hole are skipped.
    resampling
        'nearest', 'bilinear' or 'cubic'; where the grid's pixels are more than twice as long as the file's, the
        latter two give way to the average of the valid pixels underneath.

    Raises
    ------
    RasterError
        If the file cannot be read or warped.
    """
    need = reach(stack.sources[0], grid, window)
    if need is None:
        return
    own = _own(stack.sources[0], grid)
    if own is not None:
        step = max(1, _READ_AT_ONCE // need.width)
        for row in range(need.row, need.row_end, step):
            strip = Window(row, need.col, min(step, need.row_end - row), need.width)
            piece = Window(own.row + row, own.col + need.col, *strip.shape)
            if holes[piece.within(window)].any():
                yield piece, sources.pixels(stack.sources, stack.bands, strip)
        return
    for square in cut(window, SQUARE):
        part = square.meet(window)
        if part and holes[part.within(window)].any() and reach(stack.sources[0], grid, square):
            rows, cols = part.within(square)
            yield part, _square(stack, grid, square, resampling)[:, rows, cols]


def _square(stack: Stack, grid: Grid, square: Window, resampling: str) -> np.ndarray:
    """One square of the lattice, warped by itself; halved while too large for memory or too bent."""
    source = stack.sources[0]
    out = np.full((len(stack.bands), *square.shape), np.nan, np.float32)
    need = reach(source, grid, square)
    if need is None:
        return out
    bent = square.width > 8 and _bent(source, grid, square)
    if bent or (need.pixels > _AT_ONCE and square.pixels > 1):
        for half in _halves(square, across=bent or square.width >= square.height):
            rows, cols = half.within(square)
            out[:, rows, cols] = _square(stack, grid, half, resampling)
        return out
    if need.pixels > _LIMIT:
        raise RasterError(
            f"one pixel of the grid lies over {need.pixels} pixels of {source.path}; choose a finer grid, coarser "
            "imagery, or a region that does not cross the antimeridian or a pole"
        )
    down, across = _steps(source, grid, square)
    method = "average" if max(down, across) > _COARSER and resampling != "nearest" else resampling
    found = sources.pixels(stack.sources, stack.bands, need)
    try:
        warp.reproject(
            found,
            out,
            src_transform=_not_unit(Affine(*source.transform) @ Affine.translation(need.col, need.row)),
            src_crs=source.crs,
            src_nodata=np.nan,
            dst_transform=_not_unit(grid.transform_of(square)),
            dst_crs=grid.crs,
            dst_nodata=np.nan,
            resampling=Resampling[method],
            XSCALE=min(1.0, 1 / across),  # else GDAL guesses them from how much of the file the square meets
            YSCALE=min(1.0, 1 / down),
            **_datum_shift(source.crs, source.transform, source.shape),
        )
    except sources.FOREIGN as error:
        raise RasterError(
            f"{source.path} cannot be warped to {grid.crs} at rows {square.row}..{square.row_end}, columns "
            f"{square.col}..{square.col_end} of the grid: {error}"
        ) from error
    return out


def _halves(window: Window, *, across: bool) -> tuple[Window, Window]:
    height, width = (window.height, window.width // 2) if across else (window.height // 2, window.width)
    first = Window(window.row, window.col, height, width)
    return first, Window(window.row_end - height, window.col_end - width, height, width)


# -------------------------------------------------------------------------------------- geometry


def _own(source: Source, grid: Grid) -> Window | None:
    """The window of `grid` that a file fills with the grid's own pixels, or None."""
    return _aligned(source.crs, source.transform, source.shape, grid)


@lru_cache(maxsize=65536)
def _aligned(crs: str, transform: tuple[float, ...], shape: tuple[int, int], grid: Grid) -> Window | None:
    return grid.window_of(GeoBox(shape, Affine(*transform), crs))


@lru_cache(maxsize=1024)
def _seen(crs: str, grid: Grid, window: Window) -> np.ndarray:
    """Coordinates in `crs` of 17 x 17 points spread over a window, edges included: (2, 17, 17), not all finite."""
    row, col = np.mgrid[0:17, 0:17] / 16
    x, y = _applied(grid.transform_of(window), col.ravel() * window.width, row.ravel() * window.height)
    return np.array(_moved(grid.crs, crs, x, y)).reshape(2, 17, 17)


def _steps(source: Source, grid: Grid, window: Window) -> tuple[float, float]:
    """How many of the file's (rows, cols) one pixel of `grid` measures, at the window's middle."""
    col, row = _applied(~Affine(*source.transform), *_seen(source.crs, grid, window)[:, 7:10, 7:10])
    height, width = window.height / 8, window.width / 8
    down = math.hypot((row[2, 1] - row[0, 1]) / height, (row[1, 2] - row[1, 0]) / width)
    across = math.hypot((col[2, 1] - col[0, 1]) / height, (col[1, 2] - col[1, 0]) / width)
    return (down, across) if math.isfinite(down) and math.isfinite(across) and down * across > 0 else (1.0, 1.0)


def _bent(source: Source, grid: Grid, window: Window) -> bool:
    """Whether rows of a window, seen from a file, are too curved for a straight line through their ends.

    `reproject` follows such lines and has no switch for it; exact coordinates would cost eight times as much.
    """
    col, row = _applied(~Affine(*source.transform), *_seen(source.crs, grid, window))
    down, across = _steps(source, grid, window)
    share = np.linspace(0, 1, 17)
    sags = [
        np.abs(each - each[:, :1] - (each[:, -1:] - each[:, :1]) * share) / max(1, step)
        for each, step in ((row, down), (col, across))
    ]
    return bool(np.nanmax(sags) > _BENT) if np.isfinite(sags).any() else False


def _applied(affine: Affine, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


def _moved(source: str, target: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates from one CRS to another; NaN where they cannot be moved."""
    if source == target:
        return x, y
    try:  # by GDAL, as the warper does; another PROJ may know other datum shifts
        moved = warp.transform(source, target, x, y)
    except sources.FOREIGN:  # one lost point fails them all
        if len(x) == 1:
            return np.full(1, np.nan), np.full(1, np.nan)
        half = len(x) // 2
        first, second = _moved(source, target, x[:half], y[:half]), _moved(source, target, x[half:], y[half:])
        return np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])
    found = np.array(moved)
    found[:, ~np.isfinite(found).all(axis=0)] = np.nan
    return found[0], found[1]


def _not_unit(transform: Affine) -> Affine:
    """The same transform, but 0.00002 pixels off where rasterio 1.4 and 1.5 would turn it upside down.

    `reproject` takes (1, 0, 0, 0, -1, 0) for a missing transform and puts the identity in its place.
    """
    unit = transform.almost_equals(Affine.identity()) or transform.almost_equals(Affine.scale(1, -1))
    return Affine.translation(2e-5, 2e-5) @ transform if unit else transform


@lru_cache(maxsize=4096)
def _datum_shift(crs: str, transform: tuple[float, ...], shape: tuple[int, int]) -> dict[str, str]:
    """Let GDAL choose among datum shifts by the whole file, not by the window that a square happens to need."""
    bounds = GeoBox(shape, Affine(*transform), crs).extent.boundingbox.bbox
    try:
        west, south, east, north = warp.transform_bounds(crs, "EPSG:4326", *bounds)
    except sources.FOREIGN:
        return {}
    known = -180 <= west <= east <= 180 and -90 <= south <= north <= 90
    return {"AREA_OF_INTEREST": f"{west},{south},{east},{north}"} if known else {}

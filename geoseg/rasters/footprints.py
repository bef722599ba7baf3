"""Footprints: where a raster file lies on a grid, and which part of it a window needs.

A file's own pixels count from its first row and column, a grid's from its lattice's origin. No pixels are read.
"""

from __future__ import annotations

import math

import numpy as np
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio import warp

from geoseg.errors import RasterError
from geoseg.grid import Grid, Window
from geoseg.process import remembered
from geoseg.rasters import checks
from geoseg.rasters.files import Source

SQUARE = 256
"""Edge in pixels of the lattice squares in which files are warped."""
_FAR = 2**40  # pixels from the CRS origin


def own(source: Source, grid: Grid) -> Window | None:
    """The window of a grid that a file fills with the grid's own pixels, or None where it would have to be warped.

    Parameters
    ----------
    source : Source
        What is known of the file.
    grid : Grid
        Aligned means that corners miss each other by less than 1/1000 of a pixel.
    """
    return _aligned(source.crs, source.transform, source.shape, grid)


def cover(source: Source, grid: Grid) -> Window:
    """The window of a grid around a file.

    Parameters
    ----------
    source : Source
        What is known of the file.
    grid : Grid
        Its CRS may be another than the file's.

    Raises
    ------
    RasterError
        If the file as a whole cannot be expressed on the grid.
    """
    aligned = own(source, grid)
    if aligned is not None:
        return aligned
    down, right = np.mgrid[0:65, 0:65] / 64  # a part inside may be beyond the projection, too
    rows, cols = source.shape
    x, y = _applied(Affine(*source.transform), right.ravel() * cols, down.ravel() * rows)
    x, y = _transformed(source.crs, grid.crs, x, y)
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


def needed(source: Source, grid: Grid, window: Window) -> Window | None:
    """The part of a file, in its own rows and columns, that a window needs; None where they do not meet.

    It is what lies under the window and what a kernel looks at beside that, cut at the file's edges; perhaps more,
    never less.

    Parameters
    ----------
    source : Source
        What is known of the file.
    grid, window : Grid, Window
        Pixels of the grid.

    Returns
    -------
    Window or None
        In the file's own rows and columns; the whole file where a large window is partly beyond the projection.
    """
    whole = Window(0, 0, *source.shape)
    aligned = own(source, grid)
    if aligned is not None:
        return whole.meet(Window(window.row - aligned.row, window.col - aligned.col, *window.shape))
    col, row = under(source, grid, window)
    known = np.isfinite(col) & np.isfinite(row)
    if not known.all() and max(window.shape) > SQUARE:
        return whole  # partly beyond the projection; only its squares, each by itself, can tell
    if not known.any():
        return None
    top, bottom, left, right = row[known].min(), row[known].max(), col[known].min(), col[known].max()
    # An edge may bulge between the points looked at; more so that of a large window, which may hold a pole.
    sagging = sags(np.array([row, col])) if max(window.shape) > SQUARE else (0.0, 0.0)
    bulge_rows, bulge_cols = 1 + (bottom - top) / 100 + sagging[0], 1 + (right - left) / 100 + sagging[1]
    if (
        bottom < -bulge_rows
        or right < -bulge_cols
        or top > whole.height + bulge_rows
        or left > whole.width + bulge_cols
    ):
        return None
    # The kernels reach two pixels of the coarser grid.
    down, across = steps(source, grid, window)
    more_rows, more_cols = math.ceil(3 * max(1, down) + bulge_rows), math.ceil(3 * max(1, across) + bulge_cols)
    first_row, first_col = math.floor(top) - more_rows, math.floor(left) - more_cols
    height, width = math.ceil(bottom) + more_rows - first_row, math.ceil(right) + more_cols - first_col
    return whole.meet(Window(first_row, first_col, height, width))


def under(source: Source, grid: Grid, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """A file's (col, row) under 17 x 17 points spread over a window, edges included.

    Parameters
    ----------
    source : Source
        What is known of the file.
    grid, window : Grid, Window
        Pixels of the grid.

    Returns
    -------
    (17, 17) float64, (17, 17) float64
        Columns and rows with fractions, from the file's first corner; NaN where they cannot be computed.
    """
    return _applied(~Affine(*source.transform), *spread(source.crs, grid, window))


def steps(source: Source, grid: Grid, window: Window) -> tuple[float, float]:
    """How many of the file's (rows, cols) one pixel of the grid measures, at a window's middle; 1 where unknown.

    Parameters
    ----------
    source : Source
        What is known of the file.
    grid, window : Grid, Window
        A window of any size; its middle counts.
    """
    col, row = (each[7:10, 7:10] for each in under(source, grid, window))
    height, width = window.height / 8, window.width / 8
    down = math.hypot((row[2, 1] - row[0, 1]) / height, (row[1, 2] - row[1, 0]) / width)
    across = math.hypot((col[2, 1] - col[0, 1]) / height, (col[1, 2] - col[1, 0]) / width)
    return (down, across) if math.isfinite(down) and math.isfinite(across) and down * across > 0 else (1.0, 1.0)


def fineness(source: Source, grid: Grid, window: Window) -> float:
    """How many of the file's pixel sides make one of the grid's, by area.

    Parameters
    ----------
    source : Source
        What is known of the file.
    grid, window : Grid, Window
        Pixels of the grid.

    Returns
    -------
    float
        2 where the file's pixels are half as long as the grid's; 0 where a part of the window's outline cannot be
        expressed in the file's CRS.
    """
    col, row = (_outline(each) for each in under(source, grid, window))
    if not np.isfinite([col, row]).all():
        return 0.0
    area = 0.5 * abs(np.dot(col, np.roll(row, -1)) - np.dot(row, np.roll(col, -1)))
    return math.sqrt(area / window.pixels)


def straddles_antimeridian(source: Source, grid: Grid, window: Window) -> bool:
    """Whether a window of a projected grid lies on both sides of 180 degrees, for a file whose CRS is degrees.

    Parameters
    ----------
    source : Source
        What is known of the file.
    grid, window : Grid, Window
        A window that spans less than half of the globe.
    """
    if not CRS(source.crs).geographic or CRS(grid.crs).geographic:
        return False
    x = spread(source.crs, grid, window)[0]
    known = np.isfinite(x)  # points of one small window that seem to lie 180 degrees apart
    return bool(known.any() and np.ptp(x[known]) > 180)


@remembered(65536)
def _aligned(crs: str, transform: tuple[float, ...], shape: tuple[int, int], grid: Grid) -> Window | None:
    return grid.window_of(GeoBox(shape, Affine(*transform), crs))


@remembered(1024)
def spread(crs: str, grid: Grid, window: Window) -> np.ndarray:
    """Coordinates of 17 x 17 points spread over a window, edges included.

    Parameters
    ----------
    crs : str
        That in which they are wanted.
    grid, window : Grid, Window
        Pixels of the grid.

    Returns
    -------
    (2, 17, 17) float64
        x and y; NaN where they cannot be computed.
    """
    row, col = np.mgrid[0:17, 0:17] / 16
    x, y = _applied(grid.transform_of(window), col.ravel() * window.width, row.ravel() * window.height)
    return np.array(_transformed(grid.crs, crs, x, y)).reshape(2, 17, 17)


def sags(values: np.ndarray) -> np.ndarray:
    """How far (..., 17, 17) numbers are from straight lines, which bounds what true extremes exceed those seen by."""
    along, across = (np.abs(np.diff(values, 2, axis)).max(axis=(-2, -1)) for axis in (-2, -1))
    found: np.ndarray = along + across
    return found


def _outline(values: np.ndarray) -> np.ndarray:
    """Of (17, 17) points those of the edge, once around."""
    return np.concatenate([values[0, :-1], values[:-1, -1], values[-1, :0:-1], values[:0:-1, 0]])


def _applied(affine: Affine, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


def _transformed(source: str, target: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates from one CRS to another; NaN where they cannot be moved."""
    if source == target:
        return x, y
    try:  # by GDAL, as the warper does; another PROJ may know other datum shifts
        moved = warp.transform(source, target, x, y)
    except checks.FOREIGN:  # one lost point fails them all
        if len(x) == 1:
            return np.full(1, np.nan), np.full(1, np.nan)
        half = len(x) // 2
        halves = [_transformed(source, target, x[part], y[part]) for part in (slice(half), slice(half, None))]
        return np.concatenate([first for first, _ in halves]), np.concatenate([second for _, second in halves])
    found = np.array(moved)
    found[:, ~np.isfinite(found).all(axis=0)] = np.nan
    return found[0], found[1]

"""Masks: which pixels of a window lie in a region, by the rule that a pixel belongs where its centre lies.

Arrays are (row, col) bool. The region is drawn in squares of the lattice, each by itself, so that a pixel's
answer does not depend on the window asked for.
"""

from __future__ import annotations

import numpy as np
import shapely
from odc.geo.geom import Geometry
from rasterio import features

from geoseg.grid import Grid, Window, cut
from geoseg.rasters.footprints import SQUARE

_SHEET = 16 * SQUARE  # edge of the squares to which a long outline is cut before it is drawn in small ones
_LONG = 1000  # corners


def inside(region: Geometry, grid: Grid, window: Window) -> np.ndarray:
    """Where the centres of a window's pixels lie in a region; on its very edge they may or may not.

    Parameters
    ----------
    region : Geometry
        Polygon or multipolygon in the grid's CRS. A geometry that is asked about again and again should be the
        same object, since its index is made once and stays with it.
    grid, window : Grid, Window
        The pixels asked about.

    Returns
    -------
    (row, col) bool
    """
    shape = region.geom
    shapely.prepare(shape)
    outline = grid.footprint(window).geom
    if shape.contains(outline):
        return np.ones(window.shape, bool)
    out = np.zeros(window.shape, bool)
    if not shape.intersects(outline):
        return out
    for sheet in cut(window, _SHEET):
        wanted = sheet.meet(window)
        assert wanted is not None
        near: shapely.Geometry | None = None
        for square in cut(wanted, SQUARE):
            outline = grid.footprint(square).geom
            part = square.meet(window)
            if part is None or not shape.intersects(outline):
                continue
            if shape.contains(outline):
                out[part.within(window)] = True
                continue
            if near is None:  # a coastline must not be walked for each square
                near = _clipped(shape, grid, sheet) if shapely.get_num_coordinates(shape) > _LONG else shape
            out[part.within(window)] = _drawn(near, grid, square)[part.within(square)]
    return out


def _clipped(shape: shapely.Geometry, grid: Grid, window: Window) -> shapely.Geometry:
    """A shape cut to the bounds of a window and one pixel around it."""
    return shapely.clip_by_rect(shape, *grid.footprint(window.grown(1)).boundingbox.bbox)


def _drawn(shape: shapely.Geometry, grid: Grid, square: Window) -> np.ndarray:
    near = _clipped(shape, grid, square)
    if near.is_empty:
        return np.zeros(square.shape, bool)
    drawn = features.rasterize([(near, 1)], square.shape, transform=grid.transform_of(square), dtype=np.uint8)
    found: np.ndarray = drawn == 1
    return found

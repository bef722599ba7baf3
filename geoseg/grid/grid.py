"""Grid: the plane of pixels a map lies on, and the region of it that a job asks for.

A grid is an affine transform and a CRS; pixels are addressed by lattice (row, col), whose origin lies at
the CRS origin, so that two jobs on one grid share every window. Bounds are (left, bottom, right, top) in
CRS units. No pixels are read here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from odc.geo.crs import CRS, CRSError
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry, box
from pyproj import Transformer

from geoseg.errors import GridError
from geoseg.grid.order import ORDER, check_latitudes, swapped
from geoseg.grid.windows import Window
from geoseg.process import remembered

Bounds = tuple[float, float, float, float]
_ALIGNED = 1e-3
"""Part of a pixel by which corners may miss each other and still be one."""
_FARTHEST = 2.0**40
"""Pixels from the CRS origin; a millimetre pixel is 4e10 from it at most."""


def read_crs(text: str, where: str) -> CRS:
    """A CRS from 'EPSG:n', WKT or PROJ text.

    Parameters
    ----------
    text : str
        'EPSG:<number>', WKT or PROJ text.
    where : str
        What the message begins with.

    Raises
    ------
    GridError
        If `text` names no CRS; the message begins with `where`.
    """
    try:
        return CRS(text)
    except (CRSError, ValueError, RuntimeError) as error:
        raise GridError(f"{where}: {text!r} is no CRS that PROJ knows; write 'EPSG:<number>' or WKT") from error


@dataclass(frozen=True, slots=True)
class Grid:
    """An endless plane of pixels with a lattice."""

    crs: str
    """EPSG code or WKT."""
    transform: tuple[float, float, float, float, float, float]
    """Affine coefficients a, b, c, d, e, f of the pixel at (row0, col0), to the CRS."""
    row0: int = 0
    """Lattice row of the pixel whose corner is (c, f)."""
    col0: int = 0
    """Lattice column of the pixel whose corner is (c, f)."""

    @classmethod
    def regular(cls, crs: str, resolution: float) -> Grid:
        """North-up square pixels whose edges are multiples of `resolution` (CRS units) from the CRS origin.

        Parameters
        ----------
        crs : str
            EPSG code, WKT or PROJ text.
        resolution : float
            Edge of a pixel, CRS units.

        Raises
        ------
        GridError
            If the CRS is unknown or the resolution is not a positive number.
        """
        known = read_crs(crs, "grid.crs")
        if not (math.isfinite(resolution) and resolution > 0):
            raise GridError(f"grid.resolution is {resolution}; give a positive number of CRS units")
        return cls(_crs_text(known), (float(resolution), 0.0, 0.0, 0.0, -float(resolution), 0.0))

    @classmethod
    def of(cls, geobox: GeoBox) -> Grid:
        """The grid of an existing raster, its corner kept exactly, its lattice anchored at the CRS origin.

        Raises
        ------
        GridError
            If the raster has no CRS, its transform cannot be inverted, or it lies absurdly far from the CRS origin.
        """
        if geobox.crs is None:
            raise GridError("the raster has no CRS; state it as 'crs' under its entry in data_catalog.yaml")
        affine = geobox.affine
        if affine.is_degenerate:
            raise GridError(f"the raster's transform {tuple(affine)[:6]} cannot be inverted; georeference it first")
        col, row = ~affine @ (0.0, 0.0)
        if not max(abs(row), abs(col)) < _FARTHEST:  # also where they are not numbers
            raise GridError(
                f"the raster's transform {tuple(affine)[:6]} puts it {max(abs(row), abs(col)):.0e} pixels from the CRS "
                "origin, which no place on Earth is; georeference it anew"
            )
        # Corners half a pixel off the origin are common (Landsat's are); all of them must round the same way.
        row0, col0 = -math.floor(row + 0.5 + _ALIGNED), -math.floor(col + 0.5 + _ALIGNED)
        return cls(_crs_text(geobox.crs), tuple(affine)[:6], row0, col0)

    @property
    def affine(self) -> Affine:
        """Lattice (col, row) to CRS coordinates."""
        return Affine(*self.transform) @ Affine.translation(-self.col0, -self.row0)

    @property
    def pixel_area(self) -> float:
        """Area of a pixel in squared CRS units."""
        a, b, _, d, e, _ = self.transform
        return abs(a * e - b * d)

    @property
    def resolution(self) -> tuple[float, float]:
        """Length of a pixel's (row, col) step in CRS units."""
        a, b, _, d, e, _ = self.transform
        return math.hypot(b, e), math.hypot(a, d)

    def transform_of(self, window: Window) -> Affine:
        """Affine transform of `window`; exactly the source's own where the window starts at its corner."""
        return Affine(*self.transform) @ Affine.translation(window.col - self.col0, window.row - self.row0)

    def geobox(self, window: Window) -> GeoBox:
        """`window` as an odc-geo GeoBox."""
        return GeoBox(window.shape, self.transform_of(window), self.crs)

    def window_of(self, geobox: GeoBox) -> Window | None:
        """The window that a raster fills, or None where its pixels are not this grid's pixels.

        Aligned means: same CRS, and each corner within 1/1000 of a pixel of a lattice corner.
        """
        if geobox.crs is None or geobox.crs != CRS(self.crs):
            return None
        to_lattice = ~self.affine @ geobox.affine
        rows, cols = geobox.shape
        corners = [to_lattice @ corner for corner in ((0, 0), (cols, 0), (0, rows), (cols, rows))]
        col, row = round(corners[0][0]), round(corners[0][1])
        wanted = [(col, row), (col + cols, row), (col, row + rows), (col + cols, row + rows)]
        off = max(abs(a - b) for corner, want in zip(corners, wanted) for a, b in zip(corner, want))
        return Window(row, col, rows, cols) if off < _ALIGNED else None

    def cover(self, geometry: Geometry) -> Window:
        """The window of the pixels whose centres a geometry's bounds hold, given in this grid's CRS; never empty.

        Raises
        ------
        GridError
            If the geometry has no finite extent.
        """
        x, y = shapely.get_coordinates(geometry.geom).T
        if not (len(x) and np.isfinite(x).all() and np.isfinite(y).all()):
            raise GridError("the region has no finite extent on the grid; check its CRS and coordinates")
        a, b, c, d, e, f = tuple(~self.affine)[:6]
        cols, rows = a * x + b * y + c, d * x + e * y + f
        # An edge that misses a centre by rounding alone must not lose a line of pixels.
        col, row = math.ceil(cols.min() - 0.5 - 1e-6), math.ceil(rows.min() - 0.5 - 1e-6)
        col_end, row_end = math.floor(cols.max() + 0.5 + 1e-6), math.floor(rows.max() + 0.5 + 1e-6)
        return Window(row, col, max(1, row_end - row), max(1, col_end - col))

    def footprint(self, window: Window) -> Geometry:
        """The outline of a window as a polygon in the grid's CRS."""
        return self.geobox(window).extent


@dataclass(frozen=True, slots=True)
class Region:
    """The ground that a job asks for."""

    name: str
    """What messages call it."""
    geometry: Geometry
    """Polygon or multipolygon with its CRS."""

    @classmethod
    def of_bounds(cls, bounds: Bounds, crs: str, name: str = "region") -> Region:
        """A region from (left, bottom, right, top) in the units of `crs`.

        Parameters
        ----------
        bounds : (left, bottom, right, top)
            Edges, in units of `crs`.
        crs : str
            EPSG code, WKT or PROJ text.
        name : str
            What messages call the region.

        Raises
        ------
        GridError
            If the bounds are not finite, are empty or turned round, or cross the antimeridian.
        """
        known = read_crs(crs, f"{name}.crs")
        left, bottom, right, top = bounds
        if not all(math.isfinite(edge) for edge in bounds):
            raise GridError(f"{name}: bounds {list(bounds)} are not all finite numbers; give left, bottom, right, top")
        check_latitudes(name, bounds, known)
        if known.geographic and left > right:
            raise GridError(
                f"{name}: bounds {list(bounds)} cross the antimeridian; split the region at 180 degrees into two jobs"
            )
        if left >= right or bottom >= top:
            raise GridError(f"{name}: bounds {list(bounds)} enclose nothing; the order is left, bottom, right, top")
        return cls(name, box(left, bottom, right, top, known))

    @classmethod
    def of_shape(cls, shape: shapely.Geometry, crs: str, name: str = "region") -> Region:
        """A region from a shapely polygon or multipolygon.

        Parameters
        ----------
        shape : Polygon or MultiPolygon
            Coordinates in `crs`.
        crs : str
            EPSG code, WKT or PROJ text.
        name : str
            What messages call the region.

        Raises
        ------
        GridError
            If the shape is empty, has no area or crosses itself.
        """
        known = read_crs(crs, f"{name}.crs")
        if shape.is_empty or shape.area == 0:
            raise GridError(f"{name}: the region is empty; give at least one polygon with an area")
        if shape.geom_type not in ("Polygon", "MultiPolygon"):
            raise GridError(f"{name}: the region is a {shape.geom_type}; give polygons")
        if not shape.is_valid:
            raise GridError(
                f"{name}: the region's outline is not valid ({shapely.is_valid_reason(shape)}); "
                "repair it, for instance with 'Fix geometries' in QGIS"
            )
        check_latitudes(name, shape.bounds, known)
        return cls(name, Geometry(shape, known))

    def on(self, grid: Grid) -> Geometry:
        """The region in the grid's CRS, its edges densified so that they stay where they were.

        Raises
        ------
        GridError
            If it cannot be projected.
        """
        if self.geometry.crs == CRS(grid.crs):
            return self.geometry
        left, bottom, right, top = self.geometry.boundingbox.bbox
        moved = project(self.geometry, grid.crs, max(right - left, top - bottom) / 100)
        if moved.is_empty or not np.isfinite(moved.boundingbox.bbox).all():
            raise GridError(
                f"{self.name}: the region lies outside the area where {grid.crs} is defined{self.hint(grid)}"
            )
        return moved

    def hint(self, grid: Grid, window: Window | None = None) -> str:
        """What to add where a region is not where it should be: whether it would be, with its numbers swapped.

        Parameters
        ----------
        grid : Grid
            Of the imagery or map.
        window : Window, optional
            Its pixels; default: wherever the grid's CRS is defined.

        Returns
        -------
        str
            Empty, or the end of a sentence.
        """
        other = swapped(self.geometry)
        if other is None:
            return ""
        left, bottom, right, top = other.boundingbox.bbox
        moved = project(other, grid.crs, max(right - left, top - bottom) / 100)
        if moved.is_empty or not np.isfinite(moved.boundingbox.bbox).all():
            return ""
        meets = window is None or moved.geom.intersects(grid.footprint(window).geom)
        return f"; with latitude and longitude swapped it would fit, and {ORDER}" if meets else ""


def project(geometry: Geometry, crs: str, step: float) -> Geometry:
    """A geometry in another CRS, a corner added every `step` (its own units) so that edges stay where they were.

    Coordinates that the CRS cannot hold come back infinite. (`Geometry.to_crs` warns with shapely 2.2.)

    Parameters
    ----------
    geometry : Geometry
        With its CRS.
    crs : str
        EPSG code, WKT or PROJ text.
    step : float
        Longest edge before it is moved, units of the geometry's own CRS; 0 adds no corners.
    """
    assert geometry.crs is not None
    dense = shapely.segmentize(geometry.geom, step) if step > 0 else geometry.geom
    move = Transformer.from_crs(geometry.crs.proj, CRS(crs).proj, always_xy=True).transform
    return Geometry(shapely.transform(dense, move, interleaved=False), CRS(crs))


@remembered(64)  # PROJ needs a second to say that a CRS has no EPSG code
def _crs_text(crs: CRS) -> str:
    return f"EPSG:{crs.epsg}" if crs.epsg else crs.to_wkt()

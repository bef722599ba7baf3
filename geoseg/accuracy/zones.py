"""Zones: what map and reference hold within polygons, or where a raster of integers has one number.

A pixel belongs to a zone where its centre lies. Polygons may overlap, and a pixel then counts in each of them. Counts
are integers that add up over any split of the pixels. Arrays are (row, col).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import shapely
from odc.geo.geom import Geometry

from geoseg.accuracy.confusion import UNLABELLED, Confusion
from geoseg.accuracy.references import LabelRaster, opened
from geoseg.catalog import Reference
from geoseg.catalog.legend import LandClass, Legend
from geoseg.catalog.regions import read_zones
from geoseg.errors import GridError
from geoseg.grid import Grid, Region, Window
from geoseg.maps import view
from geoseg.rasters import masks

_RASTERS = (".tif", ".tiff", ".vrt", ".jp2")
_ANY = Legend("zones", (LandClass(0, "zone", "#000000"),))
_COUNTERS = 2**22


@dataclass(frozen=True, slots=True, eq=False)
class Zone:
    """What was found in one zone."""

    name: str
    confusion: Confusion


class Zones(Protocol):
    """Zones on the grid of a comparison, by number."""

    def tally(self, codes: np.ndarray, inside: np.ndarray | None, window: Window, pairs: int) -> dict[int, np.ndarray]:
        """(pairs,) int64 for each zone that meets a window: how often each code occurs in it.

        Parameters
        ----------
        codes : (row, col) integers
            Of the window's pixels, below `pairs`.
        inside : (row, col) bool or None
            Pixels to count; None: all.
        window : Window
            Of the comparison's grid.
        pairs : int
            Codes that there may be.
        """

    def named(self, met: set[int]) -> dict[int, str]:
        """Names of the zones to be told, in their order.

        Parameters
        ----------
        met : set of int
            Numbers of those that met the comparison.
        """


@contextmanager
def on(path: Path, column: str | None, grid: Grid) -> Iterator[Zones]:
    """Zones on a grid: polygons of a vector file, or a raster of integers of any CRS and resolution.

    Parameters
    ----------
    path : Path
        A file that ends as rasters do is one.
    column : str or None
        Attribute that names polygons; polygons of one name are one zone. Default: they are numbered from 1.
    grid : Grid
        Of the comparison.

    Raises
    ------
    RasterError, GridError, CatalogError
        If the file cannot be read, lacks the column or a CRS, holds what is no zone, or a column is asked of a raster.
    """
    if path.suffix.lower() not in _RASTERS:
        names, shapes, crs = read_zones(path, column)
        moved = [Region.of_shape(each, crs, f"zone {name} of {path}").on(grid) for name, each in zip(names, shapes)]
        yield _Polygons(grid, tuple(names), tuple(moved))
        return
    if column is not None:
        raise GridError(f"{path} is a raster, which has no column {column!r}; leave the column out, or give polygons")
    carried = view.legend_of(path)
    with opened(Reference("zones", str(path), 1, carried or _ANY, None), any_nodata=True) as raster:
        yield _Numbers(grid, raster, {} if carried is None else dict(zip(carried.ids, carried.names)))


class _Polygons:
    """Polygons in the grid's CRS, numbered from 0."""

    def __init__(self, grid: Grid, names: tuple[str, ...], shapes: tuple[Geometry, ...]) -> None:
        self._grid, self._names, self._shapes = grid, names, shapes
        self._tree = shapely.STRtree([each.geom for each in shapes])

    def tally(self, codes: np.ndarray, inside: np.ndarray | None, window: Window, pairs: int) -> dict[int, np.ndarray]:
        found = {}
        for at in np.sort(self._tree.query(self._grid.footprint(window).geom)).tolist():
            part = self._grid.cover(_bounds(self._shapes[at])).meet(window)
            if part is None:
                continue
            within = masks.inside(self._shapes[at], self._grid, part)
            here = part.within(window)
            if inside is not None:
                within &= inside[here]
            found[at] = np.bincount(codes[here][within], minlength=pairs)
        return found

    def named(self, met: set[int]) -> dict[int, str]:
        return dict(enumerate(self._names))


class _Numbers:
    """Numbers of a raster."""

    def __init__(self, grid: Grid, raster: LabelRaster, names: dict[int, str]) -> None:
        self._grid, self._raster, self._names = grid, raster, names

    def tally(self, codes: np.ndarray, inside: np.ndarray | None, window: Window, pairs: int) -> dict[int, np.ndarray]:
        zones = self._raster.labels(self._grid, window, "nearest")
        known = zones != UNLABELLED if inside is None else (zones != UNLABELLED) & inside
        numbers, at = np.unique(zones[known], return_inverse=True)
        keys, step = at * pairs + codes[known], max(1, _COUNTERS // pairs)
        found: dict[int, np.ndarray] = {}
        for first in range(0, len(numbers), step):
            some = numbers[first : first + step].tolist()
            here = keys[(keys >= first * pairs) & (keys < (first + len(some)) * pairs)] - first * pairs
            counted = np.bincount(here, minlength=len(some) * pairs).reshape(len(some), pairs)
            found |= dict(zip(some, counted))
        return found

    def named(self, met: set[int]) -> dict[int, str]:
        return {each: self._names.get(each, str(each)) for each in sorted({*met, *self._names})}


def _bounds(shape: Geometry) -> Geometry:
    """The bounds of a geometry, as one."""
    return Geometry(shapely.box(*shape.geom.bounds), shape.crs)

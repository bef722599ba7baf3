"""Alignment: on whose grid a map and a reference are compared, and how the other one comes there.

Where nothing else is asked for, it is the coarser grid: detail that one of them cannot show is no error of the other.
No pixels are read.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from odc.geo.geom import Geometry

from geoseg.accuracy.references import LabelRaster, Resampling
from geoseg.errors import GridError, RasterError
from geoseg.grid import Grid, Region, Window, project, read_crs
from geoseg.quantities import length, plain
from geoseg.rasters import footprints

GridOf = Literal["auto", "map", "reference"]
_FINER = 2.0  # times, from which on all pixels underneath are counted
_EQUAL = 0.9  # of a pixel's side; the same 30 m differ by some percent in another projection


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """Where two rasters are compared."""

    grid: Grid
    extent: Window
    """Pixels of the grid."""
    outline: Geometry | None
    """Of the map, on the reference's grid, where pixels beyond it are not to count; None: there are none."""
    resampling: tuple[Resampling, Resampling]
    """How the map and the reference come onto the grid."""
    grid_of: str
    """'map' or 'reference'."""
    how: str
    """How the other one came onto it: 'none', 'nearest' or 'mode'."""
    pixel_sizes: tuple[float, float]
    """Pixel side of the map and, at its centre, of the reference, in `unit`; NaN where it is not known."""
    unit: str
    """Of the map's CRS."""
    rule: str
    """A sentence that says on whose grid, how and why."""


def choose(mapped: LabelRaster, reference: LabelRaster, *, grid: GridOf, resampling: Resampling) -> Alignment:
    """The grid of a comparison.

    Parameters
    ----------
    mapped, reference : LabelRaster
        Open.
    grid : {'auto', 'map', 'reference'}
        auto: the reference's where its pixels are coarser than the map's by more than a tenth, else the map's.
    resampling : {'auto', 'nearest', 'mode'}
        Of the one that is not on its own grid. auto: mode on the reference's grid, and where the reference's pixels
        are at least twice finer than the map's; else nearest.

    Raises
    ------
    GridError, RasterError
        If the map cannot be brought to the reference's grid, which was asked for.
    """
    window = mapped.window
    centre = Window(window.row + window.height // 2, window.col + window.width // 2, 1, 1)
    fineness = footprints.fineness(reference.source, mapped.grid, centre)
    side, unit = math.sqrt(mapped.grid.pixel_area), read_crs(mapped.grid.crs, mapped.source.path).units[0]
    sizes = side, side / fineness if fineness else math.nan
    aligned = footprints.own(reference.source, mapped.grid) is not None
    finer = round(fineness, 2) >= _FINER
    how = resampling if resampling != "auto" else "mode" if finer else "nearest"
    theirs, mine = (_size(each, unit) for each in sizes[::-1])
    if finer:
        why = f"the reference's pixels ({theirs}) are {fineness:.1f} times finer than the map's ({mine})"
    elif not fineness:
        why = "the reference's pixel size at the map's centre is not known"
    else:
        why = f"the reference's pixels ({theirs}) are not coarser than the map's ({mine}) by more than a tenth"
    ours = Alignment(
        mapped.grid, window, None, ("nearest", how), "map", "none" if aligned else how, sizes, unit,
        "compared on the map's grid, whose pixels are the reference's too" if aligned
        else f"compared on the map's grid, the reference by {how}: {why if grid == 'auto' else 'as asked for'}",
    )  # fmt: skip
    if aligned or grid == "map":
        return ours
    if grid == "auto" and not 0 < fineness < _EQUAL:
        return ours
    how = "mode" if resampling == "auto" else resampling
    coarser = f"the reference's pixels ({theirs}) are {1 / fineness:.1f} times the map's ({mine})" if fineness else ""
    because = coarser if grid == "auto" else "as asked for"
    with suppress(*(() if grid == "reference" else (GridError, RasterError))):
        outline = _outline(mapped, reference)
        extent = footprints.cover(mapped.source, reference.grid).meet(reference.window)
        if extent is not None:
            return replace(
                ours,
                grid=reference.grid,
                extent=extent,
                outline=outline,
                resampling=(how, "nearest"),
                grid_of="reference",
                how=how,
                rule=f"compared on the reference's grid, the map by {how}: {because}",
            )
    return ours


def _outline(mapped: LabelRaster, reference: LabelRaster) -> Geometry:
    """The map's outline in the reference's CRS."""
    found = Region("the map's outline", mapped.grid.footprint(mapped.window)).on(reference.grid)
    middle = mapped.grid.footprint(mapped.window).geom.centroid
    there = project(Geometry(middle, mapped.grid.crs), reference.grid.crs, 0)
    if not (found.geom.is_valid and found.geom.contains(there.geom)):
        raise GridError(
            f"{mapped.source.path} as a whole cannot be expressed in the CRS of {reference.source.path}; compare them "
            "on the map's grid, or cut the map"
        )
    return found


def _size(side: float, unit: str) -> str:
    return length(side) if unit == "metre" else f"{plain(side)} {unit}"

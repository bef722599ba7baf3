"""Order: longitude stands before latitude. Coordinates given the other way round are recognised by where they lead."""

from __future__ import annotations

import shapely
from odc.geo.crs import CRS
from odc.geo.geom import Geometry

from geoseg.errors import GridError

ORDER = "the order is left, bottom, right, top, that is, longitude first"
_BEYOND = 90.5
"""Degrees; edges of a world of pixels may lie a little beyond a pole."""


def check_latitudes(name: str, bounds: tuple[float, float, float, float], crs: CRS) -> None:
    """Refuse latitudes beyond the poles where the same numbers, read the other way round, are a place on earth.

    Parameters
    ----------
    name : str
        What messages call the bounds.
    bounds : (left, bottom, right, top)
        In the units of `crs`.
    crs : CRS
        Only one in degrees is looked at.

    Raises
    ------
    GridError
        Asking whether the numbers are swapped.
    """
    left, bottom, right, top = bounds
    if not _in_degrees(crs) or max(abs(bottom), abs(top)) <= _BEYOND:
        return
    if max(abs(left), abs(right)) <= 90 and max(abs(bottom), abs(top)) <= 360:
        beyond = bottom if abs(bottom) > _BEYOND else top
        raise GridError(f"{name}: there is no latitude {beyond:g}; are the numbers swapped? {ORDER}")


def swapped(geometry: Geometry) -> Geometry | None:
    """The same numbers read the other way round; None in a CRS not in degrees, or where that is no place on earth."""
    left, bottom, right, top = geometry.boundingbox.bbox
    if not _in_degrees(geometry.crs) or max(abs(left), abs(right)) > 90 or max(abs(bottom), abs(top)) > 360:
        return None
    return Geometry(shapely.transform(geometry.geom, lambda points: points[:, ::-1]), geometry.crs)


def _in_degrees(crs: CRS | None) -> bool:
    return crs is not None and bool(crs.geographic) and crs.proj.axis_info[0].unit_name.startswith("degree")

"""Contract: whether imagery and grid, of a job or an array, are such as a model was made for; bands go by name.

What is asked for, what was found and what to do about it, each as one sentence. Only the radiometry reads pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from odc.geo.crs import CRS

from geoseg.catalog.card import ModelCard
from geoseg.errors import JobError
from geoseg.grid import Grid, Window
from geoseg.jobs import radiometry
from geoseg.jobs.plan import outline, pixel_size
from geoseg.jobs.radiometry import Seen
from geoseg.quantities import length, plain


def forced(
    card: ModelCard, grid: Grid, extent: Window, seen: Seen, *, ground: bool, values: bool, how: str
) -> Iterator[str]:
    """What is wrong with imagery and grid for a model, where the user goes on all the same; else it is refused.

    Parameters
    ----------
    card : ModelCard
        Of the model.
    grid, extent : Grid, Window
        Of the map, and its pixels.
    seen : Seen
        Of the imagery, with the bands of the card, in its order.
    ground, values : bool
        Whether the user goes on with other pixels and with other values.
    how : str
        How a user says so.

    Raises
    ------
    JobError
        At the first trouble with which the user does not go on.
    """
    for trouble, allowed in ((of_ground(card, grid, extent), ground), (radiometry.trouble(card, seen), values)):
        if trouble and not allowed:
            raise JobError(f"{trouble}, or go on all the same with {how}")
        if trouble:
            yield trouble


def of_ground(card: ModelCard, grid: Grid, extent: Window) -> str:
    """Why a model should not see pixels of a grid: of another size than it was trained at, or not square on the ground.

    Parameters
    ----------
    card : ModelCard
        Of the model; nothing is asked where it does not say `gsd_m`.
    grid : Grid
        Of the map.
    extent : Window
        Its pixels.
    """
    if card.gsd_m is None:
        return ""
    down, across = pixel_size(grid, extent)
    found = (down + across) / 2
    asked = f"model {card.name!r} was trained at pixels of {length(card.gsd_m)}"
    if abs(found / card.gsd_m - 1) > card.gsd_tolerance:
        unit = _unit(grid)
        said = f" ({plain(max(grid.resolution), 6)} {unit})" if unit != "metre" else ""
        return (
            f"{asked} and the grid's have {length(found, 3)}{said}; expect lower accuracy, or set "
            f"'grid' to a matching resolution, for instance {_as_yaml(card, grid, extent)}"
        )
    if max(down, across) / min(down, across) > 1 + card.gsd_tolerance:
        return (
            f"{asked} on each side and the grid's measure {length(across, 3)} across and {length(down, 3)} down, "
            f"counted in {_unit(grid)}; set 'grid' to a CRS with square pixels there, for instance "
            f"{_as_yaml(card, grid, extent)}"
        )
    return ""


def matching(card: ModelCard, grid: Grid, extent: Window) -> tuple[str, float]:
    """CRS and resolution of a grid that would do: in the CRS that the map has if that is in metres, else in UTM.

    Parameters
    ----------
    card, grid, extent
        As for `of_ground`; the card says `gsd_m`.
    """
    assert card.gsd_m is not None
    if _unit(grid) == "metre" and grid.crs.startswith("EPSG:"):
        return grid.crs, card.gsd_m
    middle = outline(grid, extent).geom.centroid
    zone = min(60, max(1, math.floor((middle.x + 180) / 6) + 1))
    return f"EPSG:{(32600 if middle.y >= 0 else 32700) + zone}", card.gsd_m


def _as_yaml(card: ModelCard, grid: Grid, extent: Window) -> str:
    crs, resolution = matching(card, grid, extent)
    return f"{{crs: {crs}, resolution: {plain(resolution, 6)}}}"


def _unit(grid: Grid) -> str:
    """Of the CRS, as its first axis has it: 'metre', 'degree', 'US survey foot'."""
    return str(CRS(grid.crs).proj.axis_info[0].unit_name)

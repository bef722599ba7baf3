"""Seams: how many labels depend on where windows are cut, found by cutting one place twice.

Where a window sees as far as its network looks, none do, and nothing is tried. Elsewhere the block in the middle of the
map labels its middle core once more with windows that begin half a core off.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from geoseg.catalog.legend import NODATA
from geoseg.grid import Window
from geoseg.jobs.plan import Plan
from geoseg.storage.record import Record


def asked(plan: Plan, block: Window) -> tuple[Window, Plan, Window] | None:
    """What a block should label twice: a part of it, and another plan with the same ground on its own lattice.

    Parameters
    ----------
    plan : Plan
        The job.
    block : Window
        One of its blocks.

    Returns
    -------
    (Window, Plan, Window) or None
        None where nothing is to be tried, as in all blocks but the map's middle one.
    """
    extent, core = plan.layout.extent, plan.layout.core
    middle = Window(extent.row + extent.height // 2, extent.col + extent.width // 2, 1, 1)
    if plan.predictor is None or middle.meet(block) is None or exact(plan):
        return None
    stride = plan.predictor.model.card.stride
    shift = core // 2 // stride * stride
    part = middle.snapped(core).meet(block)
    if not shift or part is None:
        return None
    grid = replace(plan.grid, row0=plan.grid.row0 + shift, col0=plan.grid.col0 + shift)
    layout = replace(plan.layout, extent=_moved(extent, shift))
    return part, replace(plan, grid=grid, layout=layout), _moved(part, shift)


def differing(one: np.ndarray | None, other: np.ndarray | None) -> list[int]:
    """Labels of both, and how many of them differ; empty where there are none.

    Parameters
    ----------
    one, other : (row, col) uint8 or None
        Of the same ground.
    """
    if one is None or other is None:
        return []
    both = (one != NODATA) & (other != NODATA)
    return [int(both.sum()), int((one != other)[both].sum())] if both.any() else []


def exact(plan: Plan) -> bool:
    """Whether windows see all that their network looks at."""
    assert plan.predictor is not None
    card = plan.predictor.model.card
    return card.field == "bounded" and plan.predictor.halo >= card.halo


def lines(plan: Plan, records: Iterable[Record]) -> list[list[str]]:
    """What overlapping windows cost, and what differing ones do, for the report.

    Parameters
    ----------
    plan : Plan
        The job.
    records : iterable of Record
        Of its blocks.
    """
    if plan.predictor is None:
        return []
    core, halo = plan.layout.core, plan.predictor.halo
    times = ((core + 2 * halo) / core) ** 2
    seen = f"windows of {core:,} px see {halo:,} px more on each side, so that each pixel is computed {times:.2f} times"
    found = [["overlap", seen]]
    if exact(plan):
        said = "none: windows see as far as the network looks, so no label depends on where they are cut"
        return [*found, ["differing windows", said]]
    tried = next((record.seams for record in records if record.seams), None)
    if tried is None:
        return found
    share = f"{tried[1] / tried[0]:.2%}".replace("%", " %")
    said = f"{share} of {tried[0]:,} labels in the middle of the map differ where windows begin half a core off"
    return [*found, ["differing windows", said]]


def _moved(window: Window, by: int) -> Window:
    return Window(window.row + by, window.col + by, *window.shape)

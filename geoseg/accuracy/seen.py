"""Seen: how much of what is scored lies where the map's model was trained.

A network does better on the very ground that it learnt from, so scores taken there say little about other ground. The
areas are those on the model's card; a pixel belongs to one where its centre lies. Nothing is opened here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from odc.geo.geom import Geometry

from geoseg.catalog.card import AreasSpec, ModelCard
from geoseg.errors import GridError
from geoseg.grid import Grid, Region, Window, project, read_crs
from geoseg.rasters import masks

KINDS = ("train", "validation")
"""Divisions that a model knows: it learnt from the first, and its weights were chosen on the second."""
_SAMPLES = 21  # along each side of a map


@dataclass(frozen=True, slots=True)
class Trained:
    """Where a model was trained."""

    model: str
    """Its name."""
    areas: tuple[AreasSpec, ...]
    """Of each scene; at least one."""

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return {"model": self.model, "areas": [each.model_dump(mode="json") for each in self.areas]}


def of_cards(cards: Iterable[ModelCard]) -> Trained | None:
    """Where a model was trained, or the models of an ensemble; None where their cards do not say."""
    saying = [card for card in cards if card.areas]
    if not saying:
        return None
    return Trained(" + ".join(card.name for card in saying), tuple(each for card in saying for each in card.areas))


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """Areas of a model brought to the grid of a map."""

    grid: Grid
    parts: Mapping[str, tuple[Geometry, ...]]
    """Of each of `KINDS`, in the grid's CRS."""

    def within(self, window: Window) -> dict[str, np.ndarray]:
        """Which pixels of a window lie in which areas: (row, col) bool for each of `KINDS`.

        Where scenes overlap, a pixel that was learnt from in one of them counts as learnt from.
        """
        found = {kind: np.zeros(window.shape, bool) for kind in KINDS}
        for kind, parts in self.parts.items():
            for part in parts:
                found[kind] |= masks.inside(part, self.grid, window)
        found["validation"] &= ~found["train"]
        return found


def on(trained: Trained, grid: Grid, extent: Window) -> Ground:
    """The areas on a map's grid; those that lie elsewhere on Earth are left out.

    Parameters
    ----------
    trained : Trained
        From `of_cards`.
    grid, extent : Grid, Window
        Of the map.
    """
    found: dict[str, list[Geometry]] = {kind: [] for kind in KINDS}
    for areas in trained.areas:
        near = _around(grid, extent, areas.crs)
        if near is None:
            continue
        for kind in KINDS:
            # Only what lies about the map: half the Earth cannot be brought to a UTM zone.
            boxes = [box for edges in getattr(areas, kind) if (box := shapely.box(*edges).intersection(near)).area]
            if not boxes:
                continue
            with suppress(GridError):  # where the map's CRS is not defined, the map is not either
                whole = Geometry(shapely.union_all(boxes), read_crs(areas.crs, trained.model))
                found[kind].append(Region(trained.model, whole).on(grid))
    return Ground(grid, {kind: tuple(parts) for kind, parts in found.items()})


def sentence(model: str, pixels: Mapping[str, int], scored: int) -> str:
    """What a reader of scores should know.

    Parameters
    ----------
    model : str
        Its name.
    pixels : mapping
        Scored pixels in each of `KINDS`.
    scored : int
        All of them.
    """
    trained_on = f"that the model {model} was trained on"
    source = "(training.scenes of its card)"
    train, chosen = (pixels[kind] / scored for kind in KINDS)
    if not train and not chosen:
        return f"no scored pixel lies in an area {trained_on} {source}"
    chosen_on = f", and another {_percent(chosen)} where its weights were chosen" if chosen else ""
    return f"{_percent(train)} of the scored pixels lie in areas {trained_on}{chosen_on} {source}"


def _around(grid: Grid, extent: Window, crs: str) -> shapely.Geometry | None:
    """A rectangle in another CRS that holds a map with a margin; None where that CRS is not defined at the map."""
    rows = np.linspace(extent.row, extent.row_end, _SAMPLES)
    cols = np.linspace(extent.col, extent.col_end, _SAMPLES)
    a, b, c, d, e, f = tuple(grid.affine)[:6]
    x, y = a * cols + b * rows[:, None] + c, d * cols + e * rows[:, None] + f
    points = shapely.multipoints(np.stack([x.ravel(), y.ravel()], axis=1))
    moved = shapely.get_coordinates(project(Geometry(points, grid.crs), crs, 0).geom)
    moved = moved[np.isfinite(moved).all(axis=1)]
    if not len(moved):
        return None
    (left, bottom), (right, top) = moved.min(axis=0), moved.max(axis=0)
    margin = max(right - left, top - bottom) / 4
    return shapely.box(left - margin, bottom - margin, right + margin, top + margin)


def _percent(share: float) -> str:
    if 0 < share < 0.005:
        return "less than 1%"
    return "more than 99%" if 0.995 <= share < 1 else f"{share:.0%}"

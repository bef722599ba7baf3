"""Split: which ground is learnt from, chosen on and held out, over all scenes of a training together.

Squares and scenes go where a hash of their position or name sends them; then as few as possible are moved until each
class has labels in each division that it can have them in. What no network may learn from because another scene shows
the same ground, held out, is taken away last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import shapely
from odc.geo.geom import Geometry

from geoseg.catalog.legend import Legend
from geoseg.catalog.regions import read_zones
from geoseg.catalog.yaml import nearest
from geoseg.errors import JobError
from geoseg.grid import Grid, Region, Window, project, read_crs
from geoseg.models.receptive_field import Field
from geoseg.quantities import counted
from geoseg.rasters import masks
from geoseg.training.division import (
    BEYOND,
    BUFFER,
    DIVISIONS,
    TEST,
    TRAIN,
    VALIDATION,
    Squares,
    chance,
    divide,
    grown,
)
from geoseg.training.recipe import Recipe, Side
from geoseg.training.scenes import LabelledScene

_NAMES = {DIVISIONS[kind]: kind for kind in (TRAIN, VALIDATION, TEST)}
_CORNERS = 100
"""Pieces that held-out ground's width is cut into, so that its edges stay where they were in another CRS."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Scenes, each divided."""

    scenes: tuple[LabelledScene, ...]
    """In the order of the recipe."""
    squares: Squares
    """How squares were cut, with those that were moved."""
    said: str
    """How it was done, for the card."""
    notes: tuple[str, ...]
    """What a reader of scores should know, as sentences."""


def split(scenes: Sequence[LabelledScene], recipe: Recipe, squares: Squares, legend: Legend, field: Field) -> Split:
    """Divide all scenes of a recipe.

    Parameters
    ----------
    scenes
        As they were loaded; their divisions are made anew.
    recipe
        Its `split`, and `division` and `part` of its scenes.
    squares
        How squares are cut.
    legend
        What is learnt.
    field
        The network's receptive field, which the buffer should be as wide as.

    Raises
    ------
    JobError
        If a division would have no label.
    """
    fixed = [None if each.division is None else _NAMES[each.division] for each in recipe.all_scenes]
    parts = [each.part for each in recipe.all_scenes]
    if recipe.split.by == "polygons":
        made = [_by_polygons(scene, recipe) for scene in scenes]
    elif recipe.split.by == "scenes":
        chosen = _by_scene(scenes, fixed, squares, recipe.seed, len(legend))
        made = [_whole(scene, kind) for scene, kind in zip(scenes, chosen)]
    else:
        free = [(scene, part) for scene, part, kind in zip(scenes, parts, fixed) if kind is None]
        squares = _spread_squares(free, squares, len(legend))
        made = [scene.divided(partial(divide, scene.window, part, squares)) for scene, part in zip(scenes, parts)]
    for at, kind in enumerate(fixed):
        if kind is not None:
            made[at] = _whole(made[at], kind)
    for at, part in enumerate(parts):
        if part and (recipe.split.by != "squares" or fixed[at] is not None):
            made[at] = _less(made[at], part, squares)
    alone = [kind is None and recipe.split.by == "squares" for kind in fixed]
    done = tuple(_apart(made, squares.buffer, alone))
    _check(done, recipe, squares, legend)
    return Split(done, squares, _said(recipe, squares), tuple(_notes(done, squares, legend, field)))


def spread(counts: np.ndarray, groups: Sequence[int], wanted: Sequence[int], order: Sequence[float]) -> list[int]:
    """Move as few units as it takes until each wanted group has each class, where enough units have it.

    No move takes the last unit of a class from a group. Rare classes go first, and small units before large ones.

    Parameters
    ----------
    counts
        (unit, class) labelled pixels.
    groups
        (unit,) where each is now.
    wanted
        Groups that shall have all classes, those that matter most first.
    order
        (unit,) what decides between units that would do as well.

    Returns
    -------
    (unit,) where each is afterwards
    """
    found, has = np.array(groups, int), counts > 0
    for kind in np.argsort(has.sum(axis=0), kind="stable"):
        for group in wanted:
            if has[found == group, kind].any():
                continue
            movable = [int(unit) for unit in np.flatnonzero(has[:, kind]) if _spare(int(unit), has, found)]
            if movable:
                found[min(movable, key=lambda unit: (counts[unit].sum(), order[unit]))] = group
    return found.tolist()


def _spare(unit: int, has: np.ndarray, groups: np.ndarray) -> bool:
    """Whether its group keeps every class of a unit, and some unit, without it."""
    others = (groups == groups[unit]) & (np.arange(len(groups)) != unit)
    return bool(others.any() and (has[others].any(axis=0) | ~has[unit]).all())


def _by_scene(
    scenes: Sequence[LabelledScene], fixed: Sequence[int | None], squares: Squares, seed: int, classes: int
) -> list[int]:
    """The division of each scene: shares of them by a hash of their names, stratified."""
    free = [at for at, kind in enumerate(fixed) if kind is None]
    found = [TRAIN if kind is None else kind for kind in fixed]
    if not free:
        return found
    order = {at: chance(f"{seed} {scenes[at].name} {at}") for at in free}
    ranked = sorted(free, key=order.__getitem__)
    groups = {at: squares.group((rank + 0.5) / len(ranked)) for rank, at in enumerate(ranked)}
    wanted = _wanted(squares)
    for place, group in enumerate(wanted):  # few scenes: one for each, what matters most first
        members = list(groups.values())
        spare = [at for at in ranked if members.count(groups[at]) > 1 or groups[at] in wanted[place + 1 :]]
        if spare and group not in members and squares.division(group) not in fixed:
            groups[spare[0]] = group
    counts = np.array([_label_counts(scenes[at], classes) for at in free])
    spreaded = spread(counts, [groups[at] for at in free], wanted, [order[at] for at in free])
    for at, group in zip(free, spreaded):
        found[at] = squares.division(group)
    return found


def _spread_squares(
    scenes: Sequence[tuple[LabelledScene, Mapping[Side, float]]], squares: Squares, classes: int
) -> Squares:
    """Squares, some of them moved so that each class is in each division."""
    totals: dict[tuple[int, int], np.ndarray] = {}
    for scene, part in scenes:
        for block in scene.blocks():
            seen = divide(scene.window, part, replace(squares, buffer=0), block) != BEYOND
            labels = np.where(seen, scene.labels_in(block), -1)
            for key, found in _by_square(labels, block, squares.edge, classes).items():
                totals[key] = totals.get(key, 0) + found
    keys = sorted(totals)
    if not keys:
        return squares
    before = [squares.drawn(*key) for key in keys]
    order = [chance(f"{squares.seed} {row} {col}") for row, col in keys]
    after = spread(np.array([totals[key] for key in keys]), before, _wanted(squares), order)
    return replace(squares, moved={key: new for key, old, new in zip(keys, before, after) if old != new})


def _label_counts(scene: LabelledScene, classes: int) -> np.ndarray:
    """(class,) labelled pixels of a scene."""
    found = np.zeros(classes, np.int64)
    for block in scene.blocks():
        labels = scene.labels_in(block)
        found += np.bincount(labels[labels >= 0], minlength=classes)
    return found


def _by_square(labels: np.ndarray, window: Window, edge: int, classes: int) -> dict[tuple[int, int], np.ndarray]:
    """(class,) labelled pixels of each square of a window that has any."""
    top, left = window.row // edge, window.col // edge
    down = np.arange(window.row, window.row_end) // edge - top
    across = np.arange(window.col, window.col_end) // edge - left
    width = int(across[-1]) + 1
    flat = ((down[:, None] * width + across) * classes + labels)[labels >= 0]
    counts = np.bincount(flat, minlength=(int(down[-1]) + 1) * width * classes).reshape(-1, classes)
    return {(top + at // width, left + at % width): counts[at] for at in np.flatnonzero(counts.any(axis=1)).tolist()}


def _wanted(squares: Squares) -> list[int]:
    """Groups that shall have every class, those that matter most first."""
    if squares.folds is not None:
        return [*range(1, squares.folds + 1), *([0] if squares.test else [])]
    return [TRAIN, VALIDATION, *([TEST] if squares.test else [])]


def _whole(scene: LabelledScene, kind: int) -> LabelledScene:
    """A scene all of which goes to one division."""
    return scene.divided(lambda window: np.full(window.shape, kind, np.uint8))


def _less(scene: LabelledScene, part: Mapping[Side, float], squares: Squares) -> LabelledScene:
    """A scene of which a part alone is seen."""
    nothing_held = replace(squares, validation=0, test=0, folds=None, moved={})

    def less(window: Window) -> np.ndarray:
        sides, division = divide(scene.window, part, nothing_held, window), scene.division_in(window)
        near = (sides == BUFFER) & (division == TRAIN)
        return np.where(sides == BEYOND, sides, np.where(near, sides, division))

    return scene.divided(less)


def _by_polygons(scene: LabelledScene, recipe: Recipe) -> LabelledScene:
    """A scene divided by a layer; what no polygon holds is for training, or without labels where polygons say train."""
    how = recipe.split
    assert how.file is not None
    names, shapes, crs = read_zones(how.file, how.column, how.layer)
    for name in names:
        if name not in _NAMES:
            raise JobError(
                f"{how.file}: {how.column} is {name!r} for a polygon; {nearest(name, tuple(_NAMES))}, one of "
                f"{', '.join(_NAMES)}"
            )
    if DIVISIONS[VALIDATION] not in names:
        raise JobError(f"{how.file} has no polygon whose {how.column} is 'validation'; the best epoch is chosen there")
    assert scene.grid is not None
    grid = scene.grid
    regions = [Region(name, Geometry(shape, read_crs(crs, how.file))) for name, shape in zip(names, shapes)]
    places = [(_NAMES[region.name], region.on(grid)) for region in regions]
    places.sort(key=lambda place: place[0])

    def division(window: Window) -> np.ndarray:
        found = np.full(window.shape, TRAIN, np.uint8)
        for kind, here in places:
            found[masks.inside(here, grid, window)] = kind
        return found

    divided = scene.divided(division)
    if DIVISIONS[TRAIN] not in names:
        return divided

    def labels(window: Window) -> np.ndarray:
        within = np.logical_or.reduce([masks.inside(here, grid, window) for _, here in places])
        return np.where(within, scene.labels_in(window), np.int16(-1))

    return divided.relabelled(labels)


def _apart(scenes: Sequence[LabelledScene], buffer: int, alone: Sequence[bool]) -> list[LabelledScene]:
    """Scenes of which no pixel is learnt from within a buffer of ground that is held out in any of them.

    Parameters
    ----------
    scenes
        Divided.
    buffer
        Pixels.
    alone
        Which scenes keep to the buffer around their own held-out ground already.
    """
    held = [_held_out(scene) for scene in scenes]
    found = []
    for at, scene in enumerate(scenes):
        if scene.grid is None or not scene.has(TRAIN):
            found.append(scene)
            continue
        outline = scene.grid.footprint(scene.window.grown(buffer))
        brought = [
            _brought(ground, scene.grid, outline)
            for other, ground in enumerate(held)
            if ground is not None and not (other == at and alone[at])
        ]
        near = [each for each in brought if each is not None]
        found.append(_buffered(scene, scene.grid, near, buffer) if near else scene)
    return found


def _buffered(scene: LabelledScene, grid: Grid, near: Sequence[Geometry], buffer: int) -> LabelledScene:
    """A scene of which no pixel within a buffer of some ground is learnt from."""

    def buffered(window: Window) -> np.ndarray:
        wide = window.grown(buffer)
        held = np.logical_or.reduce([masks.inside(each, grid, wide) for each in near])
        division = scene.division_in(window)
        close = grown(held, buffer)[window.within(wide)]
        return np.where(close & (division == TRAIN), np.uint8(BUFFER), division)

    return scene.divided(buffered)


def _held_out(scene: LabelledScene) -> Geometry | None:
    """The ground of a scene that is chosen on or held out."""
    if scene.grid is None:
        return None
    held = [window for kind in (VALIDATION, TEST) for window in scene.rectangles()[kind]]
    if not held:
        return None
    boxes = [scene.grid.footprint(each).geom for each in held]
    return Geometry(shapely.union_all(boxes), read_crs(scene.grid.crs, scene.name))


def _brought(ground: Geometry, grid: Grid, outline: Geometry) -> Geometry | None:
    """Held-out ground in the CRS of a grid; None where it lies elsewhere."""
    if ground.crs != outline.crs:
        left, bottom, right, top = ground.boundingbox.bbox
        ground = project(ground, grid.crs, max(right - left, top - bottom) / _CORNERS)
        if not np.isfinite(ground.geom.bounds).all():
            return None
    return ground if ground.geom.intersects(outline.geom) else None


def _check(scenes: Sequence[LabelledScene], recipe: Recipe, squares: Squares, legend: Legend) -> None:
    """Refuse scenes that have nothing to learn from or to choose on: each of them, or where they go whole, all."""
    each_alone = recipe.split.by == "squares"
    for kind in (TRAIN, VALIDATION):
        lacking = [each for each in scenes if not each.counts(kind, len(legend)).any()]
        whole = [each.division is not None for each in recipe.all_scenes]
        if each_alone:
            lacking = [each for each, fixed in zip(scenes, whole) if each in lacking and not fixed]
        if (each_alone and lacking) or len(lacking) == len(scenes):
            raise JobError(_without(lacking[0], kind, squares, recipe))


def _without(scene: LabelledScene, division: int, squares: Squares, recipe: Recipe) -> str:
    """Why there is no label to train or to validate on, and what to do."""
    name, reference = DIVISIONS[division], scene.reference
    if recipe.split.by != "squares":
        return (
            f"no label of any scene is for {name} by the split of {counted(len(recipe.all_scenes), 'scene')} by "
            f"{recipe.split.by}; give more scenes or other divisions"
        )
    if division == TRAIN and scene.survey().counts[BUFFER].any():
        return (
            f"every label of reference {reference!r} on train squares of imagery {scene.name!r} lies within "
            f"{squares.buffer} pixels of what is held out; make chips.square ({squares.edge}) larger, chips.buffer "
            "smaller or change the seed"
        )
    return (
        f"no label of reference {reference!r} falls on {name} squares of imagery {scene.name!r}; check "
        f"that they overlap, make chips.square ({squares.edge}) smaller or change the seed"
    )


def _said(recipe: Recipe, squares: Squares) -> str:
    near = (
        f"labels within {squares.buffer} pixels of what is held out are not learnt from; the best epoch is chosen on "
        f"validation {recipe.split.by}, nothing on test {recipe.split.by}; what is beyond a part is never seen"
    )
    folds = "" if squares.folds is None else f", fold {squares.fold} of {squares.folds} for validation"
    if recipe.split.by == "polygons":
        return f"polygons of a layer; {near}"
    if recipe.split.by == "scenes":
        return f"whole scenes, by a hash of their names and seed {recipe.seed}{folds}; {near}"
    moved = f", {len(squares.moved)} of them moved so that each class is in each division" if squares.moved else ""
    return (
        f"squares of {squares.edge} pixels, by a hash of their position and seed {squares.seed}{folds}{moved}; {near}"
    )


def _notes(scenes: Sequence[LabelledScene], squares: Squares, legend: Legend, field: Field) -> list[str]:
    """What cannot be had: classes without labels in a division, and a buffer that is too narrow."""
    found = []
    counts = np.array([[each.counts(kind, len(legend)) for kind in range(len(DIVISIONS))] for each in scenes]).sum(
        axis=0
    )
    for at, name in enumerate(legend.names):
        places = [DIVISIONS[kind] for kind in (TRAIN, VALIDATION, TEST) if counts[kind, at]]
        lacking = [DIVISIONS[kind] for kind in (TRAIN, VALIDATION, TEST) if counts[kind].any() and not counts[kind, at]]
        if places and lacking:
            found.append(
                f"class {name!r} has too few separate labels for each division: none in {' and '.join(lacking)}"
            )
    if squares.buffer < field.halo and field.kind == "bounded":
        found.append(
            f"the network sees {field.halo} pixels far, but chips.buffer is {squares.buffer}: it was shown what it is "
            "judged on, and its scores flatter"
        )
    return found

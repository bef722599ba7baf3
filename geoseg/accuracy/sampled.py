"""Sampled: a map judged by points that someone labelled: points and map in, estimates of accuracy and areas out.

Points are a random sample within strata: the map's own classes, or those of a raster of strata.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj

from geoseg.accuracy.estimates import FEWEST, Estimate, Estimates, estimate
from geoseg.catalog import choice
from geoseg.catalog.legend import Legend
from geoseg.catalog.regions import read_points
from geoseg.catalog.yaml import nearest
from geoseg.errors import CatalogError, GridError, RasterError
from geoseg.quantities import counted
from geoseg.vectors import source as sources
from geoseg.vectors import zones

SCHEMA = 1
"""Of `as_json`; raised when a key changes its meaning."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """A map judged by points."""

    estimates: Estimates
    names: Mapping[int, str]
    mapped_m2: Mapping[int, float]
    """Area of each class on the map."""
    total_m2: float
    """Of the strata; shares are of this."""
    used: int
    """Points."""
    left_out: Mapping[str, int]
    """Points that were not used, by the reason."""


def assess(
    map_file: Path, points: Path, *, label: str, strata: Path | None = None, legend: Legend | None = None
) -> Assessment:
    """Estimate a map's accuracy and the areas of its classes from labelled points.

    Parameters
    ----------
    map_file : Path
        Any raster of class ids.
    points : Path
        Vector file of points in any CRS.
    label : str
        Column with what each point is: ids or names of classes, empty where nobody has looked yet.
    strata : Path, optional
        Raster of the strata that the points were drawn from; default: the map's classes.
    legend : Legend, optional
        Of the map, where it does not say so itself.

    Raises
    ------
    RasterError, GridError, CatalogError
        If the map, the strata, the points or a label cannot be used, or a stratum has too few points.
    """
    of_map = sources.described(map_file, None, legend)
    where, columns, crs = read_points(points)
    if label not in columns:
        raise GridError(f"{points} has no column {label!r}; {nearest(label, tuple(columns))}")
    try:
        labels = [choice.label_of(value, of_map.legend) for value in columns[label].tolist()]
    except CatalogError as error:
        raise CatalogError(f"{points}: {error}") from None
    mapped = _at(of_map, where, crs)
    drawn = mapped if strata is None else _at(sources.described(strata), where, crs)
    usable = [a is not None and b >= 0 and c >= 0 for a, b, c in zip(labels, mapped, drawn)]
    left_out = Counter(
        "without a label" if a is None else "where the map has no data" if b < 0 else "outside all strata"
        for a, b, c, used in zip(labels, mapped, drawn, usable)
        if not used
    )
    areas = {each.class_id: each.area_m2 for each in zones.measure(map_file, legend=legend)}
    sizes = areas if strata is None else {each.class_id: each.area_m2 for each in zones.measure(strata)}
    found = np.array(usable, bool)
    _check(drawn[found].tolist(), sizes, of_map.names if strata is None else {}, points)
    truth = [each for each, used in zip(labels, usable) if used]
    estimates = estimate(drawn[found], mapped[found], [each or 0 for each in truth], sizes)
    names = {each: of_map.names.get(each, str(each)) for each in estimates.classes}
    return Assessment(estimates, names, areas, sum(sizes.values()), int(found.sum()), dict(left_out))


def table(found: Assessment) -> tuple[list[str], list[list[str | float | int | None]], list[str]]:
    """Head, rows and feet of a table: estimates as value and half the width of the 95 % interval.

    Parameters
    ----------
    found : Assessment
        As `assess` gives it.
    """
    head = ["class", "mapped km²", "area km²", "±", "user's", "±", "producer's", "±", "IoU", "±"]
    rows: list[list[str | float | int | None]] = []
    for each, one in found.estimates.classes.items():
        row: list[str | float | int | None] = [found.names[each], found.mapped_m2.get(each, 0.0) / 1e6]
        row += [one.share.value * found.total_m2 / 1e6, one.share.margin * found.total_m2 / 1e6]
        for estimated in (one.users_accuracy, one.producers_accuracy, one.iou):
            row += [_or_none(estimated.value), _or_none(estimated.margin)]
        rows.append(row)
    overall = found.estimates.overall_accuracy
    feet = [f"overall accuracy {overall.value:.3f} ± {overall.margin:.3f}, from {counted(found.used, 'point')}"]
    feet += [f"{counted(number, 'point')} left out, {why}" for why, number in found.left_out.items()]
    feet.append("±: half the width of the 95 % interval; areas are those of the reference, estimated (Olofsson 2014)")
    return head, rows, feet


def as_json(found: Assessment) -> dict[str, Any]:
    """The same as plain data; shares of 1, areas in m², null where there is nothing to estimate from.

    Parameters
    ----------
    found : Assessment
        As `assess` gives it.
    """
    classes = {}
    for each, one in found.estimates.classes.items():
        measures = ("share", "users_accuracy", "producers_accuracy", "f1", "iou")
        facts: dict[str, Any] = {name: _plain(getattr(one, name)) for name in measures}
        area = Estimate(one.share.value * found.total_m2, one.share.standard_error * found.total_m2)
        facts |= {"area_m2": _plain(area), "mapped_m2": found.mapped_m2.get(each, 0.0)}
        facts |= {"points_mapped": one.mapped, "points_labelled": one.labelled}
        classes[found.names[each]] = facts
    return {
        "schema": SCHEMA,
        "overall_accuracy": _plain(found.estimates.overall_accuracy),
        "classes": classes,
        "matrix": {"classes": list(classes), "map_by_reference": found.estimates.matrix.tolist()},
        "points": {"used": found.used, "left_out": dict(found.left_out)},
        "total_m2": found.total_m2,
    }


def _at(of_raster: sources.Source, where: np.ndarray, crs: str) -> np.ndarray:
    """Class ids of a raster at points, (point,) int64; negative outside it and where it has no data."""
    to_raster = pyproj.Transformer.from_crs(pyproj.CRS(crs), of_raster.crs, always_xy=True)
    x, y = to_raster.transform(where[:, 0], where[:, 1])
    cols, rows = ~of_raster.transform @ (np.asarray(x), np.asarray(y))
    inside = np.isfinite(cols) & np.isfinite(rows)
    rows, cols = (np.where(inside, np.floor(each), -1).astype(np.int64) for each in (rows, cols))
    return of_raster.at(rows, cols).astype(np.int64)


def _check(strata: list[int], sizes: Mapping[int, float], names: Mapping[int, str], path: Path) -> None:
    """Refuse strata that have too few points to say anything of them."""
    counts = Counter(strata)
    few = [each for each in sizes if counts[each] < FEWEST]
    if few:
        named = ", ".join(f"{names.get(each, each)} ({counts[each]})" for each in few)
        raise RasterError(
            f"{path}: each stratum needs {FEWEST} labelled points or more, and some have fewer: {named}; label more "
            "points there, or give --strata in which those are joined with others"
        )


def _plain(one: Estimate) -> dict[str, Any]:
    low, high = one.interval
    facts = asdict(one) | {"low": low, "high": high}
    return {key: _or_none(value) for key, value in facts.items()}


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value

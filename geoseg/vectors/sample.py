"""Sample: points of a map drawn at random within its classes, for someone to say what is there.

A point is the middle of a pixel. Which are drawn depends on the map, the number for each class and the seed alone, not
on how the map is read. Pixels without data are never drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np

from geoseg.catalog.legend import Legend
from geoseg.errors import CatalogError, RasterError
from geoseg.vectors import allocation as allocations
from geoseg.vectors import point_files
from geoseg.vectors.allocation import Allocation
from geoseg.vectors.regions import OUTSIDE
from geoseg.vectors.source import Source, described

DEFAULT = 500
"""Points, where neither their number nor a standard error is asked for."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A sample that was written."""

    points: Mapping[str, int]
    """Of each class by its name."""
    standard_error: float
    """Of overall accuracy, where each class is as accurate as was expected."""


def draw(
    map_path: str | Path,
    out: Path,
    number: int | None = None,
    *,
    standard_error: float | None = None,
    expected: Sequence[str] = (),
    allocation: Allocation = "proportional",
    least: int = 30,
    seed: int = 0,
    legend: Legend | None = None,
    overwrite: bool = False,
) -> Drawn:
    """Write a stratified random sample of a map's pixels; the strata are its classes.

    The file has an empty column `label` to fill in, and for each point its stratum (the map's class), the number of
    pixels of that stratum and the probability with which one of them was drawn. The order is random, so that whoever
    labels them cannot guess the stratum.

    Parameters
    ----------
    map_path : path
        Any raster of class ids.
    out : Path
        A .gpkg, .fgb, .geojson, .csv or .kml; the last three in longitude and latitude.
    number : int, optional
        Points in all, `DEFAULT` by default; more where `least` asks for them, fewer where a class has fewer pixels than
        its points.
    standard_error : float, optional
        In place of a number: the standard error that overall accuracy is to have.
    expected : sequence of str
        User's accuracy expected of classes, see `allocation.expectations`.
    allocation : 'proportional', 'equal' or 'optimal'
        See `allocation.allocated`.
    least : int
        Points of each class at least.
    seed : int
        Another seed draws other points.
    legend : Legend, optional
        Names of classes; by default the one that the map carries.
    overwrite : bool
        Replace a file that is there, and the labels that it may hold.

    Returns
    -------
    Drawn

    Raises
    ------
    CatalogError
        If both a number and a standard error are asked for, or what is expected is wrong.
    RasterError
        If the map cannot be read or holds no data, or the file cannot be written.
    """
    point_files.check_ending(out)
    if number is not None and standard_error is not None:
        raise CatalogError("both a number of points and a standard error were asked for; one follows from the other")
    if standard_error is not None and not 0 < standard_error < 0.5:
        raise CatalogError(f"a standard error of {standard_error:g} was asked for; give a share of 1 such as 0.01")
    if out.exists() and not overwrite:
        raise RasterError(f"{out} is there already and may hold labels; name another file or give --overwrite")
    of_map = described(map_path, None, legend)
    counts = _counts(of_map)
    if not counts:
        raise RasterError(f"{map_path} holds no pixel with data; there is nothing to sample")
    hoped = allocations.expectations(expected, list(counts), of_map.legend)
    if standard_error is not None:
        number = allocations.needed(counts, hoped, allocation, standard_error)
    wanted = allocations.allocated(counts, DEFAULT if number is None else number, allocation, least, hoped)
    found = _pixels(of_map, counts, wanted, seed)
    shuffled = np.random.default_rng(seed).permutation(len(found))
    strata, rows, cols = found[shuffled].T
    x, y = of_map.transform @ (cols + 0.5, rows + 0.5)
    frame = geopandas.GeoDataFrame(
        {
            "id": np.arange(1, len(found) + 1),
            "label": np.full(len(found), None, object),
            "stratum": strata,
            "stratum_pixels": [counts[each] for each in strata],
            "probability": [wanted[each] / counts[each] for each in strata],
        },
        geometry=geopandas.points_from_xy(x, y),
        crs=of_map.crs,
    ).astype({"label": "str"})
    frame["label"] = None
    point_files.write(frame, out)
    named = {of_map.names.get(each, str(each)): wanted[each] for each in sorted(wanted)}
    return Drawn(named, allocations.standard_error(counts, wanted, hoped))


def _counts(of_map: Source) -> dict[int, int]:
    """Pixels of each class, by ids."""
    counts: dict[int, int] = {}
    for strip in of_map.strips():
        ids, pixels = np.unique(strip[strip != OUTSIDE], return_counts=True)
        for each, count in zip(ids.tolist(), pixels.tolist()):
            counts[each] = counts.get(each, 0) + count
    return dict(sorted(counts.items()))


def _pixels(of_map: Source, counts: Mapping[int, int], wanted: Mapping[int, int], seed: int) -> np.ndarray:
    """(point, 3) int64: class, row and col of the pixels drawn, those of a class in row-major order."""
    ordinals = {
        each: np.sort(np.random.default_rng([seed, each]).choice(pixels, wanted[each], replace=False))
        for each, pixels in counts.items()
    }
    before, found, row = dict.fromkeys(counts, 0), [], 0
    for strip in of_map.strips():
        flat = strip.ravel()
        for each, drawn in ordinals.items():
            here = np.flatnonzero(flat == each)
            first, last = np.searchsorted(drawn, [before[each], before[each] + len(here)])
            at = here[drawn[first:last] - before[each]]
            before[each] += len(here)
            found.append(np.stack([np.full(len(at), each), row + at // strip.shape[1], at % strip.shape[1]], axis=1))
        row += len(strip)
    points = np.concatenate(found)
    return points[np.lexsort(points.T[::-1])]

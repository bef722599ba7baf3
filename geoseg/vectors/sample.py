"""Sample: points of a map drawn at random within its classes, for someone to say what is there.

A point is the middle of a pixel. Which are drawn depends on the map, the number for each class and the seed alone, not
on how the map is read. Pixels without data are never drawn.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import geopandas
import numpy as np

from geoseg.catalog.legend import Legend
from geoseg.errors import LedgerError, RasterError
from geoseg.quantities import counted
from geoseg.storage import files
from geoseg.vectors.regions import OUTSIDE
from geoseg.vectors.source import Source, described

Allocation = Literal["proportional", "equal"]
_DRIVERS = {".gpkg": "GPKG", ".fgb": "FlatGeobuf", ".geojson": "GeoJSON"}


def draw(
    map_path: str | Path,
    out: Path,
    number: int,
    *,
    allocation: Allocation = "proportional",
    least: int = 30,
    seed: int = 0,
    legend: Legend | None = None,
    overwrite: bool = False,
) -> dict[str, int]:
    """Write a stratified random sample of a map's pixels; the strata are its classes.

    The file has an empty column `label` to fill in, and for each point its stratum (the map's class), the number of
    pixels of that stratum and the probability with which one of them was drawn. The order is random, so that whoever
    labels them cannot guess the stratum.

    Parameters
    ----------
    map_path : path
        Any raster of class ids.
    out : Path
        A .gpkg, .fgb or .geojson; the last in longitude and latitude.
    number : int
        Points in all; more where `least` asks for them, fewer where a class has fewer pixels than its points.
    allocation : 'proportional' or 'equal'
        To the classes' pixels, or as many for each.
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
    dict
        Points of each class by its name.

    Raises
    ------
    RasterError
        If the map cannot be read or holds no data, or the file cannot be written.
    """
    if out.suffix.lower() not in _DRIVERS:
        raise RasterError(f"{out}: a sample is written to {', '.join(_DRIVERS)}, not to {out.suffix!r}; use one")
    if out.exists() and not overwrite:
        raise RasterError(f"{out} is there already and may hold labels; name another file or give --overwrite")
    of_map = described(map_path, None, legend)
    counts = _counts(of_map)
    if not counts:
        raise RasterError(f"{map_path} holds no pixel with data; there is nothing to sample")
    wanted = allocated(counts, number, allocation, least)
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
    _write(frame, out)
    return {of_map.names.get(each, str(each)): wanted[each] for each in sorted(wanted)}


def allocated(counts: Mapping[int, int], number: int, allocation: Allocation, least: int) -> dict[int, int]:
    """Points of each class: shares of `number` by largest remainders, then raised to `least` and cut to what there is.

    Parameters
    ----------
    counts : mapping
        Pixels of each class.
    number, allocation, least
        As for `draw`.
    """
    total = sum(counts.values())
    shares = {
        each: number * (1 / len(counts) if allocation == "equal" else pixels / total) for each, pixels in counts.items()
    }
    given = {each: int(share) for each, share in shares.items()}
    left = number - sum(given.values())
    for each in sorted(shares, key=lambda each: (given[each] - shares[each], each))[:left]:
        given[each] += 1
    return {each: min(counts[each], max(least, points)) for each, points in given.items()}


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


def _write(frame: geopandas.GeoDataFrame, out: Path) -> None:
    suffix = out.suffix.lower()
    if suffix == ".geojson":
        frame = frame.to_crs(4326)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"sample{suffix}"
        frame.to_file(path, driver=_DRIVERS[suffix], layer=out.stem)
        try:
            files.put(out, path.read_bytes())
        except LedgerError as error:
            raise RasterError(f"{out} cannot be written with {counted(len(frame), 'point')}: {error}") from error

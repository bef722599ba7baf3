"""Attributes: what polygons may be asked to tell besides class and area: pixels, perimeter, mean confidence.

All are on the map's grid: of the pixels of a region, before its outline is simplified, but for the perimeter, which is
that of the outline as it is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window as RasterWindow

from geoseg.catalog.yaml import nearest
from geoseg.errors import CatalogError, RasterError
from geoseg.grid import read_crs
from geoseg.quantities import counted
from geoseg.rasters import checks, datasets, validity
from geoseg.rasters.environment import environment
from geoseg.vectors.compiled import compiled
from geoseg.vectors.features import Features
from geoseg.vectors.pieces import FLAG_BITS
from geoseg.vectors.rings import Batch
from geoseg.vectors.source import Source
from geoseg.vectors.strips import NO_AMOUNT

COLUMNS = {"pixels": "pixels", "perimeter": "perim_m", "confidence": "conf"}
"""Names of the columns, by what is asked for."""
_OF_ONE = 2.0**24
"""Parts of 1 in which numbers with a fraction are counted, so that sums are the same in any order."""


def check(names: Sequence[str]) -> tuple[str, ...]:
    """The attributes asked for, each once, in the order of the columns.

    Raises
    ------
    CatalogError
        If there is no such attribute.
    """
    for each in names:
        if each not in COLUMNS:
            raise CatalogError(f"polygons have no attribute {each!r}; {nearest(each, tuple(COLUMNS))}")
    return tuple(each for each in COLUMNS if each in names)


@dataclass(frozen=True, slots=True)
class Confidence:
    """A raster on the map's grid, not open, of which each polygon gets the mean."""

    path: Path
    step: float
    """What one unit of `amounts` stands for."""
    offset: float

    def amounts(self, row: int, rows: int) -> np.ndarray:
        """Integers that stand for the values of some rows, see `strips.Amounts`.

        Parameters
        ----------
        row, rows : int
            First row, and how many.
        """
        with _opened(self.path) as source:
            window = RasterWindow(0, row, source.width, rows)
            values = source.read(1, window=window)
            known = validity.valid(source, 1, window, values)
            if values.dtype.kind == "f":
                known &= np.isfinite(values)
                values = np.rint(np.where(known, values, 0) * _OF_ONE)
            return np.where(known, values.astype(np.int64), NO_AMOUNT)


def confidence(of_map: Source, path: Path | None) -> Confidence:
    """What is known of a map's confidence before it is read.

    Parameters
    ----------
    of_map : Source
        The map.
    path : Path, optional
        A raster of one band; by default `confidence.tif`, or `confidence.vrt`, beside the map.

    Raises
    ------
    RasterError
        If there is none, or it is on another grid.
    """
    if path is None:
        beside = [of_map.path.with_name(f"confidence.{end}") for end in ("tif", "vrt")]
        path = next((each for each in beside if each.exists()), None)
        if path is None:
            raise RasterError(f"there is no {beside[0].name} beside {of_map.path}; name the file of its confidence")
    with _opened(path) as source:
        if source.count != 1:
            raise RasterError(f"{path} has {counted(source.count, 'band')}; confidence has one")
        same_crs = source.crs is not None and read_crs(source.crs.to_string(), str(path)).proj == of_map.crs
        if source.shape != of_map.shape or not source.transform.almost_equals(of_map.transform) or not same_crs:
            raise RasterError(f"{path} is on another grid than {of_map.path}; give the confidence made with the map")
        whole = np.dtype(source.dtypes[0]).kind in "iu"
        return Confidence(path, source.scales[0] / (1 if whole else _OF_ONE), source.offsets[0])


def of_regions(
    names: Sequence[str], exact: Batch, outlines: Features, crs: Any, mean_of: Confidence | None, *, flagged: bool
) -> Mapping[str, np.ndarray]:
    """The columns asked for.

    Parameters
    ----------
    names : sequence of str
        What `check` returns.
    exact : Batch
        The regions, with the sums of `mean_of.amounts`.
    outlines : Features
        The same regions in coordinates of the map, as they will be written.
    crs : pyproj CRS
        Of the map.
    mean_of : Confidence, optional
        Needed where the confidence is asked for.
    flagged : bool
        Whether corners of `exact` carry flags.

    Returns
    -------
    mapping of str to (polygon,) array
        `pixels` int64; `perim_m` float64, holes included; `conf` float64, in the unit of the raster.
    """
    counts = _pixels(exact.region_starts, exact.ring_starts, exact.corners, FLAG_BITS if flagged else 0)
    found: dict[str, np.ndarray] = {}
    if "pixels" in names:
        found["pixels"] = counts
    if "perimeter" in names:
        found["perim_m"] = perimeters(outlines, crs)
    if "confidence" in names:
        assert mean_of is not None
        found["conf"] = exact.sums / counts * mean_of.step + mean_of.offset
    return {COLUMNS[each]: found[COLUMNS[each]] for each in names}


def perimeters(outlines: Features, crs: Any) -> np.ndarray:
    """(polygon,) float64: length of all rings of each polygon in metres.

    Parameters
    ----------
    outlines : Features
        In coordinates of the CRS.
    crs : pyproj CRS
        In the plane of a projected one, whatever that distorts; on the ellipsoid, along geodesics between corners, of
        a geographic one.
    """
    if not len(outlines):
        return np.empty(0)
    x, y = outlines.points.T * crs.axis_info[0].unit_conversion_factor
    if crs.is_geographic:
        _, _, lengths = crs.get_geod().inv(x[:-1], y[:-1], x[1:], y[1:], radians=True)
    else:
        lengths = np.hypot(np.diff(x), np.diff(y))
    lengths = np.append(lengths, 0.0)
    lengths[outlines.ring_starts[1:] - 1] = 0.0  # from one ring to the next
    of_rings = np.add.reduceat(lengths, outlines.ring_starts[:-1])
    return np.add.reduceat(of_rings, outlines.polygon_starts[:-1])


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.exists():
        raise RasterError(f"{path} does not exist; check the path of the confidence")
    try:
        with environment(str(path)):
            driver = checks.driver_of(path)
            with datasets.opened(str(path), driver) as source:
                checks.check_layout(source, path, source.indexes)
                yield source
    except rasterio.errors.RasterioError as error:
        raise RasterError(f"{path} cannot be read as a raster: {error.__cause__ or error}") from error


@compiled
def _pixels(region_starts: np.ndarray, ring_starts: np.ndarray, corners: np.ndarray, flag_bits: int) -> np.ndarray:
    """Pixels of each region by Green's theorem on its exact outline."""
    counts = np.zeros(len(region_starts) - 1, np.int64)
    for region in range(len(counts)):
        for ring in range(region_starts[region], region_starts[region + 1]):
            start, end = ring_starts[ring], ring_starts[ring + 1]
            for at in range(start, end):
                after = at + 1 if at + 1 < end else start
                down = np.int64(corners[after, 1]) - np.int64(corners[at, 1])
                counts[region] -= (np.int64(corners[at, 0]) >> flag_bits) * down
        counts[region] = abs(counts[region])
    return counts

"""Mapping unit: the least areas that a user asks for, in m², and maps in which no region is smaller.

See `sieve` for the rule. Areas are those of `areas`: in the plane, or on the ellipsoid for a geographic CRS.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.windows import Window

from geoseg.catalog import choice
from geoseg.catalog.legend import Legend
from geoseg.errors import CatalogError, RasterError
from geoseg.rasters import attribute_table, readback
from geoseg.rasters.readback import Written
from geoseg.storage.files import folder_beside
from geoseg.vectors import areas
from geoseg.vectors import source as sources
from geoseg.vectors.regions import OUTSIDE
from geoseg.vectors.sieve import Part, Sieved, Strips, sieve
from geoseg.vectors.source import Source

TAG = "GEOSEG_GENERALISED"
"""Metadata item: the least areas, and each class's area before and after."""
_UNITS_M2 = {"m2": 1.0, "ha": 1e4, "km2": 1e6}


@dataclass(frozen=True, slots=True)
class MappingUnit:
    """Least areas in m²."""

    of_others: float = 0.0
    """Of each class that is not named."""
    of_class: Mapping[int, float] = field(default_factory=dict)
    """By class id."""


@dataclass(frozen=True, slots=True)
class Change:
    """What generalising did to a class."""

    class_id: int
    class_name: str
    before_m2: float
    after_m2: float


def parse(texts: Sequence[str], legend: Legend | None) -> MappingUnit:
    """Least areas as they are written on a command line.

    Parameters
    ----------
    texts : sequence of str
        '0.5ha', '900m2' or '1km2' for all classes; 'water=2ha' or 'water,4=2ha' for some of them.
    legend : Legend, optional
        Names of classes.

    Raises
    ------
    CatalogError
        If one cannot be read, or names a class that the legend lacks.

    Examples
    --------
    >>> parse(["0.5ha", "7=100m2"], None)
    MappingUnit(of_others=5000.0, of_class={7: 100.0})
    """
    others = 0.0
    of_class: dict[int, float] = {}
    for text in texts:
        name, given, area = text.rpartition("=")
        found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(m2|ha|km2)\s*", area)
        ids = choice.ids_of(name, legend) if found and given else []
        if found is None or (given and not ids):
            raise CatalogError(f"{text!r} is no least area; write 0.5ha, 900m2 or 1km2, or water=0.5ha for one class")
        size_m2 = float(found[1]) * _UNITS_M2[found[2]]
        of_class |= dict.fromkeys(ids, size_m2)
        if not given:
            others = size_m2
    return MappingUnit(others, of_class)


def sieved(
    of_map: Source,
    unit: MappingUnit,
    *,
    workers: int = 1,
    strips: Strips | None = None,
    parts: Iterable[Part] | None = None,
) -> tuple[Sieved, list[Change]]:
    """A map without regions smaller than the unit, and what that does to each class.

    Parameters
    ----------
    of_map : Source
        All of its classes are sieved, whichever are wanted.
    unit : MappingUnit
        Least areas.
    workers : int
        Threads.
    strips : callable, optional
        Makes the pixels of all classes; default: the map's.
    parts : iterable of Part, optional
        What `sieve.part` makes of each strip, where that is done elsewhere.
    """
    weights, unit_m2 = areas.weights(of_map.crs, of_map.transform, of_map.shape)
    least = {id: _least(area, unit_m2) for id, area in unit.of_class.items()}
    pixels = strips or replace(of_map, wanted=None).strips
    a, b, _, d, e, _ = tuple(of_map.transform)[:6]
    sides = math.hypot(b, e), math.hypot(a, d)
    how: dict[str, Any] = {"weights": weights, "sides": sides, "workers": workers, "parts": parts}
    found = sieve(pixels, least, _least(unit.of_others, unit_m2), **how)
    changes = [
        Change(id, of_map.names.get(id, str(id)), found.before.get(id, 0) * unit_m2, found.after.get(id, 0) * unit_m2)
        for id in sorted(found.before)
    ]
    return found, changes


def tag(
    changes: Sequence[Change], unit: MappingUnit | None = None, simplify: str | None = None, *, smooth: bool = False
) -> str:
    """The metadata item's text.

    Parameters
    ----------
    changes : sequence of Change
        What was done to classes.
    unit : MappingUnit, optional
        Least areas.
    simplify : str, optional
        Tolerance, as it was asked for.
    smooth : bool
        Whether corners were rounded.
    """
    facts: dict[str, Any] = {}
    if unit is not None:
        facts["min_area_m2"] = {"others": unit.of_others, **{str(id): area for id, area in unit.of_class.items()}}
    if simplify is not None:
        facts["simplify"] = simplify
    if smooth:
        facts["smooth"] = True
    facts["area_m2_before_after"] = {
        each.class_name: [round(each.before_m2, 3), round(each.after_m2, 3)] for each in changes
    }
    return json.dumps(facts, ensure_ascii=False)


def write_sieved(
    map_path: str | Path,
    out: str | Path,
    texts: Sequence[str],
    *,
    legend: Legend | None = None,
    overwrite: bool = False,
    workers: int = 1,
) -> list[Change]:
    """Write a map without regions smaller than a unit, as a cloud-optimised GeoTIFF, whole or not at all.

    Type, nodata, colours and tags are the map's; pixels without data stay so.

    Parameters
    ----------
    map_path : path
        The map.
    out : path
        A .tif.
    texts : sequence of str
        Least areas, see `parse`.
    legend : Legend, optional
        Names of classes; by default the one that the map carries.
    overwrite : bool
        Whether a file of that name is replaced.
    workers : int
        Threads.

    Raises
    ------
    RasterError
        If the map cannot be read, or the file cannot be written.
    """
    out = Path(out)
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise RasterError(f"{out}: a sieved map is written to .tif, not to {out.suffix!r}; use that")
    if out.exists() and not overwrite:
        raise RasterError(f"{out} exists; name another file, or say --overwrite")
    of_map = sources.described(map_path, None, legend)
    unit = parse(texts, of_map.legend)
    found, changes = sieved(of_map, unit, workers=workers)
    held = ExitStack()
    try:
        staging = held.enter_context(folder_beside(out))
    except OSError as error:
        raise RasterError(f"{out.parent} cannot be written to: {error}") from error
    try:
        _write(of_map, found, {TAG: tag(changes, unit)}, staging, out)
        readback.check_copy(staging / "plain.tif", staging / "map.tif", out)
        (staging / "map.tif").replace(out)
    except RasterError:
        raise
    except (rasterio.errors.RasterioError, CPLE_BaseError, OSError) as error:
        raise RasterError(f"{out} cannot be written: {error}") from error
    finally:
        held.close()
    return changes


def _least(area_m2: float, unit_m2: float) -> int:
    return min(math.ceil(area_m2 / unit_m2 - 1e-9), 2**62)


def _write(of_map: Source, found: Sieved, tags: Mapping[str, str], folder: Path, out: Path) -> None:
    rows, cols = of_map.shape
    with sources.opened(of_map.path) as source:
        band = sources.class_band(source)
        colours = source.colormap(band) if source.colorinterp[band - 1].name == "palette" else None
        dtype, nodata = source.dtypes[band - 1], source.nodatavals[band - 1]
    profile = {"height": rows, "width": cols, "count": 1, "dtype": dtype, "nodata": nodata}
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "BIGTIFF": "IF_SAFER"}
    how = {"crs": of_map.crs.to_wkt(), "transform": of_map.transform, **profile, **layout}
    masked, written = nodata is None, Written()
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(folder / "plain.tif", "w", driver="GTiff", **how) as file,
    ):
        row = 0
        for strip in found.strips():
            window = Window(0, row, cols, len(strip))
            outside = strip == OUTSIDE
            values = np.where(outside, 0 if masked else nodata, strip).astype(dtype)
            file.write(values, 1, window=window)
            written.note(window, values)
            if masked:
                file.write_mask(~outside, window=window)
            row += len(strip)
        if colours is not None:
            file.write_colormap(1, colours)
        room = attribute_table.reserved(of_map.legend, None) if of_map.legend else {}
        file.update_tags(**{key: value for key, value in of_map.tags.items() if key != "map"}, **tags, **room)
    written.check(folder / "plain.tif", out)
    rasterio.shutil.copy(
        folder / "plain.tif", folder / "map.tif", driver="COG", compress="deflate", overview_resampling="mode"
    )
    if of_map.legend:
        attribute_table.embed(folder / "map.tif", of_map.legend, None)

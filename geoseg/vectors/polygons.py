"""Polygons: a map's land classes traced as polygons.

Coordinates are (x, y) in the map's CRS. A polygon is a set of pixels of one class that touch along edges
(4-connectivity; joining across corners would give invalid polygons). Nodata is left out. Outlines follow pixel
edges, or with a tolerance some of their corners; either way neighbours share their borders, and nothing is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import pyproj
import shapely

from geoseg.catalog.legend import Legend
from geoseg.catalog.regions import read_region
from geoseg.grid import read_crs
from geoseg.vectors import areas, arrow, features, files, mapping_unit, passes, source
from geoseg.vectors import attributes as columns
from geoseg.vectors import simplify as simple
from geoseg.vectors.attributes import Confidence
from geoseg.vectors.features import Features
from geoseg.vectors.files import check_ending, write
from geoseg.vectors.heights import Heights
from geoseg.vectors.mapping_unit import Change
from geoseg.vectors.passes import Passes, Progress
from geoseg.vectors.rings import Batch
from geoseg.vectors.simplify import Kept
from geoseg.vectors.smooth import Smooth
from geoseg.vectors.source import Source
from geoseg.vectors.spread import Mapper
from geoseg.vectors.strips import Amounts

__all__ = ["batches", "read_region", "trace", "vectorize", "write"]


def vectorize(
    map_path: str | Path,
    out: str | Path | Sequence[str | Path],
    *,
    classes: Sequence[int | str] | None = None,
    legend: Legend | None = None,
    per_class: bool = False,
    min_area: Sequence[str] = (),
    simplify: str | None = None,
    smooth: bool = False,
    crs: str | None = None,
    attributes: Sequence[str] = (),
    confidence: str | Path | None = None,
    changed_areas: Callable[[list[Change]], None] = lambda changes: None,
    workers: int = 1,
    mapper: Mapper | None = None,
    progress: Callable[[Progress], None] = passes.silent,
) -> dict[Path, int]:
    """Trace a map of any size and write its polygons, with a style in the legend's colours.

    Memory holds a few strips of the map and the regions that touch them, not all polygons.

    Parameters
    ----------
    map_path, classes, legend
        As in `trace`.
    out, per_class
        As in `files.write`; several outputs are written while the map is traced once.
    min_area : sequence of str
        Least areas of regions, see `mapping_unit.parse`: smaller ones join a neighbour, and the polygons are those of
        the map that `mapping_unit.write_sieved` writes.
    simplify : str, optional
        Tolerance, see `simplify.tolerance`: outlines lose corners that stand out by less, after least areas.
    smooth : bool
        Whether corners are rounded at the end, see `smooth`.
    crs : str, optional
        CRS of the coordinates, to which corners are brought at the end; default: the map's, for .geojson EPSG:4326.
    attributes : sequence of str
        Further columns: 'pixels', 'perimeter' (`perim_m`), 'confidence' (`conf`), see `attributes`.
    confidence : path, optional
        Raster on the map's grid of which `conf` is the mean; default: `confidence.tif` beside the map.
    changed_areas : callable
        Called with what that does to each class's area, before anything is written.
    workers : int
        Threads that trace.
    mapper : callable, optional
        Spreads the work over other processes in place of threads, which changes nothing in the files, see
        `spread.Mapper`; they find the map, and its confidence, at the same paths.
    progress : callable
        Called now and then with how far it is.

    Returns
    -------
    dict of Path to int
        Files written and the number of polygons in each.

    Raises
    ------
    RasterError, CatalogError
        As `trace` and `files.write`; if a map in degrees is to be simplified that is rotated; if a least area or the
        tolerance cannot be read.
    """
    outs = [Path(out)] if isinstance(out, str | Path) else [Path(each) for each in out]
    for each in outs:
        check_ending(each)
    if crs is None and all(each.suffix == ".geojson" for each in outs):
        crs = "EPSG:4326"
    shape = _Shape(tuple(min_area), simplify, smooth, crs, tuple(attributes), confidence)
    of_map = source.described(Path(map_path), classes, legend)
    through = shape.passes(of_map, workers=workers, mapper=mapper, progress=progress)
    layer, parts = _traced(of_map, shape, through, changed_areas)
    return files.write_parts(parts, outs, layer, per_class=per_class)


def trace(
    map_path: str | Path,
    *,
    classes: Sequence[int | str] | None = None,
    legend: Legend | None = None,
    min_area: Sequence[str] = (),
    simplify: str | None = None,
    smooth: bool = False,
    crs: str | None = None,
    attributes: Sequence[str] = (),
    confidence: str | Path | None = None,
    strip_rows: int | None = None,
    workers: int = 1,
) -> geopandas.GeoDataFrame:
    """Polygons of a map's land classes, in the order of their topmost, then leftmost pixel.

    Pixels without data (see `rasters.validity`) are left out. The map is read in strips of rows, whose height changes
    nothing in the result. All polygons are held in memory; `vectorize` writes those of larger maps.

    Parameters
    ----------
    map_path : path
        A raster of one band of class ids (0..65535), such as a map of ours or a .vrt over its sheets; an alpha band
        may come with it.
    classes : sequence of ids or names, optional
        The land classes to trace; all by default.
    legend : Legend, optional
        Names of the classes; by default the one that the map carries. A class without name is called by its id.
    min_area, simplify, smooth, crs, attributes, confidence
        As in `vectorize`.
    strip_rows : int, optional
        Rows read at a time; by default as many as make about four million pixels.
    workers : int
        Threads that trace.

    Returns
    -------
    GeoDataFrame
        `class_id`, `class_name`, `area_m2`, further attributes and `geometry`; `attrs` holds the map's file name
        and tags, its legend only where that is the one used. The area is that on the map's grid: in the plane of a
        projected CRS, whatever that distorts (little in UTM or an equal-area CRS, much in Web Mercator); on the
        ellipsoid for a geographic CRS.

    Raises
    ------
    RasterError
        If the map cannot be read, has several bands or no CRS, or holds values that are no class ids.
    CatalogError
        If a class is asked for that the legend lacks.
    """
    of_map = source.described(Path(map_path), classes, legend)
    shape = _Shape(tuple(min_area), simplify, smooth, crs, tuple(attributes), confidence)
    layer, parts = _traced(of_map, shape, shape.passes(of_map, workers=workers, strip_rows=strip_rows))
    found = features.concatenated(list(parts))
    shapes = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, found.points, (found.ring_starts, found.polygon_starts)
    )
    columns = {
        "class_id": found.class_ids,
        "class_name": [layer.names.get(value, str(value)) for value in found.class_ids.tolist()],
        "area_m2": found.areas_m2,
        **found.columns,
    }
    frame = geopandas.GeoDataFrame(columns, geometry=shapes, crs=layer.crs)
    frame.attrs = dict(layer.tags)
    return frame


def batches(
    map_path: str | Path,
    *,
    classes: Sequence[int | str] | None = None,
    legend: Legend | None = None,
    min_area: Sequence[str] = (),
    simplify: str | None = None,
    smooth: bool = False,
    crs: str | None = None,
    attributes: Sequence[str] = (),
    confidence: str | Path | None = None,
    workers: int = 1,
) -> Iterator[pa.RecordBatch]:
    """The same polygons some at a time, for maps of any size.

    Parameters
    ----------
    map_path, classes, legend, min_area, simplify, smooth, crs, attributes, confidence, workers
        As in `trace`.

    Yields
    ------
    pyarrow RecordBatch
        `class_id`, `class_name`, `area_m2`, further attributes and `geometry`, well-known binary.
    """
    of_map = source.described(Path(map_path), classes, legend)
    shape = _Shape(tuple(min_area), simplify, smooth, crs, tuple(attributes), confidence)
    layer, parts = _traced(of_map, shape, shape.passes(of_map, workers=workers))
    for part in parts:
        yield from arrow.batches(part, layer.names, arrow.schema(layer.columns))


def files_read(map_path: Path, attributes: Sequence[str] = (), confidence: Path | None = None) -> list[Path]:
    """The rasters that `vectorize` reads, where they are there.

    Parameters
    ----------
    map_path, attributes, confidence
        As in `vectorize`.
    """
    of_map = source.described(map_path)
    asked = _Asked.of(of_map, _Shape((), None, False, None, tuple(attributes), confidence))
    return [map_path, *([] if asked.mean_of is None else [asked.mean_of.path])]


@dataclass(frozen=True, slots=True)
class _Shape:
    """How polygons are to be, as their user says it."""

    min_area: tuple[str, ...]
    simplify: str | None
    smooth: bool
    crs: str | None
    attributes: tuple[str, ...]
    confidence: str | Path | None

    @property
    def loose(self) -> bool:
        """Whether outlines leave the sides of pixels."""
        return self.smooth or self.simplify is not None

    def passes(self, of_map: Source, **how: Any) -> Passes:
        """The map gone through, where outlines leave the sides of pixels with all of its classes.

        Parameters
        ----------
        of_map : Source
            The map.
        how
            As for `Passes`.
        """
        return Passes(replace(of_map, wanted=None) if self.loose else of_map, **how)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Further attributes, and the raster that they need."""

    names: tuple[str, ...]
    mean_of: Confidence | None

    @classmethod
    def of(cls, of_map: Source, shape: _Shape) -> _Asked:
        names = columns.check(shape.attributes)
        if "confidence" not in names:
            return cls(names, None)
        return cls(names, columns.confidence(of_map, None if shape.confidence is None else Path(shape.confidence)))

    @property
    def amounts(self) -> Amounts | None:
        return None if self.mean_of is None else replace(self.mean_of, path=self.mean_of.path.absolute()).amounts


def _traced(
    of_map: Source,
    shape: _Shape,
    through: Passes,
    changed_areas: Callable[[list[Change]], None] = lambda changes: None,
) -> tuple[files.Layer, Iterator[Features]]:
    """What is known of all polygons, and they themselves as they come."""
    asked = _Asked.of(of_map, shape)
    there = None if shape.crs is None else read_crs(shape.crs, "the polygons' CRS").proj
    changes: list[Change] = []
    unit, kept = None, None
    if shape.min_area:
        unit = mapping_unit.parse(shape.min_area, of_map.legend)
        changes = through.sieve(unit)
    if shape.loose:
        kept, drawn = _drawn(of_map, through, shape)
        after = {each.class_id: each.after_m2 for each in drawn}
        changes = [replace(each, after_m2=after.get(each.class_id, 0.0)) for each in changes or drawn]
    tags = of_map.tags
    if changes:
        changed_areas(changes)
        tags = {**tags, mapping_unit.TAG: mapping_unit.tag(changes, unit, shape.simplify, smooth=shape.smooth)}
    parts = _parts(of_map, through, asked, kept)
    if there is not None:
        mover = pyproj.Transformer.from_crs(of_map.crs, there, always_xy=True)
        parts = (features.moved(part, mover) for part in parts)
    crs = of_map.crs if there is None else there
    further = tuple(columns.COLUMNS[each] for each in asked.names)
    return files.Layer(crs, of_map.names, tags, of_map.legend, further), parts


def _drawn(of_map: Source, through: Passes, shape: _Shape) -> tuple[Kept | Smooth, list[Change]]:
    """How outlines leave the sides of pixels, and what that does to each class."""
    simple.check(shape.simplify, of_map.crs, of_map.transform, str(of_map.path))
    weights, unit_m2 = areas.weights(of_map.crs, of_map.transform, of_map.shape)
    rows, cols = of_map.shape
    drawn: Kept | Smooth = Smooth(of_map.shape, Heights(weights, rows))
    sizes: Mapping[int, tuple[float, float]] = {}
    if shape.simplify is not None:
        middle = areas.area_of(of_map.crs, of_map.transform)(np.array([rows // 2]), np.array([cols // 2]), np.ones(1))
        pixels = simple.tolerance(shape.simplify, math.sqrt(middle[0]))
        drawn = through.kept(pixels, weights, rounded=shape.smooth)
        sizes = drawn.sizes
    if shape.smooth:
        sizes = _sizes(through.regions("smoothing", weights, flagged=True), drawn)
    names = of_map.names
    changes = [
        Change(id, names.get(id, str(id)), before * unit_m2, after * unit_m2) for id, (before, after) in sizes.items()
    ]
    return drawn, changes


def _sizes(batches: Iterable[Batch], drawn: Kept | Smooth) -> Mapping[int, tuple[float, float]]:
    """Area of each class before and after, in the unit of the weights."""
    found: dict[int, list[float]] = {}
    for batch in batches:
        _, after = drawn.outlines(batch)
        for id in np.unique(batch.values).tolist():
            here, total = batch.values == id, found.setdefault(id, [0.0, 0.0])
            total[0] += float(batch.sizes[here].sum())
            total[1] += float(after[here].sum())
    return {id: (before, after) for id, (before, after) in sorted(found.items())}


def _parts(of_map: Source, through: Passes, asked: _Asked, kept: Kept | Smooth | None = None) -> Iterator[Features]:
    """Polygons of the classes that are wanted."""
    weights, unit_m2 = areas.weights(of_map.crs, of_map.transform, of_map.shape)
    wanted, flagged = of_map.wanted, kept is not None
    for batch in through.regions("tracing", weights, asked.amounts, flagged=flagged):
        if kept is None:
            exact = batch
            made = features.located(exact, of_map.transform, unit_m2)
        else:
            exact = batch if wanted is None else batch.take(np.flatnonzero(np.isin(batch.values, wanted)))
            thinned, sizes = kept.outlines(exact)
            made = replace(features.located(thinned, of_map.transform, unit_m2), areas_m2=sizes * unit_m2)
        if asked.names:
            further = columns.of_regions(asked.names, exact, made, of_map.crs, asked.mean_of, flagged=flagged)
            made = replace(made, columns=further)
        yield made
        through.polygons += len(made)

"""Score: how well a map agrees with a reference map, class by class, on one grid.

The measures are those of `confusion`, the reference is read by `references`. Agreement with another map is not an
unbiased estimate of accuracy or of area; that needs a probability sample of the ground.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geom import Geometry

from geoseg.accuracy import alignment, blocks, comparison, counting, drawn, intervals, seen, spread
from geoseg.accuracy.alignment import Alignment, GridOf
from geoseg.accuracy.blocks import Blocks
from geoseg.accuracy.boundaries import NOT_ASKED, Boundaries, Found
from geoseg.accuracy.calibration import Calibration
from geoseg.accuracy.confusion import Confusion, fold, unknown_ids
from geoseg.accuracy.counting import Comparison
from geoseg.accuracy.ignore import NOTHING, Ignore, advice
from geoseg.accuracy.intervals import Intervals
from geoseg.accuracy.references import LabelRaster, Resampling, opened
from geoseg.accuracy.seen import Trained
from geoseg.accuracy.spread import Counter, Mapper, Progress
from geoseg.accuracy.zones import Zone
from geoseg.catalog import Reference
from geoseg.catalog.legend import Crosswalk, Legend
from geoseg.errors import CatalogError, RasterError
from geoseg.grid import Grid, Region, Window
from geoseg.process import cores


@dataclass(frozen=True, slots=True, eq=False)
class Accuracy:
    """A map scored against a reference."""

    legend: Legend
    """Classes compared: the map's, or the reference's where the crosswalk leads there."""
    confusion: Confusion
    areas_m2: np.ndarray
    """(2, class) float64: area of each class in the compared pixels, by the reference and by the map."""
    crosswalk: Crosswalk
    direction: str
    """'reference to map', 'map to reference' or 'same legend'."""
    lossy: tuple[tuple[str, int, str], ...]
    """(class, pixels, what is lost or doubtful) of the crosswalk's entries met in the pixels compared."""
    alignment: Alignment
    """On whose grid they were compared, and how the other came onto it."""
    provenance: Mapping[str, Any]
    """Of the map, the reference and the region; plain data."""
    notes: tuple[str, ...]
    """Sentences that a reader of the scores should know."""
    blocks: Blocks
    """What was compared, by small blocks of the comparison's grid."""
    intervals: Intervals
    side_m: float
    """Side of a pixel of the comparison's grid, metres."""
    zones: tuple[Zone, ...] = ()
    """What was found in each zone that was asked for."""
    calibration: Calibration | None = None
    """Of the map's confidence, where that was given."""
    boundaries: Boundaries = NOT_ASKED
    """What was asked about boundaries."""
    borders: Found | None = None
    """What was found near them."""


def score(
    map_path: Path | str,
    reference: Reference,
    crosswalk: Crosswalk | None = None,
    *,
    legend: Legend,
    region: Region | None = None,
    grid: GridOf = "auto",
    resampling: Resampling = "auto",
    ignore_unknown: bool = False,
    nodata: int | None = None,
    ignore: Ignore = NOTHING,
    trained: Trained | None = None,
    interval_block: str | None = None,
    zones: Path | None = None,
    zone_column: str | None = None,
    confidence: Path | None = None,
    boundaries: Boundaries = NOT_ASKED,
    workers: int | None = None,
    mapper: Mapper | None = None,
    progress: Progress = spread.silent,
) -> Accuracy:
    """Score a map against a reference on the grid of one of them, block by block.

    Pixels without a reference label are ignored. Pixels with one where the map is nodata are not scored either,
    but counted as `unlabelled` and reported: a map that leaves out what is hard must not seem better for it.

    Parameters
    ----------
    map_path : path
        Raster of class ids; its first band is read.
    reference : Reference
        From the catalog.
    crosswalk : Crosswalk, optional
        From the reference's legend to the map's, or from the map's to the reference's; the target's classes are
        compared. Default: the legends must be the same.
    legend : Legend
        The map's legend.
    region : Region, optional
        Score only pixels whose centre lies inside.
    grid, resampling
        On whose grid, and how the other comes onto it; see `alignment.choose`.
    ignore_unknown : bool
        Treat ids that a legend lacks as not labelled (they are counted in the notes) instead of refusing them.
    nodata : int, optional
        Value of the map that means no data, in place of what the file declares.
    ignore : Ignore
        Classes of the map or the reference whose pixels count as not labelled.
    trained : Trained, optional
        Where the map's model was trained; the notes then say what share of the scored pixels lies there.
    interval_block : str, optional
        Edge of the blocks that are resampled for intervals, see `blocks.given`. Default: by the correlogram of errors.
    zones : Path, optional
        Polygons or a raster of integers: the same is also counted in each of these zones.
    zone_column : str, optional
        Attribute that names polygons; by default they are numbered from 1.
    confidence : Path, optional
        Raster of the map's confidence on its own pixels; used where these are the comparison's.
    boundaries : Boundaries
        What to tell about boundaries of classes, and how near to them nothing is scored.
    workers : int, optional
        Threads that count; by default one for each core. Their number changes no count.
    mapper : callable, optional
        Spreads the squares over other processes in place of threads, see `spread.Mapper`; they find all files at the
        same paths.
    progress : callable
        Called with the squares that are done, and how many there are.

    Returns
    -------
    Accuracy

    Raises
    ------
    RasterError
        If a file cannot be read, or map and reference have no labelled pixel in common.
    CatalogError
        If the crosswalk does not join the legends, leaves out all that is common, or a raster holds unknown ids.
    GridError
        If the region cannot be brought to the map's CRS, or `interval_block` is no length or too short.
    """
    path = str(map_path)
    as_raster = Reference("map", path, 1, legend, nodata)
    chosen, direction = comparison.choose(legend, reference.legend, crosswalk)
    with (
        opened(as_raster) as mapped,
        drawn.as_raster(reference, mapped.grid, mapped.window) as raster,
        opened(raster) as source,
    ):
        where = alignment.choose(mapped, source, grid=grid, resampling=resampling)
        target, *joined = comparison.join(chosen, direction, legend, reference.legend)
        asked = Comparison(
            legends=(legend, reference.legend),
            grid=where.grid,
            extent=where.extent,
            resampling=where.resampling,
            ignore=ignore,
            ground=_ground(region, where),
            trained=None if trained is None else seen.on(trained, where.grid, where.extent),
            classes=(joined[0], joined[1], len(target)),
            edge=1,
        )
        edge = blocks.edge_for(asked.extent, math.prod(asked.shape))
        if interval_block is not None:
            edge = blocks.given(interval_block, counting.pixel_side_m(asked), asked.extent)
        judged = confidence if where.grid_of == "map" else None
        asked = replace(asked, edge=edge, boundaries=boundaries)

        there = mapper is not None
        counter = Counter(
            asked,
            as_raster if not there else replace(as_raster, file=str(Path(path).absolute())),
            reference if there else raster,
            zones if zones is None else zones.absolute(),
            zone_column,
            judged if judged is None else judged.absolute(),
        )
        found, named = spread.counted(counter, workers=workers or cores(), mapper=mapper, progress=progress)
        hint = "" if region is None else _hint(region, mapped.grid, mapped.window)
        provenance = _provenance(mapped, reference, region, ignore)
        if zones is not None:
            provenance |= {"zoned_by": {"file": zones.name, "column": zone_column}}
    for which, what, ids, theirs in (
        ("map", f"map {path}", found.unknown[0], legend),
        ("reference", f"reference {reference.name!r}", found.unknown[1], reference.legend),
    ):
        if ids and not (ignore_unknown or ignore.unknown):
            error = unknown_ids(what, ids, theirs)
            raise CatalogError(f"{error}, or leave them out: geoseg evaluate ... {advice(which, sorted(ids))}")
    folded = fold(found.pairs, *asked.classes)
    if found.near and not folded.matrix.any():
        raise CatalogError(
            f"all that map and reference have in common is within {boundaries.ignored} px of a border between classes "
            "of the reference; give a smaller --boundary-ignore"
        )
    _check_compared(found.pairs, folded, path, reference, chosen, region, found.ignored, hint)
    sized = fold(found.sizes, *asked.classes).matrix
    notes = _notes(folded, found.pairs, where, found.ignored)
    if boundaries.ignored:
        notes += (
            f"{found.near:,} labelled pixels within {boundaries.ignored} px of a border between classes of the "
            "reference are not scored",
        )
    if confidence is not None and judged is None:
        notes += ("the map's confidence is not judged on the reference's grid; compare on the map's for that",)
    if trained is not None:
        scored = {kind: int(fold(each, *asked.classes).matrix.sum()) for kind, each in found.met.items()}
        provenance["seen_in_training"] = {"model": trained.model, "pixels": scored}
        notes += (seen.sentence(trained.model, scored, int(folded.matrix.sum())),)
    return Accuracy(
        legend=target,
        confusion=folded,
        areas_m2=np.array([sized.sum(1), sized.sum(0)]) * counting.area_weights(asked)[1],
        crosswalk=chosen,
        direction=direction,
        lossy=comparison.lossy_met(chosen, found.pairs, direction),
        alignment=where,
        provenance=provenance,
        notes=notes,
        blocks=found.blocks,
        intervals=intervals.of(found.blocks, given=interval_block is not None),
        side_m=counting.pixel_side_m(asked),
        zones=tuple(
            Zone(name, fold(found.zones.get(number, np.zeros(asked.shape, np.int64)), *asked.classes))
            for number, name in named.items()
        ),
        calibration=None if judged is None else Calibration(found.levels),
        boundaries=boundaries,
        borders=Found(found.borders, found.near),
    )


def _check_compared(
    counts: np.ndarray,
    folded: Confusion,
    path: str,
    reference: Reference,
    crosswalk: Crosswalk,
    region: Region | None,
    ignored: int,
    hint: str,
) -> None:
    """Refuse to give scores where nothing was compared."""
    if folded.matrix.any():
        return
    where = f" inside {region.name}" if region else ""
    if ignored:
        raise CatalogError(f"what is ignored is all that map and reference have in common{where}; ignore fewer classes")
    if not counts[:-2].any():
        raise RasterError(
            f"reference {reference.name!r} has no labelled pixel on {path}{where}"
            f"{hint or ', so check that they overlap and that the crs and nodata of the reference are right'}"
        )
    if folded.unlabelled.any():
        raise RasterError(
            f"map {path} is nodata{where} wherever reference {reference.name!r} has a label to compare; "
            "choose another reference or region"
        )
    raise CatalogError(
        f"crosswalk {crosswalk.name!r} leaves out every class that map {path} and reference {reference.name!r} "
        f"have in common{where}; name another crosswalk"
    )


def _notes(folded: Confusion, counts: np.ndarray, where: Alignment, ignored: int) -> tuple[str, ...]:
    notes = []
    if ignored:
        notes.append(f"{ignored:,} pixels are of classes that were to be ignored and are not scored")
    labelled = int(folded.matrix.sum() + folded.unlabelled.sum() + folded.left_out.sum())
    for pixels, why in (
        (folded.unlabelled.sum(), "the map is nodata there"),
        (folded.left_out.sum(), "the map's class there has no counterpart in the crosswalk"),
    ):
        if pixels:
            notes.append(f"{pixels:,} labelled pixels ({pixels / labelled:.1%}) are not scored: {why}")
    mine, theirs = where.pixel_sizes
    if where.grid_of == "map" and round(theirs / mine, 2) >= 2:
        notes.append(
            f"the reference's pixels are {theirs / mine:.1f} times as long as the map's, on whose grid both are "
            "compared: detail finer than the reference counts as error"
        )
    unknown_pixels = int(counts[-1].sum() + counts[:-1, -1].sum())
    if unknown_pixels:
        notes.append(f"{unknown_pixels:,} pixels have ids that the legends lack and are taken as not labelled")
    return tuple(notes)


def _hint(region: Region, grid: Grid, window: Window) -> str:
    """Whether a region that does not meet the map would do so with its numbers swapped."""
    meets = region.on(grid).geom.intersects(grid.footprint(window).geom)
    return "" if meets else region.hint(grid, window)


def _ground(region: Region | None, where: Alignment) -> Geometry | None:
    """What pixels must lie in, in the CRS of the comparison."""
    if region is None or where.outline is None:
        return where.outline if region is None else region.on(where.grid)
    both = region.on(where.grid).geom.intersection(where.outline.geom)
    return Geometry(both, where.outline.crs)


def _provenance(mapped: LabelRaster, reference: Reference, region: Region | None, ignore: Ignore) -> dict[str, Any]:
    path = Path(mapped.source.path)
    tags = {key: value for key, value in mapped.file.tags().items() if not key.endswith("LEGEND")}
    digest = None
    if path.is_file():
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "map": {"file": path.name, "sha256": digest, "tags": tags},
        "reference": {
            "name": reference.name,
            "file": Path(reference.file).name,
            "legend": reference.legend.name,
            "attribution": reference.attribution,
        },
        "region": region.name if region is not None else None,
        **({} if ignore == NOTHING else {"ignore": {"map": sorted(ignore.map), "reference": sorted(ignore.reference)}}),
    }

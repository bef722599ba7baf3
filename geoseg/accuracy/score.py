"""Score: how well a map agrees with a reference map, class by class, on the map's own grid.

The measures are those of `confusion`, the reference is read by `references`. Agreement with another map is not an
unbiased estimate of accuracy or of area; that needs a probability sample of the ground.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.accuracy import comparison, seen
from geoseg.accuracy.confusion import Confusion, fold, tally, unknown_ids
from geoseg.accuracy.ignore import NOTHING, Ignore, advice
from geoseg.accuracy.references import LabelRaster, Resampling, opened
from geoseg.accuracy.seen import Trained
from geoseg.catalog import Reference
from geoseg.catalog.legend import Crosswalk, Legend
from geoseg.errors import CatalogError, RasterError
from geoseg.grid import Grid, Region, Window, cut, read_crs
from geoseg.quantities import length, plain
from geoseg.rasters import footprints, masks

_STEP = 1024
"""Edge in pixels of what is read at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Accuracy:
    """A map scored against a reference."""

    legend: Legend
    """Classes compared: the map's, or the reference's where the crosswalk leads there."""
    confusion: Confusion
    crosswalk: Crosswalk
    direction: str
    """'reference to map', 'map to reference' or 'same legend'."""
    lossy: tuple[tuple[str, int, str], ...]
    """(class, pixels, what is lost or doubtful) of the crosswalk's entries met in the pixels compared."""
    resampling: str
    """How the reference came onto the map's grid: 'none', 'nearest' or 'mode'."""
    pixel_sizes: tuple[float, float]
    """Pixel side of the map and, at its centre, of the reference, in `unit`."""
    unit: str
    """Unit of the map's CRS."""
    provenance: Mapping[str, Any]
    """Of the map, the reference and the region; plain data."""
    notes: tuple[str, ...]
    """Sentences that a reader of the scores should know."""


def score(
    map_path: Path | str,
    reference: Reference,
    crosswalk: Crosswalk | None = None,
    *,
    legend: Legend,
    region: Region | None = None,
    resampling: Resampling = "auto",
    ignore_unknown: bool = False,
    nodata: int | None = None,
    ignore: Ignore = NOTHING,
    trained: Trained | None = None,
) -> Accuracy:
    """Score a map against a reference, on the map's grid, block by block.

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
    resampling : {'auto', 'nearest', 'mode'}
        How the reference comes onto the map's grid. auto: mode where its pixels at the map's centre are at least
        twice finer than the map's, else nearest.
    ignore_unknown : bool
        Treat ids that a legend lacks as not labelled (they are counted in the notes) instead of refusing them.
    nodata : int, optional
        Value of the map that means no data, in place of what the file declares.
    ignore : Ignore
        Classes of the map or the reference whose pixels count as not labelled.
    trained : Trained, optional
        Where the map's model was trained; the notes then say what share of the scored pixels lies there.

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
        If the region cannot be brought to the map's CRS.
    """
    path = str(map_path)
    chosen, direction = comparison.choose(legend, reference.legend, crosswalk)
    with (
        opened(Reference("map", path, 1, legend, nodata)) as mapped,
        opened(reference) as source,
    ):
        row, col = mapped.window.row + mapped.window.height // 2, mapped.window.col + mapped.window.width // 2
        fineness = footprints.fineness(source.source, mapped.grid, Window(row, col, 1, 1))
        how: Any = resampling
        if resampling == "auto":
            how = "mode" if round(fineness, 2) >= 2 else "nearest"
        ground = None if trained is None else seen.on(trained, mapped.grid, mapped.window)
        counts, unknown, ignored, met = _count(mapped, legend, source, reference.legend, how, region, ignore, ground)
        aligned = footprints.own(source.source, mapped.grid) is not None
        hint = "" if region is None else _hint(region, mapped.grid, mapped.window)
        provenance = _provenance(mapped, reference, region, ignore)
        side = math.sqrt(mapped.grid.pixel_area)
        unit = read_crs(mapped.grid.crs, path).units[0]
    for which, what, ids, theirs in (
        ("map", f"map {path}", unknown[0], legend),
        ("reference", f"reference {reference.name!r}", unknown[1], reference.legend),
    ):
        if ids and not (ignore_unknown or ignore.unknown):
            error = unknown_ids(what, ids, theirs)
            raise CatalogError(f"{error}, or leave them out: geoseg evaluate ... {advice(which, sorted(ids))}")
    target, rows, cols = comparison.join(chosen, direction, legend, reference.legend)
    folded = fold(counts, rows, cols, len(target))
    _check_compared(counts, folded, path, reference, chosen, region, ignored, hint)
    sizes = side, side / fineness if fineness else math.nan
    notes = _notes(folded, counts, sizes, unit, ignored)
    if trained is not None:
        scored = {kind: int(fold(each, rows, cols, len(target)).matrix.sum()) for kind, each in met.items()}
        provenance["seen_in_training"] = {"model": trained.model, "pixels": scored}
        notes += (seen.sentence(trained.model, scored, int(folded.matrix.sum())),)
    return Accuracy(
        legend=target,
        confusion=folded,
        crosswalk=chosen,
        direction=direction,
        lossy=comparison.lossy_met(chosen, counts, direction),
        resampling="none" if aligned else how,
        pixel_sizes=sizes,
        unit=unit,
        provenance=provenance,
        notes=notes,
    )


def _count(
    mapped: LabelRaster,
    legend: Legend,
    source: LabelRaster,
    theirs: Legend,
    resampling: Resampling,
    region: Region | None,
    ignore: Ignore,
    trained: seen.Ground | None,
) -> tuple[np.ndarray, tuple[set[int], set[int]], int, dict[str, np.ndarray]]:
    """Counts in the two legends, the ids that each lacks (of map and reference), and the pixels that were ignored.

    Then the counts of the pixels where a model was trained, for each kind of such areas.
    """
    grid, extent = mapped.grid, mapped.window
    ground = region.on(grid) if region is not None else None
    map_positions, reference_positions = ignore.tables(legend, theirs)
    ignored = 0
    counts = np.zeros((len(theirs) + 2, len(legend) + 2), np.int64)
    met = {kind: np.zeros_like(counts) for kind in seen.KINDS} if trained is not None else {}
    unknown: tuple[set[int], set[int]] = set(), set()
    for square in cut(extent, _STEP):
        window = square.meet(extent)
        assert window is not None
        inside = masks.inside(ground, grid, window) if ground is not None else None
        if inside is not None and not inside.any():
            continue
        if inside is not None and inside.all():
            inside = None
        pair = mapped.labels(grid, window, "nearest"), source.labels(grid, window, resampling)
        ours, other = (each if inside is None else each[inside] for each in pair)
        at, other_at = map_positions[ours], reference_positions[other]
        if ignore.map or ignore.reference:
            dropped = ignore.among(ours, other)
            ignored += int(dropped.sum())
            other_at[dropped] = len(theirs)
        part = tally(other_at, at, len(theirs), len(legend))
        if part[-1].any() or part[:, -1].any():
            unknown[0].update(np.unique(ours[at == len(legend) + 1]).tolist())
            unknown[1].update(np.unique(other[other_at == len(theirs) + 1]).tolist())
        counts += part
        for kind, mask in (trained.within(window) if trained is not None else {}).items():
            there = mask if inside is None else mask[inside]
            met[kind] += tally(other_at[there], at[there], len(theirs), len(legend))
    return counts, unknown, ignored, met


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


def _notes(
    folded: Confusion, counts: np.ndarray, sizes: tuple[float, float], unit: str, ignored: int
) -> tuple[str, ...]:
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
    if round(sizes[1] / sizes[0], 2) >= 2:
        notes.append(
            f"the reference's pixels ({_size(sizes[1], unit)}) are {sizes[1] / sizes[0]:.1f} times the map's "
            f"({_size(sizes[0], unit)}): detail finer than the reference counts as error"
        )
    unknown_pixels = int(counts[-1].sum() + counts[:-1, -1].sum())
    if unknown_pixels:
        notes.append(f"{unknown_pixels:,} pixels have ids that the legends lack and are taken as not labelled")
    return tuple(notes)


def _hint(region: Region, grid: Grid, window: Window) -> str:
    """Whether a region that does not meet the map would do so with its numbers swapped."""
    meets = region.on(grid).geom.intersects(grid.footprint(window).geom)
    return "" if meets else region.hint(grid, window)


def _size(side: float, unit: str) -> str:
    return length(side) if unit == "metre" else f"{plain(side)} {unit}"


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

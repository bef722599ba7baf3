"""Accuracy: how well a map agrees with a reference map, class by class, on the map's own grid.

The measures are those of `agreement`, the reference is read by `references`. Agreement with another map is not an
unbiased estimate of accuracy or of area; that needs a probability sample of the ground.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.accuracy.confusion import (
    Confusion,
    f1,
    fold,
    frequency_weighted_iou,
    iou,
    mean_iou,
    pixel_accuracy,
    places,
    precision,
    recall,
    tally,
    unknown_ids,
)
from geoseg.accuracy.confusion import confusion as confusion
from geoseg.accuracy.references import LabelRaster, Resampling, opened
from geoseg.accuracy.references import check as check
from geoseg.accuracy.references import on_grid as on_grid
from geoseg.catalog import Reference
from geoseg.catalog.legend import Crosswalk, Legend, identity
from geoseg.errors import CatalogError, RasterError
from geoseg.grid import Region, Window, cut, read_crs
from geoseg.rasters import footprints, masks
from geoseg.storage.store import Store

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
    chosen, direction = _chosen(legend, reference.legend, crosswalk)
    with (
        opened(Reference("map", path, 1, legend, None)) as mapped,
        opened(reference) as source,
    ):
        row, col = mapped.window.row + mapped.window.height // 2, mapped.window.col + mapped.window.width // 2
        fineness = footprints.fineness(source.source, mapped.grid, Window(row, col, 1, 1))
        how: Any = resampling
        if resampling == "auto":
            how = "mode" if round(fineness, 2) >= 2 else "nearest"
        counts, unknown = _count(mapped, legend, source, reference.legend, how, region)
        aligned = footprints.own(source.source, mapped.grid) is not None
        provenance = _provenance(mapped, reference, region)
        side = math.sqrt(mapped.grid.pixel_area)
        unit = read_crs(mapped.grid.crs, path).units[0]
    if unknown[0] and not ignore_unknown:
        raise unknown_ids(f"map {path}", unknown[0], legend)
    if unknown[1] and not ignore_unknown:
        raise unknown_ids(f"reference {reference.name!r}", unknown[1], reference.legend)
    target, rows, cols = _joined(chosen, direction, legend, reference.legend)
    folded = fold(counts, rows, cols, len(target))
    _check_compared(counts, folded, path, reference, chosen, region)
    sizes = side, side / fineness if fineness else math.nan
    return Accuracy(
        legend=target,
        confusion=folded,
        crosswalk=chosen,
        direction=direction,
        lossy=_lossy(chosen, counts, direction),
        resampling="none" if aligned else how,
        pixel_sizes=sizes,
        unit=unit,
        provenance=provenance,
        notes=_notes(folded, counts, sizes, unit),
    )


def write(accuracy: Accuracy, folder: Path | str) -> tuple[Path, Path]:
    """Write accuracy.json and accuracy.csv into a folder, each whole or not at all.

    Numbers that cannot be told (NaN) are null in JSON and empty in CSV.

    Raises
    ------
    LedgerError
        If the folder cannot be written.
    """
    store = Store(str(Path(folder).absolute()))
    store.put("accuracy.json", (json.dumps(_plain(accuracy), indent=1, allow_nan=False) + "\n").encode())
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("class", "id", *_MEASURES))
    for each, values in zip(accuracy.legend.classes, _rows(accuracy)):
        lines.writerow((each.name, each.id, *("" if v is None else v for v in values)))
    store.put("accuracy.csv", text.getvalue().encode())
    return store.path("accuracy.json"), store.path("accuracy.csv")


def table(accuracy: Accuracy) -> tuple[tuple[str, ...], list[tuple[str, ...]], list[str]]:
    """What a terminal shows: column heads, a row of text for each class, and lines below them."""
    head = ("class", "IoU", "precision", "recall", "F1", "ref px", "map px", "nodata px")
    rows = [
        (each.name, *("-" if v is None else f"{v:.3f}" for v in values[:4]), *(f"{v:,}" for v in values[4:]))
        for each, values in zip(accuracy.legend.classes, _rows(accuracy))
    ]
    matrix = accuracy.confusion.matrix
    found = int(np.isfinite(iou(matrix)).sum())
    feet = [
        f"mean IoU {mean_iou(matrix):.3f} over {found} of {len(accuracy.legend)} classes, pixel accuracy "
        f"{pixel_accuracy(matrix):.3f}, frequency-weighted IoU {frequency_weighted_iou(matrix):.3f}, "
        f"{int(matrix.sum()):,} pixels compared",
        *accuracy.notes,
        *(f"crosswalk: {name} ({pixels:,} px): {text}" for name, pixels, text in accuracy.lossy),
    ]
    return head, rows, feet


_MEASURES = ("iou", "precision", "recall", "f1", "reference_pixels", "map_pixels", "unlabelled_pixels")


def _rows(accuracy: Accuracy) -> list[tuple[Any, ...]]:
    """`_MEASURES` of each class, None where a measure cannot be told."""
    counted = accuracy.confusion
    matrix = counted.matrix
    shares = [measure(matrix) for measure in (iou, precision, recall, f1)]
    pixels = (matrix.sum(1), matrix.sum(0), counted.unlabelled)
    return [
        (*(_number(share[i]) for share in shares), *(int(each[i]) for each in pixels))
        for i in range(len(accuracy.legend))
    ]


def _plain(accuracy: Accuracy) -> dict[str, Any]:
    """What accuracy.json holds."""
    counted, legend = accuracy.confusion, accuracy.legend
    matrix = counted.matrix
    return {
        "mean_iou": _number(mean_iou(matrix)),
        "pixel_accuracy": _number(pixel_accuracy(matrix)),
        "frequency_weighted_iou": _number(frequency_weighted_iou(matrix)),
        "classes_in_mean": int(np.isfinite(iou(matrix)).sum()),
        "pixels": {
            "compared": int(matrix.sum()),
            "unlabelled": int(counted.unlabelled.sum()),
            "left_out": int(counted.left_out.sum()),
            "ignored": counted.ignored,
        },
        "classes": {
            each.name: {"id": each.id, **dict(zip(_MEASURES, values))}
            for each, values in zip(legend.classes, _rows(accuracy))
        },
        "confusion": {
            "rows": "reference",
            "columns": "map",
            "classes": list(legend.names),
            "pixels": matrix.tolist(),
            "unlabelled": counted.unlabelled.tolist(),
            "left_out": counted.left_out.tolist(),
        },
        "crosswalk": {
            "name": accuracy.crosswalk.name,
            "direction": accuracy.direction,
            "lossy": [{"class": name, "pixels": pixels, "note": text} for name, pixels, text in accuracy.lossy],
        },
        "resampling": accuracy.resampling,
        "pixel_size": {
            "map": _number(accuracy.pixel_sizes[0]),
            "reference": _number(accuracy.pixel_sizes[1]),
            "unit": accuracy.unit,
        },
        **accuracy.provenance,
        "notes": list(accuracy.notes),
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _same(one: Legend, other: Legend) -> bool:
    return one.ids == other.ids and one.names == other.names


def _chosen(mapped: Legend, reference: Legend, crosswalk: Crosswalk | None) -> tuple[Crosswalk, str]:
    """The crosswalk to use and its direction."""
    if crosswalk is None or (_same(crosswalk.source, crosswalk.target) and _same(crosswalk.source, mapped)):
        if _same(mapped, reference):
            return crosswalk or identity(mapped), "same legend"
        raise CatalogError(
            f"the map's legend is {mapped.name!r} and the reference's {reference.name!r}; name a crosswalk from "
            "one to the other ('geoseg catalog' lists them), or add one under crosswalks in data_catalog.yaml"
        )
    if _same(crosswalk.source, reference) and _same(crosswalk.target, mapped):
        return crosswalk, "reference to map"
    if _same(crosswalk.source, mapped) and _same(crosswalk.target, reference):
        return crosswalk, "map to reference"
    raise CatalogError(
        f"crosswalk {crosswalk.name!r} leads from legend {crosswalk.source.name!r} to {crosswalk.target.name!r}; "
        f"the map has legend {mapped.name!r} and the reference {reference.name!r}, so name one between these"
    )


def _joined(
    crosswalk: Crosswalk, direction: str, mapped: Legend, reference: Legend
) -> tuple[Legend, np.ndarray, np.ndarray]:
    """The classes compared, and the class of each place in the reference's legend and in the map's."""
    target = reference if direction == "map to reference" else mapped
    n = len(target)
    at = {each: i for i, each in enumerate(target.ids)}
    carried = dict(crosswalk.pairs)
    moved = [at[carried[each]] if each in carried else n + 1 for each in crosswalk.source.ids]
    # Unknown ids count as not labelled.
    across, same = np.array([*moved, n, n]), np.array([*range(n), n, n])
    return (target, same, across) if direction == "map to reference" else (target, across, same)


def _count(
    mapped: LabelRaster,
    legend: Legend,
    source: LabelRaster,
    theirs: Legend,
    resampling: Resampling,
    region: Region | None,
) -> tuple[np.ndarray, tuple[set[int], set[int]]]:
    """Counts in the two legends, and the ids that each lacks (of map and reference)."""
    ground = region.on(mapped.grid) if region is not None else None
    map_places, reference_places = places(legend), places(theirs)
    counts = np.zeros((len(theirs) + 2, len(legend) + 2), np.int64)
    unknown: tuple[set[int], set[int]] = set(), set()
    for square in cut(mapped.window, _STEP):
        window = square.meet(mapped.window)
        assert window is not None
        inside = masks.inside(ground, mapped.grid, window) if ground is not None else None
        if inside is not None and not inside.any():
            continue
        if inside is not None and inside.all():
            inside = None
        pair = mapped.labels(mapped.grid, window, "nearest"), source.labels(mapped.grid, window, resampling)
        ours, other = (each if inside is None else each[inside] for each in pair)
        at, other_at = map_places[ours], reference_places[other]
        part = tally(other_at, at, len(theirs), len(legend))
        if part[-1].any() or part[:, -1].any():
            unknown[0].update(np.unique(ours[at == len(legend) + 1]).tolist())
            unknown[1].update(np.unique(other[other_at == len(theirs) + 1]).tolist())
        counts += part
    return counts, unknown


def _check_compared(
    counts: np.ndarray, folded: Confusion, path: str, reference: Reference, crosswalk: Crosswalk, region: Region | None
) -> None:
    """Refuse to give scores where nothing was compared."""
    if folded.matrix.any():
        return
    where = f" inside {region.name}" if region else ""
    if not counts[:-2].any():
        raise RasterError(
            f"reference {reference.name!r} has no labelled pixel on {path}{where}; check that they overlap and that "
            "the reference's 'crs' and 'nodata' are right"
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


def _lossy(crosswalk: Crosswalk, counts: np.ndarray, direction: str) -> tuple[tuple[str, int, str], ...]:
    """The lossy entries of classes that were met where both rasters have labels."""
    met = counts[:-2, :-2].sum(0 if direction == "map to reference" else 1)
    found = {each.id: (each.name, int(pixels)) for each, pixels in zip(crosswalk.source.classes, met)}
    return tuple((*found[source], text) for source, text in crosswalk.lossy if found[source][1])


def _notes(folded: Confusion, counts: np.ndarray, sizes: tuple[float, float], unit: str) -> tuple[str, ...]:
    notes = []
    labelled = int(folded.matrix.sum() + folded.unlabelled.sum() + folded.left_out.sum())
    for pixels, why in (
        (folded.unlabelled.sum(), "the map is nodata there"),
        (folded.left_out.sum(), "the map's class there has no counterpart in the crosswalk"),
    ):
        if pixels:
            notes.append(f"{pixels:,} labelled pixels ({pixels / labelled:.1%}) are not scored: {why}")
    if round(sizes[1] / sizes[0], 2) >= 2:
        notes.append(
            f"the reference's pixels ({sizes[1]:.4g} {unit}) are {sizes[1] / sizes[0]:.1f} times the map's "
            f"({sizes[0]:.4g} {unit}): detail finer than the reference counts as error"
        )
    strangers = int(counts[-1].sum() + counts[:-1, -1].sum())
    if strangers:
        notes.append(f"{strangers:,} pixels have ids that the legends lack and are taken as not labelled")
    return tuple(notes)


def _provenance(mapped: LabelRaster, reference: Reference, region: Region | None) -> dict[str, Any]:
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
    }

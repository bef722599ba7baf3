"""Mosaic: the rasters of a finished job, put together from the files of its blocks, with tags that say of what."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from geoseg import __version__
from geoseg.grid import Window
from geoseg.jobs import sheet
from geoseg.jobs.engines import Elsewhere
from geoseg.jobs.plan import Plan
from geoseg.maps import blocks as block_files
from geoseg.maps import cog, sheets
from geoseg.maps.blocks import BlockFile
from geoseg.storage.record import Record, block_name
from geoseg.storage.staging import Staging

_STEMS = {"labels": "map"}
"""Names of files, where they are not those of the kind of block file."""
_BANDS = {
    "labels": "land cover",
    "confidence": "confidence of the class",
    "entropy": "entropy of the shares of all classes",
    "margin": "share of the best class less that of the second",
}


def name_of(plan: Plan, kind: str) -> str:
    """Name of a raster: one file, or the mosaic of its sheets.

    Parameters
    ----------
    plan : Plan
        The job.
    kind : str
        Of block file: 'labels', 'confidence', 'probabilities', 'entropy' or 'margin'.
    """
    one = max(plan.layout.extent.shape) <= plan.spec.outputs.sheet_pixels
    return f"{_STEMS.get(kind, kind)}.{'tif' if one else 'vrt'}"


def bands_of(plan: Plan, kind: str) -> tuple[str, ...]:
    """Descriptions of a raster's bands.

    Parameters
    ----------
    plan, kind
        As for `name_of`.
    """
    if kind == "probabilities":
        return () if plan.predictor is None else plan.predictor.predicted
    return (_BANDS[kind],)


def write(
    plan: Plan,
    staging: Staging,
    records: Iterable[Record],
    kind: str,
    tags: Mapping[str, str],
    counts: Mapping[int, int] | None = None,
    elsewhere: Elsewhere | None = None,
) -> Sequence[Path]:
    """Write one raster; the paths of its files.

    Parameters
    ----------
    plan : Plan
        The job.
    staging : Staging
        Where the files are made.
    records : iterable of Record
        One for each block.
    kind : str
        Of block file: 'labels', 'confidence', 'probabilities', 'entropy' or 'margin'.
    tags : mapping
        From `provenance`.
    counts : mapping, optional
        Pixels of each class, for the map.
    elsewhere : Elsewhere, optional
        Makes the sheets of a map that has several; default: this process.
    """
    legend = plan.legend if kind == "labels" else None
    settings: dict[str, Any] = {
        "tags": tags,
        "band_names": bands_of(plan, kind),
        "scale": 1.0 if legend else cog.CONFIDENCE_SCALE,
        "counts": counts,
    }
    out = staging.folder / name_of(plan, kind)
    extent, edge = plan.layout.extent, plan.spec.outputs.sheet_pixels
    hashes = {record.window: record.hashes.get(kind) for record in records}

    def files_of(wanted: Iterable[Record]) -> list[BlockFile]:
        return [BlockFile(window, path, hashes[window]) for window, path in staging.blocks(wanted, kind)]

    made: Sequence[Path] = ()
    if out.suffix == ".tif":
        cog.assemble(files_of(records), plan.grid, extent, legend, out, **settings)
    elif elsewhere is None or not plan.sheets_at_once:
        files = files_of(records)
        made = sheets.assemble_sheets(files, plan.grid, extent, legend, out, sheet_pixels=edge, **settings)
    else:
        said = {key: settings[key] for key in ("tags", "band_names", "scale")}

        def ordered(each: sheets.Sheet) -> bytes:
            return sheet.order(plan.digest, kind, each, plan.grid, legend, said)

        def look_again(windows: Collection[Window]) -> None:
            block_files.check(files_of(record for record in records if record.window in windows))

        make = sheet.elsewhere(elsewhere, staging, plan.sheets_at_once, ordered, look_again)
        there = [BlockFile(each, Path(block_name(each, kind)), sha) for each, sha in hashes.items() if sha]
        made = sheets.assemble_sheets(there, plan.grid, extent, legend, out, sheet_pixels=edge, make=make, **settings)
    staging.clear_blocks()
    paths = [*made, out]
    return [each for path in paths for each in (path, path.with_name(path.name + ".aux.xml")) if each.exists()]


def provenance(plan: Plan, failed: int) -> dict[str, str]:
    """Tags that say what the map was made of; no date, so that equal jobs give equal files.

    Parameters
    ----------
    plan : Plan
        The job.
    failed : int
        Blocks that failed.
    """
    tags = {
        "GEOSEG_VERSION": __version__,
        "GEOSEG_JOB": plan.digest,
        "GEOSEG_IMAGERY": plan.scene.imagery.name,
        "GEOSEG_IMAGERY_FILES": json.dumps(sorted(Path(each).name for each in plan.files)[:50]),
        "GEOSEG_GRID": json.dumps(plan.facts["grid"]),
        "GEOSEG_WINDOWS": f"core {plan.layout.core}, margin {plan.layout.margin}",
        "GEOSEG_FAILED_BLOCKS": str(failed),
    }
    if plan.predictor is not None:
        cards = plan.predictor.cards
        tags |= {"GEOSEG_MODEL": plan.predictor.name}
        tags |= {"GEOSEG_MODEL_SHA256": " + ".join(card.weights.sha256 for card in cards)}
        licences = " + ".join(dict.fromkeys(card.licence for card in cards if card.licence))
        tags |= {"GEOSEG_MODEL_LICENCE": licences} if licences else {}
        tags |= {"GEOSEG_OPTIONS": json.dumps(asked)} if (asked := plan.predictor.asked) else {}
    if plan.forced:
        tags["GEOSEG_FORCED"] = json.dumps(plan.forced, ensure_ascii=False)
    if plan.scene.imagery.attribution:
        tags["TIFFTAG_COPYRIGHT"] = plan.scene.imagery.attribution
    return tags

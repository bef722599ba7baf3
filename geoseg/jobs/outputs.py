"""Outputs: what a finished job leaves in its folder, made from its blocks in steps.

Each step writes its files whole or not at all and is noted in `outputs.json`; going on with a job makes only the
steps whose blocks or settings changed. Steps come in an order in which a later one may read an earlier one's files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from geoseg import __version__, catalog
from geoseg.accuracy import score
from geoseg.jobs.plan import Plan, outline
from geoseg.jobs.resolve import reference_of
from geoseg.maps import cog, style, view
from geoseg.maps import sheets as map_sheets
from geoseg.maps.blocks import BlockFile
from geoseg.report import pictures
from geoseg.storage import staging
from geoseg.storage.digests import digest_of
from geoseg.storage.record import Record
from geoseg.storage.staging import Desk
from geoseg.storage.store import Store
from geoseg.vectors import polygons

DONE = "outputs.json"


@dataclass(frozen=True, slots=True)
class Step:
    """One output."""

    name: str
    facts: dict[str, object]
    """What its files depend on, beside the blocks."""
    make: Callable[[], Sequence[Path]]
    """Writes the files and returns their paths."""
    reads_map: bool = False
    """Whether it reads the map's files."""


def write(
    plan: Plan,
    store: Store,
    records: Iterable[Record],
    counts: Mapping[int, int],
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Write all outputs that the job asks for and that do not stand already.

    Parameters
    ----------
    plan : Plan
        The job.
    store : Store
        Its folder.
    records : iterable of Record
        One for each block; gone through several times.
    counts : mapping
        Pixels of each class in all of them.
    tell : callable
        Told the name of each step before it begins.

    Returns
    -------
    tuples of str
        Names of all files, and of those that stood already.
    """
    blocks = digest_of({"job": plan.digest, "blocks": sorted([block_key(each) for each in records])})
    done = _noted(store)
    written: list[str] = []
    kept: list[str] = []
    with staging.laid(store) as place:
        for step in _steps(plan, place, records, counts):
            key = digest_of({"blocks": blocks, "facts": step.facts, "version": __version__})
            note = done.get(step.name)
            if note is not None and note["key"] == key and note["files"] == _stamps(store, note["files"]):
                kept += note["files"]
                written += note["files"]
                continue
            tell(step.name)
            if step.reads_map:
                place.bring(done["map"]["files"])
            names = place.keep(step.make)
            done[step.name] = {"key": key, "files": _stamps(store, names)}
            store.put(DONE, json.dumps(done, indent=1).encode())
            written += names
    return tuple(written), tuple(kept)


def block_key(record: Record) -> list[object]:
    """What of a record the outputs depend on."""
    return [record.window.row, record.window.col, record.state, sorted(record.hashes.items()), record.error]


def _steps(plan: Plan, place: Desk, records: Iterable[Record], counts: Mapping[int, int]) -> Iterator[Step]:
    root, wanted = place.folder, plan.spec.outputs
    extent, edge = plan.layout.extent, plan.spec.outputs.sheet_pixels
    one = max(extent.shape) <= edge
    map_path = root / ("map.tif" if one else "map.vrt")
    labels = any("labels" in record.hashes for record in records)

    def put_together(name: str, kind: str) -> Sequence[Path]:
        values = kind == "confidence"
        legend = None if values else plan.legend
        settings: Any = {
            "tags": _provenance(plan, records),
            "band_name": "confidence of the class" if values else "land cover",
            "scale": cog.CONFIDENCE_SCALE if values else 1.0,
            "counts": None if values else dict(counts),
        }
        files = [BlockFile(window, path) for window, path in place.blocks(records, kind)]
        out = root / f"{name}.{'tif' if one else 'vrt'}"
        sheets: Sequence[Path] = ()
        if one:
            cog.assemble(files, plan.grid, extent, legend, out, **settings)
        else:
            sheets = map_sheets.assemble_sheets(files, plan.grid, extent, legend, out, sheet_pixels=edge, **settings)
        place.clear_blocks()
        return _with_sidecars([*sheets, out])

    yield Step("map", {"sheet": edge}, lambda: put_together("map", "labels"))
    if wanted.confidence:
        yield Step("confidence", {"sheet": edge}, lambda: put_together("confidence", "confidence"))
    yield Step("style", {}, lambda: _style(plan, root))
    if wanted.quicklook and labels:
        yield Step("picture", {}, lambda: _picture(plan, map_path, root / "map.png", counts), True)
    if plan.spec.reference is not None:
        facts = plan.spec.reference.model_dump()
        yield Step("accuracy", facts, lambda: _accuracy(plan, map_path, root), True)
    for ending in wanted.vectors:
        yield Step(f"vectors {ending}", {}, partial(_vectors, plan, map_path, root, ending), True)
    failed = [record for record in records if record.state == "failed"]
    if failed:
        yield Step("failed blocks", {}, lambda: _failed(plan, root, failed))
    else:
        place.store.drop("failed.geojson")


def _provenance(plan: Plan, records: Iterable[Record]) -> dict[str, str]:
    """Tags that say what the map was made of; no date, so that equal jobs give equal files."""
    tags = {
        "GEOSEG_VERSION": __version__,
        "GEOSEG_JOB": plan.digest,
        "GEOSEG_IMAGERY": plan.scene.imagery.name,
        "GEOSEG_IMAGERY_FILES": json.dumps(sorted(Path(each).name for each in plan.files)[:50]),
        "GEOSEG_GRID": json.dumps(plan.facts["grid"]),
        "GEOSEG_WINDOWS": f"core {plan.layout.core}, margin {plan.layout.margin}",
        "GEOSEG_FAILED_BLOCKS": str(sum(record.state == "failed" for record in records)),
    }
    if plan.predictor is not None:
        card = plan.predictor.model.card
        tags |= {"GEOSEG_MODEL": card.name, "GEOSEG_MODEL_SHA256": card.weights.sha256}
        tags |= {"GEOSEG_MODEL_LICENCE": card.licence} if card.licence else {}
    if plan.scene.imagery.attribution:
        tags["TIFFTAG_COPYRIGHT"] = plan.scene.imagery.attribution
    return tags


def _style(plan: Plan, root: Path) -> Sequence[Path]:
    Store(str(root)).put("map.qml", style.qgis_style(plan.legend))
    return [root / "map.qml"]


def _picture(plan: Plan, map_path: Path, out: Path, counts: Mapping[int, int]) -> Sequence[Path]:
    title = f"Land cover of {plan.scene.imagery.name}"
    if plan.predictor is not None:
        title += f" by {plan.predictor.model.card.name}"
    pictures.quicklook(
        view.overview(map_path),
        plan.legend,
        out,
        title=title,
        attribution=plan.scene.imagery.attribution,
        counts=counts,
        ground_m=view.ground_size(map_path),
    )
    return [out]


def _accuracy(plan: Plan, map_path: Path, root: Path) -> Sequence[Path]:
    assert plan.spec.catalog is not None
    reference, crosswalk = reference_of(plan.spec, catalog.read(plan.spec.catalog), plan.legend)
    return score.write(score.score(map_path, reference, crosswalk, legend=plan.legend), root)


def _vectors(plan: Plan, map_path: Path, root: Path, ending: str) -> Sequence[Path]:
    folder = Store.at(root).folder("vectors")
    return list(polygons.vectorize(map_path, folder / f"map.{ending}", legend=plan.legend))


def _failed(plan: Plan, root: Path, failed: Sequence[Record]) -> Sequence[Path]:
    features = [
        {
            "type": "Feature",
            "geometry": outline(plan.grid, record.window).json,
            "properties": {
                "row": record.window.row,
                "col": record.window.col,
                "height": record.window.height,
                "width": record.window.width,
                "attempts": record.attempts,
                "worker": record.worker,
                "error": record.error,
            },
        }
        for record in failed
    ]
    data = json.dumps({"type": "FeatureCollection", "features": features}).encode()
    Store(str(root)).put("failed.geojson", data)
    return [root / "failed.geojson"]


def _with_sidecars(paths: Sequence[Path]) -> Sequence[Path]:
    return [each for path in paths for each in (path, path.with_name(path.name + ".aux.xml")) if each.exists()]


def _noted(store: Store) -> dict[str, dict[str, Any]]:
    try:
        return dict(json.loads(store.get(DONE)))
    except (FileNotFoundError, ValueError):
        return {}


def _stamps(store: Store, names: Iterable[str]) -> dict[str, list[int | str]]:
    """What changes when a file does, for each file that exists."""
    stamps = {name: store.stamp(name) for name in names}
    return {name: stamp for name, stamp in stamps.items() if stamp is not None}

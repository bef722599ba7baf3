"""Outputs: what a finished job leaves in its folder, made from its blocks in steps.

A step is data: a name, everything that its files are made from, and how to make them. What stands is noted in
`outputs.json` under the hash of what it was made from; going on with a job makes just the steps whose hash changed.
What is no longer true is removed before anything new is written, and what the job no longer asks for too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from geoseg import __version__
from geoseg.errors import GeosegError
from geoseg.jobs import mosaic, page, scores, sheet, strip
from geoseg.jobs.engines import Elsewhere
from geoseg.jobs.plan import Plan, outline
from geoseg.maps import view
from geoseg.maps.project import Layer, qgis_project
from geoseg.maps.style import confidence_style, qgis_style
from geoseg.storage.digests import digest_of, sha256
from geoseg.storage.record import Record
from geoseg.storage.staging import Staging, opened
from geoseg.storage.store import Store
from geoseg.vectors.style import qgis_style as polygon_style

DONE = "outputs.json"
_COMPANIONS = (".shx", ".dbf", ".prj", ".cpg", ".qml", ".sld")
"""Files that belong to a vector file of their stem."""
_EASILY_READ = ("gpkg", "fgb", "shp", "parquet")
"""Formats of polygons, by how readily QGIS opens a large one."""
_SHAPE = {"min_area", "simplify", "smooth", "attributes"}
"""Options of the job that polygons are made with."""


@dataclass(frozen=True, slots=True)
class Step:
    """One output."""

    name: str
    made_from: Mapping[str, Any]
    """Everything that its files depend on, as plain data."""
    make: Callable[[], Sequence[Path]] = field(compare=False, repr=False)
    """Writes the files and returns the paths of all of them."""
    reads: tuple[str, ...] = ()
    """Steps whose files it opens."""

    @property
    def key(self) -> str:
        """Hash of what it is made from, and of the version that makes it."""
        return digest_of({"step": self.name, "version": __version__, **self.made_from})


def write(
    plan: Plan,
    store: Store,
    records: Iterable[Record],
    counts: Mapping[int, int],
    progress: Callable[[str], None] = lambda _: None,
    check_held: Callable[[], None] = lambda: None,
    elsewhere: Elsewhere | None = None,
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
    progress : callable
        Called with the name of each step before it begins.
    check_held : callable
        Raises where the folder is another's by now; called before files get their names.
    elsewhere : Elsewhere, optional
        Makes the sheets of maps that have several; default: this process.

    Returns
    -------
    tuples of str
        Names of all files, and of those that stood already.

    Raises
    ------
    DamagedBlocksError
        If blocks are not what was written; they must be made again. No output made of them is left.
    GeosegError
        If an output cannot be made.
    """
    noted = _noted(store)
    written: list[str] = []
    kept: list[str] = []
    made: set[str] = set()
    with opened(store, check_held) as staging:
        wanted = steps(plan, staging, records, counts, elsewhere)
        standing = {step.name for step in wanted if _stands(store, noted.get(step.name), step.key)}
        for step in wanted:
            if step.name not in standing:
                progress(step.name)
                for name in step.reads:
                    staging.fetch(noted[name]["files"])
                before = noted.pop(step.name, {"files": {}})["files"]
                # What stood beside the old map does not stand beside the new one for a moment.
                others = [name for name in noted if name not in standing] if step.name == "map" else []
                names = staging.publish(step.make, [name for each in others for name in noted.pop(each)["files"]])
                noted[step.name] = {"key": step.key, "files": _stamps(store, names)}
                staging.put(DONE, json.dumps(noted, indent=1).encode())
                staging.remove([name for name in before if name not in names])
                standing.add(step.name)
                made.add(step.name)
            files = [name for name in noted[step.name]["files"] if not _is_companion(name)]
            written += files
            kept += files if step.name not in made else []
        for name in [each for each in noted if each not in standing]:
            staging.remove(noted.pop(name)["files"])
        staging.put(DONE, json.dumps(noted, indent=1).encode())
        sheet.clear(staging)
    return tuple(written), tuple(kept)


def drop(store: Store) -> None:
    """Remove every output that an earlier run noted, as when another job takes the folder over."""
    with opened(store) as staging:
        for note in _noted(store).values():
            staging.remove(note["files"])
        staging.remove([DONE])


def files_of(store: Store, step: str) -> list[str]:
    """Names of the files of a step that an earlier run noted.

    Parameters
    ----------
    store : Store
        The job folder.
    step : str
        'map', for instance.
    """
    return list(_noted(store).get(step, {"files": {}})["files"])


def stamp_anew(store: Store, step: str) -> None:
    """Note a step's files, if a run has made them, as they are now, so that the next run keeps them.

    Parameters
    ----------
    store, step : Store, str
        As for `files_of`.
    """
    if step in (noted := _noted(store)):
        noted[step]["files"] = _stamps(store, list(noted[step]["files"]))
        with opened(store) as staging:
            staging.put(DONE, json.dumps(noted, indent=1).encode())


def block_key(record: Record) -> list[object]:
    """What of a record the outputs depend on."""
    return [record.window.row, record.window.col, record.state, sorted(record.hashes.items()), record.error]


def steps(
    plan: Plan,
    staging: Staging,
    records: Iterable[Record],
    counts: Mapping[int, int],
    elsewhere: Elsewhere | None = None,
) -> list[Step]:
    """The steps of a job, in an order in which a later one may read an earlier one's files; nothing is written.

    Parameters
    ----------
    plan : Plan
        The job.
    staging : Staging
        Where the files will be made.
    records : iterable of Record
        One for each block.
    counts : mapping
        Pixels of each class in all of them.
    elsewhere : Elsewhere, optional
        As for `write`.
    """
    wanted, folder = plan.spec.outputs, staging.folder
    failed = [record for record in records if record.state == "failed"]
    legend = asdict(plan.legend)
    tags = mosaic.provenance(plan, len(failed))
    blocks = digest_of({"job": plan.digest, "blocks": sorted(block_key(each) for each in records)})
    raster = {"blocks": blocks, "sheet": wanted.sheet_pixels, "tags": tags}

    raster_of = partial(mosaic.write, plan, staging, records, tags=tags, elsewhere=elsewhere)
    make_map = partial(raster_of, "labels", counts=dict(counts))
    found = [Step("map", {**raster, "legend": legend}, make_map)]
    made_of_map = {"map": found[0].key, "legend": legend}
    if wanted.confidence:
        found.append(Step("confidence", raster, partial(raster_of, "confidence")))
    for kind in wanted.also:
        named = {**raster, "bands": mosaic.bands_of(plan, kind)}
        found.append(Step(kind, named, partial(raster_of, kind)))
    styles = {"map.qml": qgis_style(plan.legend)}
    shares = [kind for kind in ("confidence", "entropy", "margin") if getattr(wanted, kind)]
    styles |= {f"{kind}.qml": confidence_style() for kind in shares}
    found.append(Step("style", {name: sha256(text) for name, text in styles.items()}, partial(_styles, styles, folder)))
    map_path = staging.path(mosaic.name_of(plan, "labels"))
    if wanted.quicklook and any("labels" in record.hashes for record in records):
        texts = {"title": _title(plan), "attribution": plan.scene.imagery.attribution}
        picture = partial(_picture, plan, map_path, folder / "map.png", counts, **texts)
        found.append(Step("picture", {**made_of_map, **texts}, picture, reads=("map",)))
    if plan.spec.reference is not None:
        trust = {step.name: step.key for step in found if step.name == "confidence"}
        found.append(_accuracy_step(plan, made_of_map, trust, staging))
    if wanted.vectors and any(counts.values()):
        shape = wanted.model_dump(include={"vectors", *_SHAPE})
        reads = ("map", "confidence") if "confidence" in wanted.attributes else ("map",)
        found.append(
            Step("vectors", made_of_map | shape, partial(_vectors, plan, map_path, staging, elsewhere), reads=reads)
        )
    if wanted.project:
        project = _project(plan, styles, counts)
        found.append(Step("project", {"file": sha256(project)}, partial(_styles, {"map.qgz": project}, folder)))
    if wanted.report and any("labels" in record.hashes for record in records):
        told = page.facts(plan, records, counts)
        scored = next((step.key for step in found if step.name == "accuracy"), None)
        report = partial(_report, plan, staging, told, map_path, scored is not None)
        found.append(Step("report", {**made_of_map, "facts": told, "accuracy": scored}, report, reads=("map",)))
    if failed:
        listed = [[*block_key(each), each.window.height, each.window.width, each.attempts] for each in failed]
        found.append(Step("failed blocks", {"failed": listed}, partial(_failed, plan, folder, failed)))
    return found


# -------------------------------------------------------------------------------------------- the steps


def _is_companion(name: str) -> bool:
    return name.startswith("vectors/") and name.endswith(_COMPANIONS)


def _styles(styles: Mapping[str, bytes], folder: Path) -> Sequence[Path]:
    for name, text in styles.items():
        Store(str(folder)).put(name, text)
    return [folder / name for name in styles]


def _title(plan: Plan) -> str:
    model = "" if plan.predictor is None else f" by {plan.predictor.name}"
    return f"Land cover of {plan.scene.imagery.name}{model}"


def _picture(
    plan: Plan, map_path: Path, out: Path, counts: Mapping[int, int], *, title: str, attribution: str
) -> Sequence[Path]:
    from geoseg.report import pictures  # matplotlib takes half a second, and many runs draw nothing

    labels, ground_m = view.overview(map_path), view.ground_size(map_path)
    pictures.quicklook(labels, plan.legend, out, title=title, attribution=attribution, counts=counts, ground_m=ground_m)
    return [out]


def _project(plan: Plan, styles: Mapping[str, bytes], counts: Mapping[int, int]) -> bytes:
    """A QGIS project: polygons and shares above the map, to be switched on."""
    layers = [
        Layer(kind, mosaic.name_of(plan, kind), styles[f"{kind}.qml"])
        for kind in ("margin", "entropy", "confidence")
        if f"{kind}.qml" in styles
    ]
    if (ending := next((each for each in _EASILY_READ if each in plan.spec.outputs.vectors), None)) and any(
        counts.values()
    ):
        ids = [each.id for each in plan.legend.classes if counts.get(each.id)]
        source = f"vectors/map.{ending}" + "|layername=map" * (ending == "gpkg")
        layers.insert(0, Layer("land cover, polygons", source, polygon_style(plan.legend, ids), vector=True))
    layers.append(Layer("land cover", mosaic.name_of(plan, "labels"), styles["map.qml"], shown=True))
    return qgis_project(_title(plan), layers, plan.grid, plan.layout.extent)


def _accuracy_step(plan: Plan, made_of_map: Mapping[str, Any], trust: Mapping[str, str], staging: Staging) -> Step:
    """Scores against the job's reference. What is wrong with the reference by now is raised where it is used."""
    try:
        asked = scores.asked(plan)
        made_from = {**made_of_map, **trust, **asked.made_from}
    except GeosegError as error:
        return Step("accuracy", {**made_of_map, "error": str(error)}, partial(_raise, error), reads=("map",))

    def make() -> Sequence[Path]:
        map_path, confidence = (staging.path(mosaic.name_of(plan, each)) for each in ("labels", "confidence"))
        return scores.write(asked, plan.legend, map_path, confidence if trust else None, staging.folder)

    return Step("accuracy", made_from, make, reads=("map", *trust))


def _raise(error: GeosegError) -> Sequence[Path]:
    raise error


def _vectors(plan: Plan, map_path: Path, staging: Staging, elsewhere: Elsewhere | None) -> Sequence[Path]:
    """The map's polygons, traced once for all formats; the files of a Shapefile and the styles are listed too."""
    from geoseg.vectors import polygons  # so does geopandas

    wanted = plan.spec.outputs
    outs = [Store.at(staging.folder).folder("vectors") / f"map.{ending}" for ending in wanted.vectors]
    spread = None
    if elsewhere is not None and not staging.store.remote and plan.layout.extent.pixels >= strip.LEAST_PIXELS:
        spread = strip.over(elsewhere, polygons.files_read(map_path, wanted.attributes))
    shape = wanted.model_dump(include=_SHAPE)
    polygons.vectorize(map_path, outs, legend=plan.legend, **shape, mapper=spread)
    return [*outs, *sorted({each for path in outs for end in _COMPANIONS if (each := path.with_suffix(end)).is_file()})]


def _report(plan: Plan, staging: Staging, facts: Mapping[str, Any], map_path: Path, scored: bool) -> Sequence[Path]:
    """The page, with the scores that an earlier step published."""
    found = page.scores_in(staging.store.get("accuracy.json")) if scored else None
    return page.write(plan, facts, map_path, found, staging.folder / page.NAME)


def _failed(plan: Plan, folder: Path, failed: Sequence[Record]) -> Sequence[Path]:
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
    Store(str(folder)).put("failed.geojson", data)
    return [folder / "failed.geojson"]


# ------------------------------------------------------------------------------------------- the notes


def _noted(store: Store) -> dict[str, dict[str, Any]]:
    """Steps by name with the key and the files that were noted; none where the notes are damaged or foreign."""
    try:
        found = json.loads(store.get(DONE))
        notes = {str(name): {"key": str(note["key"]), "files": dict(note["files"])} for name, note in found.items()}
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    return notes


def _stands(store: Store, note: Mapping[str, Any] | None, key: str) -> bool:
    return note is not None and note["key"] == key and note["files"] == _stamps(store, note["files"])


def _stamps(store: Store, names: Iterable[str]) -> dict[str, list[int | str]]:
    """What changes when a file does, for each file that exists."""
    return {name: stamp for name in names if (stamp := store.stamp(name)) is not None}

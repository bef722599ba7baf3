"""Nothing stale remains: whatever is changed after a run, running again leaves what a run in an empty folder leaves.

The changes walk every key of job, catalog and card, and every file that these name; a key that is new fails here until
a change of it is written down.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_origin

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
import yaml
from model_folders import sha256, write_model
from pydantic import BaseModel
from small_jobs import SmallJob, contents
from strategies import NORTH_UP, write

from geoseg.catalog.card import ModelCard
from geoseg.catalog.entries import CatalogSpec
from geoseg.jobs.spec import JobSpec

KEPT = ("blocks/", "log/", "job.json", "status.json", "outputs.json")
"""What is no output; all else in the folder is compared."""
CLASSES = [{"id": i, "name": f"kind {i}", "colour": f"#{i:02x}5090"} for i in (1, 2, 3)]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallJob, Path]:
    """A job with every output, run to its end, and a copy of its folder."""
    made = SmallJob.write(tmp_path_factory.mktemp("stale") / "job", None, (40, 50))
    wide = np.random.default_rng(3).integers(1, 250, (2, 40, 700), np.uint8)
    write(made.folder / "wide.tif", wide, nodata=0)
    for seed, name in ((7, "scene.tif"), (8, "other.tif")):
        pixels = np.random.default_rng(seed).integers(0, 250, (2, 40, 50), np.uint8)
        write(made.folder / name, pixels, nodata=0, compress="deflate")
    for seed, name in ((1, "truth.tif"), (2, "truer.tif")):
        truth = np.random.default_rng(seed).integers(0, 4, (2, 40, 50), np.uint8)
        write(made.folder / name, truth, nodata=0)
    for seed, name in ((4, "veil.tif"), (5, "other_veil.tif")):
        write(made.folder / name, np.random.default_rng(seed).integers(0, 9, (2, 40, 50), np.uint8))
    write_model(made.folder / "second", seed=5)
    for name, shift in (("area.geojson", 0.0), ("areas.geojson", 200.0)):
        write_areas(made.folder / name, shift)
    catalog = {
        "imagery": {
            "scene": {
                "files": ["scene.tif", "other.tif"],
                "bands": {"red": 1, "nir": 2},
                "mask": {"file": "veil.tif", "values": [2]},
            }
        },
        "references": {
            "truth": {"file": "truth.tif", "legend": "kinds"},
            "truer": {"file": "truer.tif", "legend": "kinds"},
        },
        "legends": {"kinds": {"classes": CLASSES}},
        "crosswalks": {
            "forth": {"from": "kinds", "to": "three", "classes": {1: 3, 2: 7, 3: 200}, "lossy": {1: "doubtful"}},
            "back": {"from": "kinds", "to": "three", "classes": {1: 7, 2: 3, 3: None}},
        },
        "models": {"tiny": {"path": "model"}, "second": {"path": "second"}},
        "regions": {"area": {"file": "area.geojson", "where": "kind = 'a'"}},
    }
    made.save("data_catalog.yaml", catalog)
    outputs = {"confidence": True, "vectors": ["shp", "fgb", "parquet"], "quicklook": True, "project": True}
    reference = {"name": "truth", "crosswalk": "forth"}
    inference = {"window": 16, "block": 32}
    made.job(region="area", reference=reference, outputs=outputs, inference=inference)
    assert made.run().code == 0
    copy = made.folder.with_name("copy")
    shutil.copytree(made.folder, copy)
    return made, copy


@pytest.fixture
def finished(kept: tuple[SmallJob, Path]) -> SmallJob:
    """The job as it was when it had just been run, in its own place, since paths are part of what it is."""
    made, copy = kept
    shutil.rmtree(made.folder)
    shutil.copytree(copy, made.folder)
    return made


def write_areas(path: Path, shift: float) -> None:
    left, top = NORTH_UP.c + shift, NORTH_UP.f
    feature = '{"type": "Feature", "properties": {"kind": "%s"}, "geometry": %s}'
    boxes = [shapely.box(left + at, top - 1100, left + at + 700, top - 40) for at in (60, 700)]
    features = ", ".join(feature % (kind, shapely.to_geojson(box)) for kind, box in zip("ab", boxes))
    crs = '{"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32612"}}'
    path.write_text(f'{{"type": "FeatureCollection", "crs": {crs}, "features": [{features}]}}')


# --------------------------------------------------------------------------------------- the changes


def key(file: str, path: str, value: Any) -> Callable[[Path], None]:
    """Set one key of a YAML file, or take it away."""

    def change(folder: Path) -> None:
        data = held = yaml.safe_load((folder / file).read_text())
        *above, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in above:
            held = held[part] if isinstance(held, list) else held.setdefault(part, {})
        if value is None:
            held.pop(last)
        else:
            held[last] = value
        (folder / file).write_text(yaml.safe_dump(data))

    return change


def both(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for each in changes:
            each(folder)

    return change


def fields(shift: float = 0.0, **more: str) -> Callable[[Path], None]:
    """Make the reference one of polygons."""

    def change(folder: Path) -> None:
        left, top = NORTH_UP.c + shift, NORTH_UP.f
        shapes = [shapely.box(left + at, top - 800, left + at + 300, top - 40) for at in (60, 500, 900)]
        frame = geopandas.GeoDataFrame({"kind": [1, 2, 3]}, geometry=shapes, crs="EPSG:32612")
        frame.to_file(folder / "fields.gpkg", layer="fields")
        entry = {"file": "fields.gpkg", "legend": "kinds", "column": "kind", **more}
        key("data_catalog.yaml", "references.truth", entry)(folder)

    return change


def pixels(name: str, value: int) -> Callable[[Path], None]:
    """Rewrite a few pixels of a raster in place."""

    def change(folder: Path) -> None:
        with rasterio.open(folder / name, "r+") as file:
            data = file.read()
            data[:, 5:25, 5:30] = value
            file.write(data)

    return change


def values(name: str, old: int, new: int) -> Callable[[Path], None]:
    """Give all pixels of one value another."""

    def change(folder: Path) -> None:
        with rasterio.open(folder / name, "r+") as file:
            data = file.read()
            file.write(np.where(data == old, new, data).astype(data.dtype))

    return change


def swap(name: str, other: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / other).read_bytes())  # type: ignore[return-value]


def mask(name: str) -> Callable[[Path], None]:
    """A mask in a sidecar beside a raster."""

    def change(folder: Path) -> None:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(folder / name, "r+") as file:
            hidden = np.full(file.shape, 255, np.uint8)
            hidden[:20, :20] = 0
            file.write_mask(hidden)

    return change


def hashed(folder: Path) -> None:
    key("model/card.yaml", "weights.sha256", sha256(folder / "model/weights.safetensors"))(folder)


def renamed_weights(folder: Path) -> None:
    (folder / "model/weights.safetensors").rename(folder / "model/w.safetensors")
    key("model/card.yaml", "weights.file", "w.safetensors")(folder)


def job(path: str, value: Any) -> Callable[[Path], None]:
    return key("job.yaml", path, value)


def catalog(path: str, value: Any) -> Callable[[Path], None]:
    return key("data_catalog.yaml", path, value)


def card(path: str, value: Any) -> Callable[[Path], None]:
    return key("model/card.yaml", path, value)


FIXED = {"kind": "fixed", "mean": [100.0, 90.0], "std": [50.0, 40.0]}
NODATA = '<PAMDataset><PAMRasterBand band="1"><NoDataValue>7</NoDataValue></PAMRasterBand></PAMDataset>'
OTHER_THREE = [{"id": i, "name": f"class {i}", "colour": "#804080"} for i in (3, 7, 200)]
CHANGES: dict[str, Callable[[Path], None]] = {
    "job.catalog": both(lambda f: shutil.copy(f / "data_catalog.yaml", f / "c.yaml"), job("catalog", "c.yaml")),
    "job.imagery": both(
        catalog("imagery.again", {"files": "other.tif", "bands": {"red": 1, "nir": 2}}), job("imagery", "again")
    ),
    "job.model": job("model", "second"),
    "models of an ensemble": job("model", ["tiny", "second"]),
    "job.region": job("region", "imagery"),
    "job.grid": job("grid", {"crs": "EPSG:32612", "resolution": 40}),
    "job.grid.crs": job("grid", {"crs": "EPSG:26912", "resolution": 30}),
    "job.grid.resolution": job("grid", {"crs": "EPSG:32612", "resolution": 25}),
    "job.reference": job("reference", None),
    "job.reference.name": job("reference.name", "truer"),
    "job.reference.crosswalk": job("reference.crosswalk", "back"),
    "job.reference.grid": job("reference.grid", "map"),
    "job.reference.resampling": job("reference.resampling", "nearest"),
    "job.reference.ignore": job("reference.ignore", "reference:2"),
    "job.reference.zones": job("reference.zones", "areas.geojson"),
    "job.reference.zone_column": both(job("reference.zones", "areas.geojson"), job("reference.zone_column", "kind")),
    "job.reference.boundary": job("reference.boundary", 2),
    "job.reference.boundary_ignore": job("reference.boundary_ignore", 1),
    "job.reference.interval_block": job("reference.interval_block", "4 px"),
    "job.outputs": job("outputs", None),
    "job.outputs.confidence": job("outputs.confidence", False),
    "job.outputs.probabilities": job("outputs.probabilities", True),
    "job.outputs.entropy": job("outputs.entropy", True),
    "job.outputs.margin": job("outputs.margin", True),
    "job.outputs.vectors": job("outputs.vectors", ["fgb"]),
    "job.outputs.min_area": job("outputs.min_area", "1ha"),
    "job.outputs.simplify": job("outputs.simplify", "2px"),
    "job.outputs.smooth": job("outputs.smooth", True),
    "job.outputs.attributes": job("outputs.attributes", ["pixels", "confidence"]),
    "job.outputs.quicklook": job("outputs.quicklook", False),
    "job.outputs.report": job("outputs.report", False),
    "job.outputs.project": job("outputs.project", False),
    "job.outputs.sheet_pixels": both(job("outputs.sheet_pixels", 512), catalog("imagery.scene.files", "wide.tif")),
    "job.inference": job("inference", None),
    "job.inference.window": job("inference.window", 8),
    "job.inference.halo": job("inference.halo", 30),
    "job.inference.batch": job("inference.batch", 3),
    "job.inference.precision": job("inference.precision", "bfloat16"),
    "job.inference.stitch": job("inference.stitch", "blend"),
    "job.inference.tta": job("inference.tta", "d4"),
    "job.inference.temperature": job("inference.temperature", 2.5),
    "job.inference.classes": job("inference.classes", [3, "class 7"]),
    "job.inference.thresholds": job("inference.thresholds", {"class 3": 0.5}),
    "job.inference.device": job("inference.device", "cpu"),
    "job.inference.block": job("inference.block", 16),
    "job.inference.any_values": job("inference.any_values", True),
    "job.force": both(job("force", True), card("gsd_m", 10.0)),
    "job.memory_per_worker": job("memory_per_worker", "3GB"),
    "job.cluster": job("cluster", {"kind": "local", "workers": 1}),
    "imagery": catalog("imagery.scene.title", "A scene"),
    "imagery.title": catalog("imagery.scene.title", "A scene"),
    "imagery.files": catalog("imagery.scene.files", ["other.tif"]),
    "imagery.bands": catalog("imagery.scene.bands", {"red": 2, "nir": 1}),
    "imagery.bands.file": catalog("imagery.scene.bands", {"red": {"file": "other.tif"}, "nir": 2}),
    "imagery.bands.band": catalog("imagery.scene.bands", {"red": {"file": "other.tif", "band": 2}, "nir": 2}),
    "imagery.nodata": catalog("imagery.scene.nodata", 7),
    "imagery.scale": catalog("imagery.scene.scale", 0.5),
    "imagery.offset": catalog("imagery.scene.offset", 9.0),
    "imagery.crs": catalog("imagery.scene.crs", "EPSG:26912"),
    "imagery.order": catalog("imagery.scene.order", "last"),
    "imagery.resampling": catalog("imagery.scene.resampling", "cubic"),
    "imagery.attribution": catalog("imagery.scene.attribution", "Someone"),
    "imagery.licence": catalog("imagery.scene.licence", "CC0"),
    "imagery.mask": catalog("imagery.scene.mask", None),
    "imagery.mask.file": catalog("imagery.scene.mask.file", "other_veil.tif"),
    "imagery.mask.values": catalog("imagery.scene.mask.values", [2, 5]),
    "imagery.mask.band": catalog("imagery.scene.mask.band", 2),
    "imagery.trust_vrt": catalog("imagery.scene.trust_vrt", True),
    "references": catalog("references.truer.title", "Another"),
    "references.title": catalog("references.truth.title", "The truth"),
    "references.file": catalog("references.truth.file", "truer.tif"),
    "references.band": catalog("references.truth.band", 2),
    "references.legend": both(
        catalog("legends.sorts", {"classes": CLASSES}),
        catalog("references.truth.legend", "sorts"),
        catalog("crosswalks.forth.from", "sorts"),
    ),
    "references.nodata": catalog("references.truth.nodata", 0),
    "references.crs": catalog("references.truth.crs", "EPSG:26912"),
    "references.attribution": catalog("references.truth.attribution", "Someone else"),
    "references.licence": catalog("references.truth.licence", "CC0"),
    "references.trust_vrt": catalog("references.truth.trust_vrt", True),
    "references.column": fields(),
    "references.layer": fields(layer="fields"),
    "references.where": fields(where="kind = 2"),
    "pixels of a reference of polygons": both(fields(), fields(shift=90.0)),
    "legends": catalog("legends.more", {"classes": CLASSES}),
    "legends.title": catalog("legends.kinds.title", "Kinds"),
    "legends.source": catalog("legends.kinds.source", "us"),
    "legends.classes": catalog("legends.kinds.classes", [*CLASSES, {"id": 9, "name": "n", "colour": "#000000"}]),
    "legends.classes.id": both(
        catalog("legends.kinds.classes.2.id", 4),
        catalog("crosswalks.forth.classes", {1: 3, 2: 7, 4: 200}),
        catalog("crosswalks.back.classes", {1: 7, 2: 3}),
        values("truth.tif", 3, 4),
    ),
    "legends.classes.name": catalog("legends.kinds.classes.0.name", "first kind"),
    "legends.classes.colour": catalog("legends.kinds.classes.0.colour", "#123456"),
    "crosswalks": catalog("crosswalks.back.lossy", {2: "lost"}),
    "crosswalks.source": both(
        catalog("legends.sorts", {"classes": CLASSES}),
        catalog("references.truth.legend", "sorts"),
        catalog("crosswalks.forth.from", "sorts"),
    ),
    "crosswalks.target": both(
        card("legend_name", "trio"), catalog("crosswalks.forth.to", "trio"), catalog("crosswalks.back", None)
    ),
    "crosswalks.classes": catalog("crosswalks.forth.classes", {1: 7, 2: 7, 3: 200}),
    "crosswalks.lossy": catalog("crosswalks.forth.lossy", {1: "very doubtful"}),
    "models": catalog("models.third", {"path": "second"}),
    "models.path": catalog("models.tiny.path", "second"),
    "regions": catalog("regions.more", {"file": "areas.geojson"}),
    "regions.bounds": catalog(
        "regions.area", {"bounds": [300100.0, 4199000.0, 300900.0, 4199900.0], "crs": "EPSG:32612"}
    ),
    "regions.crs": catalog("regions.area.crs", "EPSG:26912"),
    "regions.file": catalog("regions.area.file", "areas.geojson"),
    "regions.layer": catalog("regions.area.layer", "area"),
    "regions.where": catalog("regions.area.where", "kind = 'b'"),
    "card.name": card("name", "tinier"),
    "card.title": card("title", "Tiny"),
    "card.architecture": card("architecture.dropout", 0.5),
    "card.weights": both(swap("model/weights.safetensors", "second/weights.safetensors"), hashed),
    "card.weights.file": renamed_weights,
    "card.weights.sha256": both(swap("model/weights.safetensors", "second/weights.safetensors"), hashed),
    "card.bands": card("bands", ["nir", "red"]),
    "card.normalisation": card("normalisation", FIXED),
    "card.normalisation.kind": card("normalisation", {"kind": "scene"}),
    "card.normalisation.percentiles": card("normalisation", {"kind": "percentile", "percentiles": [5, 95]}),
    "card.normalisation.mean": card("normalisation", {**FIXED, "mean": [10.0, 9.0]}),
    "card.normalisation.std": card("normalisation", {**FIXED, "std": [5.0, 4.0]}),
    "card.output": card("output", {"kind": "sigmoid"}),
    "card.output.kind": card("output.kind", "sigmoid"),
    "card.output.channels": card("output.channels", 3),
    "card.output.name": card("output.name", "scores"),
    "card.temperature": card("temperature", 2.5),
    "card.radiometry": card("radiometry", {"what": "bytes", "low": 0, "high": 255}),
    "card.radiometry.dtype": card("radiometry", {"what": "bytes", "low": 0, "high": 255, "dtype": "uint8"}),
    "card.radiometry.what": card("radiometry", {"what": "numbers", "low": 0, "high": 255}),
    "card.radiometry.low": card("radiometry", {"what": "bytes", "low": -5, "high": 255}),
    "card.radiometry.high": card("radiometry", {"what": "bytes", "low": 0, "high": 999}),
    "card.radiometry.dark": card("radiometry", {"what": "bytes", "low": 0, "high": 255, "dark": 200}),
    "card.radiometry.bright": card("radiometry", {"what": "bytes", "low": 0, "high": 255, "bright": 20}),
    "card.measured": card("measured", {"halo": 16}),
    "card.gsd_m": card("gsd_m", 29.0),
    "card.gsd_tolerance": card("gsd_tolerance", 0.5),
    "card.stride": card("stride", 4),
    "card.halo": card("halo", 32),
    "card.field": card("field", "image-wide"),
    "card.window": card("window", 32),
    "card.legend_name": both(
        card("legend_name", "trio"), catalog("crosswalks.forth.to", "trio"), catalog("crosswalks.back", None)
    ),
    "card.classes": card("classes", OTHER_THREE),
    "card.classes.id": both(
        card("classes.2.id", 201),
        key("second/card.yaml", "classes.2.id", 201),
        catalog("crosswalks.forth.classes", {1: 3, 2: 7, 3: 201}),
    ),
    "card.classes.name": both(card("classes.1.name", "meadow"), key("second/card.yaml", "classes.1.name", "meadow")),
    "card.classes.colour": card("classes.1.colour", "#00ff00"),
    "card.training": card("training", {"epochs": 3}),
    "areas on the card": card("training", {"scenes": [{"areas": {"crs": "EPSG:32612", "train": [[0, 0, 9e5, 9e6]]}}]}),
    "card.licence": card("licence", "CC0"),
    "card.scores": card("scores", {"mean_iou": 0.5}),
    "pixels of the imagery": pixels("scene.tif", 99),
    "pixels of the imagery's mask": pixels("veil.tif", 2),
    "pixels of the reference": pixels("truth.tif", 2),
    "other zones under the name": both(job("reference.zones", "area.geojson"), swap("area.geojson", "areas.geojson")),
    "a mask beside the imagery": mask("scene.tif"),
    "a mask beside the reference": mask("truth.tif"),
    "a world file beside the imagery": lambda folder: (folder / "scene.tfw").write_text("30\n0\n0\n-30\n9\n9\n"),
    "names and nodata beside the imagery": lambda folder: (folder / "scene.tif.aux.xml").write_text(NODATA),
    "another reference under the name": swap("truth.tif", "truer.tif"),
    "another region under the name": swap("area.geojson", "areas.geojson"),
}


def keys(shape: Any, name: str) -> set[str]:
    """Every key of a spec and of the specs inside it, by its path."""
    found = {name} if "." in name or name not in ("job", "card") else set()
    for field, facts in shape.model_fields.items():
        path = f"{name}.{field}" if name else field
        inner = [each for each in _inside(facts.annotation) if issubclass(each, BaseModel)]
        found |= {path}.union(*(keys(each, path) for each in inner))
    return found


def _inside(annotation: Any) -> list[type]:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return [annotation]
    return [each for inner in get_args(annotation) for each in _inside(inner)]


def test_every_key_has_a_change():
    elsewhere = ("job.region.", "job.cluster.")  # a region is a key of the catalog too; a cluster changes no output
    wanted = {*keys(JobSpec, "job"), *keys(CatalogSpec, ""), *keys(ModelCard, "card")} - {""}
    assert {each for each in wanted if not each.startswith(elsewhere)} - set(CHANGES) == set()


def outputs_of(folder: Path) -> dict[str, bytes]:
    found = {name: data for name, data in contents(folder).items() if not name.startswith(KEPT)}
    if "report.html" in found:  # how long blocks took is no matter of what they were made from
        found["report.html"] = re.sub(b"<!--speed-->.*<!--/speed-->", b"", found["report.html"], flags=re.S)
    return found


def again(made: SmallJob) -> None:
    """Run the job once more, over another one if it has become another."""
    answer = made.run()
    if answer.code:
        assert "holds another job" in answer.refusal("LedgerError"), answer
        assert made.run("--overwrite").code == 0


def check(made: SmallJob, what: str) -> None:
    """After a change, the folder that held the old outputs holds what a run in an empty one makes."""
    CHANGES[what](made.folder)
    again(made)
    found = outputs_of(made.out)
    shutil.rmtree(made.out)
    assert made.run().code == 0
    wanted = outputs_of(made.out)
    assert sorted(found) == sorted(wanted)
    assert [name for name in wanted if found[name] != wanted[name]] == []


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", CHANGES)
def test_what_is_changed_leaves_nothing_stale(finished, what):
    check(finished, what)


@pytest.mark.parametrize("what", ["card.classes.colour", "areas on the card"])
def test_what_is_changed_leaves_nothing_stale_in_short(finished, what):
    check(finished, what)


def test_scores_say_how_much_of_them_was_seen_in_training_as_soon_as_the_card_does(finished):
    assert "seen_in_training" not in json.loads((finished.out / "accuracy.json").read_text())
    CHANGES["areas on the card"](finished.folder)
    again(finished)
    scores = json.loads((finished.out / "accuracy.json").read_text())
    assert scores["seen_in_training"]["pixels"] == {"train": scores["pixels"]["compared"], "validation": 0}
    assert scores["notes"][-1].startswith("100% of the scored pixels lie in areas that the model tiny was trained on")


def test_nothing_changed_makes_nothing_again(finished):
    before = {name: (finished.out / name).stat().st_mtime_ns for name in contents(finished.out)}
    assert "resumed: every block was finished already" in finished.run().out
    after = {name: (finished.out / name).stat().st_mtime_ns for name in contents(finished.out)}
    assert [name for name in after if not name.startswith(KEPT) and before[name] != after[name]] == []


@pytest.mark.slow
def test_a_change_back_and_forth_is_seen_each_time(finished):
    before = outputs_of(finished.out)
    for colour in ("#00ff00", "#078040"):
        card("classes.1.colour", colour)(finished.folder)
        again(finished)
    after = outputs_of(finished.out)
    assert sorted(after) == sorted(before)
    assert [name for name in after if after[name] != before[name]] == []

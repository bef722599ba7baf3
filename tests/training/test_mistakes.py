"""Mistakes: each one that a person makes in a training spec or its catalog is one sentence before the first epoch."""

import re
import shutil

import geopandas
import pytest
import rasterio
import shapely
from labelled_scenes import CATALOG, RECIPE
from small_jobs import geoseg


def spec(old, new):
    def make(folder, monkeypatch):
        assert old in RECIPE
        (folder / "training.yaml").write_text(RECIPE.replace(old, new))

    return make


def entry(old, new):
    def make(folder, monkeypatch):
        assert old in CATALOG
        (folder / "data_catalog.yaml").write_text(CATALOG.replace(old, new))

    return make


def without_crs(name):
    """A raster rewritten as one that says no CRS."""

    def make(folder, monkeypatch):
        with rasterio.open(folder / name) as file:
            profile, values = file.profile | {"crs": None}, file.read()
        with rasterio.open(folder / name, "w", **profile) as file:
            file.write(values)

    return make


def polygons(column="cover", name="deep", crs=True, key="cover"):
    """Polygons as the reference."""

    def make(folder, monkeypatch):
        shape = shapely.box(500000, 3998000, 502000, 4000000)
        geopandas.GeoDataFrame({column: [name]}, geometry=[shape], crs="EPSG:32633").to_file(folder / "fields.shp")
        if not crs:
            (folder / "fields.prj").unlink()
        text = CATALOG.replace("file: truth.tif, legend", f"file: fields.shp, column: {key}, legend")
        (folder / "data_catalog.yaml").write_text(text)

    return make


def held(column="division", **kinds):
    """A layer that divides the scene."""

    def make(folder, monkeypatch):
        shapes = [shapely.box(*bounds) for bounds in kinds.values()]
        geopandas.GeoDataFrame({column: list(kinds)}, geometry=shapes, crs="EPSG:32633").to_file(folder / "held.gpkg")
        spec("seed: 1", "split: {by: polygons, file: held.gpkg}")(folder, monkeypatch)

    return make


def full(folder, monkeypatch):
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=9_000_000))


MISTAKES = {
    "a band that the imagery lacks": (spec("[nir, red]", "[nir, green]"), "training needs band 'green'"),
    "a band that the file lacks": (entry("nir: 2", "nir: 7"), "is number 7 of .*scene.tif, which has 2; correct"),
    "a band twice": (spec("[nir, red]", "[red, red]"), "bands names 'red' twice"),
    "a file that is not there": (entry("files: scene.tif", "files: scen.tif"), "scen.tif"),
    "a scene that is not there": (spec("imagery: scene", "imagery: seene"), "called 'seene'.*did you mean 'scene'"),
    "a wrong column": (polygons(key="covr"), "fields.shp has no column 'covr'; did you mean 'cover'"),
    "a class of the column that no legend has": (polygons(name="deap"), "'deap'.*did you mean 'deep'"),
    "no CRS of the imagery": (without_crs("scene.tif"), "scene.tif has no CRS; state it as 'crs'"),
    "no CRS of the reference": (without_crs("truth.tif"), "truth.tif has no CRS; state it as 'crs'"),
    "no CRS of the polygons": (polygons(crs=False), "fields.shp has no CRS; add one to the file or state 'crs'"),
    "a wrong CRS of the reference": (
        entry("file: truth.tif, legend", "file: truth.tif, crs: 'EPSG:32601', legend"),
        "no label of reference 'truth' falls on train squares of imagery 'scene'; check that they overlap",
    ),
    "no validation": (
        held(test=(500000, 3998000, 500600, 4000000)), "held.gpkg has no polygon whose division is 'validation'",
    ),
    "a validation that lies elsewhere": (
        held(validation=(700000, 3998000, 700600, 4000000)), "no label of any scene is for validation",
    ),
    "a training that lies elsewhere": (
        held(train=(700000, 3998000, 700600, 4000000), validation=(500000, 3998000, 500600, 4000000)),
        "no label of any scene is for train",
    ),
    "squares larger than the scene": (spec("square: 16", "square: 4000"), "no label of reference 'truth' falls on"),
    "a buffer that takes all labels": (spec("square: 16", "square: 16, buffer: 90"), "lies within 90 pixels of what"),
    "a chip larger than the scene": (spec("size: 16", "size: 128"), "chips.size is 128 pixels, but imagery 'scene'"),
    "a chip that does not fit the stride": (spec("size: 16", "size: 17"), "multiples of 2 pixels, for instance 18"),
    "a learning rate that is too high": (spec("0.02", "30"), "learning_rate is 30; no network learns above 1"),
    "a learning rate that is too low": (spec("0.02", "1.0e-12"), "learning_rate is 1e-12; nothing is learnt below"),
    "a learning rate that is no number": (spec("0.02", ".nan"), "learning_rate: input should be greater than 0"),
    "no room on the disk": (full, "tiny needs 10 MB on its disk, where 9 MB are free; make room"),
    "a folder that cannot be written": (
        spec("name: tiny", "name: tiny\nout: scene.tif/tiny"), "tiny/trial cannot be written: .*scene.tif is no folder",
    ),
    "an architecture that is not there": (spec("name: compact", "name: compakt"), "did you mean 'compact'"),
    "a network beyond all bounds": (spec("width: 4", "width: 99999"), "width: input should be less than or equal"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.sampled(3)
def test_a_mistake_is_one_sentence_before_the_first_epoch(folder, monkeypatch, mistake):
    make, said = MISTAKES[mistake]
    make(folder, monkeypatch)
    monkeypatch.chdir(folder)
    answer = geoseg("train", "training.yaml")
    assert answer.code == 2, answer
    lines = [each for each in answer.err.splitlines() if each.strip()]
    sentence = " ".join(" ".join(lines).split())
    assert re.search(said, sentence), sentence
    assert "Traceback" not in sentence
    assert "epoch 1" not in sentence
    assert len(sentence) < 500
    assert not (folder / "tiny").exists()

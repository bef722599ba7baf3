"""compare: two maps on the command line, with their changes as a raster and as polygons."""

import json

import geopandas
import numpy as np
import pytest
import rasterio
from small_jobs import geoseg
from strategies import NORTH_UP, write

from geoseg.catalog.legend import LandClass, Legend
from geoseg.rasters import legend_tag

MINE = Legend("mine", (LandClass(1, "Water", "#0000ff"), LandClass(2, "Roads, paved", "#222222")))
BEFORE = np.ones((30, 40), np.uint8)
AFTER = np.where(np.arange(40) < 10, 2, BEFORE)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, ids in (("a.tif", BEFORE), ("b.tif", AFTER)):
        write(tmp_path / name, ids.astype(np.uint8)[None], NORTH_UP, nodata=255)
        with rasterio.open(name, "r+") as file:
            file.update_tags(GEOSEG_LEGEND=legend_tag.written(MINE))
    return tmp_path


def test_changes_are_told_written_and_traced(here):
    said = geoseg("compare", "a.tif", "b.tif", "--out", "c.tif", "--vectors", "c.gpkg")
    assert said.code == 0, said
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in said.out.splitlines()}
    assert [float(each) for each in rows["Water"]] == pytest.approx([1.08, 0, 0.27, -0.27, 0.81])
    assert "# Water to Roads, paved: 0.270 km²" in said.out
    frame = geopandas.read_file("c.gpkg", layer="c")
    assert frame.class_name.tolist() == ["Water to Roads, paved"]
    assert frame.geometry.area.sum() == pytest.approx(270_000)
    held = json.loads(geoseg("compare", "a.tif", "b.tif", "--json").out)
    assert held["classes"]["Roads, paved"]["gained_m2"] == pytest.approx(270_000)


def test_the_change_itself_can_be_sampled(here):
    assert geoseg("compare", "a.tif", "b.tif", "--out", "c.tif").code == 0
    said = geoseg("sample", "c.tif", "--n", 20, "--out", "p.gpkg")
    assert said.code == 0, said
    assert "no change\t" in said.out
    assert "Water to Roads, paved\t" in said.out


def test_maps_that_are_the_same_have_no_changes_to_trace(here):
    said = geoseg("compare", "a.tif", "a.tif", "--out", "c.tif", "--vectors", "c.gpkg")
    assert said.code == 0, said
    assert "nothing changed, so c.gpkg is not written" in said.out
    assert not (here / "c.gpkg").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["a.tif", "b.tif", "--vectors", "c.gpkg"], "name that too, with --out"),
        (["a.tif", "b.tif", "--out", "c.tif", "--vectors", "c.txt"], "polygons are written to"),
        (["a.tif", "b.tif", "--out", "a.tif"], "a.tif exists"),
        (["a.tif", "b.tif", "--out", "a.tif", "--overwrite"], "is one of the maps"),
        (["a.tif", "nix.tif"], "nix.tif"),
        (["a.tif", "b.tif", "--legend", "seas"], "seas"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(here, words, sentence):
    before = {each.name: each.read_bytes() for each in here.iterdir()}
    assert sentence in geoseg("compare", *words).refusal()
    assert {each.name: each.read_bytes() for each in here.iterdir()} == before

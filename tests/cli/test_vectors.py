"""Commands that make polygons of maps."""

import io
import resource

import geopandas
import numpy as np
import pytest
from affine import Affine
from rich.console import Console
from small_jobs import geoseg, process
from strategies import write

from geoseg.catalog.legend import LandClass, Legend
from geoseg.cli import screen
from geoseg.rasters import legend_tag

MINE = Legend(
    "mine", (LandClass(1, "Water", "#0000ff"), LandClass(2, "Roads, paved", "#222222"), LandClass(3, "wood", "#00ff00"))
)
UTM = Affine(30, 0, 300_000, 0, -30, 4_200_000)


@pytest.fixture
def here(tmp_path, monkeypatch):
    import rasterio

    monkeypatch.chdir(tmp_path)
    write(tmp_path / "map.tif", np.random.default_rng(0).integers(1, 4, (1, 30, 40), np.uint8), UTM, nodata=255)
    with rasterio.open(tmp_path / "map.tif", "r+") as file:
        file.update_tags(GEOSEG_LEGEND=legend_tag.written(MINE))
    return tmp_path


@pytest.mark.parametrize("words", ["roads, PAVED,water", "1,2"])
def test_classes_are_chosen_in_any_case(here, words):
    said = geoseg("vectorize", "map.tif", "--out", "some.gpkg", "--classes", words)
    assert said.code == 0, said
    assert set(geopandas.read_file(here / "some.gpkg", layer="some").class_name) == {"Water", "Roads, paved"}


def test_one_polygon_is_singular(here):
    write(here / "one.tif", np.ones((1, 4, 4), np.uint8))
    assert geoseg("vectorize", "one.tif", "--out", "one.gpkg").out.endswith("one.gpkg: 1 polygon\n")


def test_threads_change_nothing(here):
    for workers in "13":
        assert geoseg("vectorize", "map.tif", "--out", f"{workers}.shp", "--workers", workers).code == 0
    assert (here / "1.shp").read_bytes() == (here / "3.shp").read_bytes()
    assert (here / "1.dbf").read_bytes() == (here / "3.dbf").read_bytes()


def test_a_least_area_is_the_same_for_map_and_polygons(here):
    said = geoseg("sieve", "map.tif", "--min-area", "0.45ha", "--min-area", "water=1ha", "--out", "sieved.tif")
    assert said.code == 0, said
    assert "Roads, paved" in said.out
    assert geoseg("vectorize", "sieved.tif", "--out", "a.shp").code == 0
    said = geoseg("vectorize", "map.tif", "--min-area", "0.45ha", "--min-area", "water=1ha", "--out", "b.shp")
    assert said.code == 0, said
    assert (here / "a.shp").read_bytes() == (here / "b.shp").read_bytes()
    assert "sieved.tif exists" in geoseg("sieve", "map.tif", "--min-area", "1ha", "--out", "sieved.tif").refusal()
    assert "--min-area is missing" in geoseg("sieve", "map.tif", "--out", "c.tif").refusal()
    assert "is no least area" in geoseg("sieve", "map.tif", "--min-area", "1acre", "--out", "c.tif").refusal()


def test_areas_are_shown_and_written(here):
    said = geoseg("areas", "map.tif", "--out", "areas.csv")
    assert said.code == 0, said
    assert "Roads, paved" in said.out
    rows = (here / "areas.csv").read_text().splitlines()[1:]
    assert sum(float(row.rpartition(",")[2]) for row in rows) == pytest.approx(30 * 40 * 900)
    assert "does not exist" in geoseg("areas", "map.tif", "--zones", "nix.gpkg").refusal()


@pytest.mark.slow
def test_a_full_disk_is_one_sentence(here):
    def little():
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    for name in ("a.gpkg", "a.fgb", "a.shp"):
        said = process("vectorize", "map.tif", "--out", name, cwd=here, preexec_fn=little).refusal("RasterError")
        assert f"{name} cannot be written: " in said
        assert not list(here.glob("*a.*"))


def test_how_far_it_is_is_shown_on_a_terminal_alone(here, monkeypatch):
    text = io.StringIO()
    assert geoseg("vectorize", "map.tif", "--out", "quiet.fgb").err == ""
    monkeypatch.setattr(screen, "err", Console(file=text, force_terminal=True, width=120))
    with screen.bar("polygons") as tell:
        tell("sieving", 1, 4, 0)
        tell("tracing", 3, 4, 1234)
    shown = text.getvalue()
    assert "sieving" in shown
    assert "3/4" in shown
    assert "1,234 polygons" in shown

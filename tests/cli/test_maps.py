"""Commands for finished maps, and a run's own scores: real maps, real references, numbers counted by hand."""

import csv
import io
import json

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
import yaml
from affine import Affine
from rich.console import Console
from small_jobs import SmallJob, geoseg, process

from geoseg.accuracy import assessment, tables
from geoseg.catalog.legend import LandClass, Legend
from geoseg.cli import screen, workers
from geoseg.jobs import resolve
from geoseg.jobs import spec as job_spec
from geoseg.rasters import legend_tag

ROWS, COLS, SIDE = 30, 40, 30.0
WEST, NORTH = 300_000.0, 4_200_000.0
MINE = Legend(
    "mine", (LandClass(1, "Water", "#0000ff"), LandClass(2, "Roads, paved", "#222222"), LandClass(3, "wood", "#00ff00"))
)
PLACE = {"crs": "EPSG:32612", "transform": Affine(SIDE, 0, WEST, 0, -SIDE, NORTH)}
MAPPED = np.random.default_rng(0).integers(1, 4, (ROWS, COLS), np.uint8)
TRUTH = np.where(np.random.default_rng(1).random((ROWS, COLS)) < 0.7, MAPPED, 3).astype(np.uint8)


def raster(path, ids, legend=MINE, nodata=255, **place):
    profile = {"driver": "GTiff", "height": ids.shape[0], "width": ids.shape[1], "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile, **(place or PLACE), nodata=nodata) as file:
        file.write(ids, 1)
        if legend is not None:
            file.update_tags(GEOSEG_LEGEND=legend_tag.written(legend))
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raster(tmp_path / "map.tif", MAPPED)
    raster(tmp_path / "truth.tif", TRUTH)
    return tmp_path


def scores(*words):
    said = geoseg("evaluate", *words, "--json")
    assert said.code == 0, said
    return json.loads(said.out)


def accuracy_where(chosen):
    return pytest.approx((MAPPED == TRUTH)[chosen].mean())


def test_json_is_what_the_file_holds(here):
    said = geoseg("evaluate", "map.tif", "truth.tif", "--out", "out", "--json")
    assert said.out == (here / "out/accuracy.json").read_text()


def test_rows_are_separated_by_tabs_where_nobody_watches(here):
    said = geoseg("evaluate", "map.tif", "truth.tif")
    head, *below = said.out.splitlines()
    rows, feet = ([each for each in below if each.startswith("#") is wanted] for wanted in (False, True))
    assert head.split("\t")[:2] == ["class", "IoU"]
    assert [row.split("\t")[0] for row in rows] == list(MINE.names)
    assert sum(int(row.split("\t")[5]) for row in rows) == ROWS * COLS
    assert feet[0].startswith("# mean IoU ")


# ------------------------------------------------------------------------------------- what is left out


@pytest.mark.parametrize("words", ["wood", "WOOD", "3", "map:3,reference:3", "Wood, 77"])
def test_ignored_classes_are_as_if_nobody_had_labelled_them(here, words):
    found = scores("map.tif", "truth.tif", "--ignore", words)
    kept = (MAPPED != 3) & (TRUTH != 3)
    assert found["pixels"]["compared"] == kept.sum()
    assert found["pixel_accuracy"] == accuracy_where(kept)
    assert found["ignore"]["map"][0] == found["ignore"]["reference"][0] == 3
    assert found["notes"] == [f"{(~kept).sum():,} pixels are of classes that were to be ignored and are not scored"]


def test_a_name_with_a_comma_can_be_ignored_on_one_side(here):
    found = scores("map.tif", "truth.tif", "--ignore", "map:roads, paved")
    assert found["pixels"]["compared"] == (MAPPED != 2).sum()


def test_ignoring_all_is_refused(here):
    assert "ignore fewer classes" in geoseg("evaluate", "map.tif", "truth.tif", "--ignore", "1,2,3").refusal()


@pytest.mark.parametrize("file", ["map.tif", "truth.tif"])
@pytest.mark.parametrize("count", [1, 3, 20])
def test_the_advice_about_unknown_ids_works_as_it_stands(here, file, count):
    ids = (MAPPED if file == "map.tif" else TRUTH).copy()
    ids.flat[:count] = 100 + np.arange(count)
    raster(here / file, ids)
    said = geoseg("evaluate", "map.tif", "truth.tif").refusal("CatalogError")
    option, words = said.split("geoseg evaluate ... ")[1].split(" ")
    assert option == "--ignore"
    kept = np.arange(ROWS * COLS) >= count
    assert scores("map.tif", "truth.tif", option, words)["pixel_accuracy"] == accuracy_where(kept.reshape(ROWS, COLS))


def test_nodata_of_the_map_can_be_stated(here):
    found = scores("map.tif", "truth.tif", "--nodata", "2")
    assert found["pixels"]["unlabelled"] == (MAPPED == 2).sum()
    assert found["pixels"]["compared"] == (MAPPED != 2).sum()


# -------------------------------------------------------------------------------------- where it is scored

BOUNDS = (WEST + 5 * SIDE, NORTH - 20 * SIDE, WEST + 25 * SIDE, NORTH - 4 * SIDE)
INSIDE = np.zeros((ROWS, COLS), bool)
INSIDE[4:20, 5:25] = True


def test_a_region_is_a_name_a_file_or_bounds_in_the_maps_crs(here):
    geopandas.GeoDataFrame(geometry=[shapely.box(*BOUNDS)], crs="EPSG:32612").to_file(here / "part.gpkg")
    entry = {"regions": {"part": {"bounds": list(BOUNDS), "crs": "EPSG:32612"}}}
    (here / "data_catalog.yaml").write_text(yaml.safe_dump(entry))
    for region in ("part", "part.gpkg", ",".join(map(str, BOUNDS))):
        found = scores("map.tif", "truth.tif", "--region", region)
        assert found["pixels"]["compared"] == INSIDE.sum(), region
        assert found["pixel_accuracy"] == accuracy_where(INSIDE)
    said = geoseg("evaluate", "map.tif", "truth.tif", "--region", "prt").refusal("CatalogError")
    assert "did you mean 'part'" in said
    assert said.endswith("or give a vector file, or left,bottom,right,top in the map's CRS")


def test_zones_are_scored_each_by_itself(here):
    west, east = (
        shapely.box(WEST + SIDE * a, NORTH - ROWS * SIDE, WEST + SIDE * b, NORTH) for a, b in ((0, 9), (9, 40))
    )
    file = geopandas.GeoDataFrame({"part": ["west", "east"]}, geometry=[west, east], crs="EPSG:32612")
    file.to_file(here / "parts.gpkg")
    words = ("map.tif", "truth.tif", "--zones", "parts.gpkg", "--zone-column", "part")
    found = scores(*words)
    assert found["zoned_by"] == {"file": "parts.gpkg", "column": "part"}
    held = {each["name"]: each["pixel_accuracy"] for each in found["zones"]}
    assert held == {"west": accuracy_where(np.s_[:, :9]), "east": accuracy_where(np.s_[:, 9:])}
    said = geoseg("evaluate", *words, "--out", "out")
    assert [line.split("\t")[0] for line in said.out.splitlines()][-6:-3] == ["zone", "west", "east"]
    assert said.out.splitlines()[-1].endswith("zones.csv")
    assert (here / "out/zones.csv").read_text().splitlines()[1].startswith("west,270,0,")
    assert "give these too" in geoseg("evaluate", *words[:2], "--zone-column", "part").refusal("CatalogError")


def test_a_map_of_errors_is_written_where_asked(here):
    said = geoseg("evaluate", "map.tif", "truth.tif", "--error-map", "errors.tif")
    assert said.out.splitlines()[-1] == "wrote errors.tif"
    with rasterio.open(here / "errors.tif") as file:
        differing, _, compared = file.read([1, 2, 3])
    assert np.nansum(differing * compared) == pytest.approx((MAPPED != TRUTH).sum())
    assert ".tif" in geoseg("evaluate", "map.tif", "truth.tif", "--error-map", "errors.png").refusal("RasterError")


def test_confidence_is_judged_where_it_is_given(here):
    levels = np.where(MAPPED == TRUTH, 254, 127).astype(np.uint8)
    raster(here / "sure.tif", levels, legend=None)
    with rasterio.open(here / "sure.tif", "r+") as file:
        file.scales = (1 / 254,)
    found = scores("map.tif", "truth.tif", "--confidence", "sure.tif")["reliability"]
    assert found["pixels"] == ROWS * COLS
    assert found["expected_calibration_error"] == pytest.approx(0.5 * (MAPPED != TRUTH).mean())
    said = geoseg("evaluate", "map.tif", "truth.tif", "--confidence", "sure.tif")
    assert "# expected calibration error of the confidence 0." in said.out


def test_boundaries_are_told_and_left_out_where_asked(here):
    found = scores("map.tif", "truth.tif", "--boundary", "2", "--boundary-ignore", "0")
    assert found["boundary"]["width_pixels"] == 2
    assert 0 < found["boundary"]["mean_iou"] < 1
    assert "boundary_ignored" not in found
    said = geoseg("evaluate", "map.tif", "truth.tif", "--boundary", "2", "--out", "near")
    with (here / "near/accuracy.csv").open() as file:
        rows = {row["class"]: row["boundary_iou"] for row in csv.DictReader(file)}
    assert {name: float(value) if value else None for name, value in rows.items()} == found["boundary"]["iou"]
    assert "# Boundary IoU within 2 px of borders: mean 0." in said.out
    raster(here / "one.tif", np.where(np.arange(COLS) < 20, 1, 2).astype(np.uint8) * np.ones((ROWS, COLS), np.uint8))
    found = scores("map.tif", "one.tif", "--boundary-ignore", "3")
    assert found["boundary_ignored"] == {"distance_pixels": 3, "pixels": 6 * ROWS}
    assert found["pixels"]["compared"] == (COLS - 6) * ROWS


def test_a_border_around_everything_is_told(here):
    raster(here / "stripes.tif", np.where(np.arange(COLS) % 2, 1, 2).astype(np.uint8) * np.ones((ROWS, 1), np.uint8))
    said = geoseg("evaluate", "map.tif", "stripes.tif", "--boundary-ignore", "1").refusal("CatalogError")
    assert "within 1 px of a border between classes of the reference; give a smaller --boundary-ignore" in said


def geographic(here, west=-113.0, north=37.5):
    place = {"crs": "EPSG:4326", "transform": Affine(0.01, 0, west, 0, -0.01, north)}
    raster(here / "map.tif", MAPPED, **place)
    raster(here / "truth.tif", TRUTH, **place)


def test_bounds_may_begin_with_a_minus(here):
    geographic(here)
    found = scores("map.tif", "truth.tif", "--region", "-112.95,37.3,-112.75,37.46")
    assert found["pixel_accuracy"] == accuracy_where(INSIDE)


def test_swapped_latitude_and_longitude_are_named(here):
    geographic(here)
    said = geoseg("evaluate", "map.tif", "truth.tif", "--region", "37.3,-112.95,37.46,-112.75").refusal("GridError")
    assert "there is no latitude -112.95; are the numbers swapped? the order is left, bottom, right, top" in said
    geographic(here, west=15.0, north=48.5)  # where both readings are places on earth
    said = geoseg("evaluate", "map.tif", "truth.tif", "--region", "48.3,15.05,48.46,15.25").refusal("RasterError")
    assert "with latitude and longitude swapped it would fit" in said
    file = geopandas.GeoDataFrame(geometry=[shapely.box(48.3, 15.05, 48.46, 15.25)], crs="EPSG:4326")
    file.to_file(here / "turned.geojson")
    said = geoseg("evaluate", "map.tif", "truth.tif", "--region", "turned.geojson").refusal("RasterError")
    assert "with latitude and longitude swapped it would fit" in said


def test_swapped_numbers_are_named_in_jobs_and_catalogs_too(tmp_path):
    job = SmallJob.write(tmp_path)
    with rasterio.open(tmp_path / "scene.tif") as scene:
        left, bottom, right, top = rasterio.warp.transform_bounds(scene.crs, "EPSG:4326", *scene.bounds)
    swapped = {"bounds": [bottom, left, top, right], "crs": "EPSG:4326"}
    job.job(region=swapped)
    assert "latitude" in job.plan().refusal("GridError")
    assert "swapped" in job.plan().refusal("GridError")
    held = job.load("data_catalog.yaml")
    job.save("data_catalog.yaml", held | {"regions": {"turned": swapped}})
    job.job(region="turned")
    assert "swapped" in job.plan().refusal("GridError")
    job.job(region={"bounds": [left, bottom, right, top], "crs": "EPSG:4326"})
    assert job.plan().code == 0


# --------------------------------------------------------------------------------------------- on a terminal


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("pixels", [1, 999, 1_296_000_000])
def test_a_table_fits_the_terminal_and_cuts_no_number(width, pixels, monkeypatch):
    rows = {
        name: dict.fromkeys(("iou", "precision", "recall", "f1"), 0.123)
        | dict.fromkeys(("reference_pixels", "map_pixels", "unlabelled_pixels"), pixels)
        for name in ("Permanent water bodies", "Donaudampfschifffahrtsgesellschaft", "水" * 30, "x")
    }
    plain = {
        "classes": rows, "mean_iou": None, "pixel_accuracy": 0.5, "frequency_weighted_iou": 0.5, "classes_in_mean": 0,
        "pixels": {"compared": 5}, "notes": [], "crosswalk": {"lossy": []},
    }  # fmt: skip
    stream = io.StringIO()
    terminal = Console(file=stream, force_terminal=True, width=width, soft_wrap=True, color_system=None)
    monkeypatch.setattr(screen, "out", terminal)
    screen.score_table(plain)
    *table, _ = stream.getvalue().splitlines()
    assert max(screen.cell_len(line) for line in table) <= width
    assert "\n".join(table).count(f"{pixels:,}") >= 12
    letters = "".join("".join(each for each in line if each == "水") for line in table)
    assert letters == "水" * 30


# ------------------------------------------------------------------------------------------- scores of a run


@pytest.fixture
def scored(tmp_path):
    """A job with a reference in the legend of its model."""
    job = SmallJob.write(tmp_path)
    held = job.load("data_catalog.yaml")
    held["references"] = {"truth": {"file": "truth.tif", "legend": "three"}}
    with rasterio.open(tmp_path / "scene.tif") as scene:
        ids = np.random.default_rng(3).choice(np.array([3, 7, 200], np.uint8), scene.shape)
        raster(tmp_path / "truth.tif", ids, legend=None, nodata=0, crs=scene.crs, transform=scene.transform)
    job.save("data_catalog.yaml", held)
    job.job(reference="truth")
    return job


def test_a_run_prints_the_scores_that_evaluate_prints(scored):
    said = scored.run()
    assert said.code == 0, said
    _, _, table = said.out.partition("agreement with reference 'truth':\n")
    catalog = "--catalog", scored.folder / "data_catalog.yaml"
    assert table == geoseg("evaluate", scored.out / "map.tif", "truth", *catalog).out != ""
    again = scored.run()
    assert "(kept)" in again.out
    assert again.out.endswith(table)
    (scored.out / "status.json").unlink()
    assert geoseg("resume", scored.out).out.endswith(table)


def test_without_a_reference_no_scores_are_spoken_of(tmp_path):
    job = SmallJob.write(tmp_path)
    assert "agreement" not in job.run().out


# ---------------------------------------------------------------------------------------------- small jobs


def test_a_small_job_runs_in_this_process_and_says_so_once(tmp_path):
    job = SmallJob.write(tmp_path)
    said = geoseg("run", job.folder / "job.yaml", "--out", job.out)
    assert said.code == 0, said
    assert said.err.count("small job: running in this process; --workers N for more") == 1
    assert "dashboard" not in said.err
    assert "small job" not in geoseg("run", job.folder / "job.yaml", "--out", job.out).err  # nothing is left to do
    assert "small job" not in SmallJob.write(tmp_path / "told").run().err


def test_what_is_small_is_counted_in_pixels_that_are_labelled(tmp_path, monkeypatch):
    job = SmallJob.write(tmp_path, shape=(40, 50))
    plan = resolve.resolve(job_spec.read(job.folder / "job.yaml"))
    for most, small in ((2000, False), (2001, True)):
        monkeypatch.setattr(workers, "SMALL_PIXELS", most)
        assert workers._is_small(plan) == small


@pytest.mark.slow
@pytest.mark.parametrize("told", ["option", "job"])
def test_a_small_job_that_is_told_where_to_run_runs_there_and_gives_the_same_bytes(tmp_path, told):
    job = SmallJob.write(tmp_path)
    assert geoseg("run", job.folder / "job.yaml", "--out", job.out).code == 0
    options = ("--workers", 2) if told == "option" else ()
    if told == "job":
        job.job(cluster={"kind": "local", "workers": 1})
    there = process("run", job.folder / "job.yaml", "--out", tmp_path / "there", *options)
    assert there.code == 0, there
    assert "small job" not in there.err
    assert "dashboard" in there.err
    assert (job.out / "map.tif").read_bytes() == (tmp_path / "there/map.tif").read_bytes()


# ------------------------------------------------------------------------------------------------- the catalog


def test_a_catalog_lists_the_users_entries_and_the_shipped_ones_when_asked(tmp_path):
    job = SmallJob.write(tmp_path)
    own = geoseg("catalog", job.folder / "data_catalog.yaml")
    assert "tiny" in own.out
    assert "nlcd" not in own.out
    assert "landsat-6class" not in own.out
    assert "geoseg catalog --all" in own.err
    everything = geoseg("catalog", job.folder / "data_catalog.yaml", "--all", "--no-check")
    assert "tiny" in everything.out
    assert "worldcover" in everything.out
    assert "landsat-6class" in everything.out


@pytest.mark.parametrize("command", [("plan", "--no-probe"), ("run", "--out", "x")])
def test_what_is_no_job_is_named(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    job = SmallJob.write(tmp_path)
    name, *options = command
    for path, what in (
        ("scene.tif", "is a raster, not a job spec"),
        ("data_catalog.yaml", "is a catalog, not a job spec; it is for geoseg catalog"),
        ("model/card.yaml", "is the card of a model, not a job spec"),
        ("model", "is a model folder; give a job spec"),
        (".", "is a folder; give a job spec, a YAML file"),
    ):
        assert what in geoseg(name, path, *options).refusal()
    assert "is a job spec, not a catalog" in geoseg("catalog", job.folder / "job.yaml").refusal("CatalogError")
    assert "is a raster, not a catalog" in geoseg("catalog", "scene.tif").refusal("CatalogError")


def test_the_python_door_takes_the_same_words(here):
    found = assessment.score(here / "map.tif", "truth.tif", ignore="wood", nodata=2)
    assert tables.plain(found)["pixels"]["compared"] == ((MAPPED == 1) & (TRUTH != 3)).sum()

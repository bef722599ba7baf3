"""Sampled: a map and labelled points, from files, by the command line."""

import csv
import io
import json

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from small_jobs import geoseg

from geoseg.accuracy import sampled
from geoseg.accuracy.estimates import estimate
from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import CatalogError, GridError, RasterError

LEGEND = Legend("two", (LandClass(1, "Water", "#0000ff"), LandClass(2, "Bare land", "#aa8800")))
TRANSFORM = Affine(10, 0, 500_000, 0, -10, 4_000_000)


def raster(path, codes, crs="EPSG:32633", transform=TRANSFORM):
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": 255, "crs": crs, "transform": transform}
    with rasterio.open(path, "w", height=codes.shape[0], width=codes.shape[1], **profile) as target:
        target.write(codes, 1)
    return path


@pytest.fixture
def made(tmp_path):
    """A map, 60 points on it, their rows and columns, and what each is."""
    random = np.random.default_rng(3)
    codes = np.where(np.arange(80)[None] < 30, 1, 2).astype(np.uint8).repeat(50, axis=0)
    codes[:3] = 255
    rows, cols = random.integers(3, 50, 60), random.integers(0, 80, 60)
    truth = np.where(random.random(60) < 0.8, codes[rows, cols], 3 - codes[rows, cols])
    x, y = TRANSFORM @ (cols + 0.5, rows + 0.5)
    return raster(tmp_path / "map.tif", codes), gpd.GeoSeries.from_xy(x, y, crs="EPSG:32633"), rows, cols, truth


def written(path, points, labels):
    gpd.GeoDataFrame({"label": labels}, geometry=points).to_file(path)
    return path


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:3035"])
@pytest.mark.parametrize("ending", [".gpkg", ".shp", ".geojson", ".fgb"])
@pytest.mark.parametrize("kind", ["ids", "text ids", "names"])
@pytest.mark.sampled(3)
def test_files_give_what_the_arrays_give(made, tmp_path, crs, ending, kind):
    map_file, points, rows, cols, truth = made
    if ending == ".geojson" and crs != "EPSG:4326":
        pytest.skip("GeoJSON is in longitude and latitude")
    labels = {"ids": truth, "text ids": truth.astype(str), "names": np.array(["", "water", "BARE LAND"])[truth]}[kind]
    file = written(tmp_path / f"p{ending}", points.to_crs(crs), labels)
    found = sampled.assess(map_file, file, label="label", legend=LEGEND)
    with rasterio.open(map_file) as source:
        codes = source.read(1)
    of_map = codes[rows, cols]
    areas = {each: float((codes == each).sum()) for each in (1, 2)}
    wanted = estimate(of_map, of_map, truth, areas)
    assert found.estimates.classes == wanted.classes
    assert found.mapped_m2 == {each: 100 * area for each, area in areas.items()}
    assert (found.used, dict(found.left_out)) == (60, {})


def test_points_that_cannot_be_used_are_counted_and_change_nothing(made, tmp_path):
    map_file, points, *_, truth = made
    plain = sampled.assess(map_file, written(tmp_path / "a.gpkg", points, truth), label="label", legend=LEGEND)
    x, y = TRANSFORM @ (np.array([5.5, 500, 20.5]), np.array([1.5, 20.5, 20.5]))
    more = gpd.GeoSeries.from_xy(np.r_[points.x, x], np.r_[points.y, y], crs=points.crs)
    labels = [*map(str, truth), "1", "1", None]
    found = sampled.assess(map_file, written(tmp_path / "b.gpkg", more, labels), label="label", legend=LEGEND)
    assert found.estimates.classes == plain.estimates.classes
    assert found.left_out == {"where the map has no data": 2, "without a label": 1}


def test_strata_of_their_own_weigh_by_their_areas(made, tmp_path):
    map_file, points, rows, cols, truth = made
    zones = np.where(np.arange(50)[:, None] < 20, 7, 9).astype(np.uint8).repeat(80, axis=1)
    strata = raster(tmp_path / "strata.tif", zones)
    found = sampled.assess(
        map_file, written(tmp_path / "a.gpkg", points, truth), label="label", strata=strata, legend=LEGEND
    )
    of_map = np.where(cols < 30, 1, 2)
    wanted = estimate(zones[rows, cols], of_map, truth, {7: 20.0, 9: 30.0})
    assert found.estimates.overall_accuracy == wanted.overall_accuracy
    assert found.total_m2 == pytest.approx(50 * 80 * 100)


def test_the_command_prints_what_it_finds(made, tmp_path):
    map_file, points, *_, truth = made
    file = written(tmp_path / "a.gpkg", points, truth)
    said = geoseg("assess", map_file, file)
    assert said.code == 0, said.err
    rows = list(csv.reader(io.StringIO(said.out), delimiter="\t"))
    found = sampled.assess(map_file, file, label="label")
    one = found.estimates.classes[1]
    assert [float(each) for each in rows[1][2:6]] == pytest.approx(
        [
            one.share.value * found.total_m2 / 1e6,
            one.share.margin * found.total_m2 / 1e6,
            one.users_accuracy.value,
            one.users_accuracy.margin,
        ],
        abs=1e-6,
    )
    data = json.loads(geoseg("assess", map_file, file, "--json").out)
    assert data["classes"]["1"]["iou"]["value"] == one.iou.value
    assert np.sum(data["matrix"]["map_by_reference"]) == pytest.approx(1)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"column": "what"}, GridError, "has no column 'label'"),
        ({"label": "lava"}, CatalogError, "lava"),
        ({"keep": 1}, RasterError, r"each stratum needs 2 labelled points or more, and some have fewer"),
        ({"lines": True}, GridError, "is a LineString; a sample is made of points"),
        ({"crs": None}, GridError, "has no CRS"),
    ],
)
def test_points_that_say_nothing_are_refused(made, tmp_path, change, error, sentence):
    map_file, points, *_, truth = made
    keep = change.get("keep", len(truth))
    labels = truth[:keep].astype(str).astype(object)
    labels[0] = change.get("label", labels[0])
    shapes = points[:keep].buffer(5).boundary if change.get("lines") else points[:keep]
    frame = gpd.GeoDataFrame({change.get("column", "label"): labels}, geometry=shapes)
    frame.set_crs(change.get("crs", points.crs), allow_override=True).to_file(tmp_path / "p.gpkg")
    with pytest.raises(error, match=sentence):
        sampled.assess(map_file, tmp_path / "p.gpkg", label="label", legend=LEGEND)

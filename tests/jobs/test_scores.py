"""Scores: those of a run are those of geoseg evaluate with the same options, and are made from all that they read."""

import json
import re

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from farm import plan_of
from small_jobs import SmallJob, geoseg

from geoseg.jobs import scores

USE = {"name": "truth", "grid": "map", "ignore": "reference:200", "zones": "parts.geojson", "zone_column": "part"}
USE |= {"boundary": 1, "boundary_ignore": 0, "interval_block": "4 px"}


@pytest.fixture
def job(tmp_path):
    made = SmallJob.write(tmp_path)
    with rasterio.open(tmp_path / "scene.tif") as scene:
        profile = scene.profile | {"count": 1, "dtype": "uint8", "nodata": 0}
        left, bottom, right, top = scene.bounds
    ids = np.random.default_rng(3).choice(np.array([3, 7, 200], np.uint8), (40, 50))
    with rasterio.open(tmp_path / "truth.tif", "w", **profile) as file:
        file.write(ids, 1)
    middle = (left + right) / 2
    boxes = [shapely.box(left, bottom, middle, top), shapely.box(middle, bottom, right, top)]
    frame = geopandas.GeoDataFrame({"part": ["west", "east"]}, geometry=boxes, crs=profile["crs"])
    frame.to_crs(4326).to_file(tmp_path / "parts.geojson")
    entry = {"truth": {"file": "truth.tif", "legend": "three"}}
    made.save("data_catalog.yaml", made.load("data_catalog.yaml") | {"references": entry})
    made.job(reference=USE)
    return made


def test_a_run_writes_what_evaluate_writes_with_the_same_options(job):
    assert job.run().code == 0
    options = [f"--{key.replace('_', '-')}={value}" for key, value in USE.items() if key not in ("name", "zones")]
    words = ("--zones", job.folder / "parts.geojson", "--catalog", job.folder / "data_catalog.yaml", *options)
    said = geoseg("evaluate", job.out / "map.tif", "truth", *words, "--out", job.folder / "again")
    assert said.code == 0, said
    for name in ("accuracy.json", "accuracy.csv", "zones.csv"):
        assert (job.out / name).read_bytes() == (job.folder / "again" / name).read_bytes()
    held = json.loads((job.out / "accuracy.json").read_text())
    assert [each["name"] for each in held["zones"]] == ["west", "east"]
    assert sum(each["pixels"]["compared"] for each in held["zones"]) == held["pixels"]["compared"]


def test_what_they_are_made_from_changes_with_the_zones_and_is_as_before_without_options(job):
    before = scores.asked(plan_of(job)).made_from
    (job.folder / "parts.geojson").touch()
    assert scores.asked(plan_of(job)).made_from != before
    job.job(reference="truth")
    assert set(scores.asked(plan_of(job)).made_from) == {"reference", "crosswalk", "file", "trained"}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"zones": "gone.gpkg"}, "reference.zones is .*gone.gpkg, which is no file"),
        ({"zones": None}, "'zone_column' names the polygons of 'zones'"),
        ({"ignore": "reference:watr"}, "no class 'watr'"),
        ({"boundary": -1}, "boundary"),
    ],
)
def test_wrong_options_are_refused_before_a_run(job, change, match):
    job.job(reference=USE | change)
    assert re.search(match, job.plan().refusal())

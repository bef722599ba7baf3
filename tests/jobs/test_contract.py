"""Contract: pixels of another size, or not square on the ground, are refused with a grid that would do, or forced."""

import json
import re

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine
from model_folders import write_model
from pyproj import CRS
from small_jobs import SmallJob
from strategies import write

from geoseg.catalog.card import ModelCard
from geoseg.grid import Grid, Window
from geoseg.jobs import contract, spec


def card(tmp_path, gsd, tolerance=0.2) -> ModelCard:
    return write_model(tmp_path / "model", gsd_m=gsd, gsd_tolerance=tolerance).card


def at(crs, resolution, x, y):
    """A grid and ten of its pixels at a place."""
    return Grid.regular(crs, resolution), Window(round(-y / resolution), round(x / resolution), 10, 10)


@pytest.mark.parametrize(
    ("gsd", "tolerance", "place", "said"),
    [
        (30.0, 0.2, ("EPSG:32612", 30, 3e5, 4e6), ""),
        (27.0, 0.2, ("EPSG:32612", 30, 3e5, 4e6), ""),
        (None, 0.2, ("EPSG:4326", 0.1, 10, 60), ""),
        (
            27.0,
            0.05,
            ("EPSG:32612", 30, 3e5, 4e6),
            "27 m and the grid's have 30 m; .* {crs: EPSG:32612, resolution: 27}",
        ),
        (
            10.0,
            0.2,
            ("EPSG:32612", 30, 3e5, 4e6),
            "10 m and the grid's have 30 m; .* {crs: EPSG:32612, resolution: 10}",
        ),
        (30.0, 0.2, ("EPSG:2264", 98.4, 2e6, 7e5), ""),  # feet
        (
            30.0,
            0.2,
            ("EPSG:2264", 30, 2e6, 7e5),
            r"have 9.14 m \(30 US survey foot\); .* {crs: EPSG:32617, resolution: 30}",
        ),
        (10.0, 0.2, ("EPSG:4326", 0.00009, 10, 1), ""),  # degrees at the equator are square
        (7.5, 0.2, ("EPSG:4326", 0.00009, 10, 60), "measure 5.01 m across and 10 m down, counted in degree; .*32632"),
        (7.5, 0.2, ("EPSG:4326", 0.00009, 10, -60), r"\{crs: EPSG:32732, resolution: 7.5\}"),
        (7.5, 1.5, ("EPSG:4326", 0.00009, 10, 60), ""),
    ],
    ids=str,
)
@pytest.mark.sampled(3)
def test_pixels_are_compared_on_the_ground(tmp_path, gsd, tolerance, place, said):
    found = contract.of_ground(card(tmp_path, gsd, tolerance), *at(*place))
    if not said:
        assert found == ""
        return
    assert re.search(said, found), found
    advised = re.search(r"\{crs: (EPSG:\d+), resolution: ([\d.]+)\}", found)
    assert CRS(advised[1]).axis_info[0].unit_name == "metre"
    assert float(advised[2]) == gsd


def test_the_advised_grid_is_accepted(tmp_path):
    model = card(tmp_path, 7.5)
    found = contract.of_ground(model, *at("EPSG:4326", 0.00009, 10, 60))
    said = yaml.safe_load(re.search(r"\{.*\}", found)[0])
    assert contract.of_ground(model, *at(said["crs"], said["resolution"], 5e5, 6.6e6)) == ""


def job(tmp_path, **keys):
    write_model(tmp_path / "model", **keys)
    return SmallJob.write(tmp_path / "job", tmp_path / "model", (20, 20))


def test_what_is_forced_is_said_in_report_and_tags_and_changes_no_pixel(tmp_path):
    made = job(tmp_path, gsd_m=10)
    made.job(outputs={"quicklook": False})
    refused = made.run().refusal("JobError")
    assert refused.endswith("or go on all the same with --force (force: true in the job)")
    assert not made.out.exists()
    forced = made.run("--force")
    assert forced.code == 0
    assert "expect lower accuracy" in forced.err
    assert "expect lower accuracy" in (made.out / "report.html").read_text("utf-8")
    with rasterio.open(made.out / "map.tif") as source:
        (why,) = json.loads(source.tags()["GEOSEG_FORCED"])
        pixels, digest = source.read(1), source.tags()["GEOSEG_JOB"]
    assert why in refused
    path = tmp_path / "model/card.yaml"
    path.write_text(path.read_text().replace("gsd_m: 10", "gsd_m: 30"))
    assert made.run().code == 0
    with rasterio.open(made.out / "map.tif") as source:
        assert "GEOSEG_FORCED" not in source.tags()
        assert source.tags()["GEOSEG_JOB"] == digest
        assert np.array_equal(source.read(1), pixels)


def test_force_counts_for_values_too_and_all_is_said(tmp_path):
    made = job(tmp_path, gsd_m=10, radiometry={"what": "reflectance", "low": 0, "high": 1, "bright": None})
    made.job(inference={"any_values": True})
    assert "was trained at pixels of 10 m" in made.run().refusal("JobError")  # it counts for values alone
    made.job(inference={}, force=True)
    assert made.run().code == 0
    with rasterio.open(made.out / "map.tif") as source:
        assert len(json.loads(source.tags()["GEOSEG_FORCED"])) == 2
    assert spec.read(made.folder / "job.yaml").force


def test_degrees_far_from_the_equator_are_refused_by_name(tmp_path):
    made = job(tmp_path, gsd_m=25)
    pixels = np.ones((2, 20, 20), np.uint8)
    write(made.folder / "scene.tif", pixels, Affine(0.0003, 0, 25.0, 0, -0.0003, 65.0), "EPSG:4326")
    said = made.run().refusal("JobError")
    assert "across and 33.4 m down, counted in degree; set 'grid' to a CRS with square pixels there" in said
    made.job(grid={"crs": "EPSG:32635", "resolution": 25})
    assert made.run().code == 0

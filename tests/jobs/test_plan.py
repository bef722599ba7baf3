"""Plan: which blocks there are, and what tells one map from another."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import shapely
from affine import Affine
from examples import share_of
from farm import plan_of
from hypothesis import given, settings
from hypothesis import strategies as st
from model_folders import write_model
from pyproj import Geod, Transformer
from small_jobs import SmallJob
from strategies import NORTH_UP, layer, stars, write

from geoseg import imagery
from geoseg.catalog.legend import LandClass, Legend
from geoseg.grid import Grid, Layout, Window, cut
from geoseg.jobs import plan as job_plan
from geoseg.jobs.plan import Plan, ground_resolution
from geoseg.jobs.spec import JobSpec

ONE = Legend("one", (LandClass(1, "land", "#000000"),))
SPEC = JobSpec(imagery="scene", model="none")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Four files with gaps between them, the last two in another zone and in degrees, so that they are warped."""
    folder, pixels = tmp_path_factory.mktemp("plan"), np.ones((1, 60, 80), np.uint8)
    east = NORTH_UP @ NORTH_UP.translation(150, 40)
    x, y = Transformer.from_crs("EPSG:32612", "EPSG:32611", always_xy=True).transform(NORTH_UP.c, NORTH_UP.f - 5000)
    to_degrees = Transformer.from_crs("EPSG:32612", "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(NORTH_UP.c + 5000, NORTH_UP.f - 4500)
    files = (
        write(folder / "a.tif", pixels),
        write(folder / "b.tif", pixels, east),
        write(folder / "c.tif", pixels, Affine(30, 0, x, 0, -30, y), "EPSG:32611"),
        write(folder / "d.tif", pixels[:, :37, :53], Affine(0.0003, 0, lon, 0, -0.0003, lat), "EPSG:4326"),
    )
    return imagery.open(layer(files))


def plan(scene, block=16, region=None, core=8):
    extent = imagery.extent(scene, scene.grid)
    wkb = None if region is None else shapely.to_wkb(region, hex=True)
    return Plan(SPEC, scene, scene.grid, Layout(extent, core, 3, block), ONE, wkb, None)


def wanted(made):
    """The rule itself, asked of every block."""
    for window in made.layout.cut():
        inside = made.geometry is None or made.geometry.geom.intersects(made.grid.footprint(window).geom)
        if inside and imagery.touches(made.scene, made.grid, window):
            yield window


REGIONS = st.tuples(st.floats(-1000, 7000), st.floats(-6000, 500)).flatmap(
    lambda at: stars((NORTH_UP.c + at[0], NORTH_UP.f + at[1]), 2500)
)


@settings(max_examples=share_of(25))
@given(block=st.integers(1, 8), region=st.none() | REGIONS)
def test_blocks_are_those_that_the_region_and_a_file_touch_in_row_major_order(scene, block, region):
    made = plan(scene, 8 * block, region)
    assert list(made.blocks()) == list(wanted(made))


@settings(max_examples=share_of(20))
@given(
    old=st.integers(1, 6), new=st.integers(1, 6), picks=st.lists(st.booleans(), min_size=9, max_size=9), region=REGIONS
)
def test_what_another_cutting_finished_is_left_out_once(scene, old, new, picks, region):
    before, after = plan(scene, 8 * old, region), plan(scene, 8 * new, region)
    kept = [window for at, window in enumerate(before.blocks()) if picks[at % 9]]
    seen = np.zeros(after.layout.extent.shape, int)
    for window in [*kept, *after.blocks(kept)]:
        seen[window.within(after.layout.extent)] += 1
    assert seen.max(initial=0) <= 1
    for window in after.blocks():
        assert (seen[window.within(after.layout.extent)] == 1).all()


def test_a_scattered_region_in_a_wide_extent_costs_little(monkeypatch, tmp_path):
    """Ten specks in an extent of a million blocks."""
    grid = Grid.regular("EPSG:32612", 30)
    extent = Window(-140_000, 10_000, 64_000, 64_000)
    specks = [grid.footprint(Window(-140_000 + 6_000 * at, 10_000 + 5_900 * at, 20, 20)).geom for at in range(10)]
    scene = imagery.open(layer(write(tmp_path / "a.tif", np.ones((1, 9, 9), np.uint8))))
    region = shapely.to_wkb(shapely.union_all(specks), hex=True)
    made = Plan(SPEC, scene, grid, Layout(extent, 64, 0, 64), ONE, region, None)
    assert made.layout.blocks > 1_000_000
    monkeypatch.setattr(imagery, "touches", lambda *_: True)
    asked = []
    footprint = Grid.footprint
    monkeypatch.setattr(Grid, "footprint", lambda self, window: asked.append(window) or footprint(self, window))
    found = list(made.blocks())
    assert 10 <= len(found) <= 40
    assert len(asked) < 3_000
    assert all(made.geometry.geom.intersects(footprint(grid, window).geom) for window in found)


# -------------------------------------------------------------------------------- what a map is


@pytest.fixture(scope="module")
def job(tmp_path_factory, model):
    made = SmallJob.write(tmp_path_factory.mktemp("job"), model)
    write(made.folder / "veil.tif", np.full((2, 40, 50), 2, np.uint8))
    other = write_model(made.folder / "second", seed=5)  # the same card but for the hash of its weights
    held = made.load("data_catalog.yaml")
    held["models"]["second"] = {"path": other.folder}
    made.save("data_catalog.yaml", held)
    made.job(inference={"window": 16, "block": 32})
    return made, plan_of(made)


@pytest.mark.parametrize(
    "keys",
    [
        {"inference": {"window": 16, "block": 16}},
        {"memory_per_worker": "3GB"},
        {"cluster": {"kind": "local", "workers": 3}},
        {"inference": {"window": 16, "block": 32, "batch": 4}},
        {"inference": {"window": 16, "block": 32, "device": "cpu"}},
        {"inference": {"window": 16, "block": 32, "tta": "none", "temperature": 1, "thresholds": 0}},
        {"outputs": {"quicklook": False, "vectors": ["gpkg"]}},
        {"outputs": {"quicklook": True, "sheet_pixels": 512}},
    ],
    ids=str,
)
def test_where_and_in_what_pieces_it_is_made_is_another_variant_of_the_same_map(job, keys):
    made, before = job
    held = made.load("job.yaml")
    try:
        made.job(**keys)
        after = plan_of(made)
    finally:
        made.save("job.yaml", held)
    assert after.digest == before.digest
    assert after.variant != before.variant


@pytest.mark.parametrize(
    "keys",
    [
        {"inference": {"window": 8, "block": 32}},
        {"inference": {"window": 16, "block": 32, "halo": 30}},
        {"inference": {"window": 16, "block": 32, "precision": "bfloat16"}},
        {"inference": {"window": 16, "block": 32, "stitch": "blend"}},
        {"inference": {"window": 16, "block": 32, "tta": "d4"}},
        {"inference": {"window": 16, "block": 32, "temperature": 2}},
        {"inference": {"window": 16, "block": 32, "classes": ["class 3", 7]}},
        {"inference": {"window": 16, "block": 32, "thresholds": 0.5}},
        {"grid": {"crs": "EPSG:32612", "resolution": 20}},
        {"region": {"bounds": [300100, 4199000, 300900, 4199800], "crs": "EPSG:32612"}},
        {"outputs": {"quicklook": False, "confidence": True}},
        {"outputs": {"quicklook": False, "probabilities": True}},
        {"outputs": {"quicklook": False, "entropy": True}},
        {"outputs": {"quicklook": False, "margin": True}},
        {"model": "second"},
        {"model": ["tiny", "second"]},
    ],
    ids=str,
)
def test_what_can_change_a_pixel_makes_another_map(job, keys):
    made, before = job
    held = made.load("job.yaml")
    try:
        made.job(**keys)
        after = plan_of(made)
    finally:
        made.save("job.yaml", held)
    assert after.digest != before.digest


@pytest.mark.parametrize(
    "keys",
    [
        {"nodata": 7},
        {"scale": 0.5},
        {"offset": 9.0},
        {"crs": "EPSG:26912"},
        {"resampling": "cubic"},
        {"bands": {"red": 2, "nir": 1}},
        {"mask": {"file": "veil.tif", "values": [2]}},
        {"files": ["scene.tif", "veil.tif"]},
        {"files": ["scene.tif", "veil.tif"], "order": "last"},
    ],
    ids=str,
)
def test_imagery_that_is_read_otherwise_makes_another_map(job, keys):
    made, before = job
    held = made.load("data_catalog.yaml")
    try:
        made.imagery(**keys)
        after = plan_of(made)
    finally:
        made.save("data_catalog.yaml", held)
    assert after.digest != before.digest


def test_who_made_the_imagery_changes_no_pixel(job):
    made, before = job
    held = made.load("data_catalog.yaml")
    try:
        made.imagery(attribution="someone", title="a scene")
        after = plan_of(made)
    finally:
        made.save("data_catalog.yaml", held)
    assert after.digest == before.digest


def test_pixels_written_anew_make_another_map(job):
    made, before = job
    data = (made.folder / "scene.tif").read_bytes()
    facts = (made.folder / "scene.tif").stat()
    (made.folder / "scene.tif").write_bytes(data)
    assert plan_of(made).digest != before.digest
    os.utime(made.folder / "scene.tif", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert plan_of(made).digest == before.digest


def test_a_plan_comes_back_from_json_as_it_was(job):
    _, before = job
    again = Plan.from_json(json.loads(json.dumps(before.to_json())))
    assert again == before
    assert (again.digest, again.variant) == (before.digest, before.variant)
    assert replace(again, region=None).digest == before.digest


def test_the_outline_of_a_window_is_in_longitude_and_latitude(job):
    _, made = job
    shape = job_plan.outline(made.grid, made.layout.extent).geom
    left, bottom, right, top = shape.bounds
    assert -114 < left < right < -108
    assert 37 < bottom < top < 39


@pytest.mark.parametrize("latitude", [0, 35, 60])
def test_the_ground_resolution_in_degrees_is_that_on_the_ellipsoid(latitude):
    grid = Grid.regular("EPSG:4326", 0.001)
    extent = next(cut(Window(-round(latitude / 0.001), 10_000, 10, 10), 10))
    lon, lat = 10.0, float(latitude)
    geod = Geod(ellps="WGS84")
    across = geod.inv(lon, lat, lon + 0.001, lat)[2]
    down = geod.inv(lon, lat, lon, lat + 0.001)[2]
    assert ground_resolution(grid, extent) == pytest.approx((across + down) / 2, rel=0.01)


def test_the_ground_resolution_in_feet_is_told_in_metres():
    assert ground_resolution(Grid.regular("EPSG:2264", 100.0), Window(0, 0, 9, 9)) == pytest.approx(30.48, rel=1e-4)

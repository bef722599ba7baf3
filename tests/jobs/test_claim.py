"""Claim: a folder becomes a job's, is found to be it already, or is left alone with one sentence."""

import shutil
from collections import namedtuple

import pytest
from farm import plan_of
from painted_scenes import nir, red, resolved, scene
from small_jobs import contents

from geoseg.errors import JobError, LedgerError
from geoseg.jobs import claim as claim_module
from geoseg.jobs import run as job_run
from geoseg.jobs.claim import check_space, claim
from geoseg.storage.store import Store

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def plan(tmp_path):
    scene(tmp_path)
    return resolved(tmp_path)


def test_a_new_folder_becomes_the_jobs_and_is_found_to_be_it_again(plan, tmp_path):
    store = Store.at(tmp_path / "out")
    assert claim(plan, store) is False
    assert claim(plan, store) is True
    assert set(contents(tmp_path / "out")) == {"job.json"}


def test_another_cutting_is_the_same_job_and_its_file_says_so(plan, tmp_path):
    store = Store.at(tmp_path / "out")
    claim(plan, store)
    before = store.get("job.json")
    again = resolved(tmp_path, inference={"block": 16})
    assert again.digest == plan.digest
    assert claim(again, store) is True
    assert store.get("job.json") != before
    assert again.variant.encode() in store.get("job.json")


@pytest.mark.parametrize("inside", [".", "deep/er"])
def test_a_folder_that_holds_the_imagery_is_refused(plan, tmp_path, inside):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "er").mkdir()
    shutil.copy(tmp_path / "scene.tif", tmp_path / "deep" / "er")
    (tmp_path / "data_catalog.yaml").write_text(
        f"imagery:\n  scene:\n    files: {inside}/scene.tif\n    bands: {{red: 1, nir: 2}}\n"
    )
    made = resolved(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(JobError, match=r"the output folder .* holds the imagery .*; choose another folder with --out"):
        claim(made, Store.at(tmp_path))
    assert contents(tmp_path) == before


def test_another_job_is_refused_with_what_differs_and_replaced_when_told(plan, tmp_path):
    job_run.run(plan, tmp_path / "out", predict=red)
    store, other = Store.at(tmp_path / "out"), resolved(tmp_path, 2)
    before = contents(tmp_path / "out")
    with pytest.raises(LedgerError, match=r"holds another job: layout\.margin was 0, is now 2"):
        claim(other, store)
    assert contents(tmp_path / "out") == before
    assert claim(other, store, overwrite=True) is False
    left = {name for name in contents(tmp_path / "out") if not name.startswith("log/")}
    assert left == {"job.json", "status.json"}, "nothing that the other job put out stands beside the new one"


def test_what_was_noted_of_an_output_is_removed_and_nothing_else(plan, tmp_path):
    job_run.run(plan, tmp_path / "out", predict=red)
    (tmp_path / "out" / "mine.txt").write_text("a user's own")
    job_run.run(resolved(tmp_path, 2), tmp_path / "out", predict=nir, overwrite=True)
    assert (tmp_path / "out" / "mine.txt").read_text() == "a user's own"


def test_files_without_a_job_are_refused_and_kept(plan, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("a user's own")
    with pytest.raises(LedgerError, match="holds files but no job; choose an empty folder"):
        claim(plan, Store.at(tmp_path / "out"))
    assert claim(plan, Store.at(tmp_path / "out"), overwrite=True) is False
    assert (tmp_path / "out" / "mine.txt").read_text() == "a user's own"


def test_a_disk_that_is_too_full_is_told_with_both_numbers(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(claim_module.shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 1_000_000))
    with pytest.raises(LedgerError, match=r"no space left: the map may need 0\.02 GB and .* has 0\.00 GB free"):
        check_space(plan, tmp_path / "not" / "there" / "yet")
    monkeypatch.setattr(claim_module.shutil, "disk_usage", lambda _: Usage(10**9, 0, 10**9))
    check_space(plan, tmp_path)


def test_a_scattered_region_needs_space_for_its_blocks_alone(tmp_path, monkeypatch):
    scene(tmp_path, (3000, 3000))
    corners = [(300016.0, 4199900.0, 300060.0, 4199980.0), (389900.0, 4110000.0, 389990.0, 4110090.0)]
    rings = [
        [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
        for left, bottom, right, top in corners
    ]
    import json

    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32612"}}
    polygons = [
        {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}} for ring in rings
    ]
    (tmp_path / "area.geojson").write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": polygons}))
    made = resolved(tmp_path, region={"file": "area.geojson"})
    assert made.layout.extent.pixels > 8_000_000
    monkeypatch.setattr(claim_module.shutil, "disk_usage", lambda _: Usage(10**9, 0, 21_000_000))
    check_space(made, tmp_path)
    with pytest.raises(LedgerError, match="no space left"):
        check_space(resolved(tmp_path), tmp_path)


def test_a_job_in_the_folder_of_a_small_one_is_told_apart_by_its_model(tmp_path, model):
    from small_jobs import SmallJob

    made = SmallJob.write(tmp_path / "job", model)
    assert claim(plan_of(made), Store.at(made.out)) is False
    made.imagery(scale=2.0)
    with pytest.raises(LedgerError, match=r"holds another job: imagery\.bands"):
        claim(plan_of(made), Store.at(made.out))

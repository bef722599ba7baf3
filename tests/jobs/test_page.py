"""Page: facts of a job as its report tells them."""

import json
from dataclasses import replace

import pytest
from farm import plan_of, small

from geoseg.errors import RasterError
from geoseg.jobs import page
from geoseg.jobs import run as job_run
from geoseg.storage import ledger
from geoseg.storage.store import Store


@pytest.fixture(scope="module")
def made(tmp_path_factory, model):
    """A finished job of four blocks, its plan and its records."""
    job = small(tmp_path_factory.mktemp("page"), model, 2, 2, outputs={"quicklook": False, "report": True})
    plan = plan_of(job)
    job_run.run(plan, job.out, threads=1)
    return job, plan, [record for _, record in sorted(ledger.records(Store.at(job.out), plan.digest)[0].items())]


def test_facts_are_plain_data_and_areas_are_pixels_times_their_area(made):
    _, plan, records = made
    facts = page.facts(plan, records, {3: 10, 7: 30})
    assert json.loads(json.dumps(facts)) == facts
    areas = {each["id"]: (each["area_m2"], each["share"]) for each in facts["classes"]}
    assert areas[3] == (pytest.approx(10 * plan.grid.pixel_area), 0.25)
    assert areas[7] == (pytest.approx(30 * plan.grid.pixel_area), 0.75)


def test_failed_and_empty_blocks_are_outlined_where_they_lie(made):
    _, plan, records = made
    other = [replace(records[0], state="failed", error="no <luck>"), replace(records[1], state="empty"), *records[2:]]
    blocks = page.facts(plan, other, {})["blocks"]
    assert blocks["failed"] == 1
    window, extent = records[0].window, plan.layout.extent
    failed = next(each for each in blocks["outlines"] if each["state"] == "failed")
    assert (failed["x"], failed["y"]) == (window.col - extent.col, window.row - extent.row)
    assert (failed["width"], failed["height"], failed["error"]) == (window.width, window.height, "no <luck>")


def test_a_map_whose_imagery_is_gone_is_shown_alone_and_the_page_says_so(made, monkeypatch):
    job, plan, records = made

    def gone(*_):
        raise RasterError("scene.tif is missing")

    monkeypatch.setattr(page.imagery, "read", gone)
    text = page.made(plan, page.facts(plan, records, {}), job.out / "map.tif", None).decode()
    assert "scene.tif is missing" in text
    assert '"imagery": []' in text


def test_imagery_that_would_take_long_to_read_again_is_left_out_and_the_page_says_so(made, monkeypatch):
    job, plan, records = made
    monkeypatch.setattr(page, "_MOST_PIXELS", plan.layout.extent.pixels - 1)
    monkeypatch.setattr(page.imagery, "read", lambda *_: pytest.fail("it was read"))
    text = page.made(plan, page.facts(plan, records, {}), job.out / "map.tif", None).decode()
    assert text.count("The imagery is not shown") == 1
    assert '"imagery": []' in text


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\0", b'{"classes": 1}'])
def test_damaged_scores_are_one_sentence(data):
    with pytest.raises(RasterError, match=r"accuracy.json is damaged; remove it"):
        page.scores_in(data)

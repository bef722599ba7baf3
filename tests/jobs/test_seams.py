"""Seams: labels that depend on where windows are cut, judged by labelling the same ground twice by hand."""

from dataclasses import replace

import numpy as np
import pytest
from farm import plan_of
from small_jobs import SmallJob

from geoseg.jobs import block, page, seams
from geoseg.jobs import run as job_run
from geoseg.storage import ledger
from geoseg.storage.store import Store


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    made = SmallJob.write(tmp_path_factory.mktemp("seams") / "job", None, (90, 110))
    made.job(inference={"block": 64, "window": 32, "halo": 0})
    return made


@pytest.fixture(scope="module")
def records(job):
    plan = plan_of(job)
    job_run.run(plan, job.out, threads=1)
    return sorted(ledger.records(Store.at(job.out), plan.digest)[0].values(), key=lambda each: each.window.row)


def test_the_other_plan_sees_the_same_ground_with_windows_half_a_core_off(job):
    plan = plan_of(job)
    tried = [found for each in plan.blocks() if (found := seams.asked(plan, each)) is not None]
    assert len(tried) == 1
    (part, other, moved) = tried[0]
    assert other.grid.footprint(moved).boundingbox.bbox == plan.grid.footprint(part).boundingbox.bbox
    assert (moved.row - part.row) % plan.layout.core == plan.layout.core // 2
    one, two = (block.label(each, plan.predictor, at).labels for each, at in ((plan, part), (other, moved)))
    core, half = plan.layout.core, plan.layout.core // 2
    assert one.shape == two.shape == (core, core)
    near_edges = np.zeros(one.shape, bool)
    near_edges[[0, -1], :] = near_edges[:, [0, -1]] = True
    near_edges[half - 1 : half + 1] = near_edges[:, half - 1 : half + 1] = True
    differ = one != two
    assert differ.any()
    assert differ[near_edges].mean() > differ[~near_edges].mean()


def test_the_record_of_the_middle_block_alone_holds_what_was_found_and_the_report_says_it(job, records):
    plan = plan_of(job)
    (found,) = [each.seams for each in records if each.seams]
    part, other, moved = next(filter(None, (seams.asked(plan, each) for each in plan.blocks())))
    one, two = (block.label(each, plan.predictor, at).labels for each, at in ((plan, part), (other, moved)))
    assert found == [one.size, (one != two).sum()]
    lines = dict(page.facts(plan, records, {})["speed"])
    share = f"{100 * found[1] / found[0]:.2f} %"
    assert lines["differing windows"].startswith(f"{share} of {found[0]:,} labels in the middle of the map differ")
    assert lines["overlap"].startswith(
        "windows of 32 px see 0 px more on each side, so that each pixel is computed 1.00 times"
    )


def test_with_the_whole_halo_nothing_is_tried_and_the_report_says_that_nothing_differs(tmp_path):
    made = SmallJob.write(tmp_path, None, (40, 50))
    plan = plan_of(made)
    assert [seams.asked(plan, each) for each in plan.blocks()] == [None] * len([*plan.blocks()])
    lines = dict(seams.lines(plan, []))
    assert lines["differing windows"].startswith("none: windows see as far as the network looks")


def test_a_trial_that_fails_harms_no_block(job, monkeypatch, caplog):
    plan = plan_of(job)
    middle = next(each for each in plan.blocks() if seams.asked(plan, each) is not None)
    monkeypatch.setattr(seams, "differing", lambda *_: 1 / 0)
    assert block._seams(plan, plan.predictor, middle) == []
    assert "could not be tried" in caplog.text


def test_memory_is_told_where_the_system_tells_it(job, records):
    held = max(each.memory for each in records)
    assert held > 50_000_000
    lines = dict(page.facts(plan_of(job), records, {})["speed"])
    assert lines["memory used"] == f"at most {held / 1e6:,.0f} MB a process"
    unknown = [replace(each, memory=0) for each in records]
    assert "memory used" not in dict(page.facts(plan_of(job), unknown, {})["speed"])

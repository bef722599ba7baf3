"""Estimate: what it says beforehand is what the run then does."""

import re

import numpy as np
import pytest
from small_jobs import SmallJob
from strategies import NORTH_UP, write

from geoseg import imagery
from geoseg.catalog.legend import NODATA
from geoseg.grid import Window
from geoseg.inference import trimming
from geoseg.inference.device import Device
from geoseg.jobs import block, estimate, forecast, resolve
from geoseg.jobs import run as job_run
from geoseg.jobs import spec as job_spec


def planned(job, **keys):
    job.job(**keys)
    return resolve.resolve(job_spec.read(job.folder / "job.yaml"))


def said(plan, **how):
    return dict(estimate.lines(plan, **{"probe": False} | how))


def size(text):
    """Bytes that a text like '12.3 kB' says."""
    number, unit = re.match(r"(?:at most |about )?([\d.]+) (B|kB|MB|GB|TB)", text).groups()
    return float(number) * 1000 ** ("B", "kB", "MB", "GB", "TB").index(unit)


@pytest.fixture
def job(tmp_path):
    return SmallJob.write(tmp_path, shape=(75, 91))


REGIONS = {
    "all": "imagery",
    "a part": {"bounds": [300400, 4198300, 301600, 4199700], "crs": "EPSG:32612"},
}


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("block_px", [16, 48])
@pytest.mark.sampled(2)
def test_the_run_does_what_was_said(job, monkeypatch, region, block_px):
    plan = planned(job, region=REGIONS[region], inference={"block": block_px})
    lines, windows, floats = said(plan), [], []
    scores, read = Device.scores, imagery.read

    def counted(device, found, member):
        windows.extend(found)
        return scores(device, found, member)

    def measured(scene, grid, window):
        found = read(scene, grid, window)
        floats.append(found.nbytes)
        return found

    monkeypatch.setattr(Device, "scores", counted)
    monkeypatch.setattr(trimming, "_SEEN", 10**9)  # its trials are windows too
    monkeypatch.setattr(imagery, "read", measured)
    summary = job_run.run(plan, job.folder / "out", threads=1)
    blocks = list(plan.blocks())
    assert lines["blocks"].startswith(f"{len(floats)} blocks of up to {block_px} px; 0 skipped")
    assert lines["windows"].startswith(f"{len(windows)} of 16 px")
    extent = plan.layout.extent
    assert lines["map"].startswith(f"{extent.height} x {extent.width} pixels")
    own = sum(each.pixels for each in blocks) * 2 * 4
    assert own == extent.pixels * 2 * 4
    assert size(lines["read"].split(", ")[1]) == pytest.approx(own, rel=5e-3)
    # A region's edge saves the reading of what lies beyond it; without a region the number is exact.
    assert size(lines["read"]) >= sum(floats) * 0.995
    if region == "all":
        assert size(lines["read"]) == pytest.approx(sum(floats), rel=5e-3)
    kept = sum(path.stat().st_size for path in job.folder.joinpath("out").rglob("*.tif"))
    assert summary.folder
    assert size(lines["written"]) == pytest.approx(extent.pixels * 7 / 3, rel=5e-3)
    assert kept < size(lines["written"]) + 3000 * (len(blocks) + 1)  # headers


def test_a_scattered_region_skips_blocks(job):
    corner = {"bounds": [300030, 4199400, 300500, 4199970], "crs": "EPSG:32612"}
    far = planned(job, region=corner, inference={"block": 16})
    assert "0 skipped" in said(far)["blocks"]
    write(job.folder / "other.tif", np.ones((2, 20, 20), "u1"), NORTH_UP @ NORTH_UP.translation(900, 900))
    job.imagery(files=["scene.tif", "other.tif"])
    plan = planned(job, region="imagery", inference={"block": 32})
    todo = list(plan.blocks())
    assert said(plan)["blocks"].startswith(
        f"{len(todo)} blocks of up to 32 px; {plan.layout.blocks - len(todo)} skipped"
    )
    assert plan.layout.blocks > 10 * len(todo)


def test_one_block_is_one_block(job):
    assert said(planned(job, inference={"block": 256}))["blocks"].startswith("1 block of up to 256 px; 0 skipped")


@pytest.mark.parametrize(
    ("crs", "scale", "wanted"),
    [("EPSG:32612", 30, "30 m"), ("EPSG:32612", 0.5, "0.5 m"), ("EPSG:4326", 1e-4, r"\d+\.?\d* m")],
)
def test_pixels_are_given_in_plain_metres(job, crs, scale, wanted):
    affine = NORTH_UP if crs != "EPSG:4326" else NORTH_UP.translation(10, 50)
    affine = affine @ NORTH_UP.scale(scale / affine.a, -scale / abs(affine.e) * np.sign(affine.e))
    write(job.folder / "scene.tif", np.ones((2, 40, 50), "u1"), affine, crs)
    lines = said(planned(job))
    assert re.search(rf"\b{wanted}\b", lines["grid"])
    assert not re.search(r"\de[+-]?\d", " ".join(value for key, value in lines.items() if key != "model"))


def test_the_time_is_that_of_the_windows_the_reading_and_the_end_and_workers_share_it(job, monkeypatch):
    """Labelling takes 10 s a window and core, reading 1000 s a block, loading nothing: a clock that both set."""
    now = [0.0]
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(estimate, "cores", lambda: 2)
    monkeypatch.setattr(estimate, "FINISH_PX_S", 75 * 91 / 5000)
    tried = []

    def label(plan, predict, part):
        tried.append(part)
        return block.Labelled(np.zeros(part.shape, "u1"), seconds={"infer": 10.0 * part.pixels / 16**2})

    def read(scene, grid, window):
        now[0] += 1000.0

    monkeypatch.setattr(block, "label", label)
    monkeypatch.setattr(imagery, "read", read)
    plan = planned(job, inference={"block": 32})
    todo = list(plan.blocks())
    halo = plan.predictor.halo

    def windows(pixels):  # whole ones that take as long as those along a side, the last cut short
        return sum((min(16, pixels - at) + 2 * halo) / (16 + 2 * halo) for at in range(0, pixels, 16))

    label_s, read_s = 10 * windows(75) * windows(91), 1000 / 32**2 / 2 * 75 * 91
    for workers in (1, 4):
        found = estimate.foretell(plan, todo, workers)
        assert found.seconds == pytest.approx((label_s + read_s) / workers + 5000)
        assert found.workers == workers
    assert {each.shape for each in tried} == {(16, 32)}  # a window for each core
    assert "time" not in said(plan)


def test_where_the_middle_holds_no_data_another_place_is_tried(job, monkeypatch):
    plan, label, tried = planned(job, inference={"block": 16}), block.label, []

    def some(plan, predict, part):
        tried.append(part)
        return block.Labelled() if len(tried) < 3 else label(plan, predict, part)

    monkeypatch.setattr(block, "label", some)
    assert estimate.foretell(plan, list(plan.blocks())).seconds > 0
    assert len(set(tried)) == 3
    monkeypatch.setattr(block, "label", lambda *_: block.Labelled())
    assert said(plan, probe=True)["time"] == "the blocks that were tried hold no data"


def test_what_is_foretold_is_noted_for_the_run_which_says_how_far_it_was_off(job):
    plan = planned(job)
    said(plan, probe=True)
    summary = job_run.run(plan, job.folder / "out", threads=1)
    assert summary.performance.forecast == forecast.recalled(plan)
    said_of, took = (summary.performance.forecast.memory, summary.performance.memory)
    assert took == pytest.approx(said_of, rel=0.5)  # the process is the same: what it held before counts for both


def test_a_smaller_halo_says_what_it_saves_and_how_many_labels_differ(job):
    plan = planned(job, inference={"halo": 2})
    card = plan.predictor.model.card
    full, less = (((card.window + 2 * halo) / card.window) ** 2 for halo in (card.halo, 2))
    assert f"computed {less:.2f} times instead of {full:.2f}" in " ".join(plan.notes)
    share, pixels = re.match(r"([\d.e-]+) % of (\d+) pixels differ", said(plan, probe=True)["halo"]).groups()
    windows = list(plan.blocks())
    middle = windows[len(windows) // 2]
    part = Window(middle.row, middle.col, min(card.window, middle.height), min(card.window, middle.width))
    exact = planned(job, inference={})
    a, b = (block.label(each, each.predictor, part).labels for each in (plan, exact))
    assert int(pixels) == (a != NODATA).sum()
    assert float(share) == pytest.approx(100 * (a != b)[a != NODATA].mean(), rel=0.06)
    assert float(share) > 0
    assert "halo" not in said(exact, probe=True)
    assert not exact.notes


@pytest.mark.parametrize(
    ("crs", "scale", "wanted"),
    [("EPSG:32612", (30, 30), "30 m"), ("EPSG:32612", (15, 30), "15 m across, 30 m down")],
)
def test_pixels_that_are_not_square_are_given_both_ways(job, crs, scale, wanted):
    affine = NORTH_UP.translation(300_000, 4_200_000) @ NORTH_UP.scale(scale[0], -scale[1])
    write(job.folder / "scene.tif", np.ones((2, 40, 50), "u1"), affine, crs)
    assert said(planned(job))["grid"].endswith(f"pixels of {wanted}")


def test_a_short_run_is_given_in_seconds(job):
    assert re.match(r"about \d+ s with 1 worker", said(planned(job), probe=True)["time"])

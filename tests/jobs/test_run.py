"""Run: serial is the reference, and every other way to run must equal it, bit for bit."""

import json
import os
import random
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from examples import share_of
from farm import events
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from painted_scenes import NORTH_UP, OBLONG, ROTATED, blur, coordinates, nir, read_map, red, resolved, scene

from geoseg.cluster import local
from geoseg.cluster.mapper import map_over
from geoseg.errors import DamagedBlocksError, GridError, JobError, LedgerError, PredictionError
from geoseg.grid import Layout, Window
from geoseg.jobs import block as job_block
from geoseg.jobs import run as job_run
from geoseg.jobs.plan import Plan
from geoseg.storage import ledger
from geoseg.storage import store as store_module
from geoseg.storage.journal import read_status
from geoseg.storage.record import Record, block_name, record_name
from geoseg.storage.store import Store


@pytest.mark.parametrize("transform", [NORTH_UP, OBLONG, ROTATED], ids=["north-up", "oblong", "rotated"])
@pytest.mark.parametrize("shape", [(137, 211), (1, 97), (7, 5)], ids=["odd", "one row", "smaller than a window"])
@pytest.mark.parametrize(("axis", "predict"), [(0, red), (1, nir)], ids=["rows", "columns"])
@pytest.mark.sampled(5)
def test_a_coordinate_image_comes_back_unshifted(tmp_path, transform, shape, axis, predict):
    scene(tmp_path, shape, transform)
    summary = job_run.run(resolved(tmp_path), tmp_path / "out", predict=predict)
    labels, found, crs = read_map(summary)
    assert np.array_equal(labels, coordinates(shape, axis))
    assert tuple(found) == tuple(transform)
    assert crs.to_epsg() == 32612


def test_any_order_of_blocks_gives_one_map(tmp_path):
    scene(tmp_path)

    def shuffled(function, items):
        items = list(items)
        random.Random(3).shuffle(items)
        return map(function, items)

    one = job_run.run(resolved(tmp_path, 2), tmp_path / "one", predict=blur)
    two = job_run.run(resolved(tmp_path, 2), tmp_path / "two", predict=blur, mapper=shuffled)
    assert (tmp_path / "one/map.tif").read_bytes() == (tmp_path / "two/map.tif").read_bytes()
    assert one.progress.finished == two.progress.finished == len(list(resolved(tmp_path, 2).blocks()))


def test_a_run_says_how_fast_it_was_and_going_on_with_a_finished_job_says_nothing(tmp_path):
    scene(tmp_path)
    plan = resolved(tmp_path, 2)
    summary = job_run.run(plan, tmp_path / "out", predict=blur)
    found, status = summary.performance, read_status(Store.at(tmp_path / "out"))
    assert found.pixels == summary.progress.pixels == 137 * 211
    assert found.pixel_m2 == pytest.approx(900)
    assert 0 < sum(found.device.values()) <= found.blocks_s <= found.seconds
    assert status.performance == found.facts
    assert job_run.run(plan, tmp_path / "out", predict=blur).performance is None


@pytest.mark.slow
@settings(max_examples=share_of(12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(window=st.integers(8, 40), factor=st.integers(1, 4), seed=st.integers(0, 9))
def test_no_way_of_cutting_changes_a_pixel(tmp_path_factory, window, factor, seed):
    folder = tmp_path_factory.mktemp("cut")
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 90)), int(rng.integers(1, 90)))
    scene(folder, shape, bands=[rng.integers(1, 99, shape, "uint8"), rng.integers(1, 99, shape, "uint8")])
    cuts = {"window": window, "block": window * factor}
    one = job_run.run(resolved(folder, 2, inference=cuts), folder / "one", predict=blur)
    two = job_run.run(resolved(folder, 2), folder / "two", predict=blur)
    assert np.array_equal(read_map(one)[0], read_map(two)[0])


def test_a_cluster_gives_the_serial_map(tmp_path):
    scene(tmp_path)
    plan = resolved(tmp_path, 2)
    serial = job_run.run(plan, tmp_path / "serial", predict=blur)
    with local.cpu_cluster(2, 2_000_000_000) as client:
        mapper = map_over(client, job_run.lost(plan.digest))
        spread = job_run.run(plan, tmp_path / "spread", predict=blur, mapper=mapper)
    assert (tmp_path / "serial/map.tif").read_bytes() == (tmp_path / "spread/map.tif").read_bytes()
    assert spread.progress.finished == serial.progress.finished


def test_two_jobs_agree_where_their_regions_overlap(tmp_path):
    scene(tmp_path)
    whole = job_run.run(resolved(tmp_path, 2), tmp_path / "whole", predict=blur)
    bounds = [300015 + 30 * 41, 4199985 - 30 * 93, 300015 + 30 * 150, 4199985 - 30 * 17]
    part_plan = resolved(tmp_path, 2, region={"bounds": bounds, "crs": "EPSG:32612"})
    part = job_run.run(part_plan, tmp_path / "part", predict=blur)
    labels, transform, _ = read_map(part)
    assert labels.shape == (76, 109)
    assert (transform.c, transform.f) == (bounds[0], bounds[3])
    assert np.array_equal(labels, read_map(whole)[0][17:93, 41:150])


def test_outside_a_polygon_is_nodata_and_inside_does_not_know_of_it(tmp_path):
    scene(tmp_path)
    ring = [(300100, 4199900), (305900, 4199000), (303000, 4196500), (300100, 4199900)]
    shape = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "properties": {}, "geometry": shape}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32612"}}
    (tmp_path / "area.geojson").write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}))
    plan = resolved(tmp_path, 2, region={"file": "area.geojson"})
    labels, transform, _ = read_map(job_run.run(plan, tmp_path / "part", predict=blur))
    whole = read_map(job_run.run(resolved(tmp_path, 2), tmp_path / "whole", predict=blur))[0]
    from rasterio.features import geometry_mask

    outside = geometry_mask([shape], labels.shape, transform)
    row, col = plan.layout.extent.row + plan.grid.row0 * 0, plan.layout.extent.col
    first = plan.scene.window
    same = whole[row - first.row :, col - first.col :][: labels.shape[0], : labels.shape[1]]
    assert 0 < outside.sum() < outside.size
    assert np.array_equal(labels, np.where(outside, 255, same))


def test_a_pixel_without_one_band_is_nodata(tmp_path):
    bands = [coordinates((40, 50), 0) + 1, coordinates((40, 50), 1) + 1]
    bands[0][3, 4] = bands[1][30:35, 20:30] = 0
    scene(tmp_path, (40, 50), bands=bands, nodata=0)
    labels, *_ = read_map(job_run.run(resolved(tmp_path), tmp_path / "out", predict=red))
    missing = (bands[0] == 0) | (bands[1] == 0)
    assert np.array_equal(labels, np.where(missing, 255, bands[0]))


def test_a_scene_of_nodata_alone_is_a_map_of_nodata(tmp_path):
    scene(tmp_path, bands=[np.zeros((137, 211), "uint8")] * 2, nodata=0)
    summary = job_run.run(resolved(tmp_path), tmp_path / "out", predict=lambda *_: 1 / 0)
    assert (read_map(summary)[0] == 255).all()
    assert not summary.failed


def fail_in_the_east(pixels, tile):
    if np.nanmax(pixels[1]) > 150:
        raise ValueError("no such east")
    return red(pixels, tile)


def test_a_failed_block_is_nodata_and_listed_and_only_it_is_tried_again(tmp_path):
    scene(tmp_path)
    plan = resolved(tmp_path)
    summary = job_run.run(plan, tmp_path / "out", predict=fail_in_the_east)
    labels, *_ = read_map(summary)
    expected = coordinates((137, 211), 0)
    bad = np.zeros_like(expected, bool)
    for record in summary.failed:
        bad[record.window.within(plan.layout.extent)] = True
    assert 0 < bad.sum() < bad.size
    assert np.array_equal(labels, np.where(bad, 255, expected))
    listed = json.loads((tmp_path / "out/failed.geojson").read_text())["features"]
    assert len(listed) == len(summary.failed)
    assert listed[0]["properties"]["error"] == "ValueError: no such east"
    again = job_run.run(plan, tmp_path / "out", predict=red)
    assert again.progress.finished == len(summary.failed)
    assert np.array_equal(read_map(again)[0], expected)
    assert not (tmp_path / "out/failed.geojson").exists()


def test_strict_stops_at_the_first_failure(tmp_path):
    scene(tmp_path)
    with pytest.raises(PredictionError, match=r"no such east \(--strict stops here\)"):
        job_run.run(resolved(tmp_path), tmp_path / "out", predict=fail_in_the_east, strict=True)
    assert not (tmp_path / "out/map.tif").exists()


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda pixels, _: pixels[0], "returned float32"),
        (lambda *given: red(*given)[1:], "return integer labels of that shape"),
        (lambda *given: red(*given).astype(int) + 400, "labels run|they run from 0 to 254"),
        (lambda pixels, _: np.full(pixels.shape[1:], 251, "uint8"), "returned 251, which legend 'bytes' lacks"),
    ],
)
def test_an_answer_that_is_no_label_fails_the_block(tmp_path, answer, sentence):
    scene(tmp_path, (20, 20))
    summary = job_run.run(resolved(tmp_path), tmp_path / "out", predict=answer)
    assert len(summary.failed) == summary.progress.total
    import re

    assert re.search(sentence, summary.failed[0].error)
    assert (read_map(summary)[0] == 255).all()


def test_going_on_makes_only_what_is_missing(tmp_path):
    scene(tmp_path)
    plan = resolved(tmp_path, 2)
    first = job_run.run(plan, tmp_path / "out", predict=blur)
    whole = (tmp_path / "out/map.tif").read_bytes()
    again = job_run.run(plan, tmp_path / "out", predict=lambda *_: 1 / 0)
    assert again.progress.reused == first.progress.finished
    assert set(again.kept) == set(again.outputs) == set(first.outputs)
    store = Store(str(tmp_path / "out"))
    gone = next(iter(plan.blocks()))
    store.put(block_name(gone), b"rubbish")
    mended = job_run.run(plan, tmp_path / "out", predict=blur)
    assert mended.progress.finished == 1
    assert "has changed since it was written" in mended.notes[0]
    assert (tmp_path / "out/map.tif").read_bytes() == whole


def exchange(paths):
    """Ten pairs of block files change places."""
    for one, two in zip(paths[:10], paths[10:20], strict=True):
        data = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(data)


def flip(paths):
    """A bit in the middle of three files flips; their sizes and times stay."""
    for path in paths[:3]:
        facts, data = path.stat(), bytearray(path.read_bytes())
        data[-40] ^= 4
        path.write_bytes(data)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def cut(paths):
    paths[3].write_bytes(paths[3].read_bytes()[:-20])


def remove(paths):
    paths[5].unlink()


WHEN = ("after the last block", "map", "in vain")
QUICK = {(exchange, WHEN[0]), (flip, WHEN[1]), (cut, WHEN[2])}
DAMAGE = [
    pytest.param(harm, when, marks=() if (harm, when) in QUICK else pytest.mark.slow)
    for harm in (exchange, flip, cut, remove)
    for when in WHEN
]


@pytest.mark.parametrize(("harm", "when"), DAMAGE)
@pytest.mark.sampled(3)
def test_blocks_damaged_between_commit_and_stitching_are_made_again_in_the_same_run(tmp_path, monkeypatch, harm, when):
    monkeypatch.setattr(store_module, "PATIENCE_S", 0.3)
    scene(tmp_path, (97, 161))
    plan = resolved(tmp_path)
    wanted = (Path(job_run.run(plan, tmp_path / "quiet", predict=red).folder) / "map.tif").read_bytes()
    times = []

    def damage():
        times.append(0)
        if len(times) == 1 or when == "in vain":
            harm(sorted((tmp_path / "out/blocks").glob("*_labels.tif")))

    def at_the_end(function, items):
        yield from map(function, items)
        if when == "after the last block":
            damage()

    def show(now):
        if when != "after the last block" and now.step == "map":
            damage()

    def run():
        return job_run.run(plan, tmp_path / "out", predict=red, mapper=at_the_end, progress=show)

    if when == "in vain":
        with pytest.raises(DamagedBlocksError, match="run the same command again"):
            run()
        left = {path.relative_to(tmp_path / "out").parts[0] for path in (tmp_path / "out").rglob("*")}
        assert left == {"blocks", "log", "job.json", "status.json"}, "no output was made of them"
        assert len(times) == 4
        when = ""
    summary = run()
    said = "has changed since it was written|is missing"
    assert any(re.search(said, each) for each in summary.notes)
    assert any(re.search(said, each["what"]) for each in events(tmp_path / "out", "damaged"))
    assert (tmp_path / "out/map.tif").read_bytes() == wanted
    assert not summary.failed
    assert job_run.run(plan, tmp_path / "out", predict=lambda *_: 1 / 0).kept == summary.outputs


@pytest.mark.parametrize("block", [48, *(pytest.param(each, marks=pytest.mark.slow) for each in (16, 80))])
def test_the_cutting_may_change_when_a_job_goes_on_and_finished_blocks_are_kept(tmp_path, block):
    scene(tmp_path, (97, 161))
    job_run.run(resolved(tmp_path, 2), tmp_path / "quiet", predict=blur)

    def stopping(function, items):
        for number, item in enumerate(items):
            if number == 5:
                raise KeyboardInterrupt
            yield function(item)

    with pytest.raises(KeyboardInterrupt):
        job_run.run(resolved(tmp_path, 2), tmp_path / "out", predict=blur, mapper=stopping)
    again = resolved(tmp_path, 2, inference={"block": block})
    summary = job_run.run(again, tmp_path / "out", predict=blur)
    assert summary.progress.reused == 5
    assert (tmp_path / "out/map.tif").read_bytes() == (tmp_path / "quiet/map.tif").read_bytes()


CUTTINGS = st.lists(
    st.tuples(st.integers(1, 7), st.lists(st.sampled_from(["done", "empty", "failed"]), min_size=7, max_size=7)),
    max_size=4,
)


@settings(max_examples=share_of(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=st.tuples(st.integers(1, 90), st.integers(1, 120)), cuttings=CUTTINGS, now=st.integers(1, 7))
def test_of_finished_blocks_that_overlap_the_larger_count_and_none_is_left_out_for_nothing(shape, cuttings, now):
    extent = Window(-37, 41, *shape)
    known = {}
    for factor, states in cuttings:
        for at, window in enumerate(Layout(extent, 8, 0, 8 * factor).cut()):
            known[window] = Record(window, states[at % 7], "d")
    plan = SimpleNamespace(layout=Layout(extent, 8, 0, 8 * now))
    chosen = job_run.finished(plan, known)
    seen = np.zeros(shape, int)
    for window in chosen:
        assert known[window].state != "failed"
        seen[window.within(extent)] += 1
    assert seen.max(initial=0) <= 1
    for window, record in known.items():
        if record.state != "failed" and window not in chosen:
            assert any(window.meet(other) and other.pixels >= window.pixels for other in chosen)


def trouble(rng, blocks):
    """What befalls a folder between two runs: a block is flipped, exchanged, removed, or its record damaged."""
    labels, records = sorted(blocks.glob("*_labels.tif")), sorted(blocks.glob("*.json"))
    match rng.randrange(5):
        case 0:
            path = rng.choice(labels)
            path.write_bytes(path.read_bytes()[:-30] + b"x" * 30)
        case 1:
            one, two = rng.sample(labels, 2)
            one_bytes = one.read_bytes()
            one.write_bytes(two.read_bytes())
            two.write_bytes(one_bytes)
        case 2:
            rng.choice(labels).unlink()
        case 3:
            path = rng.choice(records)
            path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize("seed", [1, *(pytest.param(each, marks=pytest.mark.slow) for each in range(2, 12))])
def test_however_often_the_cutting_changes_what_is_finished_stays_and_the_map_is_the_same(tmp_path, seed):
    """Runs are stopped, blocks fail and are damaged, and some come back late, so that blocks of two cuttings overlap"""
    rng = random.Random(seed)
    scene(tmp_path, (97, 161))
    wanted = Path(job_run.run(resolved(tmp_path, 2), tmp_path / "quiet", predict=blur).folder, "map.tif").read_bytes()
    out, blocks, hidden = tmp_path / "out", tmp_path / "out/blocks", tmp_path / "hidden"
    hidden.mkdir()

    def run(most, failing=0.0):
        plan = resolved(
            tmp_path, 2, inference={"block": 16 * rng.randint(1, 7)}, memory_per_worker=f"{rng.choice('234')}GB"
        )
        kept = job_run.finished(plan, ledger.records(Store.at(out), plan.digest)[0]) if blocks.exists() else []
        names = [name for window in kept for name in (record_name(window), block_name(window))]
        before = {name: ((out / name).read_bytes(), (out / name).stat().st_mtime_ns) for name in names}
        shown = []

        def stopping(function, items):
            for number, item in enumerate(items):
                if number == most:
                    raise KeyboardInterrupt
                yield function(item)

        def predict(pixels, tile):
            if rng.random() < failing:
                raise ValueError("not today")
            return blur(pixels, tile)

        with suppress(KeyboardInterrupt):
            job_run.run(plan, out, predict=predict, mapper=stopping, progress=shown.append)
        assert shown[0].reused == len(kept)
        assert {name: ((out / name).read_bytes(), (out / name).stat().st_mtime_ns) for name in names} == before

    for number in range(6):
        run(most=rng.randint(2, 9), failing=0.2)
        trouble(rng, blocks)
        for late in list(hidden.iterdir()):
            if not (blocks / late.name).exists():
                late.rename(blocks / late.name)
        if number % 2:
            for path in rng.sample(sorted(blocks.glob("*_labels.tif")), 1):
                for each in (path, path.with_name(path.name.replace("_labels.tif", ".json"))):
                    if each.exists():
                        each.rename(hidden / each.name)
    run(most=None)
    assert (out / "map.tif").read_bytes() == wanted


def test_another_job_s_folder_is_refused_and_left_alone(tmp_path):
    scene(tmp_path)
    job_run.run(resolved(tmp_path), tmp_path / "out", predict=red)
    before = (tmp_path / "out/map.tif").read_bytes()
    other = resolved(tmp_path, inference={"window": 8})
    with pytest.raises(LedgerError, match=r"layout\.core was 16, is now 8"):
        job_run.run(other, tmp_path / "out", predict=nir)
    assert (tmp_path / "out/map.tif").read_bytes() == before
    job_run.run(other, tmp_path / "out", predict=nir, overwrite=True)
    assert (tmp_path / "out/map.tif").read_bytes() != before


def test_changed_imagery_is_another_job(tmp_path):
    path = scene(tmp_path)
    job_run.run(resolved(tmp_path), tmp_path / "out", predict=red)
    path.unlink()
    scene(tmp_path, bands=[coordinates((137, 211), 1)] * 2)
    with pytest.raises(LedgerError, match="another job: files"):
        job_run.run(resolved(tmp_path), tmp_path / "out", predict=red)


def test_output_among_the_imagery_is_refused(tmp_path):
    scene(tmp_path)
    with pytest.raises(JobError, match="holds the imagery"):
        job_run.run(resolved(tmp_path), tmp_path, predict=red)


def test_a_region_elsewhere_is_refused(tmp_path):
    scene(tmp_path)
    with pytest.raises(GridError, match="they do not meet"):
        resolved(tmp_path, region={"bounds": [10, 40, 11, 41], "crs": "EPSG:4326"})


def test_a_map_too_large_for_one_file_becomes_sheets(tmp_path):
    scene(tmp_path, (700, 900), bands=[coordinates((700, 900), 0), coordinates((700, 900), 1)])
    keys = {"inference": {"window": 64, "block": 256}}
    one = job_run.run(resolved(tmp_path, **keys), tmp_path / "one", predict=red)
    many = job_run.run(resolved(tmp_path, outputs={"sheet_pixels": 512}, **keys), tmp_path / "many", predict=red)
    with rasterio.open(tmp_path / "many/map.vrt") as source:
        assert np.array_equal(source.read(1), read_map(one)[0])
    assert sum(name.startswith("maps/") and name.endswith(".tif") for name in many.outputs) >= 4


def test_what_crosses_to_a_worker_and_back_is_small(tmp_path):
    import pickle

    scene(tmp_path)
    plan = resolved(tmp_path)
    folder = str(tmp_path / "out")
    job_run.run(plan, folder, predict=red)
    work = job_block.task(folder, plan, None, 2)
    record = job_block.finish(folder, plan.digest, plan.variant, red, None, next(iter(plan.blocks())))
    assert len(pickle.dumps(work)) < 1000
    assert len(pickle.dumps(record)) < 1000


def test_a_plan_survives_its_job_json(tmp_path):
    scene(tmp_path)
    plan = resolved(tmp_path)
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    assert again.digest == plan.digest
    assert replace(again, region=None).facts == plan.facts

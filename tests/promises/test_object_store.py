"""Object stores: a job in s3:// keeps every promise of one in a folder, judged against an S3 server on loopback."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from painted_scenes import blur, coordinates, nir, read_map, red, resolved, scene
from s3_server import BUCKET, serving
from small_jobs import SmallJob, geoseg

from geoseg import process
from geoseg.catalog import Band
from geoseg.cluster import local
from geoseg.cluster.mapper import map_over
from geoseg.errors import JobError, LedgerError, RasterError
from geoseg.grid import Window
from geoseg.jobs import report as job_report
from geoseg.jobs import run as job_run
from geoseg.jobs import submit
from geoseg.rasters import files as raster_files
from geoseg.storage import job_file, ledger, lock, s3
from geoseg.storage import store as store_module
from geoseg.storage.record import BLOCKS, ROLL, block_name, record_name
from geoseg.storage.store import Store

GEOSEG = (sys.executable, "-c", "from geoseg.cli import main; main()")


@pytest.fixture(scope="module")
def running():
    with serving() as server:
        yield server


@pytest.fixture
def server(running):
    running.requests.clear()
    yield running
    running.behave()


@pytest.fixture
def prefix(server):
    return f"s3://{BUCKET}/{uuid.uuid4().hex}/job"


@pytest.fixture(params=["folder", "objects"])
def store(request, tmp_path):
    return Store.at(tmp_path / "job" if request.param == "folder" else request.getfixturevalue("prefix"))


def held(store):
    """Every file of a map, by name."""
    return {name: store.get(name) for folder in ("", "vectors", "maps") for name in store.names(folder)}


def same_map(remote, local):
    """Whether a job in a store left the very files that one in a folder left."""
    changing = {"status.json", "outputs.json", job_file.JOB}
    one, two = ({n: data for n, data in held(Store.at(each)).items() if n not in changing} for each in (remote, local))
    assert "map.tif" in one or "map.vrt" in one
    assert one.keys() == two.keys()
    for each in (one, two):  # how long blocks took differs
        each |= {
            n: re.sub(b"<!--speed-->.*<!--/speed-->", b"", each[n], flags=re.S) for n in each if n == "report.html"
        }
    return [name for name in one if one[name] != two[name]] == []


# -------------------------------------------------------------------------------------- the primitives


def test_a_store_keeps_files_by_name(store):
    assert list(store.names()) == []
    assert not store.exists("blocks/a")
    store.put("blocks/a", b"1")
    store.put("blocks/a", b"22")
    store.put("blocks/deep/er", b"")
    store.put("top", b"3")
    assert store.get("blocks/a") == b"22"
    assert list(store.names()) == ["top"]
    assert list(store.names("blocks")) == ["blocks/a"]
    before = store.stamp("blocks/a")
    store.put("blocks/a", b"23")
    assert store.stamp("blocks/a") != before
    assert store.stamp("blocks/none") is None
    assert 0 <= store.age("top") < 60
    assert store.age("none") is None
    store.drop("top")
    store.drop("top")
    with pytest.raises(FileNotFoundError):
        store.get("top")


def test_of_many_who_create_or_swap_one_succeeds(store):
    def race(do):
        with ThreadPoolExecutor(8) as pool:
            return sum(pool.map(do, range(8)))

    assert race(lambda at: store.create("lock", b"%d" % at)) == 1
    first = store.get("lock")
    assert race(lambda at: store.swap("lock", first, b"next %d" % at)) == 1
    assert store.get("lock").startswith(b"next")
    assert not store.swap("lock", first, b"late")
    assert not store.swap("none", b"", b"")
    assert not store.renew("lock", first)
    assert store.renew("lock", store.get("lock"))
    assert list(store.names()) == ["lock"]


@pytest.mark.parametrize("name", ["", "../a", "blocks/../../a", "/etc/passwd", "a\0b"])
def test_names_that_leave_the_prefix_are_refused(prefix, name):
    with pytest.raises(LedgerError, match="no name inside"):
        Store.at(prefix).put(name, b"")


@pytest.mark.parametrize(
    "url",
    [
        *("s3://", "s3://maps", "s3://maps/", "s3://maps/..", "s3://maps/a/../../other", "s3://maps/a?versionId=1"),
        *("s3://maps/a\0b", "s3://user:word@maps/a", "s3://Maps/a", "s3://maps/a#b", "gs://maps/a", "file:///etc"),
    ],
)
def test_urls_that_are_no_prefix_are_refused(url):
    with pytest.raises(LedgerError, match=r"s3://bucket/prefix"):
        Store.at(url)


def test_a_prefix_has_one_spelling():
    assert Store.at("s3://maps//a///b/").root == "s3://maps/a/b"


def test_a_listing_longer_than_one_page_is_whole(server, prefix):
    store = Store.at(prefix)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda at: store.put(f"blocks/{at}", b""), range(30)))
    client = s3._client()
    whole, client.call_s3 = client.call_s3, lambda *a, **k: whole(*a, **k, **({"MaxKeys": 7} if "list" in a[0] else {}))
    try:
        assert set(store.names("blocks")) == {f"blocks/{at}" for at in range(30)}
    finally:
        client.call_s3 = whole


# --------------------------------------------------------------------------------------------- the lock


def test_the_second_coordinator_refuses(store):
    with lock.hold(store) as check:
        with pytest.raises(LedgerError, match="is in use by another geoseg"), lock.hold(store):
            raise AssertionError("two hold the lock")
        check()
    assert not store.exists(lock.LOCK)


def test_a_lock_that_stopped_beating_is_taken_over(store, server):
    store.put(lock.LOCK, b"another.host:1:x")
    with pytest.raises(LedgerError, match=r"in use by another geoseg \(another\.host:1"), lock.hold(store):
        pass
    if store.remote:
        server.older_s = lock.STALE_S + 2
    else:
        old = time.time() - lock.STALE_S - 1
        os.utime(store.path(lock.LOCK), (old, old))
    with lock.hold(store):
        assert store.get(lock.LOCK) != b"another.host:1:x"


@pytest.mark.slow
def test_a_lock_beats_and_its_loss_is_noticed(store, server, monkeypatch):
    monkeypatch.setattr(lock, "BEAT_S", 0.05)
    with lock.hold(store) as check:
        before = server.requests.count(f"PUT /{store.root[5:]}/{lock.LOCK}"), store.stamp(lock.LOCK)
        time.sleep(0.5)
        after = server.requests.count(f"PUT /{store.root[5:]}/{lock.LOCK}"), store.stamp(lock.LOCK)
        assert after[0] > before[0] if store.remote else after[1] != before[1]
        check()
        store.put(lock.LOCK, b"another.host:1:x")
        time.sleep(0.5)
        with pytest.raises(LedgerError, match="taken over by another geoseg"):
            check()
    assert store.get(lock.LOCK) == b"another.host:1:x"


def test_a_store_without_conditional_writes_is_refused(server, prefix):
    server.ignore_conditions = True
    with pytest.raises(LedgerError, match="ignores If-None-Match"), lock.hold(Store.at(prefix)):
        pass


# --------------------------------------------------------------------------------------------- whole runs


ALL = {"report": True, "vectors": ["shp"], "quicklook": True}


@pytest.mark.parametrize("outputs", [{}, pytest.param(ALL, marks=pytest.mark.slow)], ids=["map", "all outputs"])
def test_a_run_into_a_bucket_leaves_what_one_into_a_folder_leaves(tmp_path, prefix, outputs):
    scene(tmp_path, (50, 50))
    plan = resolved(tmp_path, 2, outputs=outputs)
    local = job_run.run(plan, tmp_path / "out", predict=blur)
    remote = job_run.run(plan, prefix, predict=blur)
    assert remote.outputs == local.outputs
    assert remote.folder == prefix
    assert same_map(prefix, tmp_path / "out")
    if outputs:
        assert {"vectors/map.dbf", "vectors/map.shx", "map.png", "report.html"} <= held(Store.at(prefix)).keys()
        page = Store.at(prefix).get("report.html")
        assert job_report.write(prefix) == f"{prefix}/report.html"
        assert job_report.write(prefix, tmp_path / "page.html") == str(tmp_path / "page.html")
        assert page == Store.at(prefix).get("report.html") == (tmp_path / "page.html").read_bytes()
    again = job_run.run(plan, prefix, predict=lambda *_: 1 / 0)
    assert again.kept == local.outputs
    assert again.progress.reused == local.progress.finished


@pytest.mark.slow
def test_sheets_go_into_a_bucket_too(tmp_path, prefix):
    scene(tmp_path, (70, 540), bands=[coordinates((70, 540), 0), coordinates((70, 540), 1)])
    plan = resolved(tmp_path, outputs={"sheet_pixels": 512}, inference={"window": 64, "block": 256})
    job_run.run(plan, tmp_path / "out", predict=red)
    job_run.run(plan, prefix, predict=red)
    assert same_map(prefix, tmp_path / "out")


@pytest.mark.slow
def test_flipped_bytes_in_a_bucket_are_found_and_made_again(tmp_path, prefix):
    scene(tmp_path, (40, 70))
    plan, store = resolved(tmp_path, 2), Store.at(prefix)
    job_run.run(plan, tmp_path / "out", predict=blur)
    job_run.run(plan, prefix, predict=blur)
    windows = list(plan.blocks())
    flipped = [block_name(windows[0]), record_name(windows[3])]
    for name in flipped:
        data = bytearray(store.get(name))
        data[len(data) // 2] ^= 1
        store.put(name, bytes(data))
    store.drop(block_name(windows[5]))
    mended = job_run.run(plan, prefix, predict=blur)
    assert mended.progress.finished == 3
    assert same_map(prefix, tmp_path / "out")


@pytest.mark.slow
def test_bits_that_flip_inside_the_server_never_reach_the_map(tmp_path, server, prefix, monkeypatch):
    scene(tmp_path, (30, 30))
    plan, store = resolved(tmp_path, 2), Store.at(prefix)
    job_run.run(plan, tmp_path / "out", predict=blur)
    monkeypatch.setattr(store_module, "PATIENCE_S", 0.3)
    server.rotten = block_name(next(iter(plan.blocks())))
    with pytest.raises(LedgerError, match="has changed since it was written; run the same command again"):
        job_run.run(plan, prefix, predict=blur)
    assert not store.exists("map.tif")
    server.behave()
    mended = job_run.run(plan, prefix, predict=blur)
    assert mended.progress.finished == 1
    assert same_map(prefix, tmp_path / "out")


def test_going_on_fetches_no_block_that_nobody_wrote_to(tmp_path, server, prefix):
    scene(tmp_path, (30, 30))
    plan = resolved(tmp_path, 2)
    job_run.run(plan, prefix, predict=blur)
    server.requests.clear()
    known, damaged = ledger.records(Store.at(prefix), plan.digest)
    assert len(known) == len(list(plan.blocks()))
    assert not damaged
    assert not [each for each in server.requests if each.endswith(".tif")]


def test_going_on_fetches_no_record_that_the_roll_holds(tmp_path, server, prefix):
    scene(tmp_path, (60, 60))
    plan = resolved(tmp_path, 2)
    job_run.run(plan, prefix, predict=blur)
    store = Store.at(prefix)
    server.requests.clear()
    known, _ = ledger.records(store, plan.digest)
    assert len(known) == len(list(plan.blocks()))
    assert not [each for each in server.requests if "/blocks/" in each and each.endswith(".json")]
    changed = next(iter(known))
    record = store.get(record_name(changed)).replace(b'"state": "done"', b'"state": "gone"')
    store.put(record_name(changed), record)
    again, damaged = ledger.records(store, plan.digest)
    assert changed not in again
    assert "is damaged" in damaged[0]
    for name in list(store.names(ROLL)):
        store.put(name, b"rubbish")
    again, _ = ledger.records(store, plan.digest)
    assert len(again) == len(known) - 1


class Crash(BaseException):
    """A process that ends at once."""


def crashing(function, after):
    """`function`, which ends the process after so many calls."""
    calls = iter(range(after))

    def call(*args, **kwargs):
        if next(calls, None) is None:
            raise Crash
        return function(*args, **kwargs)

    return call


@pytest.mark.slow
def test_a_run_that_ends_after_any_block_goes_on(tmp_path, prefix):
    scene(tmp_path, (90, 90))
    plan = resolved(tmp_path, 2)
    total = job_run.run(plan, tmp_path / "out", predict=blur).progress.total
    for finished in range(4, total, 4):
        with pytest.raises(Crash):
            job_run.run(plan, prefix, predict=crashing(blur, 4))
        assert len(ledger.records(Store.at(prefix), plan.digest)[0]) == finished
    job_run.run(plan, prefix, predict=blur)
    assert same_map(prefix, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("vectors", "files"), [([], 3), pytest.param(["shp"], 10, marks=pytest.mark.slow)], ids=["map", "and shapefile"]
)
def test_a_crash_before_any_upload_leaves_whole_files_and_goes_on(tmp_path, prefix, monkeypatch, vectors, files):
    scene(tmp_path, (16, 16))
    plan = resolved(tmp_path, outputs={"vectors": vectors})
    job_run.run(plan, tmp_path / "out", predict=red)
    upload, crashes = s3.upload, 0
    wanted = held(Store.at(tmp_path / "out"))
    for at in range(99):
        store = Store.at(f"{prefix}-{at}")
        with monkeypatch.context() as patch:
            patch.setattr(s3, "upload", crashing(upload, at))
            try:
                job_run.run(plan, store.root, predict=red)
                break
            except Crash:
                crashes += 1
        whole = {name: data for name, data in held(store).items() if name.startswith(("map", "vectors"))}
        assert all(wanted[name] == data for name, data in whole.items())
        again = job_run.run(plan, store.root, predict=lambda *_: 1 / 0)
        assert again.progress.finished == 0
        assert same_map(store.root, tmp_path / "out")
    assert crashes == files


@pytest.mark.slow
def test_a_server_that_fails_now_and_then_is_asked_again(tmp_path, server, prefix):
    scene(tmp_path, (40, 40))
    plan = resolved(tmp_path)
    job_run.run(plan, tmp_path / "out", predict=red)
    server.fail_every = 20
    job_run.run(plan, prefix, predict=red)
    assert same_map(prefix, tmp_path / "out")


# ------------------------------------------------------------------------------------ delayed visibility


@pytest.mark.slow
def test_what_shows_late_is_waited_for(store):
    thread = threading.Timer(0.4, store.put, ("a", b"1"))
    thread.start()
    assert store.get("a", awaited=True) == b"1"
    thread.join()


def test_what_never_shows_is_an_error(store, monkeypatch):
    monkeypatch.setattr(store_module, "PATIENCE_S", 0.3)
    with pytest.raises(FileNotFoundError):
        store.get("a", awaited=True)


@pytest.mark.slow
@pytest.mark.parametrize(("edge", "late_s"), [(30, 0.7), pytest.param(60, 5.0, marks=pytest.mark.slow)])
def test_blocks_and_jobs_that_show_late_lose_nothing(tmp_path, server, prefix, edge, late_s):
    scene(tmp_path, (edge, edge))
    plan = resolved(tmp_path)
    job_run.run(plan, tmp_path / "out", predict=red)
    process.renew()
    server.late, server.late_s = r"/blocks/.*_labels\.tif|job\.json", late_s
    job_run.run(plan, prefix, predict=red)
    server.behave()
    assert same_map(prefix, tmp_path / "out")


@pytest.mark.slow
def test_a_block_that_never_shows_stops_the_run(tmp_path, server, prefix, monkeypatch):
    scene(tmp_path, (40, 40))
    monkeypatch.setattr(store_module, "PATIENCE_S", 0.3)
    server.late, server.late_s = r"/blocks/.*_labels\.tif", 60.0
    with pytest.raises(LedgerError, match=r"labels\.tif is missing; run the same command again"):
        job_run.run(resolved(tmp_path), prefix, predict=red)


def test_a_local_block_that_vanished_before_the_map_stops_the_run(tmp_path, monkeypatch):
    scene(tmp_path, (40, 40))
    monkeypatch.setattr(store_module, "PATIENCE_S", 0.3)

    def losing(function, items):
        for record in map(function, items):
            (tmp_path / "out" / block_name(record.window)).unlink()
            yield record

    with pytest.raises(LedgerError, match=r"labels\.tif is missing; run the same command again"):
        job_run.run(resolved(tmp_path), tmp_path / "out", predict=red, mapper=losing)


# ----------------------------------------------------------------------------------- imagery in a bucket


def move_into_bucket(folder, name):
    """Put the scene into the bucket and let the catalog name it there."""
    url = f"s3://{BUCKET}/{folder.name}-{uuid.uuid4().hex}/{name}"
    s3.upload(folder / name, url)
    (folder / name).unlink()
    catalog = folder / "data_catalog.yaml"
    catalog.write_text(catalog.read_text().replace(f"files: {name}", f"files: {url}"))
    return url


def test_imagery_in_a_bucket_gives_the_same_map(tmp_path, server, prefix):
    path = scene(tmp_path, (60, 70))
    job_run.run(resolved(tmp_path, 2), tmp_path / "out", predict=blur)
    url = move_into_bucket(tmp_path, path.name)
    job_run.run(resolved(tmp_path, 2), tmp_path / "far", predict=blur)
    for name in (block_name(each) for each in resolved(tmp_path, 2).blocks()):
        assert (tmp_path / "far" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    with pytest.raises(JobError, match="holds the imagery"):
        job_run.run(resolved(tmp_path, 2), url.rpartition("/")[0], predict=blur)
    s3.drop(url)
    with pytest.raises(RasterError, match="does not exist"):
        resolved(tmp_path, 2)


def test_changed_imagery_in_a_bucket_is_another_job_with_other_pixels(tmp_path, server):
    path = scene(tmp_path, (60, 70))
    url = move_into_bucket(tmp_path, path.name)
    job_run.run(resolved(tmp_path), tmp_path / "out", predict=red)
    catalog = (tmp_path / "data_catalog.yaml").read_text()
    scene(tmp_path, (60, 70), bands=[coordinates((60, 70), 1), coordinates((60, 70), 0)], name="other.tif")
    (tmp_path / "data_catalog.yaml").write_text(catalog)
    s3.upload(tmp_path / "other.tif", url)
    with pytest.raises(LedgerError, match="another job: files"):
        job_run.run(resolved(tmp_path), tmp_path / "out", predict=red)
    here = job_run.run(resolved(tmp_path), tmp_path / "here", predict=nir)
    assert np.array_equal(read_map(here)[0], coordinates((60, 70), 0))


def test_an_object_that_changed_is_read_anew_though_another_thread_has_the_old_one_open(tmp_path, server):
    url = move_into_bucket(tmp_path, scene(tmp_path).name)
    bands, window = (Band("red", (url,), 1, None, 1.0, 0.0),), Window(0, 0, 137, 211)
    old = raster_files.examine(url, bands, None)
    assert np.array_equal(raster_files.pixels(old, bands, window)[0], coordinates((137, 211), 0))
    scene(tmp_path, bands=[coordinates((137, 211), 1)] * 2, name="other.tif")
    s3.upload(tmp_path / "other.tif", url)
    size, tag = s3.stamp(url)
    new = (replace(old[0], size=size, modified=tag),)  # as planned elsewhere, and handed to this worker
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(raster_files.pixels, new, bands, window).result()
    assert np.array_equal(found[0], coordinates((137, 211), 1))


# ----------------------------------------------------------------------------------- real processes, slow


@pytest.mark.slow
def test_a_cluster_writes_into_a_bucket_what_a_serial_run_writes(tmp_path, prefix):
    scene(tmp_path)
    plan = resolved(tmp_path, 2)
    job_run.run(plan, tmp_path / "out", predict=blur)
    with local.cpu_cluster(2, 2_000_000_000) as client:
        job_run.run(plan, prefix, predict=blur, mapper=map_over(client, job_run.lost(plan.digest)))
    assert same_map(prefix, tmp_path / "out")


@pytest.mark.slow
def test_sheets_made_on_a_cluster_in_a_bucket_are_those_of_one_process(tmp_path, server, prefix):
    scene(tmp_path, (70, 1540), bands=[coordinates((70, 1540), 0), coordinates((70, 1540), 1)])
    plan = resolved(tmp_path, outputs={"sheet_pixels": 512}, inference={"window": 64, "block": 256})
    job_run.run(plan, tmp_path / "out", predict=red)
    with local.cpu_cluster(2, 2_000_000_000) as client:
        summary = job_run.run(plan, prefix, predict=red, mapper=map_over(client, job_run.lost(plan.digest)))
    assert sum(name.endswith(".tif") for name in summary.outputs) == 4
    assert same_map(prefix, tmp_path / "out")
    assert not list(Store.at(prefix).names("sheets"))
    fetched = [each for each in server.requests if each.startswith("GET") and "_labels.tif" in each]
    assert len(fetched) == len(set(fetched)) == summary.progress.total  # by workers alone


@pytest.mark.slow
def test_a_job_submitted_into_a_bucket_runs_without_its_client(tmp_path, prefix):
    job = SmallJob.write(tmp_path / "job")
    assert job.run().code == 0
    with local.cpu_cluster(2, 2_000_000_000) as client:
        handle = submit.submit(job.folder / "job.yaml", client, folder=prefix)
        ended = handle.wait(120)
    assert ended.state == "finished"
    assert any(line["event"] == "block" for line in handle.log())
    assert same_map(prefix, job.out)
    assert geoseg("verify", job.folder / "job.yaml", "--out", prefix, "--workers", "0").code == 0


@pytest.mark.slow
def test_a_killed_command_goes_on_from_the_bucket(tmp_path, prefix):
    job = SmallJob.write(tmp_path / "job", shape=(200, 200))
    job.job(inference={"window": 16, "block": 32})
    assert job.run().code == 0
    command = [*GEOSEG, "run", str(job.folder / "job.yaml"), "--workers", "0", "--out", prefix]
    store, kills = Store.at(prefix), 0
    for wanted in (3, 15, 30):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(list(store.names(BLOCKS))) < wanted and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert kills >= 2
    assert "finished before" in done.stdout
    assert same_map(prefix, job.out)
    status = subprocess.run([*GEOSEG, "status", prefix], capture_output=True, text=True)
    assert "finished" in status.stdout
    assert json.loads(store.get("status.json"))["state"] == "finished"

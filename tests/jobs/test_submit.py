"""Jobs that run on a cluster by themselves: handed over, watched, stopped, gone on with, and outliving what dies."""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import nullcontext
from pathlib import Path

import faults
import pytest
from clusters import client_of, wait_until
from farm import Farm, check_whole, plan_of, quiet, small
from small_jobs import SmallJob, geoseg, process

import geoseg as package
from geoseg.cluster import coordinator
from geoseg.errors import JobError
from geoseg.jobs import block as job_block
from geoseg.jobs import status as job_status
from geoseg.jobs import submit
from geoseg.jobs.claim import claim
from geoseg.jobs.status import JobHandle
from geoseg.storage import lock
from geoseg.storage.job_file import read_job
from geoseg.storage.store import Store


@pytest.fixture(autouse=True)
def own_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of submitted jobs are noted in the test's own folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def submitted(farm: Farm, made: SmallJob, *options: object) -> str:
    """`geoseg submit`; the job's id."""
    answer = geoseg("submit", made.folder / "job.yaml", "--scheduler", farm.address, "--out", made.out, *options)
    assert answer.code == 0, answer
    return answer.out.splitlines()[0]


def ended(made: SmallJob, timeout_s: float = 60) -> str:
    """How the job ended."""
    return JobHandle("", str(made.out)).wait(timeout_s, 0.1).state


@pytest.mark.slow
def test_a_submitted_job_needs_no_client(farm, tmp_path, model):
    made = small(tmp_path, model, 3, 4)
    wanted = quiet(made)
    faults.plan_trouble(made.out, sleep=0.4)
    farm.scale(2)
    name = submitted(farm, made)
    assert name.startswith("out-")
    assert job_status.status(Store.at(made.out)).state in ("submitted", "running")
    wait_until(lambda: len(faults.attempts(made.out)) > 2)
    with client_of(farm, 2) as client:
        tell = client.run_on_scheduler(lambda dask_scheduler: sorted(dask_scheduler.clients))
    others = [each for each in tell if each.startswith("Client-") and each != client.id]
    assert [each[: len("Client-worker")] for each in others] == ["Client-worker"], "the coordinator's own"
    asked = geoseg("status", name)
    assert asked.code == 0
    assert "running" in asked.out
    assert ended(made) == "finished"
    check_whole(made, wanted)
    assert set(faults.attempts(made.out).values()) == {1}
    for which in (name, made.out):
        assert "finished" in geoseg("status", which).out
        assert "12/12" in geoseg("status", which).out
    assert name in geoseg("status").out
    lines = [json.loads(line) for line in geoseg("logs", name).out.splitlines()]
    blocks = [line for line in lines if line["event"] == "block"]
    assert len(blocks) == 12
    assert set(blocks[0]) == {"time", "event", "block", "state", "attempts", "worker", "seconds", "bytes", "device"}
    assert set(blocks[0]["seconds"]) == {"read", "infer", "write"}
    assert lines[-1]["event"] == "finished"


@pytest.mark.slow
def test_a_job_is_known_from_its_folder_when_the_cluster_is_gone(tmp_path, model, monkeypatch):
    made = small(tmp_path, model, 3, 4)
    wanted = quiet(made)
    faults.plan_trouble(made.out, sleep=0.3)
    farm = Farm(tmp_path)
    try:
        farm.scale(1)
        name = submitted(farm, made, "--name", "orphan")
        wait_until(lambda: job_status.status(Store.at(made.out)).done)
    finally:
        farm.end()
    monkeypatch.setattr(lock, "STALE_S", 0.5)
    monkeypatch.setattr(job_status, "PATIENCE_S", 1.0)
    time.sleep(1.1)
    asked = geoseg("status", name)
    assert "stopped" in asked.out
    assert "its coordinator is gone" in asked.err
    before = job_status.status(Store.at(made.out)).done
    again = geoseg("resume", name, "--workers", "0")
    assert again.code == 0
    assert "of them finished before" in again.out
    assert 1 <= before < 12
    check_whole(made, wanted)


@pytest.mark.slow
def test_a_cancelled_job_keeps_what_it_has_and_goes_on_when_asked(farm, tmp_path, model):
    made = small(tmp_path, model, 4, 4)
    wanted = quiet(made)
    faults.plan_trouble(made.out, sleep=0.3)
    farm.scale(2)
    name = submitted(farm, made, "--name", "stop-and-go")
    wait_until(lambda: len(faults.attempts(made.out)) > 3)
    assert "geoseg resume stop-and-go" in geoseg("cancel", name).out
    assert ended(made) == "cancelled"
    assert "is not running: cancelled" in geoseg("cancel", name).out
    assert not (made.out / "map.tif").exists()
    wait_until(lambda: not (made.out / "job.lock").exists())  # it is let go once the journal is closed
    faults.plan_trouble(made.out)
    again = geoseg("resume", name, "--scheduler", farm.address)
    assert again.out.split() == [name]
    assert ended(made) == "finished"
    check_whole(made, wanted)
    assert sum(faults.attempts(made.out).values()) <= 16 + 2  # two workers had a block in hand


@pytest.mark.slow
def test_a_job_that_is_cancelled_before_it_began_never_begins(farm, tmp_path, model, monkeypatch):
    made = small(tmp_path, model, 2, 2)
    farm.scale(0)
    name = submitted(farm, made)
    monkeypatch.setattr(job_status, "PATIENCE_S", 0.1)
    time.sleep(0.3)
    assert job_status.find(name).status().state == "submitted", "however long it waits for a worker"
    geoseg("cancel", name)
    farm.scale(1)
    assert ended(made) == "cancelled"
    assert not faults.attempts(made.out)


@pytest.mark.slow
def test_the_job_of_higher_priority_goes_first(farm, tmp_path, model):
    later, sooner = small(tmp_path, model, 4, 5, "later"), small(tmp_path, model, 2, 5, "sooner")
    faults.plan_trouble(later.out, sleep=0.4)
    faults.plan_trouble(sooner.out, sleep=0.2)
    farm.scale(2)
    submitted(farm, later)
    wait_until(lambda: faults.attempts(later.out))
    submitted(farm, sooner, "--priority", "10")
    wait_until(lambda: len(faults.attempts(sooner.out)) > 1)
    begun = len(faults.attempts(later.out))
    assert begun < 15
    wait_until(lambda: len(faults.attempts(sooner.out)) == 10)
    assert len(faults.attempts(later.out)) <= begun + 2, "the other waits; in equal shares it would have begun 4"
    assert ended(sooner) == "finished"
    assert ended(later) == "finished"
    for made in (later, sooner):
        check_whole(made, quiet(made))


@pytest.mark.slow
def test_a_coordinator_whose_worker_is_killed_starts_again_on_another(farm, tmp_path, model):
    made = small(tmp_path, model, 5, 4)
    wanted = quiet(made)
    faults.plan_trouble(made.out, sleep=0.2)
    farm.scale(2)
    name = submitted(farm, made)
    wait_until(lambda: len(faults.attempts(made.out)) > 3)
    holder = (made.out / "job.lock").read_text()
    coordinator = next(each for each in farm.alive if f":{each.pid}:" in holder)
    coordinator.kill()
    assert job_status.find(name).wait(60).state == "finished"
    check_whole(made, wanted)
    assert sum(faults.attempts(made.out).values()) <= 20 + 2


@pytest.mark.slow
def test_a_name_that_is_on_the_cluster_already_is_refused(farm, tmp_path, model, monkeypatch):
    monkeypatch.setattr(coordinator, "_ENDING_S", 0.2)
    first, second = (small(tmp_path, model, 2, 3, name) for name in ("first", "second"))
    faults.plan_trouble(first.out, sleep=0.3)
    farm.scale(1)
    submitted(farm, first, "--name", "once")
    there = ("--scheduler", farm.address, "--out", second.out)
    again = geoseg("submit", second.folder / "job.yaml", *there, "--name", "once")
    assert again.code == 75
    assert "a job called 'once' is on this cluster already; choose another --name" in again.err
    assert job_status.status(Store.at(second.out)).state == "stopped"
    twice = geoseg("submit", first.folder / "job.yaml", "--scheduler", farm.address, "--out", first.out)
    assert "is in use by another geoseg" in twice.refusal("FolderInUseError")
    assert ended(first) == "finished"


def test_watching_ends_with_the_job(farm, tmp_path, model):
    made = small(tmp_path, model, 2, 2)
    farm.scale(1)
    answer = geoseg("submit", made.folder / "job.yaml", "--scheduler", farm.address, "--out", made.out, "--watch")
    assert answer.code == 0
    assert f"finished, 4/4 blocks, in {made.out}" in answer.out
    assert "finished, 4/4" in geoseg("status", made.out, "--watch").out


def test_a_job_is_submitted_from_python(farm, tmp_path, model, monkeypatch):
    made = small(tmp_path, model, 2, 2)
    farm.scale(1)
    monkeypatch.chdir(made.folder)
    with client_of(farm, 1) as client:
        job = package.submit(made.folder / "job.yaml", client)
        assert isinstance(job, JobHandle)
        assert job.folder == str(made.folder / "job")
        assert job.wait(60).state == "finished"
        assert [line["event"] for line in job.log()].count("block") == 4
        assert job_status.find(job.id) == job
        with pytest.raises(JobError, match="needs a folder"):
            package.submit(plan_of(made), client)
    assert (made.folder / "job/map.tif").exists()


def test_bad_input_is_refused_before_the_cluster_is_touched(tmp_path, model):
    made = small(tmp_path, model, 2, 2)
    with pytest.raises(JobError, match="--name is 'a/b'"):
        submit.submit(made.folder / "job.yaml", None, folder=made.out, name="a/b")
    assert not made.out.exists()
    (made.folder / "scene.tif").unlink()
    refused = geoseg("submit", made.folder / "job.yaml", "--scheduler", "tcp://127.0.0.1:9")
    assert "scene.tif does not exist" in refused.refusal("RasterError")


def test_what_is_no_job_is_told(tmp_path):
    assert "is neither a job folder nor the id of a job" in geoseg("status", tmp_path / "no").refusal("JobError")


@pytest.mark.parametrize("change", ["a value", "another kind of value", "a key less", "no plan", "no plan's hash"])
def test_a_plan_that_is_not_the_one_that_was_written_is_refused(tmp_path, model, change):
    made = small(tmp_path, model, 2, 2)
    assert made.run().code == 0
    before = (made.out / "map.tif").read_bytes()
    held = json.loads((made.out / "job.json").read_text())
    match change:
        case "a value":
            held["plan"]["spec"]["outputs"]["confidence"] = True
        case "another kind of value":
            held["plan"]["grid"]["transform"] = "none"
        case "a key less":
            del held["plan"]["layout"]
        case "no plan":
            del held["plan"]
        case _:
            del held["variant"]
    (made.out / "job.json").write_text(json.dumps(held))
    said = geoseg("resume", made.out, "--workers", "0").refusal("LedgerError")
    assert "is damaged or of another version of geoseg; run its job file again with geoseg run" in said
    assert (made.out / "map.tif").read_bytes() == before
    assert made.run().code == 0
    assert geoseg("resume", made.out, "--workers", "0").code == 0


@pytest.mark.slow
def test_a_job_whose_store_cannot_be_reached_does_not_hide_the_others(tmp_path, model, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    nobody = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    nobody |= {name: value for name, value in os.environ.items() if not name.startswith("AWS_") and name != "HOME"}
    made = small(tmp_path, model, 2, 2)
    assert made.run().code == 0
    job_status.remember(JobHandle("far", "s3://nowhere/job"))
    job_status.remember(JobHandle("near", str(made.out)))
    listed = process("status", env=nobody | {"COLUMNS": "1000"})
    assert listed.code == 0
    assert re.search(r"far +│ unreachable", listed.out)
    assert re.search(r"near +│ finished +│ 4/4", listed.out)
    assert re.search(r"far: s3://nowhere.* cannot be reached \(Unable to locate credentials\)", listed.err)
    assert "cannot be reached" in process("status", "far", env=nobody).refusal("LedgerError")


# ------------------------------------------------------------- folders in use, and other ends of a coordinator


def held_by_another(made: SmallJob) -> Path:
    """The lock of a coordinator on another machine."""
    path = made.out / lock.LOCK
    path.write_bytes(b"elsewhere:1:of-another-machine")
    return path


@pytest.mark.slow
def test_a_coordinator_waits_for_the_folder_while_another_holds_it(farm, tmp_path, model):
    made = small(tmp_path, model, 2, 2)
    farm.scale(0)
    submitted(farm, made)
    held = held_by_another(made)
    farm.scale(1)
    with client_of(farm, 1):
        time.sleep(2)
    assert job_status.status(Store.at(made.out)).state == "submitted"
    assert not faults.attempts(made.out)
    held.unlink()
    assert ended(made) == "finished"


@pytest.fixture
def coordinating(tmp_path, model, monkeypatch) -> SmallJob:
    """A claimed job whose coordinator is called here; none of these gets as far as asking its cluster."""
    made = small(tmp_path, model, 2, 2)
    monkeypatch.setattr(coordinator, "inside", lambda: nullcontext(None))
    claim(plan_of(made), Store.at(made.out))
    return made


def coordinate(made: SmallJob) -> tuple[str, float]:
    """The state in which a coordinator ends, and the seconds that it took."""
    begin = time.monotonic()
    state = submit.coordinate(str(made.out), job_block.plan_in("", read_job(Store.at(made.out))).digest, 0, False)
    return state, time.monotonic() - begin


@pytest.mark.slow
def test_a_coordinator_stops_once_the_lock_of_a_dead_one_must_have_gone_stale(coordinating, monkeypatch):
    monkeypatch.setattr(job_status, "PATIENCE_S", 1.5)
    held = held_by_another(coordinating)
    state, seconds = coordinate(coordinating)
    assert state == "stopped"
    assert 1.5 < seconds < 15
    assert held.read_bytes() == b"elsewhere:1:of-another-machine"


def test_a_coordinator_stops_at_once_where_waiting_does_not_help(coordinating):
    plan = plan_of(coordinating)
    assert job_block.load_plan(str(coordinating.out), plan.digest) == plan  # as a worker that has read it
    coordinating.job(inference={"block": 16, "window": 8})
    claim(plan_of(coordinating), Store.at(coordinating.out), overwrite=True)
    begin = time.monotonic()
    assert submit.coordinate(str(coordinating.out), plan.digest, 0, False) == "stopped"
    assert time.monotonic() - begin < 5
    assert not (coordinating.out / "status.json").exists(), "the folder is another job's, which says where it stands"


def test_a_coordinator_that_is_cancelled_says_so(coordinating):
    JobHandle("", str(coordinating.out)).cancel()
    assert coordinate(coordinating)[0] == "cancelled"
    assert job_status.status(Store.at(coordinating.out)).state == "cancelled"

"""Status: a job followed from its folder alone, whatever stands there and whatever the clock says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from farm import plan_of, small
from odd_files import KINDS, put_in_place
from small_jobs import SmallJob, geoseg

from geoseg.errors import LedgerError
from geoseg.jobs import run as job_run
from geoseg.jobs import status as job_status
from geoseg.jobs.claim import claim
from geoseg.jobs.status import JobHandle
from geoseg.storage import journal, lock
from geoseg.storage.store import Store

HOURS_S = 5 * 3600.0


@pytest.fixture
def made(tmp_path: Path, model: Path) -> SmallJob:
    """A job of four blocks."""
    return small(tmp_path, model, 2, 2)


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the names of jobs are noted."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "state/geoseg/jobs"
    folder.mkdir(parents=True)
    return folder


def test_a_job_is_known_by_its_id_as_long_as_its_folder_stands(made, notes):
    assert made.run().code == 0
    handle = JobHandle("mine", str(made.out))
    job_status.remember(handle)
    assert job_status.find("mine") == handle
    assert job_status.submitted() == [handle]
    (made.out / "job.json").unlink()
    assert job_status.submitted() == []
    assert list(notes.iterdir()) == []


DAMAGED = {
    "nothing": b"",
    "no text": b"\xff\xfe",
    "cut off": b'{"id": "bad", "folder"',
    "a list": b"[]",
    "a number": b"3",
    "null": b"null",
    "no folder": b'{"id": "bad"}',
    "a key more": b'{"id": "bad", "folder": "/", "more": 1}',
    "another's id": b'{"id": "../bad", "folder": "/"}',
    "a folder of another kind": b'{"id": "bad", "folder": 3}',
    "a folder with NUL": b'{"id": "bad", "folder": "a\\u0000b"}',
    "a store that is unknown": b'{"id": "bad", "folder": "ftp://a/b"}',
    "endless nesting": b"[" * 100_000,
}


@pytest.mark.parametrize("what", [*DAMAGED, *KINDS])
@pytest.mark.sampled(4)
def test_a_note_that_is_damaged_or_no_file_is_no_job_and_hides_no_other(made, notes, what):
    assert made.run().code == 0
    job_status.remember(JobHandle("good", str(made.out)))
    if what in DAMAGED:
        (notes / "bad.json").write_bytes(DAMAGED[what])
    else:
        put_in_place(what, notes / "bad.json")
    said = geoseg("status", "bad").refusal("JobError")
    assert "'bad' is neither a job folder nor the id of a job submitted from here; known: good" in said
    listed = geoseg("status")
    assert listed.code == 0
    assert "good" in listed.out
    assert "bad" not in listed.out


STATES = [
    # what status.json says, its age, the lock's age -> state, and the start of what is said of it
    (None, 0, None, "stopped", "it has not run yet"),
    ("submitted", HOURS_S, None, "submitted", ""),
    ("running", 0, 0, "running", ""),
    ("running", HOURS_S, 30, "running", ""),
    ("finishing", 0, 0, "finishing", ""),
    ("running", 0, None, "stopped", "its coordinator is gone"),
    ("finishing", 0, None, "stopped", "its coordinator is gone"),
    ("running", HOURS_S, HOURS_S, "stopped", "its coordinator is gone"),
    ("running", 30, lock.STALE_S + 9, "running", ""),  # its cluster may start it again
    ("submitted, lost", 30, None, "submitted", "the scheduler was lost"),
    ("submitted, lost", HOURS_S, None, "stopped", "its coordinator is gone: the scheduler was lost"),
    *((ended, HOURS_S, None, ended, "") for ended in ("finished", "failed blocks", "cancelled")),
    ("stopped", HOURS_S, None, "stopped", ""),
    ("finished", 0, 0, "finished", ""),
]


@pytest.mark.parametrize(("said", "said_s", "held_s", "state", "error"), STATES)
def test_the_state_follows_from_files_alone(tmp_path, said, said_s, held_s, state, error):
    store = Store.at(tmp_path)
    store.put("job.json", json.dumps({"digest": "d", "facts": {}}).encode())
    files = {"job.json": 0.0}
    numbers = {"total": 9, "done": 4, "failed": 1, "rate": 2.5}
    if said is not None:
        word, _, lost = said.partition(", ")
        journal.Journal(store).set_status(
            journal.Status(word, **numbers, error="the scheduler was lost" if lost else ""), now=True
        )
        files["status.json"] = said_s
    if held_s is not None:
        store.put(lock.LOCK, b"elsewhere:1:of-another-machine")
        files[lock.LOCK] = held_s
    for name, age_s in files.items():
        os.utime(tmp_path / name, (time.time() - age_s, time.time() - age_s))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    found = job_status.status(store)
    assert (found.state, found.error) == (state, error)
    assert said is None or {name: getattr(found, name) for name in numbers} == numbers
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before, "who looks changes nothing"


def test_a_folder_without_a_job_has_no_status(tmp_path):
    with pytest.raises(LedgerError, match=r"is no job folder: it has no job\.json"):
        job_status.status(Store.at(tmp_path))


def test_waiting_gives_up_in_time_and_says_what_the_job_does(made):
    store = Store.at(made.out)
    claim(plan_of(made), store)
    journal.Journal(store).set_status(journal.Status("submitted"), now=True)
    with pytest.raises(TimeoutError, match="job mine is still submitted after 0 s"):
        JobHandle("mine", str(made.out)).wait(0.1, 0.02)


@pytest.mark.parametrize("off_s", [-HOURS_S, HOURS_S], ids=["behind", "ahead"])
@pytest.mark.parametrize("what", ["the clock here", "every file but the lock"])
def test_a_running_job_is_running_whatever_the_clocks_say(made, monkeypatch, what, off_s):
    seen = []
    real = time.time

    def looking(function: Any, items: Any) -> Any:
        for item in items:
            yield function(item)
            if what == "the clock here":
                monkeypatch.setattr(time, "time", lambda: real() + off_s)
            else:
                for path in made.out.rglob("*"):
                    if path.is_file() and path.name != lock.LOCK:
                        os.utime(path, (real() + off_s, real() + off_s))
            seen.append(job_status.status(Store.at(made.out)).state)
            monkeypatch.setattr(time, "time", real)

    job_run.run(plan_of(made), made.out, mapper=looking)
    assert seen == ["running"] * 4
    monkeypatch.setattr(time, "time", lambda: real() + off_s)
    assert job_status.status(Store.at(made.out)).state == "finished"


@pytest.mark.parametrize("age_s", [HOURS_S, -HOURS_S], ids=["past", "future"])
def test_a_lock_of_hours_ago_or_ahead_is_nobody_s(made, age_s):
    """A stamp that lies ahead was made before a clock was set back; whoever lives makes it young again in seconds."""
    store = Store.at(made.out)

    def dying(function: Any, items: Any) -> Any:
        yield function(items[0])
        (made.out / lock.LOCK).write_bytes(b"elsewhere:1:of-another-machine")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job_run.run(plan_of(made), made.out, mapper=dying)
    said = json.loads(store.get("status.json")) | {"state": "running", "error": ""}
    store.put("status.json", json.dumps(said).encode())
    assert job_status.status(store).state == "running"
    assert "is in use by another geoseg (elsewhere:1, last seen 0 s ago)" in made.run().refusal("FolderInUseError")
    for name in (lock.LOCK, "status.json"):
        os.utime(made.out / name, (time.time() - age_s, time.time() - age_s))
    assert job_status.status(store).state == "stopped"
    assert made.run().code == 0


HOLDING = """
import json, sys, time
from geoseg.storage import journal, lock
from geoseg.storage.store import Store
lock.BEAT_S = 0.2
store = Store(sys.argv[1])
store.put("job.json", json.dumps({"digest": "d", "facts": {}}).encode())
journal.Journal(store).set_status(journal.Status("running"), now=True)
with lock.hold(store):
    print("holds", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can look with the eyes of another account")
@pytest.mark.parametrize("off_s", [-HOURS_S, HOURS_S], ids=["behind", "ahead"])
def test_who_may_only_read_the_folder_sees_a_job_run_though_his_clock_is_wrong(monkeypatch, off_s):
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    holder = subprocess.Popen([sys.executable, "-c", HOLDING, str(folder)], stdout=subprocess.PIPE, umask=0o022)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"holds\n"
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + off_s)
        monkeypatch.setattr(lock, "BEAT_S", 0.4)
        os.seteuid(65534)
        assert job_status.status(Store(str(folder))).state == "running"
        os.seteuid(0)
        holder.kill()
        holder.wait()
        os.seteuid(65534)
        assert job_status.status(Store(str(folder))).state == "stopped"
    finally:
        os.seteuid(0)
        holder.kill()
        holder.communicate()
        shutil.rmtree(folder)

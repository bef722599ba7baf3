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

from geoseg.jobs import run as job_run
from geoseg.jobs import status as job_status
from geoseg.jobs.status import JobHandle
from geoseg.storage import lock
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

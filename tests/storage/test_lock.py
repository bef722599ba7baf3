"""Lock: one coordinator at a time, and the folder of one that is gone is free again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from geoseg.errors import FolderInUseError, LedgerError
from geoseg.storage import lock
from geoseg.storage.lock import LOCK
from geoseg.storage.store import Store

HOLDING = """
import sys, time
from geoseg.storage import lock
from geoseg.storage.store import Store

lock.BEAT_S, lock.STALE_S = float(sys.argv[2]), float(sys.argv[3])
with lock.hold(Store(sys.argv[1])) as check:
    print("held", flush=True)
    for line in sys.stdin:
        check()
        print("still held", flush=True)
"""


class Holder:
    """A process that holds a folder until its input ends."""

    def __init__(self, store: Store, beat_s: float = 0.05, stale_s: float = 0.5) -> None:
        command = [sys.executable, "-c", HOLDING, store.root, str(beat_s), str(stale_s)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        assert self.said() == "held", self.process.communicate()[1]

    def said(self) -> str:
        return self.process.stdout.readline().strip()

    def check(self) -> str:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.said()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "job"))


@pytest.fixture
def holder(store):
    holder = Holder(store)
    yield holder
    holder.process.kill()
    holder.process.wait()
    for pipe in (holder.process.stdin, holder.process.stdout, holder.process.stderr):
        with suppress(BrokenPipeError):
            pipe.close()


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(lock, "BEAT_S", 0.05)
    monkeypatch.setattr(lock, "STALE_S", 0.5)


def test_the_second_of_two_processes_is_refused_and_hears_who_holds(store, holder, hasty):
    for _ in range(3):  # for longer than a lock without a heartbeat is respected
        time.sleep(0.25)
        with (
            pytest.raises(
                FolderInUseError, match=rf"in use by another geoseg \(.*:{holder.process.pid}, last seen 0 s"
            ),
            lock.hold(store),
        ):
            raise AssertionError("two hold the lock")
        assert lock.age(store) < 0.5
    assert holder.check() == "still held"
    holder.process.stdin.close()
    assert holder.process.wait(10) == 0
    assert lock.age(store) is None
    with lock.hold(store) as check:
        check()
    assert list(store.names()) == []


def test_the_folder_of_a_killed_process_is_free_at_once(store, holder):
    holder.process.kill()
    holder.process.wait()
    assert store.exists(LOCK)
    begin = time.monotonic()
    with lock.hold(store):
        assert time.monotonic() - begin < 5.0 < lock.STALE_S


def test_one_that_stood_still_is_replaced_and_notices_when_it_goes_on(store, holder, hasty):
    holder.process.send_signal(signal.SIGSTOP)
    time.sleep(0.6)
    with lock.hold(store) as check:
        holder.process.send_signal(signal.SIGCONT)
        assert holder.check() == ""
        check()
        assert "was taken over by another geoseg while this one stood still" in holder.process.communicate()[1]
        check()
        assert str(os.getpid()).encode() in store.get(LOCK)
    assert list(store.names()) == []


@pytest.mark.slow
def test_one_that_stood_still_and_was_not_replaced_goes_on(holder):
    holder.process.send_signal(signal.SIGSTOP)
    time.sleep(0.6)
    holder.process.send_signal(signal.SIGCONT)
    assert holder.check() == "still held"


@pytest.mark.slow
def test_of_many_who_take_over_one_succeeds(store):
    for _ in range(3):
        store.put(LOCK, b"another.host:1:x")
        os.utime(store.path(LOCK), (0, 0))
        command = [sys.executable, "-c", HOLDING, store.root, "1", "30"]
        pipe = subprocess.PIPE
        many = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(3)]
        first = [process.stdout.readline().strip() for process in many]
        assert first.count("held") == 1
        refused = ["another geoseg" in process.communicate()[1] for process in many]
        assert refused == [said != "held" for said in first]
    assert list(store.names()) == []


def test_another_machine_s_lock_is_respected_until_it_is_stale(store):
    store.put(LOCK, b"another.host:1:x")
    with (
        pytest.raises(FolderInUseError, match=r"\(another\.host:1, last seen 0 s ago\); wait for it"),
        lock.hold(store),
    ):
        pass
    old = time.time() - lock.STALE_S - 1
    os.utime(store.path(LOCK), (old, old))
    with lock.hold(store):
        assert store.get(LOCK) != b"another.host:1:x"


def test_a_clock_that_is_wrong_here_takes_no_lock_from_a_living_holder(store, holder, hasty, monkeypatch):
    for off in (-10_000.0, 10_000.0):
        monkeypatch.setattr(lock.time, "time", lambda off=off: time.monotonic() + off)
        with pytest.raises(FolderInUseError, match="in use"), lock.hold(store):
            pass


@pytest.mark.parametrize("data", [b"", b"\xff\0:::", b"host", b"host:pid", b"host:-1:", b"host:99999999999999999999:x"])
def test_a_foreign_lock_is_respected_and_then_taken_over(store, data):
    store.put(LOCK, data)
    with pytest.raises(FolderInUseError, match="is in use by another geoseg"), lock.hold(store):
        pass
    os.utime(store.path(LOCK), (0, 0))
    with lock.hold(store):
        assert store.get(LOCK) != data


@pytest.mark.parametrize("pid", ["99999999999999999999", "²", "-1", "0", "1", "", "x", "9" * 5000])
def test_a_foreign_process_number_is_no_traceback(store, pid):
    store.put(LOCK, f"{socket.gethostname()}:{pid}:{lock._machine()}".encode())
    try:
        with lock.hold(store):
            assert pid.startswith("999")  # which no process can have
    except FolderInUseError:
        assert not pid.startswith("999")


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="file is a file; choose a folder"), lock.hold(Store(str(tmp_path / "file"))):
        pass


def test_a_pipe_in_place_of_the_lock_is_refused_and_never_waited_for(store):
    store.put("a", b"")
    os.mkfifo(store.path(LOCK))
    with pytest.raises(LedgerError, match=r"job\.lock is a pipe and no plain file; remove it"), lock.hold(store):
        pass


def test_what_went_wrong_inside_is_what_is_raised_though_the_lock_is_gone(store):
    def work() -> None:
        with lock.hold(store):
            store.drop(LOCK)
            store.path(LOCK).mkdir()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()

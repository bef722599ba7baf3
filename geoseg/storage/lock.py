"""Lock: one coordinator at a time holds a job's folder, whether on a file system or in an object store.

The lock is a small file that names its holder and is made young again every few seconds; one that has not been for a
minute is stale and taken over. Ages are measured by the clock of the machine that keeps the file, not by one's own.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from geoseg.errors import FolderInUseError, LedgerError
from geoseg.storage.store import Store

LOCK = "job.lock"
BEAT_S = 5.0
"""Seconds between heartbeats of a lock."""
STALE_S = 60.0
"""A lock that has not beaten for this long is taken over."""


@contextmanager
def hold(store: Store) -> Iterator[Callable[[], None]]:
    """Hold the folder: one coordinator at a time, with a heartbeat; a stale lock is taken over.

    Yields
    ------
    callable
        Raises LedgerError if another took the folder over meanwhile, because this process stood still too long.

    Raises
    ------
    FolderInUseError
        If another living coordinator holds it.
    LedgerError
        If the folder is a file or cannot be written.
    """
    if not store.remote and Path(store.root).exists() and not Path(store.root).is_dir():
        raise LedgerError(f"{store.root} is a file; choose a folder for the job's output")
    owner = f"{socket.gethostname()}:{os.getpid()}:{_machine()}{uuid.uuid4().hex[:8]}".encode()
    _take(store, owner)
    stop, lost, seen = threading.Event(), threading.Event(), _seconds()

    def renew() -> None:
        nonlocal seen
        with suppress(OSError):  # a full or vanished disk shows itself where blocks are written
            # A contender who comes too late moves the lock away for a moment, so one look is not enough.
            if store.renew(LOCK, owner) or stop.wait(BEAT_S / 5) or store.renew(LOCK, owner):
                seen = _seconds()
            else:
                lost.set()

    def beat() -> None:
        while not stop.wait(BEAT_S) and not lost.is_set():
            renew()

    def check() -> None:
        if _seconds() - seen > 3 * BEAT_S:  # this process stood still, and the heartbeat may not have noticed yet
            renew()
        if lost.is_set():
            raise LedgerError(
                f"{store.root} was taken over by another geoseg while this one stood still; leave it to that one"
            )

    thread = threading.Thread(target=beat, name="geoseg-lock", daemon=True)
    thread.start()
    try:
        yield check
    finally:
        stop.set()
        thread.join()
        with suppress(OSError):  # where it cannot be removed it will be stale
            if _holder(store) == owner:
                store.drop(LOCK)


def age(store: Store) -> float | None:
    """Seconds since the holder of the folder was last seen; None while nobody holds it.

    A time ahead was stamped before a clock was set back, and was not renewed since: it counts as so long ago.
    """
    found = store.age(LOCK)
    return None if found is None else abs(found)


def _take(store: Store, owner: bytes) -> None:
    for _ in range(3):
        if store.create(LOCK, owner):
            return _check_exclusive(store, owner)
        holder, seen_s = _holder(store), age(store)
        if holder is None or seen_s is None:  # released just now
            continue
        if holder == owner:  # an answer was lost and the request made twice
            return
        if seen_s < STALE_S and not _dead(holder.decode(errors="replace")):
            raise FolderInUseError(
                f"{store.root} is in use by another geoseg ({_described(holder)}, last seen {seen_s:.0f} s ago); "
                f"wait for it, or stop it and try again after {STALE_S:.0f} s"
            )
        if store.swap(LOCK, holder, owner):
            return
    raise LedgerError(f"{store.root} could not be taken over; another geoseg took it first, so wait for it")


def _check_exclusive(store: Store, owner: bytes) -> None:
    """Refuse an object store that takes a second object for a first one: there is no lock on it."""
    if store.remote and store.create(LOCK, owner):
        store.drop(LOCK)
        raise LedgerError(
            f"{store.root} lies in an object store that ignores If-None-Match, so two runs could not be kept apart; "
            "use a store that knows conditional writes"
        )


def _holder(store: Store) -> bytes | None:
    try:
        return store.get(LOCK)
    except FileNotFoundError:
        return None


def _described(holder: bytes) -> str:
    """Host and process of a lock's holder."""
    return ":".join(holder.decode(errors="replace").split(":")[:2]) or "which just began"


def _machine() -> str:
    """What tells this machine's processes from those of another with the same name, as containers can have."""
    facts = []
    for path, read in (("/proc/sys/kernel/random/boot_id", Path.read_text), ("/proc/self/ns/pid", Path.readlink)):
        with suppress(OSError):
            facts.append(str(read(Path(path))).strip())
    return hashlib.sha256("".join(facts).encode()).hexdigest()[:8]


def _dead(holder: str) -> bool:
    """Whether the holder was a process of this machine that is gone."""
    host, pid, machine = [*holder.split(":"), "", ""][:3]
    if host != socket.gethostname() or not (pid.isascii() and pid.isdigit()) or not machine.startswith(_machine()):
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError, ValueError):
        return True
    except PermissionError:
        return False
    return False


def _seconds() -> float:
    """Of a clock that nobody sets, and which goes on while the machine sleeps, where there is one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()

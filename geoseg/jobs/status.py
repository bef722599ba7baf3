"""Handle: a job followed from its folder alone, whether or not its cluster still runs. Loads neither torch nor Dask."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from geoseg.errors import JobError, LedgerError
from geoseg.storage import job_file, journal, lock
from geoseg.storage.journal import Status
from geoseg.storage.store import Store

ENDED = ("finished", "failed blocks", "cancelled", "stopped")
PATIENCE_S = lock.STALE_S + 3 * lock.BEAT_S
"""How long a coordinator waits for the lock of one whose worker died."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobHandle:
    """A submitted job: its name and its folder, which is all that is needed to follow it."""

    id: str
    folder: str

    def status(self) -> Status:
        """Where the job stands, read from its folder."""
        return status(Store(self.folder))

    def wait(self, timeout_s: float | None = None, every_s: float = 0.5) -> Status:
        """Wait until the job has ended.

        Parameters
        ----------
        timeout_s : float, optional
            How long at most; default: for ever.
        every_s : float
            Seconds between two looks.

        Raises
        ------
        TimeoutError
            If it has not ended after `timeout_s`.
        """
        begin = time.monotonic()
        while (now := self.status()).state not in ENDED:
            if timeout_s is not None and time.monotonic() - begin > timeout_s:
                raise TimeoutError(f"job {self.id} is still {now.state} after {timeout_s:.0f} s")
            time.sleep(every_s)
        return now

    def cancel(self) -> None:
        """Ask the coordinator to stop; what was finished is kept."""
        journal.ask_to_cancel(Store(self.folder))

    def log(self, last: int | None = None, *, follow: bool = False) -> Iterator[Mapping[str, Any]]:
        """Lines of the job's log, oldest first.

        Parameters
        ----------
        last : int, optional
            Only so many of the last; all by default.
        follow : bool
            Wait for more as they come, until the job has ended.
        """
        until = (lambda: self.status().state in ENDED) if follow else (lambda: True)
        return journal.read_log(Store(self.folder), last, until)


def status(store: Store) -> Status:
    """Where a job stands, from its folder alone.

    A job that says it runs, but whose coordinator has not been seen for a minute, is 'stopped'. One that no worker has
    taken up yet is 'submitted', for as long as that takes. In a folder that may only be read the clock of its file
    system cannot be asked; there it takes ten seconds to say that a job is 'stopped'.

    Raises
    ------
    LedgerError
        If the folder holds no job.
    """
    job_file.read_job(store)
    said = journal.read_status(store)
    if said is None:
        return Status("stopped", error="it has not run yet")
    if said.state in ENDED or (said.state == "submitted" and not said.error):
        return said
    age = lock.age(store)
    alive = age is not None and (age <= lock.STALE_S or _beats(store))
    starts_again = (age is not None or said.state == "submitted") and abs(store.age(journal.STATUS) or 0.0) < PATIENCE_S
    if alive or starts_again:
        return said
    facts = {each: getattr(said, each) for each in ("total", "done", "failed", "rate", "updated", "performance")}
    return Status("stopped", **facts, error=f"its coordinator is gone{f': {said.error}' if said.error else ''}")


def find(name: str) -> JobHandle:
    """A job by its id or by its folder.

    Raises
    ------
    JobError
        If neither is known.
    """
    noted = _noted(name) if re.fullmatch(r"[\w.-]+", name) else None
    if noted is not None:
        return noted
    store = Store.at(name)
    if store.exists(job_file.JOB):
        return JobHandle(Path(store.root).name, store.root)
    known = ", ".join(each.id for each in submitted()[:5]) or "none"
    raise JobError(f"{name!r} is neither a job folder nor the id of a job submitted from here; known: {known}")


def submitted() -> list[JobHandle]:
    """Jobs submitted from this account whose folders still stand, the latest first."""
    found = []
    notes = Store(str(_notes()))
    names = [each for each in notes.names() if each.endswith(".json")]
    for name in sorted(names, key=lambda each: notes.age(each) or 0.0):
        handle = _noted(name.removesuffix(".json"))
        if handle is None:
            continue
        try:
            stands = Store.at(handle.folder).exists(job_file.JOB)
        except LedgerError:  # its object store cannot be reached today
            stands = True
        if stands:
            found.append(handle)
        else:
            notes.drop(name)
    return found


def follow(handle: JobHandle, show: Callable[[Status], None], every_s: float = 0.5) -> Status:
    """Show where a job stands until it has ended.

    Parameters
    ----------
    handle : JobHandle
        The job.
    show : callable
        Called with each status.
    every_s : float
        Seconds between two looks.

    Returns
    -------
    Status
        How it ended.
    """
    while True:
        now = handle.status()
        show(now)
        if now.state in ENDED:
            return now
        time.sleep(every_s)


def remember(handle: JobHandle) -> None:
    """Note a job's name, so that `find` knows it."""
    text = json.dumps({"id": handle.id, "folder": handle.folder})
    try:
        Store(str(_notes())).put(f"{handle.id}.json", text.encode())
    except LedgerError:  # a read-only home; the folder itself is enough to follow the job
        _log.warning("the job's name could not be noted in %s", _notes())


def _beats(store: Store) -> bool:
    """Whether the lock of a folder that may only be read is renewed while one looks, whatever time it is there."""
    effective = os.access in os.supports_effective_ids
    if store.remote or os.access(store.root, os.W_OK, effective_ids=effective):
        return False
    before, end = store.stamp(lock.LOCK), time.monotonic() + 2 * lock.BEAT_S
    while time.monotonic() < end:
        if store.stamp(lock.LOCK) != before:
            return True
        time.sleep(lock.BEAT_S / 20)
    return False


def _noted(name: str) -> JobHandle | None:
    """The job that was noted under a name; None where there is no note, or it is damaged or foreign."""
    try:
        facts = json.loads(Store(str(_notes())).get(f"{name}.json"))
        if facts.keys() == {"id", "folder"} and facts["id"] == name and isinstance(facts["folder"], str):
            Store.at(facts["folder"])
            return JobHandle(**facts)
    except (OSError, ValueError, AttributeError, RecursionError):  # OSError: also what is no plain file
        pass
    return None


def _notes() -> Path:
    return platformdirs.user_state_path("geoseg") / "jobs"

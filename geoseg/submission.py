"""Submission: a job that runs on a cluster with no client attached.

What is submitted is a coordinator: one long task that keeps a bounded number of blocks out, finalises, and does all
of it from the job folder. If its worker dies, the scheduler starts it again elsewhere and it goes on from there.
"""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from geoseg import blocks, cluster, job, journal, ledger, lock, pipeline, planning
from geoseg.errors import CancelledError, JobError, LedgerError
from geoseg.job import JobSpec
from geoseg.journal import Status
from geoseg.plan import Plan
from geoseg.store import Store

ENDED = ("finished", "failed blocks", "cancelled", "stopped")
_PATIENCE_S = lock.STALE_S + 3 * lock.BEAT_S
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

    def log(self) -> Iterator[Mapping[str, Any]]:
        """Lines of the job's log so far."""
        return journal.read_log(Store(self.folder))


def submit(
    asked: Path | str | JobSpec | Plan,
    client: Any,
    *,
    folder: Path | str | None = None,
    name: str | None = None,
    priority: int = 0,
    overwrite: bool = False,
    strict: bool = False,
) -> JobHandle:
    """Hand a job to a cluster and come back at once.

    Bad input is refused here, before the cluster is touched; the folder must be reachable from the workers.

    Parameters
    ----------
    asked : path, JobSpec or Plan
        The job.
    client : distributed.Client
        Of the cluster.
    folder : path, optional
        Job folder; default: the name of the job file.
    name : str, optional
        Name to ask for it by; default: made from the folder's.
    priority : int
        Higher goes first where several jobs share the cluster.
    overwrite, strict : bool
        As in `pipeline.run`.

    Returns
    -------
    JobHandle

    Raises
    ------
    GeosegError
        As `planning.resolve` and `pipeline.claim`.
    """
    plan, folder = _resolved(asked, folder)
    store = Store.at(folder)
    handle = JobHandle(_id(name, store.root), store.root)
    with lock.hold(store):
        pipeline.claim(plan, store, overwrite=overwrite)
        store.drop(journal.CANCEL)
        before = journal.read_status(store) or Status("stopped", error="it was not handed to a cluster")
        journal.Journal(store).stand(Status("submitted"), now=True)
    try:
        cluster.leave_running(client, handle.id, coordinate, store.root, plan.digest, priority, strict)
    except Exception:
        journal.Journal(store).stand(before, now=True)
        raise
    _remember(handle)
    return handle


def coordinate(root: str, digest: str, priority: int, strict: bool) -> str:
    """Run a job from inside the cluster; returns the state in which it ended.

    A failure that is the job's own (a full disk, a changed folder) ends it and is told in its journal; a lost worker
    or scheduler ends this process, and the coordinator is started again.
    """
    plan = blocks.load_plan(root, digest)
    with cluster.inside() as client:
        for attempt in _until_free(root):
            try:
                mapper = cluster.mapper(client, pipeline.lost(digest), priority=priority)
                summary = pipeline.run(plan, root, mapper=mapper, strict=strict, resident=True)
                return "failed blocks" if summary.failed else "finished"
            except CancelledError:
                return "cancelled"
            except LedgerError as error:
                if "is in use by another geoseg" not in str(error) or not attempt:
                    _log.exception("job %s stopped", root)
                    return "stopped"
    return "stopped"


def _until_free(root: str) -> Iterator[bool]:
    """Tries to take the folder, until the lock of a dead coordinator must have gone stale; False marks the last."""
    begin = time.monotonic()
    while time.monotonic() - begin < _PATIENCE_S:
        yield True
        time.sleep(1.0)
    yield False


def resume(folder: Path | str) -> Plan:
    """The plan of a job folder, resolved anew from its spec so that changed imagery or models show.

    Raises
    ------
    LedgerError
        If the folder holds no job, or what it was made from has changed since (the message says what).
    """
    store = Store.at(folder)
    held = ledger.read_job(store)
    plan = Plan.from_json(held["plan"])
    again = planning.resolve(plan.spec) if plan.predictor is not None else plan
    if again.digest != held["digest"]:
        facts = json.loads(json.dumps(again.facts))
        raise LedgerError(
            f"{store.root} cannot be gone on with: {'; '.join(ledger.differences(held['facts'], facts))}. "
            "Restore what changed, or start over with geoseg run and --overwrite."
        )
    return again


def status(store: Store) -> Status:
    """Where a job stands, from its folder alone.

    A job that says it runs, but whose coordinator has not been seen for a minute, is 'stopped'. One that no worker has
    taken up yet is 'submitted', for as long as that takes.

    Raises
    ------
    LedgerError
        If the folder holds no job.
    """
    ledger.read_job(store)
    said = journal.read_status(store)
    if said is None:
        return Status("stopped", error="it has not run yet")
    if said.state in ENDED or (said.state == "submitted" and not said.error):
        return said
    age = lock.age(store)
    alive = age is not None and age <= lock.STALE_S
    starts_again = (age is not None or said.state == "submitted") and time.time() - said.updated < _PATIENCE_S
    if alive or starts_again:
        return said
    facts = {each: getattr(said, each) for each in ("total", "done", "failed", "rate", "updated")}
    return Status("stopped", **facts, error="its coordinator is gone")


def find(name: str) -> JobHandle:
    """A job by its id or by its folder.

    Raises
    ------
    JobError
        If neither is known.
    """
    note = _notes() / f"{name}.json"
    if re.fullmatch(r"[\w.-]+", name) and note.is_file():
        return JobHandle(**json.loads(note.read_text("utf-8")))
    store = Store.at(name)
    if store.exists(ledger.JOB):
        return JobHandle(Path(store.root).name, store.root)
    known = ", ".join(each.id for each in submitted()[:5]) or "none"
    raise JobError(f"{name!r} is neither a job folder nor the id of a job submitted from here; known: {known}")


def submitted() -> list[JobHandle]:
    """Jobs submitted from this account whose folders still stand, the latest first."""
    found = []
    if _notes().is_dir():
        for path in sorted(_notes().glob("*.json"), key=lambda each: -each.stat().st_mtime):
            handle = JobHandle(**json.loads(path.read_text("utf-8")))
            if Store.at(handle.folder).exists(ledger.JOB):
                found.append(handle)
            else:
                path.unlink(missing_ok=True)
    return found


def follow(handle: JobHandle, show: Callable[[Status], None], every_s: float = 0.5) -> Status:
    """Show where a job stands until it has ended."""
    while True:
        now = handle.status()
        show(now)
        if now.state in ENDED:
            return now
        time.sleep(every_s)


def _resolved(asked: Path | str | JobSpec | Plan, folder: Path | str | None) -> tuple[Plan, Path | str]:
    if isinstance(asked, Plan | JobSpec):
        if folder is None:
            raise JobError("a job that is no file needs a folder; name one")
        return (asked if isinstance(asked, Plan) else planning.resolve(asked)), folder
    return planning.resolve(job.read(asked)), folder or Path(asked).with_suffix("").name


def _id(name: str | None, root: str) -> str:
    if name is None:
        return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', Path(root).name)}-{uuid.uuid4().hex[:6]}"
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", name):
        raise JobError(f"--name is {name!r}; use at most 60 letters, digits, '.', '_' and '-'")
    return name


def _notes() -> Path:
    return platformdirs.user_state_path("geoseg") / "jobs"


def _remember(handle: JobHandle) -> None:
    text = json.dumps({"id": handle.id, "folder": handle.folder})
    try:
        Store(str(_notes())).put(f"{handle.id}.json", text.encode())
    except LedgerError:  # a read-only home; the folder itself is enough to follow the job
        _log.warning("the job's name could not be noted in %s", _notes())

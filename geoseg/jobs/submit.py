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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from geoseg.cluster import coordinator
from geoseg.cluster.mapper import map_over
from geoseg.cluster.preparation import Prepare
from geoseg.errors import CancelledError, FolderInUseError, JobError, LedgerError
from geoseg.jobs import block as job_block
from geoseg.jobs import resolve
from geoseg.jobs import run as job_run
from geoseg.jobs import spec as job_spec
from geoseg.jobs import status as job_status
from geoseg.jobs.claim import claim
from geoseg.jobs.plan import Plan
from geoseg.jobs.spec import JobSpec
from geoseg.jobs.status import JobHandle
from geoseg.storage import job_file, journal, lock
from geoseg.storage.journal import Status
from geoseg.storage.store import Store

_log = logging.getLogger(__name__)


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
        As in `run.run`.

    Returns
    -------
    JobHandle

    Raises
    ------
    GeosegError
        As `resolve.resolve` and `claim.claim`.
    """
    plan, folder = _resolved(asked, folder)
    store = Store.at(folder)
    made = JobHandle(_id(name, store.root), store.root)
    with lock.hold(store):
        claim(plan, store, overwrite=overwrite)
        store.drop(journal.CANCEL)
        before = journal.read_status(store) or Status("stopped", error="it was not handed to a cluster")
        journal.Journal(store).set_status(Status("submitted"), now=True)
    try:
        coordinator.leave_running(client, made.id, coordinate, store.root, plan.digest, priority, strict)
    except Exception:
        journal.Journal(store).set_status(before, now=True)
        raise
    job_status.remember(made)
    return made


def coordinate(root: str, digest: str, priority: int, strict: bool) -> str:
    """Run a job from inside the cluster.

    A failure that is the job's own (a full disk, a changed folder) ends it and is noted in its journal; a lost worker
    or scheduler ends this process, and the coordinator is started again.

    Parameters
    ----------
    root, digest : str
        The job folder and its map's digest.
    priority : int
        Of its blocks among those of other jobs.
    strict : bool
        Whether to stop at the first block that fails.

    Returns
    -------
    str
        The state in which it ended.
    """
    plan = job_block.load_plan(root, digest)
    with coordinator.inside() as client:
        for attempt in _until_free(root):
            try:
                load = None if plan.predictor is None else plan.predictor.load
                prepare = Prepare(int(plan.spec.memory_per_worker), load)
                mapper = map_over(client, job_run.lost(digest), priority=priority, prepare=prepare)
                summary = job_run.run(plan, root, mapper=mapper, strict=strict, resident=True)
                return "failed blocks" if summary.failed else "finished"
            except CancelledError:
                return "cancelled"
            except FolderInUseError:
                if not attempt:
                    _log.exception("job %s stopped", root)
                    return "stopped"
            except LedgerError:
                _log.exception("job %s stopped", root)
                return "stopped"
    return "stopped"


def _until_free(root: str) -> Iterator[bool]:
    """Tries to take the folder, until the lock of a dead coordinator must have gone stale; False marks the last."""
    begin = time.monotonic()
    while time.monotonic() - begin < job_status.PATIENCE_S:
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
    held = job_file.read_job(store)
    plan = job_block.plan_in(store.root, held)
    again = resolve.resolve(plan.spec) if plan.predictor is not None else plan
    if again.digest != held["digest"]:
        facts = json.loads(json.dumps(again.facts))
        raise LedgerError(
            f"{store.root} cannot be gone on with: {'; '.join(job_file.differences(held['facts'], facts))}. "
            "Restore what changed, or start over with geoseg run and --overwrite."
        )
    return again


def _resolved(asked: Path | str | JobSpec | Plan, folder: Path | str | None) -> tuple[Plan, Path | str]:
    if isinstance(asked, Plan | JobSpec):
        if folder is None:
            raise JobError("a job that is no file needs a folder; name one")
        return (asked if isinstance(asked, Plan) else resolve.resolve(asked)), folder
    return resolve.resolve(job_spec.read(asked)), folder or Path(asked).with_suffix("").name


def _id(name: str | None, root: str) -> str:
    if name is None:
        return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', Path(root).name)}-{uuid.uuid4().hex[:6]}"
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", name):
        raise JobError(f"--name is {name!r}; use at most 60 letters, digits, '.', '_' and '-'")
    return name

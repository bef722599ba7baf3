"""Claim: a folder becomes, or already is, the folder of a job; what would go wrong there later is refused now."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path, PurePath

from geoseg.errors import JobError, LedgerError
from geoseg.jobs import outputs
from geoseg.jobs.plan import Plan
from geoseg.storage import job_file
from geoseg.storage.store import Store


def claim(plan: Plan, store: Store, *, overwrite: bool = False) -> bool:
    """Check that a job can be kept in a folder and make the folder its own; see `job_file.claim`.

    Where it was another job's, what that job had put out is removed.

    Parameters
    ----------
    plan : Plan
        The job.
    store : Store
        The folder.
    overwrite : bool
        Whether another job may be dropped from it.

    Raises
    ------
    JobError
        If the imagery lies in the folder.
    LedgerError
        If the folder is another job's, or the disk is too full.
    """
    _check_apart(plan, store)
    if store.remote:
        check_space(plan, Path(tempfile.gettempdir()), "point TMPDIR at a larger disk, where the map is put together")
    else:
        check_space(plan, Path(store.root))
    same = job_file.claim(store, _job(plan), overwrite=overwrite)
    if not same:
        outputs.drop(store)
    return same


def check_space(plan: Plan, folder: Path, advice: str = "choose another folder with --out") -> None:
    """Refuse a job whose output cannot fit; half a byte a pixel and 20 MB is what maps compress to at worst, nearly.

    Parameters
    ----------
    plan : Plan
        The job.
    folder : Path
        On the disk in question; it need not exist.
    advice : str
        What the message suggests beside freeing space.

    Raises
    ------
    LedgerError
        If the disk has less than that.
    """
    disk = folder
    while not disk.exists():
        disk = disk.parent
    free = shutil.disk_usage(disk).free
    need = plan.layout.extent.pixels * plan.layers // 2 + 20_000_000
    if free < need and _scattered_fits(plan, free):
        return
    if free < need:
        raise LedgerError(
            f"no space left: the map may need {need / 1e9:.2f} GB and {disk} has {free / 1e9:.2f} GB free; "
            f"free some space or {advice}"
        )


def _job(plan: Plan) -> dict[str, object]:
    facts = json.loads(json.dumps(plan.facts))
    return {"digest": plan.digest, "facts": facts, "variant": plan.variant, "plan": plan.to_json()}


def _check_apart(plan: Plan, store: Store) -> None:
    """Refuse to write among the imagery."""
    for file in plan.files:
        if PurePath(file.replace("/vsis3/", "s3://", 1)).is_relative_to(store.root):
            raise JobError(f"the output folder {store.root} holds the imagery {file}; choose another folder with --out")


def _scattered_fits(plan: Plan, free: int) -> bool:
    """Whether a map fits after all, since only blocks that can hold a label are written; counts no more than fit."""
    need = 20_000_000
    for window in plan.blocks():
        need += window.pixels * plan.layers // 2
        if need > free:
            return False
    return True

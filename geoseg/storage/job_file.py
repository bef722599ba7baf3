"""Job file: `job.json`, which makes a folder the folder of one job and says what that job is.

It holds plain data with at least `digest` and `facts`, what the digest is of. A folder belongs to one job at a time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from geoseg.errors import LedgerError
from geoseg.storage.lock import LOCK
from geoseg.storage.record import BLOCKS, ROLL, SHEETS
from geoseg.storage.store import Store, patiently

JOB = "job.json"


class _DamagedError(LedgerError):
    """job.json stands there, but is none."""


def claim(store: Store, job: Mapping[str, Any], *, overwrite: bool = False) -> bool:
    """Make `store` the folder of a job, or find that it already is.

    Parameters
    ----------
    store : Store
        The job folder; created if need be.
    job : mapping
        Plain data with at least `digest` and `facts` (what the digest is of).
    overwrite : bool
        Whether blocks of another job may be dropped.

    Returns
    -------
    bool
        True where the folder already was this job's, so that finished blocks can be reused.

    Raises
    ------
    LedgerError
        If the folder holds another job (the message says what differs) or files that are no job.
    """
    root = store.root
    if store.exists(JOB):
        held = _held(store, overwrite)
        if held["digest"] == job["digest"]:
            if held != json.loads(json.dumps(job)):  # what changes no pixel, such as the outputs, may be new
                store.put(JOB, json.dumps(job, indent=1).encode())
            return True
        if not overwrite:
            raise LedgerError(
                f"{root} holds another job: {'; '.join(differences(held['facts'], job['facts']))}. "
                "Choose another folder with --out, or start over in this one with --overwrite."
            )
        store.drop(JOB)
    elif not overwrite and any(name != LOCK for folder in ("", BLOCKS, ROLL) for name in store.names(folder)):
        raise LedgerError(f"{root} holds files but no job; choose an empty folder with --out, or pass --overwrite")
    with ThreadPoolExecutor(max_workers=8) as pool:  # also what an overwriting that was cut short has left
        list(pool.map(store.drop, [name for folder in (BLOCKS, ROLL, SHEETS) for name in store.names(folder)]))
    store.put(JOB, json.dumps(job, indent=1).encode())
    return False


def read_job(store: Store, awaited: str = "") -> dict[str, Any]:
    """The job.json of a folder.

    Parameters
    ----------
    store : Store
        The folder.
    awaited : str
        Digest of the job that must be there, on a worker that may see it late; it is waited for.

    Raises
    ------
    LedgerError
        If there is none or it is damaged.
    """
    try:
        wait_s = None if awaited else 0.0
        job = json.loads(patiently(lambda: store.get(JOB), lambda found: awaited.encode() in found, wait_s))
        if not isinstance(job["digest"], str) or not isinstance(job["facts"], dict):
            raise ValueError("its values are of another kind")
        return dict(job)
    except FileNotFoundError:
        raise LedgerError(f"{store.root} is no job folder: it has no {JOB}; name the folder given as --out") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _DamagedError(f"{store.location(JOB)} is damaged; start over with --overwrite") from error


def _held(store: Store, overwrite: bool) -> dict[str, Any]:
    try:
        return read_job(store)
    except _DamagedError:
        if not overwrite:
            raise
        return {"digest": "", "facts": {}}  # another job's, whichever


def differences(held: Any, asked: Any, key: str = "") -> list[str]:
    """What differs between two fingerprints, as 'key was a, is now b'; at most five.

    Parameters
    ----------
    held, asked
        Plain data.
    key : str
        Under which they stand, dotted; '' for the whole.
    """
    if isinstance(held, dict) and isinstance(asked, dict):
        found = []
        for each in sorted(held.keys() | asked.keys()):
            found += differences(held.get(each), asked.get(each), f"{key}.{each}" if key else each)
        return found[:5]
    if held == asked:
        return []
    return [f"{key} was {_short(held)}, is now {_short(asked)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."

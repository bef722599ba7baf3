"""Ledger: what a job has finished. Each block is one GeoTIFF and one record, committed atomically.

State is what is on disk. A record holds the hash of its block's bytes and the digest of the job's
fingerprint; a block whose bytes changed, or which another job made, is never reused. Nothing is computed here.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
from rasterio.io import MemoryFile

from geoseg.errors import LedgerError
from geoseg.grid import Grid
from geoseg.legend import NODATA
from geoseg.store import Store
from geoseg.windows import Window

JOB = "job.json"
LOCK = "job.lock"
BLOCKS = "blocks"
BEAT_S = 5.0
"""Seconds between heartbeats of a lock."""
STALE_S = 60.0
"""A lock that has not beaten for this long is taken over."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one block."""

    window: Window
    state: Literal["done", "empty", "failed"]
    """done: its file holds labels. empty: nodata throughout, no file. failed: nodata, and listed."""
    digest: str
    """Of the job's fingerprint."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """sha256 of each file of the block: 'labels', perhaps 'confidence'."""
    counts: Mapping[int, int] = field(default_factory=dict)
    """Pixels of each class; nodata is not counted."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Time spent: read, infer, write."""
    bytes: int = 0
    """Size of its files."""
    worker: str = ""
    """Process that made it, and its device."""
    attempts: int = 1
    error: str = ""
    """Why it failed, one sentence."""


def block_name(window: Window, kind: str = "labels") -> str:
    """Name of a block's file in the job folder."""
    return f"{BLOCKS}/r{window.row}_c{window.col}_{kind}.tif"


def record_name(window: Window) -> str:
    """Name of a block's record in the job folder."""
    return f"{BLOCKS}/r{window.row}_c{window.col}.json"


def digest_of(facts: Mapping[str, Any]) -> str:
    """sha256 of plain data, whatever its key order."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


# ------------------------------------------------------------------------------------------- blocks


def encode(pixels: np.ndarray, grid: Grid, window: Window) -> bytes:
    """A block as the bytes of a small tiled GeoTIFF; `pixels` is (row, col) uint8, nodata 255."""
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 1,
        "height": window.height,
        "width": window.width,
        "crs": grid.crs,
        "transform": grid.transform_of(window),
        "nodata": NODATA,
        "compress": "zstd",
        "zstd_level": 1,
    }
    if min(window.shape) >= 256:
        profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256}
    with MemoryFile() as memory:
        with memory.open(**profile) as target:
            target.write(pixels, 1)
        return bytes(memory.getbuffer())


def decode(data: bytes) -> np.ndarray:
    """The (row, col) uint8 pixels of an encoded block."""
    with MemoryFile(data) as memory, memory.open() as source:
        return source.read(1)


def commit(store: Store, record: Record, files: Mapping[str, bytes]) -> Record:
    """Keep a finished block: its files first, then the record that makes them count.

    Returns
    -------
    Record
        `record` with the hashes filled in.

    Raises
    ------
    LedgerError
        If the folder cannot be written; the block then does not count.
    """
    hashes = {kind: hashlib.sha256(data).hexdigest() for kind, data in files.items()}
    for kind, data in files.items():
        store.put(block_name(record.window, kind), data)
    record = replace(record, hashes=hashes, bytes=sum(map(len, files.values())))
    facts = asdict(record) | {"counts": {str(k): v for k, v in record.counts.items()}}
    store.put(record_name(record.window), json.dumps(facts).encode())
    return record


def records(store: Store, digest: str, *, verify: bool = True) -> tuple[dict[Window, Record], list[str]]:
    """The committed blocks of this job, each file's hash checked.

    Parameters
    ----------
    store : Store
        The job folder.
    digest : str
        Of the job's fingerprint; records of another are passed over.
    verify : bool
        Whether to read each block's bytes; False believes the records.

    Returns
    -------
    dict and list
        Record of each block, and one sentence for each record that had to be set aside as damaged.
    """
    names = [name for name in store.names(BLOCKS) if name.endswith(".json")]
    with ThreadPoolExecutor(max_workers=8) as pool:
        checked = list(pool.map(lambda name: _check(store, name, digest, verify), names))
    kept = {each.window: each for each in checked if isinstance(each, Record)}
    return kept, [each for each in checked if isinstance(each, str) and each]


def _check(store: Store, name: str, digest: str, verify: bool) -> Record | str:
    try:
        record = _read_record(store.get(name))
    except FileNotFoundError:
        return ""
    except (ValueError, KeyError, TypeError):
        return f"{name} is damaged; its block is made again"
    if record.digest != digest:
        return ""
    if verify:
        for kind, expected in record.hashes.items():
            try:
                found = hashlib.sha256(store.get(block_name(record.window, kind))).hexdigest()
            except FileNotFoundError:
                return f"{block_name(record.window, kind)} is missing; the block is made again"
            if found != expected:
                return f"{block_name(record.window, kind)} has changed since it was written; the block is made again"
    return record


def _read_record(data: bytes) -> Record:
    facts = json.loads(data)
    facts["window"] = Window(**facts["window"])
    facts["counts"] = {int(k): int(v) for k, v in facts["counts"].items()}
    return Record(**facts)


# ---------------------------------------------------------------------------------------- the folder


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
    root = Path(store.root)
    if root.exists() and not root.is_dir():
        raise LedgerError(f"{root} is a file; choose a folder for the job's output")
    if store.exists(JOB):
        held = read_job(store)
        if held["digest"] == job["digest"]:
            return True
        if not overwrite:
            raise LedgerError(
                f"{root} holds another job: {'; '.join(differences(held['facts'], job['facts']))}. "
                "Choose another folder with --out, or start over in this one with --overwrite."
            )
        store.drop(JOB)
        for name in list(store.names(BLOCKS)):
            store.drop(name)
    elif not overwrite and any(name != LOCK for name in store.names()):
        raise LedgerError(f"{root} holds files but no job; choose an empty folder with --out, or pass --overwrite")
    store.put(JOB, json.dumps(job, indent=1).encode())
    return False


def read_job(store: Store) -> dict[str, Any]:
    """The job.json of a folder.

    Raises
    ------
    LedgerError
        If there is none or it is damaged.
    """
    try:
        job = json.loads(store.get(JOB))
        if not {"digest", "facts"} <= set(job):
            raise KeyError("digest")
        return dict(job)
    except FileNotFoundError:
        raise LedgerError(f"{store.root} is no job folder: it has no {JOB}; name the folder given as --out") from None
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(f"{store.path(JOB)} is damaged; start over with --overwrite") from error


def differences(held: Any, asked: Any, place: str = "") -> list[str]:
    """What differs between two fingerprints, as 'key was a, is now b'; at most five."""
    if isinstance(held, dict) and isinstance(asked, dict):
        found = []
        for key in sorted(held.keys() | asked.keys()):
            found += differences(held.get(key), asked.get(key), f"{place}.{key}" if place else key)
        return found[:5]
    if held == asked:
        return []
    return [f"{place} was {_short(held)}, is now {_short(asked)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


@contextmanager
def lock(store: Store) -> Iterator[None]:
    """Hold the folder: one coordinator at a time, with a heartbeat; a stale lock is taken over.

    Raises
    ------
    LedgerError
        If another living coordinator holds it.
    """
    Path(store.root).mkdir(parents=True, exist_ok=True)
    path = store.path(LOCK)
    owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    _take(path, owner)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(BEAT_S):
            try:
                os.utime(path)
            except OSError:  # a full or vanished disk shows itself where blocks are written
                continue

    thread = threading.Thread(target=beat, name="geoseg-lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        if _owner(path) == owner:
            path.unlink(missing_ok=True)


def lock_age(store: Store) -> float | None:
    """Seconds since the holder of the folder was last seen; None while nobody holds it."""
    return _age(store.path(LOCK))


def _take(path: Path, owner: str) -> None:
    for _ in range(3):
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            holder, age = _owner(path), _age(path)
            if age is not None and age < STALE_S and not _dead(holder):
                raise LedgerError(
                    f"{path.parent} is in use by another geoseg ({holder}, last seen {age:.0f} s ago); "
                    f"wait for it, or stop it and try again after {STALE_S:.0f} s"
                ) from None
            _set_aside(path, holder)
            continue
        with os.fdopen(handle, "w") as file:
            file.write(owner)
        return
    raise LedgerError(f"{path} could not be taken over; another geoseg took it first, so wait for it")


def _set_aside(path: Path, holder: str) -> None:
    """Move a stale lock away under a name of our own; whoever else tries finds it gone."""
    aside = path.with_name(f".stale-{uuid.uuid4().hex}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    if _owner(aside) != holder and not path.exists():  # someone took it over just before us: give it back
        aside.rename(path)
        return
    aside.unlink(missing_ok=True)


def _owner(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _age(path: Path) -> float | None:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return None


def _dead(holder: str) -> bool:
    """Whether the holder was a process of this host that is gone."""
    host, _, rest = holder.partition(":")
    pid = rest.partition(":")[0]
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def gdal_versions() -> dict[str, str]:
    """Versions that belong in provenance."""
    return {"gdal": rasterio.__gdal_version__, "rasterio": rasterio.__version__}

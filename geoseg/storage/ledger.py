"""Ledger: what a job has finished. Each block is one GeoTIFF and one record, committed atomically.

State is what is on disk. A record holds the hash of its block's bytes and the digest of the job's
fingerprint; a block whose bytes changed, or which another job made, is never reused. Nothing is computed here.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import rasterio
from rasterio.io import MemoryFile
from rasterio.session import DummySession

from geoseg.catalog.legend import NODATA
from geoseg.errors import LedgerError
from geoseg.grid import Grid, Window
from geoseg.storage.lock import LOCK
from geoseg.storage.store import Store, patiently

JOB = "job.json"
BLOCKS = "blocks"
ROLL = "roll"
_ROLLED = 500
"""Records of one file of the roll."""
_TRIED = 10
_QUICK_S = 0.0005
"""A block checked within this needs no threads."""


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
    tags: Mapping[str, str] = field(default_factory=dict)
    """ETag of each of them in an object store, and of the record's own object as 'record'."""
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
    with _plain(), MemoryFile() as memory:
        with memory.open(**profile) as target:
            target.write(pixels, 1)
        return bytes(memory.getbuffer())


def decode(data: bytes) -> np.ndarray:
    """The (row, col) uint8 pixels of an encoded block."""
    with _plain(), MemoryFile(data) as memory, memory.open() as source:
        return source.read(1)


def _plain() -> rasterio.Env:
    """GDAL without credentials; rasterio would ask boto3 for some, where that is installed, for 20 ms each time."""
    return rasterio.Env(session=DummySession())


def commit(store: Store, record: Record, files: Mapping[str, bytes]) -> Record:
    """Keep a finished block: its files first, then the record that makes them count.

    Returns
    -------
    Record
        `record` with the hashes, the size and the seconds of writing filled in.

    Raises
    ------
    LedgerError
        If the folder cannot be written; the block then does not count.
    """
    begin = time.perf_counter()
    hashes = {kind: hashlib.sha256(data).hexdigest() for kind, data in files.items()}
    tags = {kind: store.put(block_name(record.window, kind), data) for kind, data in files.items()}
    tags = {kind: tag for kind, tag in tags.items() if tag}
    if files:
        record = replace(record, seconds={**record.seconds, "write": round(time.perf_counter() - begin, 4)})
    record = replace(record, hashes=hashes, tags=tags, bytes=sum(map(len, files.values())))
    own = store.put(record_name(record.window), _written(record))
    return replace(record, tags={**tags, "record": own}) if own else record


class Roll:
    """Copies of records, many to a file, for object stores, where fetching them one by one would take long.

    A copy counts only while its record's own ETag is what the roll says, so a roll that is lost, old or incomplete
    costs time and nothing else. On a file system nothing is written.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[Record] = []
        self._next = len(list(store.names(ROLL))) if store.remote else 0

    def add(self, record: Record) -> None:
        """Take a record up."""
        if "record" in record.tags:
            self._waiting.append(record)
        if len(self._waiting) >= _ROLLED:
            self.close()

    def close(self) -> None:
        """Write what waits."""
        if self._waiting:
            lines = [_written(each) for each in self._waiting]
            self._store.put(f"{ROLL}/{self._next:06d}.json", b"\n".join(lines))
            self._waiting, self._next = [], self._next + 1


class Gathered:
    """A record for each block of a run, kept small to its end: 30 MB for 100,000 blocks.

    Only what the outputs are made of is kept: state, hashes, and why and where a block failed. Iterating gives the
    records in the order of the windows, as often as wanted.
    """

    def __init__(self, digest: str, windows: Iterable[Window]) -> None:
        self._digest = digest
        self._packed = dict.fromkeys(windows, b"")

    def __len__(self) -> int:
        return len(self._packed)

    def __iter__(self) -> Iterator[Record]:
        for window, packed in self._packed.items():
            if packed:
                yield Record(window, digest=self._digest, **json.loads(packed))

    def missing(self) -> list[Window]:
        """Windows without a record so far."""
        return [window for window, packed in self._packed.items() if not packed]

    def put(self, record: Record) -> None:
        """Take in the record of one of the windows."""
        facts: dict[str, Any] = {"state": record.state, "hashes": dict(record.hashes)}
        if record.state == "failed":
            facts |= {"error": record.error, "worker": record.worker, "attempts": record.attempts}
        self._packed[record.window] = json.dumps(facts).encode()


def _rolled(store: Store) -> dict[str, Record]:
    found = {}
    for name in sorted(store.names(ROLL)) if store.remote else ():
        with suppress(ValueError, KeyError, TypeError, AttributeError, FileNotFoundError):  # then they are fetched
            for line in store.get(name).split(b"\n"):
                record = _read_record(line)
                found[record_name(record.window)] = record
    return found


def records(store: Store, digest: str, *, verify: bool = True) -> tuple[dict[Window, Record], list[str]]:
    """The committed blocks of this job, each file's hash checked.

    Objects that no one has written to since, by their ETags, are not fetched; `block` checks them when they are used.

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
    tags, rolled = store.tags(BLOCKS), _rolled(store)
    names = [name for name in tags or store.names(BLOCKS) if name.endswith(".json")]
    names.sort(key=lambda name: name not in rolled)
    known = sum(name in rolled for name in names)
    checked = _all(lambda name: _check(store, name, digest, verify, tags, rolled), names, known)
    kept = {each.window: each for each in checked if isinstance(each, Record)}
    return kept, [each for each in checked if isinstance(each, str) and each]


def _all(check: Callable[[str], Record | str], names: Sequence[str], known: int) -> list[Record | str]:
    """Check all; beyond those known already, several at a time if one takes long, else threads are in the way."""
    found, begin = [check(name) for name in names[:known]], time.perf_counter()
    found += [check(name) for name in names[known : known + _TRIED]]
    quick, rest = time.perf_counter() - begin < _TRIED * _QUICK_S, names[known + _TRIED :]
    with ThreadPoolExecutor(max_workers=16) as pool:
        return found + list((map if quick else pool.map)(check, rest))


def block(store: Store, record: Record, kind: str = "labels") -> bytes:
    """The file of a finished block, its hash checked; it is waited for.

    Raises
    ------
    LedgerError
        If it is missing or has changed since it was written.
    """
    name, expected = block_name(record.window, kind), record.hashes[kind]
    try:
        data = patiently(lambda: store.get(name), lambda found: hashlib.sha256(found).hexdigest() == expected)
    except FileNotFoundError:
        raise LedgerError(f"{store.place(name)} is missing; run the same command again to make it anew") from None
    if hashlib.sha256(data).hexdigest() != expected:
        store.drop(record_name(record.window))  # so that the block is missing, and made again
        raise LedgerError(
            f"{store.place(name)} has changed since it was written; run the same command again to make it anew"
        )
    return data


def _check(
    store: Store, name: str, digest: str, verify: bool, tags: Mapping[str, str], rolled: Mapping[str, Record]
) -> Record | str:
    try:
        record = rolled.get(name)
        if record is None or record.tags["record"] != tags.get(name):
            record = _read_record(store.get(name))
    except FileNotFoundError:
        return ""
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{name} is damaged; its block is made again"
    if record.digest != digest:
        return ""
    if verify:
        for kind, expected in record.hashes.items():
            if record.tags.get(kind, "") == tags.get(block_name(record.window, kind)):
                continue
            try:
                found = hashlib.sha256(store.get(block_name(record.window, kind))).hexdigest()
            except FileNotFoundError:
                return f"{block_name(record.window, kind)} is missing; the block is made again"
            if found != expected:
                return f"{block_name(record.window, kind)} has changed since it was written; the block is made again"
    return record


def _written(record: Record) -> bytes:
    facts = asdict(record) | {"counts": {str(k): v for k, v in record.counts.items()}}
    return json.dumps(facts | {"check": digest_of(facts)}).encode()


def _read_record(data: bytes) -> Record:
    facts = json.loads(data)
    if facts.pop("check") != digest_of(facts):
        raise ValueError("its bytes have changed")
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
    root = store.root
    if store.exists(JOB):
        held = read_job(store)
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
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(store.drop, [*store.names(BLOCKS), *store.names(ROLL)]))
    elif not overwrite and any(name != LOCK for name in store.names()):
        raise LedgerError(f"{root} holds files but no job; choose an empty folder with --out, or pass --overwrite")
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
        if not {"digest", "facts"} <= set(job):
            raise KeyError("digest")
        return dict(job)
    except FileNotFoundError:
        raise LedgerError(f"{store.root} is no job folder: it has no {JOB}; name the folder given as --out") from None
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(f"{store.place(JOB)} is damaged; start over with --overwrite") from error


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


def gdal_versions() -> dict[str, str]:
    """Versions that belong in provenance."""
    return {"gdal": rasterio.__gdal_version__, "rasterio": rasterio.__version__}

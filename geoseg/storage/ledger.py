"""Ledger: what a job has finished. Each block is one GeoTIFF and one record, committed atomically.

State is what is on disk. A record holds the hash of its block's bytes and the digest of the job's
fingerprint; a block whose bytes changed, or which another job made, is never reused. Nothing is computed here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from geoseg.errors import DamagedBlocksError
from geoseg.grid import Window
from geoseg.storage.digests import sha256
from geoseg.storage.record import BLOCKS, ROLL, Record, block_name, from_json, pack, record_name, to_json, unpack
from geoseg.storage.store import Store, patiently

_ROLLED = 500
"""Records of one file of the roll."""
_TRIED = 10
_AT_ONCE = 2000
"""Records that wait for threads at most."""
_QUICK_S = 0.0005
"""A block checked within this needs no threads."""


def commit(store: Store, record: Record, files: Mapping[str, bytes]) -> Record:
    """Keep a finished block: its files first, then the record that makes them count.

    Parameters
    ----------
    store : Store
        The job folder.
    record : Record
        Of the block, hashes and sizes left out.
    files : mapping of str to bytes
        Its files by kind, 'labels' and perhaps others; none where the block is empty or failed.

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
    hashes = {kind: sha256(data) for kind, data in files.items()}
    tags = {kind: store.put(block_name(record.window, kind), data) for kind, data in files.items()}
    tags = {kind: tag for kind, tag in tags.items() if tag}
    if files:
        record = replace(record, seconds={**record.seconds, "write": round(time.perf_counter() - begin, 4)})
    record = replace(record, hashes=hashes, tags=tags, bytes=sum(map(len, files.values())))
    own = store.put(record_name(record.window), to_json(record))
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
            lines = [to_json(each) for each in self._waiting]
            self._store.put(f"{ROLL}/{self._next:06d}.json", b"\n".join(lines))
            self._waiting, self._next = [], self._next + 1


class Kept(MutableMapping[Window, Record]):
    """Records by window, each packed while nobody looks at it: 60 MB for 100,000 blocks.

    Parameters
    ----------
    digest : str
        Of the job's fingerprint, the same for all.
    """

    def __init__(self, digest: str) -> None:
        self._digest = digest
        self._packed: dict[Window, bytes] = {}

    def __getitem__(self, window: Window) -> Record:
        return unpack(self._packed[window], window, self._digest)

    def __setitem__(self, window: Window, record: Record) -> None:
        self._packed[window] = pack(record)

    def __delitem__(self, window: Window) -> None:
        del self._packed[window]

    def __iter__(self) -> Iterator[Window]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)


class Gathered:
    """A record for each block of a run, kept small to its end: 40 MB for 100,000 blocks.

    Only what the outputs are made of is kept: state, hashes, what it took, and why a block failed. Iterating gives
    the records in the order of the windows, as often as wanted.
    """

    def __init__(self, digest: str, windows: Iterable[Window]) -> None:
        self._digest = digest
        self._packed = dict.fromkeys(windows, b"")

    def __len__(self) -> int:
        return len(self._packed)

    def __iter__(self) -> Iterator[Record]:
        for window, packed in self._packed.items():
            if packed:
                yield unpack(packed, window, self._digest)

    def missing(self) -> list[Window]:
        """Windows without a record so far."""
        return [window for window, packed in self._packed.items() if not packed]

    def put(self, record: Record) -> None:
        """Take in the record of one of the windows."""
        self._packed[record.window] = pack(replace(record, tags={}, counts={}))


def _rolled(store: Store) -> dict[str, Record]:
    found = {}
    for name in sorted(store.names(ROLL)) if store.remote else ():
        with suppress(ValueError, FileNotFoundError):  # then they are fetched
            for line in store.get(name).split(b"\n"):
                record = from_json(line)
                found[record_name(record.window)] = record
    return found


def records(store: Store, digest: str, *, verify: bool = True) -> tuple[Kept, list[str]]:
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
    Kept and list
        Record of each block, and one sentence for each record that had to be set aside as damaged.
    """
    tags, rolled = store.tags(BLOCKS), _rolled(store)
    names = [name for name in tags or store.names(BLOCKS) if name.endswith(".json")]
    names.sort(key=lambda name: name not in rolled)
    known = sum(name in rolled for name in names)
    kept, damaged = Kept(digest), []
    for each in _all(lambda name: _check(store, name, digest, verify, tags, rolled), names, known):
        if isinstance(each, Record):
            kept[each.window] = each
        elif each:
            damaged.append(each)
    return kept, damaged


def _all(check: Callable[[str], Record | str], names: Sequence[str], known: int) -> Iterator[Record | str]:
    """Check all; beyond those known already, several at a time if one takes long, else threads are in the way."""
    yield from map(check, names[:known])
    begin = time.perf_counter()
    yield from [check(name) for name in names[known : known + _TRIED]]
    quick, rest = time.perf_counter() - begin < _TRIED * _QUICK_S, range(known + _TRIED, len(names), _AT_ONCE)
    with ThreadPoolExecutor(max_workers=16) as pool:
        for at in rest:
            yield from (map if quick else pool.map)(check, names[at : at + _AT_ONCE])


def block(store: Store, record: Record, kind: str = "labels", *, forget: bool = True) -> bytes:
    """The file of a finished block, its hash checked; it is waited for.

    Parameters
    ----------
    store : Store
        The job folder.
    record : Record
        Of the block.
    kind : str
        'labels', 'confidence', 'probabilities', ...
    forget : bool
        Whether to remove the record of a block that has changed, so that the block is missing and made again; for the
        holder of the folder alone.

    Raises
    ------
    DamagedBlocksError
        If it is missing or has changed since it was written.
    """
    name, expected = block_name(record.window, kind), record.hashes[kind]
    try:
        data = patiently(lambda: store.get(name), lambda found: sha256(found) == expected)
    except FileNotFoundError:
        raise DamagedBlocksError(
            f"{store.location(name)} is missing; run the same command again to make it anew", [record.window]
        ) from None
    if sha256(data) != expected:
        if forget:
            store.drop(record_name(record.window))
        raise DamagedBlocksError(
            f"{store.location(name)} has changed since it was written; run the same command again to make it anew",
            [record.window],
        )
    return data


def _check(
    store: Store, name: str, digest: str, verify: bool, tags: Mapping[str, str], rolled: Mapping[str, Record]
) -> Record | str:
    try:
        record = rolled.get(name)
        if record is None or record.tags.get("record") != tags.get(name):
            record = from_json(store.get(name))
    except FileNotFoundError:
        return ""
    except ValueError:
        return f"{name} is damaged; its block is made again"
    if record.digest != digest:
        return ""
    if verify:
        for kind, expected in record.hashes.items():
            if record.tags.get(kind, "") == tags.get(block_name(record.window, kind)):
                continue
            try:
                found = sha256(store.get(block_name(record.window, kind)))
            except FileNotFoundError:
                return f"{block_name(record.window, kind)} is missing; the block is made again"
            if found != expected:
                return f"{block_name(record.window, kind)} has changed since it was written; the block is made again"
    return record

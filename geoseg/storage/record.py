"""Records: what is known of one block, and the names and the JSON under which a job folder keeps it.

A record carries a digest of its own text, so that one whose bytes changed is never believed. Nothing is read or
written here.
"""

from __future__ import annotations

import json
import marshal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from geoseg.grid import Window
from geoseg.storage.digests import digest_of

BLOCKS = "blocks"
"""Folder of the blocks' files and records."""
ROLL = "roll"
"""Folder of copies of records, many to a file."""
SHEETS = "sheets"
"""Folder of sheets of a map that workers have made, until the map is whole."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one block."""

    window: Window
    state: Literal["done", "empty", "failed"]
    """done: its file holds labels. empty: nodata throughout, no file. failed: nodata, and listed."""
    digest: str
    """Of the job's fingerprint."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """sha256 of each file of the block by its kind: 'labels', perhaps 'confidence' and others."""
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
    batch: int = 0
    """Windows in one pass of the network, where its device's memory held fewer than asked; else 0."""
    attempts: int = 1
    error: str = ""
    """Why it failed, one sentence."""
    memory: int = 0
    """Most bytes that its process ever held till then; 0: not known."""
    device: Mapping[str, float] = field(default_factory=dict)
    """Seconds that its process's device spent since the record before: busy, or waiting to read, to write, other."""
    seams: list[int] = field(default_factory=list)
    """Labels that were made again with windows cut otherwise, and how many differ; empty where that was not tried."""


def block_name(window: Window, kind: str = "labels") -> str:
    """Name of a block's file in the job folder.

    Parameters
    ----------
    window : Window
        Of the block.
    kind : str
        'labels', 'confidence', 'probabilities', ...
    """
    return f"{BLOCKS}/r{window.row}_c{window.col}_{kind}.tif"


def record_name(window: Window) -> str:
    """Name of a block's record in the job folder."""
    return f"{BLOCKS}/r{window.row}_c{window.col}.json"


def to_json(record: Record) -> bytes:
    """A record as one line of JSON that holds its own digest."""
    facts = asdict(record) | {"counts": {str(k): v for k, v in record.counts.items()}}
    return json.dumps(facts | {"check": digest_of(facts)}).encode()


def from_json(data: bytes) -> Record:
    """The record that `to_json` wrote.

    Raises
    ------
    ValueError
        If the bytes are not those of a record, or have changed.
    """
    try:
        facts = json.loads(data)
        if facts.pop("check") != digest_of(facts):
            raise ValueError("its bytes have changed")
        facts["window"] = Window(**facts["window"])
        facts["counts"] = {int(k): int(v) for k, v in facts["counts"].items()}
        return Record(**facts)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("it is no record") from error


def pack(record: Record) -> bytes:
    """A record without its window and digest, in a third of the memory; for this process alone."""
    return marshal.dumps(tuple(_plain(getattr(record, name)) for name in _PACKED))


def unpack(packed: bytes, window: Window, digest: str) -> Record:
    """The record of a window that `pack` made small.

    Parameters
    ----------
    packed : bytes
        What `pack` gave.
    window : Window
        Of the block.
    digest : str
        Of the job's fingerprint.
    """
    return Record(window, digest=digest, **dict(zip(_PACKED, marshal.loads(packed))))


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


_PACKED = tuple(each.name for each in fields(Record) if each.name not in ("window", "digest"))

"""TensorFlow checkpoint: the tensors of a SavedModel's `variables` folder, read without TensorFlow and running nothing.

The index is a sorted table of LevelDB (blocks of keys that share prefixes, compressed with Snappy), its values are
`BundleEntryProto` messages that say where in the data file a tensor lies.
Sources: tensorflow/core/util/tensor_bundle, tensorflow/core/protobuf/tensor_bundle.proto, leveldb/doc/table_format.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from geoseg.errors import ModelError

LARGEST = 2_000_000_000
"""Bytes; a larger file is refused unread."""
_FOOTER, _MAGIC = 48, 0xDB4775248B80FB57
_FLOAT32 = 1


def tensors(folder: Path | str) -> dict[str, np.ndarray]:
    """The float32 tensors of a checkpoint by their names.

    Parameters
    ----------
    folder
        Holds `variables.index` and `variables.data-00000-of-00001`.

    Raises
    ------
    ModelError
        If a file is missing, too large, damaged, or of another format.
    """
    index, data = Path(folder) / "variables.index", Path(folder) / "variables.data-00000-of-00001"
    table, values = _read(index), _read(data)
    found = {}
    try:
        for key, value in _table(table):
            entry = _entry(value)
            if key and entry.kind == _FLOAT32:
                found[key.decode()] = _tensor(values, entry)
    except (LookupError, ValueError, TypeError, OverflowError, OSError, pa.ArrowException, MemoryError) as error:
        raise ModelError(f"{index} is no TensorFlow checkpoint that can be read ({error}); fetch it again") from error
    return found


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: int
    shape: tuple[int, ...]
    offset: int
    size: int


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST:
            raise ModelError(f"{path} has {path.stat().st_size / 1e9:.1f} GB; at most {LARGEST / 1e9:.0f} GB are read")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror}; name the folder of a SavedModel, which has a folder 'variables'"
        ) from error


def _tensor(values: bytes, entry: _Entry) -> np.ndarray:
    if 4 * int(np.prod(entry.shape, dtype=object)) != entry.size or entry.offset + entry.size > len(values):
        raise ValueError("a tensor lies beyond its data file")
    return np.frombuffer(values, "<f4", entry.size // 4, entry.offset).reshape(entry.shape)


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    footer = data[-_FOOTER:]
    if len(footer) < _FOOTER or int.from_bytes(footer[-8:], "little") != _MAGIC:
        raise ValueError("it has another ending")
    _, at = _varint(footer, 0)  # where the index of indices lies, and its size
    _, at = _varint(footer, at)
    for _, place in _block(data, footer, at):
        yield from _block(data, place, 0)


def _block(data: bytes, place: bytes, at: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of the block whose place is stated there."""
    begin, at = _varint(place, at)
    size, _ = _varint(place, at)
    raw, compressed = data[begin : begin + size], data[begin + size]
    if compressed:
        length, _ = _varint(raw, 0)
        if length > 100 * len(raw) + 1000:  # Snappy gains less than that
            raise ValueError("a block claims to be larger than it can be")
        raw = pa.decompress(raw, length, "snappy", asbytes=True)
    end = len(raw) - 4 - 4 * int.from_bytes(raw[-4:], "little")  # where the restart points begin
    key, at = b"", 0
    while at < end:
        shared, at = _varint(raw, at)
        own, at = _varint(raw, at)
        length, at = _varint(raw, at)
        key = key[:shared] + raw[at : at + own]
        yield key, raw[at + own : at + own + length]
        at += own + length


def _entry(message: bytes) -> _Entry:
    fields = dict(_fields(message))
    dims = [dict(_fields(value)) for field, value in _fields(fields.get(2, b"")) if field == 2]
    return _Entry(fields.get(1, 0), tuple(each.get(1, 0) for each in dims), fields.get(4, 0), fields.get(5, 0))


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        if key & 7 == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
        else:
            length, at = _varint(message, at) if key & 7 == 2 else ({1: 8, 5: 4}[key & 7], at)
            yield key >> 3, message[at : at + length]
            at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(10):
        byte = message[at + index]
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, at + index + 1
    raise ValueError("a number is too long")

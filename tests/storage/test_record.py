"""Records: what was written comes back, and no changed byte is believed."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.grid import Window
from geoseg.storage import record as records
from geoseg.storage.record import Record

NUMBER = st.integers(-(2**40), 2**40)
SIZE = st.integers(1, 2**20)
SECONDS = st.floats(0, 1e6)
TEXT = st.text(max_size=8)
FULL = st.builds(
    Record,
    window=st.builds(Window, NUMBER, NUMBER, SIZE, SIZE),
    state=st.sampled_from(["done", "empty", "failed"]),
    digest=TEXT,
    hashes=st.dictionaries(st.sampled_from(["labels", "confidence"]), TEXT),
    tags=st.dictionaries(st.sampled_from(["labels", "confidence", "record"]), TEXT),
    counts=st.dictionaries(st.integers(0, 254), st.integers(0, 2**40), max_size=3),
    seconds=st.dictionaries(st.sampled_from(["read", "infer", "write"]), SECONDS),
    bytes=st.integers(0, 2**40),
    worker=TEXT,
    attempts=st.integers(1, 9),
    error=TEXT,
    memory=st.integers(0, 2**40),
    seams=st.just([]) | st.lists(st.integers(0, 2**40), min_size=2, max_size=2),
)
EXAMPLE = Record(
    Window(-3, 40, 5, 300),
    "failed",
    "d" * 64,
    {"labels": "ab" * 32},
    {"record": "tag"},
    {1: 3, 250: 4},
    {"read": 0.25, "write": 1e-05},
    1234,
    "host é",
    2,
    "why\n",
)


@given(FULL)
@settings(max_examples=share_of(60))
def test_a_record_comes_back_whole_from_one_line(record):
    line = records.to_json(record)
    assert b"\n" not in line
    assert records.from_json(line) == record


@given(FULL)
@settings(max_examples=share_of(40))
def test_a_packed_record_comes_back_whole(record):
    assert records.unpack(records.pack(record), record.window, record.digest) == record


def believed(data: bytes) -> Record | None:
    try:
        return records.from_json(data)
    except ValueError:
        return None


def test_no_flipped_bit_makes_a_record_say_something_else():
    whole = records.to_json(EXAMPLE)
    believed_still = 0
    for bit in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << (bit % 8)
        found = believed(bytes(flipped))
        assert found in (None, EXAMPLE)
        believed_still += found is not None
    assert believed_still <= 8  # E for e in a number or an escape is the same JSON


@given(st.data())
@settings(max_examples=share_of(150))
def test_no_other_bytes_make_a_record_say_something_else(data):
    whole = records.to_json(EXAMPLE)
    at, length = data.draw(st.tuples(st.integers(0, len(whole)), st.integers(0, 4)))
    inserted = data.draw(st.binary(max_size=4) | st.sampled_from([b'"', b",", b"}", b"\\", b" ", b"0", b"null", b"\0"]))
    assert believed(whole[:at] + inserted + whole[at + length :]) in (None, EXAMPLE)


@pytest.mark.parametrize("field", [each.name for each in fields(Record)])
def test_a_record_that_lacks_a_field_is_refused(field):
    facts = json.loads(records.to_json(EXAMPLE))
    del facts[field]
    with pytest.raises(ValueError, match="changed"):
        records.from_json(json.dumps(facts).encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"3", b'"text"', b'{"check": 1}', b'{"window": 3}', b"\0", b"\xff", b"[" * 100_000],
    ids=lambda data: repr(data[:12]),
)
def test_what_is_no_record_is_refused(data):
    with pytest.raises(ValueError):
        records.from_json(data)


@given(st.sets(st.builds(Window, NUMBER, NUMBER, SIZE, SIZE).map(lambda each: (each.row, each.col)), max_size=20))
def test_each_position_has_names_of_its_own(positions):
    windows = [Window(row, col, 8, 8) for row, col in positions]
    names = [records.block_name(each, kind) for each in windows for kind in ("labels", "confidence")]
    names += [records.record_name(each) for each in windows]
    assert len(set(names)) == 3 * len(windows)
    assert all(name.startswith("blocks/r") for name in names)

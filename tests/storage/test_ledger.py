"""Ledger: a block counts when its record does, and only while its bytes are what they were."""

import hashlib
import json
import time
import tracemalloc
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from geoseg.errors import LedgerError
from geoseg.grid import Grid, Window
from geoseg.storage import block_file, digests, ledger
from geoseg.storage import store as store_module
from geoseg.storage.record import ROLL, Record, block_name, from_json, record_name, to_json
from geoseg.storage.store import Store

GRID = Grid("EPSG:32612", (30.0, 0.0, 300000.0, 0.0, -30.0, 4200000.0))
WINDOW = Window(-3, 40, 5, 300)


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "job"))


def block(seed=0, window=WINDOW):
    return block_file.encode(np.random.default_rng(seed).integers(0, 9, window.shape, np.uint8), GRID, window)


def keep(store, window=WINDOW, state="done", digest="d"):
    return ledger.commit(store, Record(window, state, digest, counts={1: 3}), {"labels": block(window=window)})


def test_records_come_back_whole(store):
    kept = keep(store)
    found, damaged = ledger.records(store, "d")
    assert found == {WINDOW: kept}
    assert not damaged
    assert found[WINDOW].counts == {1: 3}


def test_blocks_of_another_job_are_passed_over(store):
    keep(store, digest="other")
    assert ledger.records(store, "d") == ({}, [])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [(block_name(WINDOW), "has changed since it was written"), (record_name(WINDOW), "is damaged")],
)
@pytest.mark.sampled(2)
def test_every_flipped_bit_is_found(store, name, sentence):
    keep(store)
    path = store.path(name)
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for place in rng.integers(0, len(whole) * 8, 1000):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        found, damaged = ledger.records(store, "d")
        assert not found
        assert sentence in damaged[0]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"window": 3}', "null"])
def test_a_damaged_record_is_set_aside(store, text):
    keep(store)
    store.put(record_name(WINDOW), text.encode())
    found, damaged = ledger.records(store, "d")
    assert not found
    assert "is damaged; its block is made again" in damaged[0]


def test_a_record_without_its_block_is_set_aside(store):
    keep(store)
    store.drop(block_name(WINDOW))
    found, damaged = ledger.records(store, "d")
    assert not found
    assert "is missing" in damaged[0]


@pytest.mark.slow
def test_ten_thousand_blocks_are_checked_within_two_seconds(store):
    data = block(window=Window(0, 0, 8, 8))
    store.put("blocks/warm", b"")
    for at in range(10_000):  # written plainly: 20,000 flushes to the disk are not what is measured
        window = Window(at, 0, 8, 8)
        record = {"window": {"row": at, "col": 0, "height": 8, "width": 8}, "state": "done", "digest": "d"}
        record |= {"hashes": {"labels": hashlib.sha256(data).hexdigest()}, "counts": {"1": 64}}
        record |= {"check": digests.digest_of(record)}
        Path(store.root, block_name(window)).write_bytes(data)
        Path(store.root, record_name(window)).write_text(json.dumps(record))
    taken, plainly = [], []
    for _ in range(8):  # what the processor takes, and how fast it is just now, since test machines are shared
        begin = time.process_time()
        found, _ = ledger.records(store, "d")
        taken.append(time.process_time() - begin)
        assert len(found) == 10_000
        begin = time.process_time()
        for at in range(10_000):
            window = Window(at, 0, 8, 8)
            hashlib.sha256(Path(store.root, block_name(window)).read_bytes()).hexdigest()
            json.loads(Path(store.root, record_name(window)).read_bytes())
        plainly.append(time.process_time() - begin)
    print(f"{min(taken):.2f} s; {min(plainly):.2f} s to read, hash and parse alone")
    assert min(taken) < max(2, 7 * min(plainly))


def test_blocks_that_are_slow_to_read_are_checked_several_at_a_time(store, monkeypatch):
    for col in range(100):
        keep(store, Window(0, 8 * col, 8, 8))
    get = Store.get

    def slowly(self, name):
        time.sleep(0.01)
        return get(self, name)

    monkeypatch.setattr(Store, "get", slowly)
    begin = time.perf_counter()
    found, _ = ledger.records(store, "d")
    assert len(found) == 100
    assert time.perf_counter() - begin < 0.7 * 200 * 0.01


@pytest.mark.slow
def test_gathered_records_keep_their_order_and_little_memory():
    windows = [Window(row, col, 1, 1) for row in range(1000, 1100) for col in range(1000, 1100)]
    tracemalloc.start()
    gathered = ledger.Gathered("d", iter(windows))
    for number, window in reversed(list(enumerate(windows))):
        hashes = {"labels": hashlib.sha256(str(number).encode()).hexdigest()}
        made = Record(Window(*astuple(window)), "done", "d", hashes, counts={1: 5}, seconds={"read": 0.1}, worker="w")
        gathered.put(made)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 300 * len(windows)
    assert [each.window for each in gathered] == windows
    assert next(iter(gathered)) == Record(windows[0], "done", "d", hashes, seconds={"read": 0.1}, worker="w")
    failed = Record(windows[5], "failed", "d", error="why", worker="w", attempts=3)
    gathered.put(failed)
    assert [each for each in gathered if each.state == "failed"] == [failed]


def test_blocks_that_are_missing_are_those_without_a_record():
    windows = [Window(row, 0, 1, 1) for row in range(3)]
    gathered = ledger.Gathered("d", windows)
    gathered.put(Record(windows[1], "empty", "d"))
    assert gathered.missing() == [windows[0], windows[2]]
    assert len(gathered) == 3


def test_a_block_whose_commit_was_cut_short_does_not_count(store, monkeypatch):
    put, done, steps = Store.put, [], [0]

    def crash(self, name, data):
        if len(done) == steps[0]:
            raise KeyboardInterrupt
        done.append(name)
        return put(self, name, data)

    monkeypatch.setattr(Store, "put", crash)
    files = {"labels": block(), "confidence": block(1)}
    for steps[0] in range(3):
        done.clear()
        with pytest.raises(KeyboardInterrupt):
            ledger.commit(store, Record(WINDOW, "done", "d"), files)
        assert ledger.records(store, "d") == ({}, [])
    steps[0] = 3
    done.clear()
    kept = ledger.commit(store, Record(WINDOW, "done", "d"), files)
    assert done[-1] == record_name(WINDOW)
    assert ledger.records(store, "d") == ({WINDOW: kept}, [])


def test_a_block_is_its_bytes_or_one_sentence_and_is_then_made_again(store, monkeypatch):
    monkeypatch.setattr(store_module, "PATIENCE_S", 0.1)
    kept = keep(store)
    assert ledger.block(store, kept) == block()
    store.put(block_name(WINDOW), b"other")
    with pytest.raises(LedgerError, match=r"labels\.tif has changed since it was written; run the same command again"):
        ledger.block(store, kept)
    assert ledger.records(store, "d") == ({}, [])
    store.drop(block_name(WINDOW))
    with pytest.raises(LedgerError, match=r"labels\.tif is missing; run the same command again to make it anew"):
        ledger.block(store, kept)


def test_believed_records_are_not_read_for_their_bytes(store):
    kept = keep(store)
    store.put(block_name(WINDOW), b"other")
    assert ledger.records(store, "d", verify=False) == ({WINDOW: kept}, [])


def test_no_roll_is_kept_on_a_file_system(store):
    roll = ledger.Roll(store)
    roll.add(keep(store))
    roll.close()
    assert list(store.names(ROLL)) == []


@pytest.mark.parametrize("name", ["other.json", ".json", "r0_c0.json"])
def test_foreign_files_among_the_records_are_set_aside(store, name):
    kept = keep(store)
    store.put(f"blocks/{name}", b'{"a": "geojson"}')
    store.put("blocks/notes.txt", b"")
    found, damaged = ledger.records(store, "d")
    assert found == {WINDOW: kept}
    assert len(damaged) == (not name.startswith("."))


@pytest.mark.slow
def test_a_million_records_take_half_a_gigabyte_and_are_all_there():
    """A thousandth of them, each with what a block's record holds."""
    facts = {
        "counts": {1: 10, 2: 20},
        "seconds": {"read": 0.1, "infer": 1.2, "write": 0.1},
        "hashes": {"labels": "a" * 64},
    }
    facts |= {"worker": "host-1:12345", "memory": 10**9, "bytes": 3000, "device": {"busy": 1.25, "read": 0.1}}
    tracemalloc.start()
    try:
        kept = ledger.Kept("d")
        for at in range(1000):
            kept[Window(at, at, 1, 1)] = from_json(to_json(Record(Window(at, at, 1, 1), "done", "d", **facts)))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 600 * 1000
    assert list(kept.values()) == [Record(Window(at, at, 1, 1), "done", "d", **facts) for at in range(1000)]
    assert kept.pop(Window(3, 3, 1, 1)).window.row == 3
    assert len(kept) == 999
    assert Window(3, 3, 1, 1) not in kept

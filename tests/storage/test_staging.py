"""Staging: outputs are made where any program can write, and reach the store whole, companions first."""

from __future__ import annotations

import hashlib
import threading
import uuid
from pathlib import Path

import pytest
from s3_server import BUCKET, serving

from geoseg.errors import LedgerError
from geoseg.grid import Window
from geoseg.storage import ledger, staging
from geoseg.storage import store as store_module
from geoseg.storage.record import Record, block_name
from geoseg.storage.store import Store

WINDOWS = [Window(0, 8 * at, 8, 8) for at in range(5)]


@pytest.fixture(scope="module")
def running():
    with serving() as server:
        yield server


@pytest.fixture
def server(running):
    running.requests.clear()
    yield running
    running.behave()


@pytest.fixture(params=["folder", "objects"])
def store(request, tmp_path):
    if request.param == "folder":
        return Store.at(tmp_path / "job")
    request.getfixturevalue("server")
    return Store.at(f"s3://{BUCKET}/{uuid.uuid4().hex}/job")


@pytest.fixture
def kept(store) -> list[Record]:
    """Five blocks, the third of them empty."""
    given = [{"labels": b"block %d" % at} if at != 2 else {} for at in range(5)]
    return [ledger.commit(store, Record(each, "done", "d"), files) for each, files in zip(WINDOWS, given)]


def write(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return [folder / name for name in names]


def test_blocks_are_files_with_the_bytes_that_were_committed(store, kept):
    with staging.opened(store) as staged:
        found = staged.blocks(kept, "labels")
        assert [window for window, _ in found] == [each for at, each in enumerate(WINDOWS) if at != 2]
        for record, (_, path) in zip([each for each in kept if each.hashes], found):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == record.hashes["labels"]
        assert staged.blocks(kept, "confidence") == []
        staged.clear_blocks()
        assert any(path.exists() for _, path in found) is not store.remote
    assert store.exists(block_name(WINDOWS[0]))


def test_a_temporary_folder_is_gone_afterwards_and_what_was_published_stays(store, kept):
    with staging.opened(store) as staged:
        staged.publish(lambda: write(staged.folder, "map.tif"))
    assert not staged.folder.exists() or str(staged.folder) == store.root
    assert store.get("map.tif") == b"map.tif"


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_block_that_is_not_what_was_committed_stops_with_its_name(store, kept, damage, monkeypatch):
    monkeypatch.setattr(store_module, "PATIENCE_S", 0.2)
    name = block_name(WINDOWS[3])
    store.drop(name) if damage == "missing" else store.put(name, b"block x")
    with staging.opened(store) as staged:
        if damage == "changed" and not store.remote:
            assert len(staged.blocks(kept, "labels")) == 4  # its hash is checked where it is read
            return
        sentence = "is missing" if damage == "missing" else "has changed since it was written"
        with pytest.raises(LedgerError, match=rf"{name} {sentence}; run the same command again to make it anew"):
            staged.blocks(kept, "labels")


def test_blocks_that_show_late_are_waited_for(store, kept):
    name = block_name(WINDOWS[3])
    data = store.get(name)
    store.drop(name)
    thread = threading.Timer(0.3, store.put, (name, data))
    thread.start()
    with staging.opened(store) as staged:
        assert staged.blocks(kept, "labels")[2][1].read_bytes() == data
    thread.join()


def test_what_was_made_goes_in_with_its_companions_first(store, server):
    with staging.opened(store) as staged:
        write(staged.folder, "there before.txt")
        names = staged.publish(lambda: write(staged.folder, "vectors/map.dbf", "vectors/map.shp")[1:])
        assert names == ["vectors/map.shp"]
    assert store.get("vectors/map.dbf") == b"vectors/map.dbf"
    assert store.get("vectors/map.shp") == b"vectors/map.shp"
    if store.remote:
        assert not store.exists("there before.txt")
        put = [each.rpartition("/")[2] for each in server.requests if each.startswith("PUT")]
        assert put == ["map.dbf", "map.shp"]


def test_what_an_output_rewrites_goes_in_again_and_what_it_leaves_does_not(server):
    store = Store.at(f"s3://{BUCKET}/{uuid.uuid4().hex}/job")
    with staging.opened(store) as staged:
        staged.publish(lambda: write(staged.folder, "map.tif", "map.qml"))
        server.requests.clear()
        staged.publish(lambda: write(staged.folder, "map.qml"))
    assert [each for each in server.requests if each.startswith("PUT")] == [f"PUT /{store.root[5:]}/map.qml"]


def test_a_step_that_fails_puts_nothing_in(store, server):
    def make():
        if store.remote:
            write(staged.folder, "half.tif")
        raise ZeroDivisionError

    with staging.opened(store) as staged, pytest.raises(ZeroDivisionError):
        staged.publish(make)
    assert list(store.names()) == []


def test_what_an_earlier_run_made_is_fetched_once_and_its_absence_named(store, server, monkeypatch):
    monkeypatch.setattr(store_module, "PATIENCE_S", 0.2)
    store.put("maps/map.tif", b"1")
    with staging.opened(store) as staged:
        staged.fetch(["maps/map.tif"])
        fetched = (staged.folder if store.remote else Path(store.root)) / "maps/map.tif"
        assert fetched.read_bytes() == b"1"
        server.requests.clear()
        staged.fetch(["maps/map.tif"])
        assert server.requests == []
        with pytest.raises(LedgerError, match=r"none\.tif is missing; run the same command again"):
            staged.fetch(["none.tif"])

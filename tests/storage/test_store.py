"""Store: whole files or none, and never outside the folder."""

import errno
import os
import stat
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_files import KINDS, put_in_place

from geoseg.errors import LedgerError
from geoseg.grid import Window
from geoseg.storage import journal, ledger, lock
from geoseg.storage import store as store_module
from geoseg.storage.job_file import JOB, read_job
from geoseg.storage.journal import CANCEL, LOG, STATUS, Journal, Status, read_log, read_status
from geoseg.storage.record import Record, block_name, record_name
from geoseg.storage.store import Store, patiently

WINDOW = Window(0, 0, 8, 8)
NAMES = [lock.LOCK, STATUS, JOB, "outputs.json", CANCEL, f"{LOG}/000000.jsonl", record_name(WINDOW), block_name(WINDOW)]
"""Every kind of file that a job keeps in its folder."""


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "job"))


def test_a_file_comes_back_as_it_went_in(store):
    store.put("blocks/a.tif", b"1")
    store.put("blocks/a.tif", b"22")
    assert store.get("blocks/a.tif") == b"22"
    assert list(store.names("blocks")) == ["blocks/a.tif"]
    store.drop("blocks/a.tif")
    store.drop("blocks/a.tif")
    assert not store.exists("blocks/a.tif")
    assert list(store.names("nothing")) == []


@pytest.mark.parametrize("name", ["", "../a", "blocks/../../a", "/etc/passwd", "a\0b"])
def test_names_that_leave_the_folder_are_refused(store, name):
    with pytest.raises(LedgerError, match="no name inside"):
        store.put(name, b"")


def test_a_link_out_of_the_folder_is_refused(store, tmp_path):
    store.put("a", b"")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "job" / "blocks").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LedgerError, match=r"leads out of .* through a link"):
        store.put("blocks/a", b"")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_folder_made_for_other_programs_lies_inside_or_is_refused(store, tmp_path):
    store.put("a", b"")
    assert store.folder("vectors") == tmp_path / "job" / "vectors"
    assert store.folder("vectors").is_dir()
    with pytest.raises(LedgerError, match="a cannot be written"):
        store.folder("a")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "job" / "maps").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LedgerError, match="leads out of"):
        store.folder("maps")


@given(st.text(max_size=12))
def test_no_name_leads_out_of_the_folder(tmp_path_factory, name):
    store = Store(str(tmp_path_factory.getbasetemp() / "store"))
    parts = name.split("/")
    if "\0" in name or name.startswith("/") or ".." in parts or not set(parts) - {"", "."}:
        with pytest.raises(LedgerError, match=r"is no name inside .*; use a plain relative name"):
            store.path(name)
    else:
        assert os.path.normpath(store.path(name)).startswith(store.root + os.sep)


@pytest.mark.parametrize("text", ["a\0b", "/vsicurl/http://x", "/vsizip/a.zip"])
def test_what_is_no_folder_on_a_file_system_is_refused(text):
    with pytest.raises(LedgerError, match="is no folder on a file system; give one, or s3://bucket/prefix"):
        Store.at(text)


# ----------------------------------------------------------------- every file of a job, and who may read it


def keep_everything(store):
    """A file of every kind, each by what keeps it."""
    ledger.commit(store, Record(WINDOW, "done", "d"), {"labels": b"", "confidence": b""})
    log = Journal(store)
    log.event("began")
    log.close("finished")
    journal.ask_to_cancel(store)
    store.put(JOB, b"{}")
    store.put("outputs.json", b"{}")


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_every_file_of_a_job_has_the_permissions_of_the_umask(store, umask):
    before = os.umask(umask)
    try:
        with lock.hold(store):
            keep_everything(store)
            assert store.swap("outputs.json", b"{}", b"[]")
            for path in Path(store.root).rglob("*"):
                assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~umask, path
            for name in NAMES:
                assert store.exists(name), name
    finally:
        os.umask(before)


def attempt(do):
    """What is raised, if anything; only one sentence may be, and nothing may wait."""
    raised, thread = [], None

    def run():
        try:
            do()
        except LedgerError as error:
            raised.append(error)

    failed = []
    thread = threading.Thread(target=run, daemon=True)
    hook, threading.excepthook = threading.excepthook, lambda args: failed.append(args.exc_value)
    try:
        thread.start()
        thread.join(5)
    finally:
        threading.excepthook = hook
    assert not thread.is_alive(), "it waits for ever"
    assert not failed, failed
    assert all("\n" not in str(each) for each in raised)
    return raised[0] if raised else None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.sampled(4)
def test_what_is_no_plain_file_under_a_job_s_name_is_one_sentence_and_never_waited_for(store, name, kind):
    keep_everything(store)
    store.drop(name)
    put_in_place(kind, store.path(name))
    assert not store.exists(name)
    assert name not in set(store.names(name.rpartition("/")[0]))
    assert f"{name} is a {KINDS[kind]} and no plain file; remove it" in str(attempt(lambda: store.get(name)))
    readers = (
        lambda: read_status(store),
        lambda: read_job(store),
        lambda: list(read_log(store)),
        lambda: ledger.records(store, "d"),
        lambda: lock.age(store),
        lambda: Journal(store).cancelled(),
        lambda: Journal(store).set_status(Status("running"), now=True),
        lambda: store.swap(name, b"", b""),
    )
    for read in readers:
        attempt(read)

    def hold():
        with lock.hold(store):
            pass

    assert (attempt(hold) is not None) is (name == lock.LOCK)


# ------------------------------------------------------------------------------------------------- waiting


def test_what_is_there_is_not_waited_for():
    begin = time.monotonic()
    assert patiently(lambda: 3) == 3
    assert time.monotonic() - begin < 0.5


@pytest.mark.parametrize("error", [FileNotFoundError(), OSError(errno.ESTALE, "stale")])
def test_what_is_not_there_yet_is_waited_for(error):
    answers = iter([error, error, 3])

    def read():
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    assert patiently(read, patience_s=2.0) == 3


def test_what_is_not_yet_right_is_waited_for_and_given_at_the_end(monkeypatch):
    monkeypatch.setattr(store_module, "PATIENCE_S", 0.2)
    answers = iter(range(100))
    assert patiently(lambda: next(answers), lambda found: found == 1) == 1
    begin = time.monotonic()
    assert patiently(lambda: "old", lambda found: found == "new") == "old"
    assert time.monotonic() - begin < 5.0


@pytest.mark.parametrize("error", [FileNotFoundError("gone"), LedgerError("out of reach"), PermissionError(13, "no")])
def test_other_trouble_is_raised_at_once_and_absence_at_the_end(error):
    begin = time.monotonic()

    def read():
        raise error

    with pytest.raises(type(error), match=str(error.args[-1])):
        patiently(read, patience_s=0.3)
    assert (time.monotonic() - begin > 0.1) is isinstance(error, FileNotFoundError)

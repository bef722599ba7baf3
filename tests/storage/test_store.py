"""Store: whole files or none, and never outside the folder."""

import errno
import os
import resource
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from geoseg.errors import LedgerError
from geoseg.storage.store import Store


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


def test_where_files_cannot_be_linked_one_creator_succeeds_all_the_same(store, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda at: store.create("a", b"%d" % at), range(8))) == 1
    assert store.get("a") in {b"%d" % at for at in range(8)}
    assert list(store.names()) == ["a"]


def test_a_full_disk_leaves_the_old_file_and_no_other(store):
    store.put("a", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(LedgerError, match=r"no space left to write .*/a; what was finished is kept"):
            store.put("a", bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert store.get("a") == b"old"
    assert list(store.names()) == ["a"]
    assert len(list((store.path("a").parent).iterdir())) == 1

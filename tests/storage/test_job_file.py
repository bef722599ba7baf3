"""Job file: a folder belongs to one job, and what stands there is named in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import LedgerError
from geoseg.storage import job_file
from geoseg.storage.job_file import JOB
from geoseg.storage.record import BLOCKS, ROLL
from geoseg.storage.store import Store

THIS = {"digest": "d", "facts": {"model": {"name": "a"}, "layout": {"core": 8}}}
OTHER = {"digest": "e", "facts": {"model": {"name": "b"}, "layout": {"core": 8}}}
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "job"))


def test_an_empty_folder_becomes_the_job_s_and_stays_so(store):
    assert job_file.claim(store, THIS) is False
    assert job_file.claim(store, THIS) is True
    assert job_file.read_job(store) == THIS


def test_what_changes_no_pixel_is_written_anew(store):
    job_file.claim(store, THIS)
    before = store.stamp(JOB)
    assert job_file.claim(store, dict(reversed(THIS.items()))) is True
    assert store.stamp(JOB) == before
    assert job_file.claim(store, THIS | {"outputs": ["gpkg"]}) is True
    assert job_file.read_job(store)["outputs"] == ["gpkg"]


def test_another_job_s_folder_is_refused_saying_what_differs(store):
    job_file.claim(store, THIS)
    for name in (f"{BLOCKS}/r0_c0.json", f"{ROLL}/000000.json", "map.tif"):
        store.put(name, b"")
    with pytest.raises(LedgerError, match=r'another job: model.name was "a", is now "b"\. .*--overwrite'):
        job_file.claim(store, OTHER)
    assert store.exists(f"{BLOCKS}/r0_c0.json")
    assert job_file.claim(store, OTHER, overwrite=True) is False
    assert [*store.names(BLOCKS), *store.names(ROLL)] == []
    assert job_file.read_job(store) == OTHER


def test_a_crash_while_overwriting_leaves_no_folder_with_blocks_of_one_job_and_the_name_of_another(store, monkeypatch):
    job_file.claim(store, THIS)
    for at in range(20):
        store.put(f"{BLOCKS}/r{at}_c0.json", b"")
    drop, calls = Store.drop, []

    def crash(self, name):
        calls.append(name)
        if len(calls) == 10:
            raise KeyboardInterrupt
        drop(self, name)

    monkeypatch.setattr(Store, "drop", crash)
    with pytest.raises(KeyboardInterrupt):
        job_file.claim(store, OTHER, overwrite=True)
    monkeypatch.undo()
    assert calls[0] == JOB
    assert not store.exists(JOB)
    with pytest.raises(LedgerError, match="holds files but no job"):
        job_file.claim(store, OTHER)
    assert job_file.claim(store, OTHER, overwrite=True) is False
    assert list(store.names(BLOCKS)) == []
    assert job_file.read_job(store) == OTHER


def test_a_folder_of_other_files_is_refused(store):
    store.put("holiday.jpg", b"")
    with pytest.raises(LedgerError, match="holds files but no job"):
        job_file.claim(store, THIS)
    job_file.claim(store, THIS, overwrite=True)
    assert store.exists("holiday.jpg")


def test_a_folder_without_job_is_named(store):
    with pytest.raises(LedgerError, match=r"no job folder: it has no job\.json; name the folder given as --out"):
        job_file.read_job(store)


@pytest.mark.parametrize(
    "data",
    [
        *(
            b"",
            b"\0",
            b"{}",
            b"[]",
            b"null",
            b"3",
            b'"digest facts"',
            b'["digest", "facts"]',
            b"\xff\xfe",
            b'{"digest":',
        ),
        *(b'{"digest": 3, "facts": {}}', b'{"digest": "d", "facts": []}', b'{"digest": "d", "facts": null}'),
        *(b"[" * 100_000, b'{"a":' * 100_000, b"9" * 10_000),
    ],
    ids=lambda data: repr(data[:24]),
)
def test_a_damaged_job_file_is_one_sentence_and_can_be_overwritten(store, data):
    store.put(JOB, data)
    for do in (job_file.read_job, lambda store: job_file.claim(store, THIS)):
        with pytest.raises(LedgerError, match=r"job\.json is damaged; start over with --overwrite"):
            do(store)
    assert store.get(JOB) == data
    assert job_file.claim(store, THIS, overwrite=True) is False
    assert job_file.read_job(store) == THIS


@given(PLAIN)
@settings(max_examples=share_of(60))
def test_any_json_is_a_job_or_one_sentence(tmp_path_factory, value):
    store = Store(str(tmp_path_factory.mktemp("job")))
    store.put(JOB, json.dumps(value).encode())
    with pytest.raises(LedgerError, match="is damaged"):
        job_file.read_job(store)


def test_a_job_that_shows_late_is_waited_for(store, monkeypatch):
    store.put(JOB, json.dumps(OTHER).encode())
    answers = iter([FileNotFoundError(), OTHER, THIS])

    def late(self, name):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return json.dumps(answer).encode()

    monkeypatch.setattr(Store, "get", late)
    assert job_file.read_job(store, '"d"') == THIS


@given(PLAIN)
def test_what_is_the_same_does_not_differ(value):
    again = json.loads(json.dumps(value))
    if again == again:  # NaN is not
        assert job_file.differences(again, json.loads(json.dumps(value))) == [] or "NaN" in json.dumps(value)


def test_at_most_five_differences_are_named_and_each_is_short():
    held = {"a": {str(key): key for key in range(9)}, "b": "x" * 1000}
    asked = {"a": {str(key): -key - 1 for key in range(9)}, "b": "y" * 1000}
    found = job_file.differences(held, asked)
    assert found == [f"a.{key} was {key}, is now {-key - 1}" for key in range(5)]
    (long,) = job_file.differences({"b": held["b"]}, {"b": asked["b"]})
    assert len(long) < 150
    assert job_file.differences({}, {"new": 1}) == ["new was null, is now 1"]

"""Journal: the log is read from its folder, whole, by its end, or as it grows."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from geoseg.storage import journal
from geoseg.storage.journal import Journal
from geoseg.storage.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "job"))


def numbers(lines) -> list[int]:
    return [line["n"] for line in lines if line["event"] == "tick"]


def written(store: Store, count: int) -> Journal:
    log = Journal(store)
    for n in range(count):
        log.event("tick", n=n)
    log.note("so far")
    return log


@pytest.mark.parametrize("count", [0, 3, 200, 450])
@pytest.mark.parametrize("last", [None, 1, 60, 251, 1000])
def test_the_last_lines_are_read_whatever_segments_they_lie_in(store, count, last):
    written(store, count)
    lines = list(journal.read_log(store, last))
    assert len(lines) == min(count + 1, last or 1000)
    assert numbers(lines) == list(range(count))[-len(lines) + 1 :] if len(lines) > 1 else not numbers(lines)


def test_only_the_segments_asked_for_are_read(store, monkeypatch):
    written(store, 5000)
    read, get = [], Store.get
    monkeypatch.setattr(Store, "get", lambda self, name: read.append(name) or get(self, name))
    assert len(list(journal.read_log(store, 100))) == 100
    assert len(set(read)) <= 2


def test_a_log_is_followed_to_its_end_without_a_line_lost_or_given_twice(store, monkeypatch):
    log = written(store, 150)
    more = iter([range(150, 170), range(170, 900), range(900, 901)])

    def meanwhile(_: float) -> None:
        for n in next(more):
            log.event("tick", n=n)
        log.note("more")

    monkeypatch.setattr(journal.time, "sleep", meanwhile)
    rounds = itertools.count()
    lines = journal.read_log(store, 11, lambda: next(rounds) == 3)
    assert numbers(lines) == list(range(140, 901))


def test_a_damaged_line_is_passed_over(store):
    written(store, 3)
    (name,) = store.names(journal.LOG)
    store.put(name, store.get(name).replace(b'"n": 1', b'"n": '))
    assert numbers(journal.read_log(store)) == [0, 2]

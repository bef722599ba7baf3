"""Journal: what a job says of itself is read from its folder, whole or by its end, and by whatever clock."""

from __future__ import annotations

import itertools
import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import pytest
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import LedgerError
from geoseg.jobs import performance
from geoseg.storage import journal
from geoseg.storage.journal import STATES, STATUS, Journal, Status, read_status
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


@pytest.mark.parametrize(
    "line", ["[]", "3", "null", '"event"', "{}", '{"event": 3}', "[" * 100_000, "\0", "{" + "9" * 9999]
)
def test_a_foreign_line_is_passed_over(store, line):
    written(store, 3)
    (name,) = store.names(journal.LOG)
    store.put(name, line.encode() + b"\n\xff\n" + store.get(name))
    assert numbers(journal.read_log(store)) == [0, 1, 2]


def test_a_segment_that_is_removed_while_it_is_read_is_passed_over(store, monkeypatch):
    written(store, 450)
    get = Store.get

    def vanishing(self, name):
        if name.endswith("000001.jsonl"):
            raise FileNotFoundError(name)
        return get(self, name)

    monkeypatch.setattr(Store, "get", vanishing)
    assert numbers(journal.read_log(store)) == [*range(200), *range(400, 450)]


def test_a_run_that_goes_on_writes_after_what_stands(store):
    for first in (0, 3):
        log = Journal(store)
        for n in range(first, first + 3):
            log.event("tick", n=n)
        log.close("stopped", "why")
    assert numbers(journal.read_log(store)) == list(range(6))
    assert [line["event"] for line in journal.read_log(store)].count("stopped") == 2


def test_threads_lose_no_line(store):
    log = Journal(store)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: log.event("tick", n=n), range(1000)))
    log.close("finished")
    assert sorted(numbers(journal.read_log(store))) == list(range(1000))


# ------------------------------------------------------------------------------------------------- status


def test_a_status_comes_back_with_the_time_it_was_written(store):
    assert read_status(store) is None
    log = Journal(store)
    log.set_status(Status("running", 10, 3, 1, 2.5, 7.0), now=True)
    said = read_status(store)
    assert (said.state, said.total, said.done, said.failed, said.rate, said.eta_s) == ("running", 10, 3, 1, 2.5, 7.0)
    assert abs(time.time() - said.updated) < 60
    log.close("stopped", "no space left")
    said = read_status(store)
    assert (said.state, said.done, said.eta_s, said.error) == ("stopped", 3, None, "no space left")


def test_a_status_is_written_about_once_a_second_whatever_the_clock_says(store, monkeypatch):
    written_at, now = [], itertools.count(0.0, 0.1)
    put = Store.put
    monkeypatch.setattr(Store, "put", lambda self, name, data: written_at.append(name) or put(self, name, data))
    monkeypatch.setattr(journal.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(journal.time, "time", lambda: 1e9 - 3600 * len(written_at))  # a clock that is set back
    log = Journal(store)
    for done in range(60):
        log.set_status(Status("running", 60, done))
    assert 4 <= written_at.count(STATUS) <= 7


def test_nothing_is_written_where_the_folder_is_another_s(store):
    def lost():
        raise LedgerError("taken over")

    log = Journal(store, lost)
    for do in (
        lambda: log.set_status(Status("running"), now=True),
        lambda: log.note("x"),
        lambda: log.close("stopped"),
    ):
        with pytest.raises(LedgerError, match="taken over"):
            do()
    assert list(store.names()) == []


GOOD = {"state": "running", "total": 10, "done": 3, "failed": 0, "rate": 0.5, "eta_s": 3.0, "step": "", "updated": 1e9}
ODD = [None, True, -1, 0.5, "text", "", [], {}, [1], float("nan"), float("inf"), 2**70, 10**400, "\ud800"]


def shown(said: Status) -> str:
    """A status as a table shows it, and as it is compared."""
    left = "" if said.eta_s is None else f"{said.eta_s / 60:.1f} min"
    line = f"{said.state}{said.done}/{said.total}{said.failed}{said.rate:.2f}{left}{said.step}{said.error}"
    assert time.gmtime(min(said.updated, 1e11))
    return line.encode().decode()


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("field", [each.name for each in fields(Status)])
def test_a_status_with_a_field_of_another_kind_is_shown_or_none(store, field, value):
    store.put(STATUS, json.dumps(GOOD | {field: value}).encode())
    said = read_status(store)
    assert said is None or shown(said)
    kind = type(GOOD.get(field, ""))
    if (field, value) == ("performance", {}):
        return
    if isinstance(value, list | dict) or (kind is str and not isinstance(value, str)):
        assert said is None


@pytest.mark.parametrize("value", [v for v in ODD if v not in (0, 3, 0.5)], ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("at", ["mpx_s", "device", "foretold", "busy"])
def test_a_performance_of_another_kind_is_shown_or_none(store, at, value):
    found = {"device": {"busy": value}} if at == "busy" else {at: value}
    store.put(STATUS, json.dumps(GOOD | {"performance": found}).encode())
    said = read_status(store)
    assert said is None or isinstance("\n".join(performance.lines(said.performance)), str)
    assert said is None or at in ("mpx_s", "busy") or value == {}


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\0\0\0", b"null", b"[]", b"3", b'"running"', b"{}", b'{"state": "flying"}', b'{"total": 3}', b"\xff"),
        *(
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b"9" * 10_000,
            b'{"state": "running", "self": 1}',
            b'[["state", "done"]]',
        ),
    ],
    ids=lambda data: repr(data[:24]),
)
def test_what_is_no_status_is_none(store, data):
    store.put(STATUS, data)
    assert read_status(store) is None


@given(st.data())
@settings(max_examples=share_of(150))
def test_a_status_with_other_bytes_is_shown_or_none(tmp_path_factory, data):
    store = Store(str(tmp_path_factory.getbasetemp() / "fuzzed"))
    whole = json.dumps(GOOD).encode()
    at, length = data.draw(st.tuples(st.integers(0, len(whole)), st.integers(0, 8)))
    inserted = data.draw(
        st.binary(max_size=4) | st.sampled_from([b"1e999", b"NaN", b"-", b"null", b'"', b"[]", b"9" * 30])
    )
    store.put(STATUS, whole[:at] + inserted + whole[at + length :])
    said = read_status(store)
    assert said is None or (said.state in STATES and shown(said))


# ----------------------------------------------------------------------------------------------- warnings


def test_warnings_of_this_thread_are_noted_and_those_of_others_are_not(store):
    log, logger = Journal(store), logging.getLogger("geoseg.cluster.test")
    with log.recording_warnings("geoseg.cluster"):
        logger.warning("worker lost: %s", "w" * 1000)
        logger.info("all is well")
        logging.getLogger("geoseg.maps").warning("elsewhere")
        thread = threading.Thread(target=logger.warning, args=("another job's",))
        thread.start()
        thread.join()
    logger.warning("afterwards")
    (line,) = journal.read_log(store)
    assert line["event"] == "note"
    assert line["what"] == ("worker lost: " + "w" * 1000)[:500]


def test_a_warning_that_cannot_be_noted_stops_nothing(store):
    store.put("log", b"")  # a file in place of the folder
    log = Journal(store)
    with log.recording_warnings("geoseg.cluster"):
        logging.getLogger("geoseg.cluster").warning("worker lost")
    with pytest.raises(LedgerError, match=r"log/000000\.jsonl cannot be written"):
        log.close("finished")

"""Performance: numbers of a run worked out by hand; they add up in any order and say nothing where nothing is known."""

import json
import random

import pytest

from geoseg.grid import Window
from geoseg.jobs import performance
from geoseg.jobs.forecast import Forecast
from geoseg.jobs.performance import Performance, Tally
from geoseg.storage.record import Record


def record(at, memory, **device):
    return Record(Window(at, 0, 1, 1), "done", "", memory=memory, device=device)


def test_rates_shares_and_memory_are_those_worked_out_by_hand():
    records = [record(0, 5, busy=6.0, read=1.0, other=0.5), record(1, 9, busy=1.5, write=1.0), record(2, 7)]
    random.Random(1).shuffle(records)
    tally = Tally(900.0)  # pixels of 30 m
    for each in records:
        tally.add(each)
    found = tally.performance(20_000_000, 10.0, 12.5).facts
    assert found["mpx_s"] == 2.0
    assert found["km2_h"] == 2e6 * 900 / 1e6 * 3600
    assert found["seconds"] == 12.5
    assert found["device"] == {"busy": 0.75, "read": 0.1, "write": 0.1, "other": 0.05}
    assert found["memory"] == 9
    assert json.loads(json.dumps(found)) == found


def test_a_run_is_held_against_what_was_foretold():
    facts = Performance(10**6, 100.0, 90.0, 110.0, {}, 1_200_000_000, Forecast(100.0, 10**9, 1)).facts
    assert list(performance.lines(facts))[-1] == (
        "foretold 1.7 min with 1 worker, took 1.8 min (+10 %); 1 GB a process, took 1.2 GB (+20 %)"
    )


@pytest.mark.parametrize("facts", [{}, {"mpx_s": 1.0}, {"device": {}}, {"foretold": {"seconds": 1}}, {"memory": 0}])
def test_what_is_not_known_is_not_told(facts):
    assert list(performance.lines(facts)) == []


def test_without_a_second_there_is_no_rate():
    assert Performance(5, 1.0, 0.0, 0.0).facts["mpx_s"] == 0
    assert performance.shares({"busy": 0.0}) == {}


@pytest.mark.parametrize(("seconds", "said"), [(0.2, "1 s"), (99.4, "99 s"), (120, "2.0 min")])
def test_durations_are_given_in_seconds_or_minutes(seconds, said):
    assert performance.duration(seconds) == said

"""Liveness: a map that stalls is sent again twice, then given up; without workers it waits for as long as allowed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.cluster.liveness import Liveness
from geoseg.errors import ClusterError


def begun(stall_s: float = 10.0, patience_s: float = 100.0) -> tuple[Liveness, list[str]]:
    notes: list[str] = []
    return Liveness(stall_s, patience_s, notes.append, 0.0), notes


def test_two_rounds_are_sent_again_and_the_third_is_an_error() -> None:
    liveness, notes = begun()
    assert not liveness.stalled(9.9, finished=False, workers=2, in_flight=5)
    assert liveness.stalled(10.0, finished=False, workers=2, in_flight=5)
    assert not liveness.stalled(19.9, finished=False, workers=2, in_flight=5)
    assert liveness.stalled(20.0, finished=False, workers=2, in_flight=4)
    assert notes == [f"no block was finished in 10 s; sending {count} again" for count in (5, 4)]
    sentence = r"no block was finished in 30 s by 2 workers, 1 of them paused; look at their logs, then run the same"
    with pytest.raises(ClusterError, match=sentence):
        liveness.stalled(30.0, finished=False, workers=2, paused=1, in_flight=4)


def test_a_result_begins_the_count_anew() -> None:
    liveness, _ = begun()
    for begin in (0, 100, 200):
        assert liveness.stalled(begin + 10.0, finished=False, workers=1)
        assert liveness.stalled(begin + 20.0, finished=False, workers=1)
        assert not liveness.stalled(begin + 100.0, finished=True, workers=1)


def test_long_tasks_get_twenty_times_their_mean() -> None:
    liveness, _ = begun()
    assert not liveness.stalled(59.0, finished=False, workers=1, mean_s=3.0)
    assert liveness.stalled(60.0, finished=False, workers=1, mean_s=3.0)


def test_without_workers_nothing_stalls_and_one_note_a_minute_is_given() -> None:
    liveness, notes = begun(patience_s=200.0)
    assert not any(liveness.stalled(float(second), finished=False, workers=0) for second in range(5, 150))
    assert notes == [f"no worker in the cluster; waiting for one since {waited} s" for waited in (0, 60, 120)]
    assert not liveness.stalled(150.0, finished=False, workers=1), "it has just begun"
    assert not liveness.stalled(158.9, finished=False, workers=1)
    assert liveness.stalled(159.0, finished=False, workers=1)


def test_patience_ends_in_an_error_and_begins_anew_when_a_worker_came() -> None:
    liveness, _ = begun()
    assert not liveness.stalled(0.0, finished=False, workers=0)
    assert not liveness.stalled(100.0, finished=False, workers=0)
    assert not liveness.stalled(101.0, finished=False, workers=1)
    assert not liveness.stalled(102.0, finished=False, workers=0)
    assert not liveness.stalled(202.0, finished=False, workers=0)
    with pytest.raises(ClusterError, match=r"no worker joined the cluster in 101 s; start some"):
        liveness.stalled(203.0, finished=False, workers=0)


@given(st.lists(st.tuples(st.floats(0.01, 9.9), st.integers(0, 3)), max_size=60))
def test_a_map_that_gets_on_is_never_stalled(steps: list[tuple[float, int]]) -> None:
    """Something is finished, or nobody is there, at least once in every ten seconds."""
    liveness, notes = begun(patience_s=1e9)
    now = 0.0
    for seconds, workers in steps:
        now += seconds
        assert not liveness.stalled(now, finished=True, workers=workers)
    assert not any("sending" in note for note in notes)


@given(st.lists(st.floats(0.01, 5.0), min_size=1, max_size=80))
def test_a_map_that_stands_still_ends_within_three_rounds(steps: list[float]) -> None:
    liveness, notes = begun()
    now = 0.0
    for seconds in steps:
        now += seconds
        try:
            liveness.stalled(now, finished=False, workers=1)
        except ClusterError:
            assert len(notes) == 2
            assert 30.0 <= now < 30.0 + 3 * 5.0
            return
    assert now < 30.0 + 3 * 5.0

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


def test_a_worker_that_stands_still_is_noted_once_and_is_the_end_when_it_is_the_last() -> None:
    liveness, notes = begun()
    there = {"tcp://a", "tcp://b"}
    assert liveness.stuck(there, {"tcp://a": 60.0, "tcp://b": 0.0}, {}) == set()
    for seconds in (61.0, 62.0, 1000.0):
        assert liveness.stuck(there, {"tcp://a": seconds, "tcp://b": 0.0}, {}) == {"tcp://a"}
    assert notes == ["worker tcp://a has given no sign of life for 61 s; others get its blocks while it stands still"]
    assert liveness.stuck({"tcp://a"}, {"tcp://a": 240.0}, {}) == {"tcp://a"}
    sentence = r"^worker tcp://a has given no sign of life for 241 s, and there is no other; see whether its machine is"
    with pytest.raises(ClusterError, match=sentence):
        liveness.stuck({"tcp://a"}, {"tcp://a": 241.0}, {})


def test_a_worker_that_does_not_get_ready_has_as_long_as_a_block() -> None:
    liveness, notes = begun(stall_s=10.0)
    assert liveness.stuck({"a", "b"}, {}, {"a": 10.0}) == set()
    assert liveness.stuck({"a", "b"}, {}, {"a": 11.0}) == {"a"}
    assert notes == ["worker a has not been ready for 11 s; others get its blocks while it stands still"]
    with pytest.raises(ClusterError, match=r"^worker a has not been ready for 12 s, like all 2 that are there"):
        liveness.stuck({"a", "b"}, {"b": 241.0}, {"a": 12.0})


def test_a_worker_that_comes_back_is_noted_again_when_it_stands_still_again() -> None:
    liveness, notes = begun()
    for seconds in (61.0, 0.0, 61.0):
        liveness.stuck({"a", "b"}, {"a": seconds}, {})
    assert len(notes) == 2


@given(st.sets(st.sampled_from("abcde")), st.dictionaries(st.sampled_from("abcde"), st.floats(0, 60.0)))
def test_workers_that_are_heard_of_are_never_stuck(there: set[str], heard: dict[str, float]) -> None:
    liveness, notes = begun()
    assert liveness.stuck(there, heard, {}) == set()
    assert notes == []


def test_workers_that_die_in_turn_before_they_begin_anything_are_the_end() -> None:
    liveness, _ = begun(stall_s=1e9)
    for number in range(13):
        assert not liveness.stalled(number, finished=False, workers=number % 2, lost=[f"w{number}"])
    with pytest.raises(
        ClusterError, match=r"^14 workers in turn died before they began a block, the last of them w13;"
    ):
        liveness.stalled(14, finished=False, workers=0, lost=["w13"])


def test_a_large_cluster_may_lose_all_of_its_workers_and_a_result_begins_the_count_anew() -> None:
    liveness, _ = begun(stall_s=1e9)
    assert not liveness.stalled(0, finished=False, workers=500)
    assert not liveness.stalled(1, finished=False, workers=0, lost=["w"] * 500)
    assert not liveness.stalled(2, finished=True, workers=1)
    assert not liveness.stalled(3, finished=False, workers=0, lost=["w"] * 1500)

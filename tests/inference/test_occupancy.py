"""Occupancy: every second of the device goes to one part, and waits go to what is waited for."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.inference.occupancy import PARTS, Occupancy

STEPS = st.lists(
    st.tuples(st.sampled_from(["label", "read", "write"]), st.floats(0, 50), st.floats(0, 50)), min_size=1, max_size=8
)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def started():
    clock = Clock()
    device = Occupancy(clock)
    device.begin("a run")
    return clock, device


def wait_inside(clock, device, steps):
    """Each step within the one before, with a wait before and after it."""
    if steps:
        (work, before, after), *rest = steps
        clock.now += before
        with device.at(work, 2):
            wait_inside(clock, device, rest)
            clock.now += after


@given(STEPS, STEPS)
def test_parts_add_up_to_the_time_that_passed(first, second):
    clock, device = started()
    total = 0.0
    for steps in (first, second):
        wait_inside(clock, device, steps)
        found = device.taken()
        assert tuple(found) == PARTS
        total += sum(found.values())
    assert total == pytest.approx(clock.now, abs=1e-3)


def test_a_slot_without_a_window_waits_for_a_read_before_a_write_before_anything_else():
    clock, device = started()
    with device.at("write"):
        clock.now += 1
        with device.at("read"):
            clock.now += 2
            with device.at("label", 2):
                clock.now += 4  # one of two slots
                with device.at("label", 2):
                    clock.now += 8
    clock.now += 16
    assert device.taken() == {"busy": 10.0, "read": 4.0, "write": 1.0, "other": 16.0}
    assert device.taken() == dict.fromkeys(PARTS, 0.0)


def test_what_was_before_a_run_counts_for_none_and_going_on_with_it_does():
    clock, device = started()
    with device.at("read"):
        clock.now += 5
    device.begin("a run")
    assert device.taken()["read"] == 5
    clock.now += 100
    device.begin("another")
    clock.now += 1
    assert device.taken() == {"busy": 0.0, "read": 0.0, "write": 0.0, "other": 1.0}


def test_an_error_ends_what_it_was_raised_in():
    clock, device = started()
    with pytest.raises(OSError, match="lost"), device.at("read"):
        raise OSError("lost")
    clock.now += 1
    assert device.taken()["other"] == 1


def test_threads_share_it():
    device = Occupancy()
    device.begin("a run")
    begin = time.monotonic()

    def work(kind):
        for _ in range(50):
            with device.at(kind, 2):
                time.sleep(1e-4)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, ["label", "label", "read", "write"]))
    found = device.taken()
    assert sum(found.values()) == pytest.approx(time.monotonic() - begin, abs=0.05)
    assert found["busy"] > 0

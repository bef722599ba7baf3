"""Ahead: a map within one process that begins the next item before the last is done."""

import threading
import time

import pytest

from geoseg.jobs.ahead import THREADS, map_ahead


def test_results_come_in_order_and_two_are_at_work():
    both = threading.Barrier(2, timeout=20)  # passes only where two items are in hand at once

    def work(item):
        both.wait()
        time.sleep(0.002 * (item % 3))
        return item * item

    assert list(map_ahead(work, range(20))) == [item * item for item in range(20)]


def test_items_are_taken_as_they_are_needed():
    taken = []
    results = map_ahead(lambda item: item, (taken.append(item) or item for item in range(100)))
    assert next(results) == 0
    assert len(taken) <= 2 * THREADS
    results.close()
    assert len(taken) <= 2 * THREADS


def test_what_an_item_raises_comes_in_its_turn_and_no_further_one_is_begun():
    begun = []

    def work(item):
        begun.append(item)
        if item == 3:
            raise ValueError("item 3")
        return item

    got = []
    with pytest.raises(ValueError, match="item 3"):
        got.extend(map_ahead(work, range(100)))
    assert begun == sorted(begun)
    assert max(begun) <= 3 + 2 * THREADS
    assert not [each.name for each in threading.enumerate() if each.name.startswith("geoseg-block")]


def test_no_items_give_no_results():
    assert list(map_ahead(abs, [])) == []

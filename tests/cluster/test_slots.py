"""Slots: the worker with most room comes next, and finding it takes no look at all workers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.cluster.slots import Slots


def by_looking_at_all(limits: dict[str, int], taken: dict[str, int]) -> str | None:
    """The rule, the slow way."""
    room = {worker: limit - taken.get(worker, 0) for worker, limit in limits.items()}
    worker = max(room, key=room.__getitem__) if room else None
    return worker if worker is not None and room[worker] > 0 else None


names = st.sampled_from("abcdef")
steps = st.one_of(
    st.tuples(st.just("resize"), st.dictionaries(names, st.integers(0, 5))),
    st.tuples(st.sampled_from(["take most free", "give back"]), st.integers(0, 10)),
    st.tuples(st.just("take"), names),
)


@given(st.lists(steps, max_size=60))
def test_the_worker_with_most_room_comes_next(steps: list[tuple[str, object]]) -> None:
    slots = Slots()
    limits: dict[str, int] = {}
    taken: list[str] = []
    for what, about in steps:
        if what == "resize":
            assert isinstance(about, dict)
            limits = about
            slots.resize(limits)
        elif what == "take":
            taken.append(str(about))
            slots.take(taken[-1])
        elif what == "take most free" and (worker := slots.most_free()) is not None:
            taken.append(worker)
            slots.take(worker)
        elif what == "give back" and taken:
            assert isinstance(about, int)
            slots.give_back(taken.pop(about % len(taken)))
        counts = {worker: taken.count(worker) for worker in taken}
        assert slots.most_free() == by_looking_at_all(limits, counts)
        assert dict(slots.taken) == counts


def test_each_worker_is_filled_evenly_and_never_beyond_its_limit() -> None:
    slots = Slots()
    slots.resize({"a": 2, "b": 4, "c": 0})
    order = []
    while (worker := slots.most_free()) is not None:
        slots.take(worker)
        order.append(worker)
    assert order == ["b", "b", "a", "b", "a", "b"]


def test_without_workers_there_is_no_room() -> None:
    slots = Slots()
    assert slots.most_free() is None
    slots.take("gone")
    slots.give_back("gone")
    slots.resize({})
    assert slots.most_free() is None


class Counted(str):
    """The name of a worker that counts how often it is looked up, and what else is done with numbers of it."""

    __slots__ = ()
    operations = 0

    def __hash__(self) -> int:
        Counted.operations += 1
        return super().__hash__()


class CountedInt(int):
    """A number that counts comparisons, also of what is computed from it."""

    __slots__ = ()

    def __lt__(self, other: int) -> bool:
        Counted.operations += 1
        return int(self) < int(other)

    def __eq__(self, other: object) -> bool:
        Counted.operations += 1
        return int(self) == other

    __hash__ = int.__hash__

    def __sub__(self, other: int) -> CountedInt:
        return CountedInt(int(self) - int(other))

    def __neg__(self) -> CountedInt:
        return CountedInt(-int(self))


def with_slots(limits: dict[str, int]) -> Iterator[str]:
    slots = Slots()
    slots.resize(limits)
    while (worker := slots.most_free()) is not None:
        slots.take(worker)
        yield worker
        slots.give_back(worker)  # it is done at once, and has room again
        slots.take(worker)


def looking_at_all(limits: dict[str, int]) -> Iterator[str]:
    taken: dict[str, int] = dict.fromkeys(limits, 0)
    while (worker := by_looking_at_all(limits, taken)) is not None:
        taken[worker] += 1
        yield worker


def operations(deal: Callable[[dict[str, int]], Iterator[str]], workers: int, items: int) -> float:
    """Look-ups and comparisons for each item that is dealt out."""
    limits = {Counted(f"w{number}"): CountedInt(items) for number in range(workers)}
    Counted.operations = 0
    assert sum(1 for _ in itertools.islice(deal(limits), items)) == items
    return Counted.operations / items


def test_an_item_costs_the_logarithm_of_the_number_of_workers() -> None:
    """64 times as many workers: less than twice the work for an item; looking at all would be some 60 times as much."""
    few, many = (operations(with_slots, workers, 4096) for workers in (16, 1024))
    assert many < 2 * few + 10
    assert few == pytest.approx(operations(with_slots, 16, 512), rel=0.5), "linear in the items"
    assert operations(looking_at_all, 256, 64) > 10 * operations(looking_at_all, 16, 64), "what is counted is the work"


def test_stale_entries_do_not_pile_up() -> None:
    slots = Slots()
    slots.resize({"a": 2, "b": 2})
    for _ in range(10_000):
        slots.take("b")
        slots.give_back("b")
    assert len(slots._heap) < 200
    assert slots.most_free() == "a"

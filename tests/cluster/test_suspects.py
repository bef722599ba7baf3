"""Who killed the worker: every task ends once, killers are set aside soon, innocents only where machines die anyway."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from geoseg.cluster.suspects import ATTEMPTS, MOST_ATTEMPTS, WINDOW_S, Decision, Suspects

WORKERS = ("a", "b", "c")


class Schedules(RuleBasedStateMachine):
    """Any order of events on three workers; each decision is compared with the rules read word for word from a log."""

    def __init__(self) -> None:
        super().__init__()
        self.suspects: Suspects[int] = Suspects()
        self.now = 0
        self.lost: list[tuple[int, frozenset[int]]] = []
        self.finished: list[tuple[int, int]] = []
        """Each with the number of workers that had been lost by then."""
        self.leaves: Counter[int] = Counter()
        self.to_send: list[int] = []
        self.alone: list[int] = []
        self.in_hand: dict[str, list[int]] = {worker: [] for worker in WORKERS}
        self.exclusive: set[str] = set()
        self.set_aside: dict[int, str] = {}

    @initialize(count=st.integers(1, 6))
    def begin(self, count: int) -> None:
        self.count = count
        self.to_send = list(range(count))

    # ---- what the rules say, from the log alone

    def losses(self, task: int) -> list[int]:
        return [number for number, (_, tasks) in enumerate(self.lost) if task in tasks]

    def guilty(self, task: int) -> bool:
        losses = self.losses(task)
        since = self.lost[losses[0]][0] - WINDOW_S
        well = {each for each, _ in self.finished}
        blameless = [tasks for when, tasks in self.lost if when >= since and tasks <= well]
        return len(losses) >= 10 or (len(losses) >= 3 and len(losses) > len(blameless))

    def may_be_tried(self, task: int) -> bool:
        losses = self.losses(task)
        since = [each for each, lost_by_then in self.finished if lost_by_then > losses[0]]
        return len(losses) < 2 or len(since) >= len(self.lost) - losses[0]

    # ---- events

    def follow(self, decisions: list[Decision[int]], tasks: list[int]) -> None:
        assert [each.task for each in decisions] == tasks
        for each in decisions:
            if each.how == "set aside":
                self.set_aside[each.task] = each.why
            else:
                assert each.how == ("retry alone" if self.losses(each.task) else "retry")
                (self.alone if each.how == "retry alone" else self.to_send).append(each.task)

    def clear(self, worker: str) -> list[int]:
        tasks, self.in_hand[worker] = self.in_hand[worker], []
        self.exclusive.discard(worker)
        return tasks

    @precondition(lambda self: self.to_send)
    @rule(worker=st.sampled_from(WORKERS))
    def send(self, worker: str) -> None:
        if worker not in self.exclusive:
            task = self.to_send.pop(0)
            self.in_hand[worker].append(task)
            self.suspects.sent(task)

    @precondition(lambda self: self.alone)
    @rule(worker=st.sampled_from(WORKERS))
    def send_alone(self, worker: str) -> None:
        only_suspects = not self.to_send and not any(self.in_hand.values())
        ready = self.suspects.ready(only_suspects=only_suspects)
        telling = [task for task in self.alone if self.may_be_tried(task)]
        wanted = telling or (self.alone if only_suspects else [])
        assert sorted(ready) == sorted(wanted)
        counts = [len(self.losses(task)) for task in ready]
        assert counts == sorted(counts)
        if ready and not self.in_hand[worker]:
            self.alone.remove(ready[0])
            self.in_hand[worker] = [ready[0]]
            self.exclusive.add(worker)
            self.suspects.sent(ready[0])

    @rule(worker=st.sampled_from(WORKERS))
    def finish(self, worker: str) -> None:
        if self.in_hand[worker]:
            task = self.in_hand[worker].pop()
            self.exclusive.discard(worker)
            self.suspects.finished(task)
            self.finished.append((task, len(self.lost)))

    @rule(worker=st.sampled_from(WORKERS), seconds=st.sampled_from([0, 1, 60, 121]))
    def lose(self, worker: str, seconds: int) -> None:
        self.now += seconds
        tasks = self.clear(worker)
        self.lost.append((self.now, frozenset(tasks)))
        decisions = self.suspects.worker_lost(tasks, worker, self.now, " in a test")
        for each in decisions:
            assert (each.how == "set aside") == self.guilty(each.task)
            if each.how == "set aside":
                in_turn = f"{len(self.losses(each.task))} workers in turn, the last of them {worker} in a test"
                assert each.why == in_turn
        self.follow(decisions, tasks)

    @rule(worker=st.sampled_from(WORKERS))
    def leave(self, worker: str) -> None:
        tasks = self.clear(worker)
        self.leaves.update(tasks)
        decisions = self.suspects.worker_left(tasks, worker)
        for each in decisions:
            assert (each.how == "set aside") == (self.leaves[each.task] >= 10)
        self.follow(decisions, tasks)

    @rule(worker=st.sampled_from(WORKERS))
    def take_back(self, worker: str) -> None:
        tasks = self.clear(worker)
        self.follow([self.suspects.taken_back(task) for task in tasks], tasks)

    # ---- what always holds

    @invariant()
    def every_task_is_in_one_place(self) -> None:
        places = [self.to_send, self.alone, *self.in_hand.values(), [each for each, _ in self.finished], self.set_aside]
        assert sorted(task for place in places for task in place) == list(range(getattr(self, "count", 0)))

    @invariant()
    def every_suspect_waits(self) -> None:
        assert self.suspects.waiting == len(self.alone)
        nothing_else = not self.to_send and not any(self.in_hand.values())
        assert not self.alone or not nothing_else or self.suspects.ready(only_suspects=True)

    @invariant()
    def losses_and_leaves_are_bounded(self) -> None:
        for task in range(getattr(self, "count", 0)):
            ended = task in self.set_aside
            assert len(self.losses(task)) <= (10 if ended else 9)
            assert self.leaves[task] <= (10 if ended else 9)

    @invariant()
    def only_tasks_in_trouble_are_remembered(self) -> None:
        ended = {each for each, _ in self.finished} | self.set_aside.keys()
        assert not ended & self.suspects._troubled.keys()
        assert len(self.suspects._troubled) <= getattr(self, "count", 0)


Schedules.TestCase.settings = settings(max_examples=share_of(80), stateful_step_count=60)
TestSchedules = Schedules.TestCase


class Run:
    """A cluster whose workers are killed by some tasks, and perhaps die or leave by chance, until all tasks ended."""

    def __init__(
        self, chance: random.Random, tasks: int, killers: set[int], *, accidents: float, leaves: int, workers: int = 4
    ) -> None:
        self.chance, self.killers, self.accidents, self.leaves = chance, killers, accidents, leaves
        self.suspects: Suspects[int] = Suspects()
        self.to_send = list(range(tasks))
        self.in_hand: dict[int, list[int]] = {worker: [] for worker in range(workers)}
        self.exclusive: set[int] = set()
        self.losses: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()
        self.set_aside: set[int] = set()
        self.now = 0
        while sum(self.ended.values()) < tasks:
            self.fill()
            self.happen(chance.choice(list(self.in_hand)))

    def fill(self) -> None:
        only_suspects = not self.to_send and not any(self.in_hand.values())
        for task in self.suspects.ready(only_suspects=only_suspects):
            idle = [worker for worker, tasks in self.in_hand.items() if not tasks]
            if idle:
                self.send(task, self.chance.choice(idle))
                self.exclusive.add(next(worker for worker in idle if self.in_hand[worker]))
        for worker in self.in_hand.keys() - self.exclusive:
            while self.to_send and len(self.in_hand[worker]) < 4:
                self.send(self.to_send.pop(), worker)

    def send(self, task: int, worker: int) -> None:
        self.in_hand[worker].append(task)
        self.suspects.sent(task)

    def happen(self, worker: int) -> None:
        self.now += self.chance.randrange(100)
        what = self.chance.random()
        if what < self.accidents:
            if self.chance.random() < 0.7:
                self.lose(worker)
            self.lose(None)  # and another one, which is idle
        elif what > 0.9 and self.leaves:
            self.leaves -= 1
            self.follow(self.suspects.worker_left(self.clear(worker), str(worker)))
        elif what > 0.85:
            self.follow([self.suspects.taken_back(task) for task in self.clear(worker)])
        elif self.in_hand[worker]:
            first = self.in_hand[worker][0]
            if first in self.killers:
                self.lose(worker)
            else:
                self.in_hand[worker].remove(first)
                self.exclusive.discard(worker)
                self.suspects.finished(first)
                self.ended[first] += 1

    def clear(self, worker: int) -> list[int]:
        tasks, self.in_hand[worker] = self.in_hand[worker], []
        self.exclusive.discard(worker)
        return tasks

    def lose(self, worker: int | None) -> None:
        tasks = [] if worker is None else self.clear(worker)
        self.losses.update(tasks)
        self.follow(self.suspects.worker_lost(tasks, str(worker), self.now))

    def follow(self, decisions: list[Decision[int]]) -> None:
        for each in decisions:
            if each.how == "set aside":
                self.ended[each.task] += 1
                self.set_aside.add(each.task)
            elif each.how == "retry":
                self.to_send.append(each.task)


@settings(max_examples=share_of(60))
@given(st.integers(0, 2**32), st.integers(1, 30), st.data())
def test_where_machines_live_killers_are_set_aside_at_the_third_loss_and_innocents_never(
    seed: int, tasks: int, data: st.DataObject
) -> None:
    killers = data.draw(st.sets(st.integers(0, tasks - 1)))
    run = Run(random.Random(seed), tasks, killers, accidents=0.0, leaves=MOST_ATTEMPTS - 1)
    assert run.set_aside == killers
    assert set(run.ended.values()) == {1}
    assert set(run.ended) == set(range(tasks))
    assert all(run.losses[task] == ATTEMPTS for task in killers)
    assert all(run.losses[task] <= 1 for task in range(tasks) if task not in killers), "a killer takes one along once"


@settings(max_examples=share_of(60))
@given(st.integers(0, 2**32), st.integers(1, 20), st.floats(0.0, 0.9), st.data())
def test_whatever_happens_every_task_ends_once(seed: int, tasks: int, accidents: float, data: st.DataObject) -> None:
    killers = data.draw(st.sets(st.integers(0, tasks - 1)))
    run = Run(random.Random(seed), tasks, killers, accidents=accidents, leaves=50)
    assert run.ended == dict.fromkeys(range(tasks), 1)
    assert killers <= run.set_aside
    assert max(run.losses.values(), default=0) <= MOST_ATTEMPTS
    assert run.suspects.waiting == 0


@given(st.lists(st.sampled_from(["with", "without"]), min_size=1, max_size=40), st.integers(0, 119))
def test_where_idle_machines_die_as_often_nobody_is_set_aside_before_the_tenth_loss(
    deaths: list[str], apart_s: int
) -> None:
    suspects: Suspects[str] = Suspects()
    idle: list[int] = []
    losses: list[int] = []
    now = 0
    for each in deaths:
        now += apart_s
        since = (losses or [now])[0] - WINDOW_S
        if each == "without" or sum(when >= since for when in idle) <= len(losses):
            idle.append(now)
            suspects.worker_lost([], "idle", now)
        if each == "with":
            losses.append(now)
            (decision,) = suspects.worker_lost(["block"], "its own", now)
            assert (decision.how == "set aside") == (len(losses) == MOST_ATTEMPTS)
            if len(losses) == MOST_ATTEMPTS:
                return


@pytest.mark.parametrize(("before_s", "excused"), [(119, True), (121, False)])
def test_machines_that_died_long_before_are_no_excuse(before_s: int, excused: bool) -> None:
    suspects: Suspects[str] = Suspects()
    for _ in range(50):
        suspects.worker_lost([], "idle", 1000 - before_s)
    for _ in range(2):
        (decision,) = suspects.worker_lost(["block"], "w", 1000)
        assert decision.how == "retry alone"
    (decision,) = suspects.worker_lost(["block"], "w", 9000)
    assert (decision.how == "retry alone") is excused


def test_tasks_that_were_well_after_all_show_that_the_machines_are_to_blame() -> None:
    """Three workers are lost over two tasks each; the companions finish later, and so do not count against the last."""
    suspects: Suspects[str] = Suspects()
    for number in range(3):
        suspects.worker_lost([f"companion {number}"], "w", number)
        suspects.finished(f"companion {number}")
    for number in range(3):
        (decision,) = suspects.worker_lost(["block"], "w", 10 + number)
        assert decision.how == "retry alone"
    (decision,) = suspects.worker_lost(["block"], "w", 20)
    assert decision.how == "set aside", "four losses over it, three over nothing"


def test_a_companion_of_a_killer_does_not_excuse_it() -> None:
    suspects: Suspects[str] = Suspects()
    for number in range(3):
        decisions = suspects.worker_lost(["killer", f"companion {number}"], "w", number)
        suspects.finished(f"companion {number}")
    assert decisions[0].how == "set aside"


def test_the_third_attempt_waits_until_others_show_that_workers_live() -> None:
    suspects: Suspects[str] = Suspects()
    for number in range(2):
        suspects.worker_lost(["block"], "w", number)
        assert suspects.ready(only_suspects=False) == (["block"] if number == 0 else [])
        suspects.sent("block")
    suspects.taken_back("block")
    suspects.finished("another")
    assert suspects.ready(only_suspects=False) == [], "one finished, two lost"
    assert suspects.ready(only_suspects=True) == ["block"], "nothing else is left to wait for"
    suspects.finished("a third")
    assert suspects.ready(only_suspects=False) == ["block"]


@given(st.lists(st.tuples(st.sets(st.integers(0, 3)), st.integers(0, 60)), max_size=25), st.data())
def test_leaving_in_peace_is_never_a_loss(losses: list[tuple[set[int], int]], data: st.DataObject) -> None:
    """The same losses with leaves between them, up to nine for each task, give the same decisions."""
    plain, between = Suspects[int](), Suspects[int]()
    left: Counter[int] = Counter()
    ended: set[int] = set()
    now = 0
    for drawn, seconds in losses:
        now += seconds
        tasks = sorted(drawn - ended)
        for task in data.draw(st.lists(st.sampled_from(tasks), max_size=2)) if tasks else ():
            if left[task] < MOST_ATTEMPTS - 1:
                left[task] += 1
                (decision,) = between.worker_left([task], "w")
                assert decision.how != "set aside"
        decisions = plain.worker_lost(tasks, "w", now)
        assert between.worker_lost(tasks, "w", now) == decisions
        ended |= {each.task for each in decisions if each.how == "set aside"}


@given(st.lists(st.tuples(st.sets(st.integers(0, 3)), st.integers(0, 200)), max_size=25), st.integers(-(10**6), 10**6))
def test_only_the_time_between_losses_counts(losses: list[tuple[set[int], int]], shift: int) -> None:
    one, other = Suspects[int](), Suspects[int]()
    now = 0
    for tasks, seconds in losses:
        now += seconds
        assert one.worker_lost(sorted(tasks), "w", now) == other.worker_lost(sorted(tasks), "w", now + shift)


def test_task_that_outlives_ten_workers_is_set_aside_with_that_reason() -> None:
    suspects: Suspects[str] = Suspects()
    for _ in range(MOST_ATTEMPTS - 1):
        assert suspects.worker_left(["block"], "w") == [Decision("block", "retry")]
    (decision,) = suspects.worker_left(["block"], "the last")
    assert decision.how == "set aside"
    assert decision.why == "10 workers in turn left before they finished it, the last of them the last"


def test_a_suspect_stays_one_when_its_worker_leaves_stalls_or_is_paused() -> None:
    """Else it would be dealt out among others again, and could take a second innocent task along."""
    suspects: Suspects[str] = Suspects()
    suspects.worker_lost(["block"], "w", 0)
    for back in (lambda: suspects.worker_left(["block"], "w")[0], lambda: suspects.taken_back("block")):
        suspects.sent("block")
        assert suspects.waiting == 0
        assert back() == Decision("block", "retry alone")
        assert suspects.ready(only_suspects=False) == ["block"]


def test_a_task_named_twice_is_lost_once() -> None:
    suspects: Suspects[str] = Suspects()
    assert suspects.worker_lost(["block", "block"], "w", 0) == [Decision("block", "retry alone")]
    assert suspects.worker_lost(["block", "block"], "w", 1) == [Decision("block", "retry alone")]
    suspects.finished("block")
    assert suspects._blamed == [0, 0]

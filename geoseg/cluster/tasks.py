"""Tasks: the items of a map that a cluster is working on, and those that wait to be sent.

The map says which worker does what: nothing that finished is computed again when its worker is lost, a worker that
joins finds work waiting, and what a lost worker had in hand comes back here instead of being dealt out again in haste;
`suspects` decides what becomes of each.
"""

from __future__ import annotations

import asyncio
import queue
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from distributed import Client, Future, KilledWorker

from geoseg.cluster import compat
from geoseg.cluster.preparation import Preparation, lacking
from geoseg.cluster.slots import Slots
from geoseg.cluster.suspects import Decision, Suspects
from geoseg.cluster.workers import Workers, lost_scheduler
from geoseg.quantities import counted

_TASKS_PER_THREAD = 2
"""In flight: one is worked on, one waits at the worker."""
_PAUSED_S = 60.0
"""After how long a paused worker's tasks are given to others."""
_STALLED_S = 300.0
"""How long a worker that did not finish its tasks gets none, where others can do them."""
_CLOSING_S = 5.0
_QUIET_S, _ASK_S, _ASK_SELDOM_S = 10.0, 5.0, 30.0
"""Without any result for this long, it is asked more often when each worker was last heard of."""
_END = object()


@dataclass(eq=False, slots=True)
class Task:
    """An item on its way to its result."""

    item: Any
    key: str = ""
    """Of its latest sending, as are worker, future, alone and sent_s."""
    worker: str = ""
    future: Future | None = None
    alone: bool = False
    sent_s: float = 0.0


class Tasks:
    """The tasks that a cluster is working on, and those that wait to be sent."""

    def __init__(
        self,
        client: Client,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        priority: int,
        note: Callable[[str], None],
        prepare: Callable[[], Any] | None = None,
        noun: str = "block",
    ) -> None:
        self.workers = Workers(client, note)
        self.in_flight: dict[str, Task] = {}
        self.lost_idle: list[str] = []
        """Workers that were lost with nothing in hand; to be emptied by the reader."""
        self.silent: dict[str, float] = {}
        """Seconds since each worker was last heard of, when that was last asked."""
        self.mean_s = 0.0
        """What a task takes, from sending to result."""
        self._client = client
        self._loop = compat.event_loop(client)
        self._function = function
        self._items = iter(items)
        self._priority = priority
        self._note = note
        self._noun = noun
        self._again: deque[Task] = deque()
        self._suspects: Suspects[Task] = Suspects()
        self._set_aside: list[tuple[Task, str]] = []
        self._slots = Slots()
        self._reserved: set[str] = set()
        """Workers that a suspect has or will have for itself."""
        self._alone: set[Task] = set()
        """Suspects in flight."""
        self._stalled: dict[str, float] = {}
        """Workers that did not finish their tasks, and when that was noticed (monotonic)."""
        self._done: queue.SimpleQueue[tuple[str, Any, BaseException | None]] = queue.SimpleQueue()
        self._run = uuid.uuid4().hex[:8]
        self._sent = 0
        self._call: Future | None = None
        self._preparation = Preparation(client, prepare, priority, note, lambda: self._done.put(("", None, None)))
        self._quiet_since = self._asked = time.monotonic()

    @property
    def preparing(self) -> dict[str, float]:
        """For how many seconds workers have been preparing themselves that are not ready yet."""
        return self._preparation.seconds()

    def advance(self) -> bool:
        """Look at the workers and send them what they have room for; False when nothing is left to do."""
        gone = self.workers.look()
        if gone is not None:
            for worker in gone:
                self._worker_gone(worker)
            self._preparation.look(self.workers.running, gone)
            self._relieve_paused()
            self._listen()
        if self._preparation.settle():
            self._quiet_since = time.monotonic()
            gone = set()
        if gone is not None:
            self._resize()
        self._send_suspects()
        while (free := self._slots.most_free()) is not None and self._next():
            self._send(self._again.popleft(), free)
        self._call_for_workers()
        return bool(self.in_flight or self._suspects.waiting or self._next())

    def results(self) -> list[Any]:
        """Results of the tasks that were finished within half a second or so."""
        results = []
        with suppress(queue.Empty):
            done = self._done.get(timeout=0.5)
            while True:
                results += self._receive(*done)
                done = self._done.get_nowait()
        return results

    def set_aside(self) -> Iterator[tuple[Task, str]]:
        """Tasks that are given up, each with the reason."""
        while self._set_aside:
            yield self._set_aside.pop()

    def send_again(self) -> None:
        """Take back what is in flight and send it to others; it may be worked on twice, but gives one result."""
        self._stalled |= dict.fromkeys((task.worker for task in self.in_flight.values()), time.monotonic())
        for task in list(self.in_flight.values()):
            self._take_back(task)
            self._follow(self._suspects.taken_back(task))
        self._resize()

    def pass_over(self, workers: Collection[str]) -> None:
        """Give others what workers have in hand that stand still, where there are others."""
        able = self._able().keys()
        if not able - workers:
            return
        for task in [each for each in self.in_flight.values() if each.worker in workers]:
            self._take_back(task)
            self._follow(self._suspects.taken_back(task))
        self._stalled |= dict.fromkeys(workers, time.monotonic())
        if able & workers:
            self._resize()

    def cancel(self) -> None:
        """Give up what is in flight."""
        futures = [each for each in (self._call, *(task.future for task in self.in_flight.values())) if each]
        futures += self._preparation.futures()
        self.in_flight.clear()
        if self._client.status == "running":
            with suppress(Exception):  # the cluster may be gone, and there is nothing left to save
                compat.cancel(self._client, futures, _CLOSING_S)

    # -------------------------------------------------------------------------------------- sending

    def _resize(self) -> None:
        """Give each worker that takes work twice as many tasks as it has threads, but those kept for suspects."""
        limits = {worker: _TASKS_PER_THREAD * threads for worker, threads in self._able().items()}
        self._slots.resize({worker: limit for worker, limit in limits.items() if worker not in self._reserved})

    def _able(self) -> dict[str, int]:
        """Threads of the workers that take work and did not stall lately; of all where none is left."""
        since = time.monotonic() - _STALLED_S
        ready = self._preparation.ready(self.workers.running)
        able = {worker: threads for worker, threads in ready.items() if self._stalled.get(worker, since) <= since}
        return able or ready

    def _send_suspects(self) -> None:
        """Send suspects that are ready to idle workers, and keep workers free for them, at most half of all."""
        reserved = {task.worker for task in self._alone}
        if self._suspects.waiting:
            able = self._able()
            by_load = sorted(able.keys() - reserved, key=self._slots.taken.__getitem__)
            most = max(1, len(able) // 2) - len(reserved)
            only_suspects = not self.in_flight and not self._next()
            ready = self._suspects.ready(only_suspects=only_suspects)
            for task, worker in zip(ready, by_load[: max(0, most)]):
                reserved.add(worker)
                if not self._slots.taken[worker]:
                    self._send(task, worker, alone=True)
        if reserved != self._reserved:
            self._reserved = reserved
            self._resize()

    def _next(self) -> bool:
        """Whether a task waits that is no suspect."""
        if not self._again:
            item = next(self._items, _END)
            if item is _END:
                return False
            self._again.append(Task(item))
        return True

    def _send(self, task: Task, worker: str, *, alone: bool = False) -> None:
        self._sent += 1
        key = f"{self._noun}-{self._run}-{self._sent}"
        task.key, task.worker, task.alone, task.sent_s = key, worker, alone, time.monotonic()
        task.future = self._client.submit(
            self._function,
            task.item,
            key=key,
            workers=[worker],
            allow_other_workers=False,
            priority=self._priority,
            pure=False,
        )
        self.in_flight[key] = task
        self._slots.take(worker)
        self._suspects.sent(task)
        if alone:
            self._alone.add(task)
        asyncio.run_coroutine_threadsafe(self._await(key, task.future), self._loop)

    async def _await(self, key: str, future: Future) -> None:
        """Fetch a result when it is there; runs in the client's own thread."""
        try:
            self._done.put((key, await future, None))
        except BaseException as error:  # whatever it is, it is looked at where the result would have been
            self._done.put((key, None, error))

    def _call_for_workers(self) -> None:
        """While there is no worker, keep one small task waiting, so that an adaptive cluster sees the need."""
        if self.workers.present:
            self._call = None
        elif self._call is None and (self._suspects.waiting or self._next()):
            self._call = self._client.submit(_nothing, key=f"call-{uuid.uuid4().hex[:8]}", pure=False)

    # ------------------------------------------------------------------------------------ receiving

    def _receive(self, key: str, result: Any, error: BaseException | None) -> list[Any]:
        task = self.in_flight.get(key)
        if task is None or task.future is None:
            return []  # it was taken back in the meantime
        status = task.future.status
        seconds = time.monotonic() - task.sent_s
        self._take_back(task)
        if error is None:
            self._quiet_since = time.monotonic()
            self._suspects.finished(task)
            self._stalled.pop(task.worker, None)
            self.mean_s += 0.1 * (seconds - self.mean_s) if self.mean_s else seconds
            return [result]
        if isinstance(error, KilledWorker):
            self._worker_lost([task], task.worker)
        elif status == "error":
            _raise_own(error)
        elif status == "cancelled" or self._client.status != "running":
            raise lost_scheduler() from error
        else:
            self._follow(self._suspects.taken_back(task))  # it was finished, but its result did not come
        return []

    def _take_back(self, task: Task) -> None:
        assert task.future is not None
        del self.in_flight[task.key]
        self._slots.give_back(task.worker)
        self._alone.discard(task)
        task.future.release()
        task.future = None

    def _worker_gone(self, worker: str) -> None:
        """Take back what a worker had that is gone, and find out whether it left in peace."""
        in_hand = [task for task in self.in_flight.values() if task.worker == worker]
        for task in in_hand:
            self._take_back(task)
        if self.workers.left_in_peace(worker):
            for decision in self._suspects.worker_left(in_hand, worker):
                self._follow(decision)
        else:
            self._worker_lost(in_hand, worker)
            if not in_hand:
                self.lost_idle.append(worker)

    def _worker_lost(self, in_hand: list[Task], worker: str) -> None:
        cause = " for using too much memory" if self.workers.out_of_memory(worker) else ""
        if in_hand:
            what = f"with {counted(len(in_hand), self._noun)} in hand, tried again each alone"
        else:
            what = f"with no {self._noun} in hand" if self._preparation.is_ready(worker) else "before it was ready"
        self._note(f"worker {worker} died{cause} {what}")
        for decision in self._suspects.worker_lost(in_hand, worker, time.monotonic(), cause):
            self._follow(decision)

    def _follow(self, decision: Decision[Task]) -> None:
        """Do what was decided; suspects that are to be retried alone wait with the others."""
        if decision.how == "set aside":
            self._set_aside.append((decision.task, decision.why))
        elif decision.how == "retry":
            self._again.append(decision.task)

    def _relieve_paused(self) -> None:
        """Take tasks from workers that have been paused for long, where another could do them."""
        now = time.monotonic()
        stuck = {worker for worker, since in self.workers.paused_since.items() if now - since > _PAUSED_S}
        if stuck and self.workers.running:
            for task in [each for each in self.in_flight.values() if each.worker in stuck]:
                self._take_back(task)
                self._follow(self._suspects.taken_back(task))

    def _listen(self) -> None:
        """Now and then, and more often where nothing is finished, ask when each worker was last heard of."""
        now = time.monotonic()
        pause_s = _ASK_S if now - self._quiet_since > _QUIET_S else _ASK_SELDOM_S
        if now - self._asked > pause_s:
            self._asked, self.silent = now, self.workers.silent()


def _nothing() -> None:
    """A task that asks for a worker."""


def _raise_own(error: BaseException) -> None:
    """Raise what the function raised; a worker that lacks geoseg gets a sentence of its own."""
    raise lacking(error) if isinstance(error, ModuleNotFoundError) else error

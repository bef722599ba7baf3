"""Mapping: the map over a cluster. A bounded number of items is out at any time, and each result is let go at once.

So client and scheduler stay small, nothing that finished is computed again when its worker dies, and a worker that
joins finds work waiting. The map says which worker does what: when a worker dies, its items come back here instead of
being dealt out again in haste, and each of them is then tried alone on a worker. So the one that kills its workers is
told from those that stood beside it.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import time
import uuid
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from distributed import Client, Future
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker

from geoseg.cluster.liveness import Watchdog
from geoseg.cluster.worker import Preparation
from geoseg.cluster.workers import Roster, lost_scheduler
from geoseg.errors import ClusterError

Item = TypeVar("Item")
Result = TypeVar("Result")
ATTEMPTS = 3
"""Workers that may die over an item before it is set aside."""
_MOST_ATTEMPTS = 10
"""The same where workers die anyway, with or without the item."""
_LATELY_S = 120.0
_PAUSED_S = 60.0
_MUTE_S = 300.0
"""How long a worker that let its work lie gets none, where others can do it."""
_END = object()
_log = logging.getLogger(__name__)


def map_over(
    client: Client,
    lost: Callable[[Item, str], Result],
    *,
    stall_s: float = 600.0,
    patience_s: float = 24 * 3600.0,
    priority: int = 0,
    note: Callable[[str], None] = lambda _: None,
    prepare: Callable[[], Any] | None = None,
) -> Callable[[Callable[[Item], Result], Iterable[Item]], Iterator[Result]]:
    """A map over a cluster: like the builtin, but results come as they are finished.

    Every item gives exactly one result, whatever becomes of the workers. What the function raises is raised here.
    An item is set aside when 3 workers died over it: the first with others aboard, the second alone, the third alone
    and only after as many other items were finished as workers died. Not yet, though, if as many died since two
    minutes before over nothing or over items that were well after all, since then the machines are to blame; and after
    10 in any case.
    Workers that are told to leave (retired, SIGTERM, end of lifetime) do not count.

    Parameters
    ----------
    client : Client
        Of the cluster.
    lost : callable
        Makes the result of an item that was set aside, from the item and the reason.
    stall_s : float
        Without any result for this long, or for 20 times what an item takes where that is longer, what is out is sent
        again; after two such rounds the map gives up.
    patience_s : float
        How long to wait while there is no worker at all.
    priority : int
        Higher goes first where several jobs share the workers.
    note : callable
        Told, in a sentence, what a user should know: a paused worker, a dead one, no worker at all. It is logged too.
    prepare : callable, optional
        Run once in each worker process before its first item, also in those that join later (which do not join if it
        fails there). What it raises in a worker that is there is raised by the map.

    Raises
    ------
    ClusterError
        By the map: if the scheduler is lost, no worker comes, or nothing is finished any more.
    """

    def tell(sentence: str) -> None:
        _log.warning("%s", sentence)
        note(sentence)

    def mapped(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        flight = _Flight(client, function, items, priority, tell)
        watchdog = Watchdog(stall_s, patience_s, tell)
        try:
            flight.prepare(prepare)
            while flight.advance():
                for errand in flight.condemned():
                    yield lost(errand.item, errand.why)
                landed = flight.land()
                yield from landed
                if watchdog.barks(flight.roster, len(flight.out), flight.mean_s, landed=bool(landed)):
                    flight.send_again()
            for errand in flight.condemned():
                yield lost(errand.item, errand.why)
        finally:
            flight.cancel()

    return mapped


@dataclass(eq=False, slots=True)
class _Errand:
    """An item and what became of it."""

    item: Any
    key: str = ""
    """Of its latest sending."""
    worker: str = ""
    future: Future | None = None
    alone: bool = False
    sent: float = 0.0
    losses: int = 0
    """Workers that died over it."""
    since: int = 0
    """Deaths on record before its first."""
    lately: int = 0
    """Deaths on record two minutes before its first."""
    finished: int = 0
    """Items finished before its first death."""
    leaves: int = 0
    """Workers that left in peace before they finished it."""
    why: str = ""


class _Flight:
    """The items that a cluster is working on, and those that wait to be sent."""

    def __init__(
        self,
        client: Client,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        priority: int,
        note: Callable[[str], None],
    ) -> None:
        self.roster = Roster(client, note)
        self.out: dict[str, _Errand] = {}
        self.mean_s = 0.0
        """What an item takes, from sending to landing."""
        assert client.loop is not None
        self._client = client
        self._loop: asyncio.AbstractEventLoop = client.loop.asyncio_loop  # type: ignore[attr-defined]
        self._function = function
        self._items = iter(items)
        self._priority = priority
        self._note = note
        self._again: deque[_Errand] = deque()
        self._suspects: list[_Errand] = []
        self._condemned: list[_Errand] = []
        self._deaths: list[set[_Errand]] = []
        self._died: list[float] = []
        self._landed: queue.SimpleQueue[tuple[str, Any, BaseException | None]] = queue.SimpleQueue()
        self._load: Counter[str] = Counter()
        self._mute: dict[str, float] = {}
        self._finished = 0
        self._run = uuid.uuid4().hex[:8]
        self._sent = 0
        self._call: Future | None = None
        self._prepared = False

    def prepare(self, prepare: Callable[[], Any] | None) -> None:
        """Have every worker process prepare itself."""
        if prepare is not None:
            self._prepared = True
            try:
                self._client.register_plugin(Preparation(prepare), name=self._run)
            except CommClosedError as error:
                raise lost_scheduler() from error

    def advance(self) -> bool:
        """Look at the workers and send them what they have room for; False when nothing is left to do."""
        for worker in self.roster.look():
            self._bury(worker)
        self._relieve()
        self._fill()
        self._call_for_workers()
        return bool(self.out or self._suspects or self._peek())

    def land(self) -> list[Any]:
        """Results of the items that were finished within half a second or so."""
        results = []
        with suppress(queue.Empty):
            arrival = self._landed.get(timeout=0.5)
            while True:
                results += self._arrive(*arrival)
                arrival = self._landed.get_nowait()
        return results

    def condemned(self) -> Iterator[_Errand]:
        """Items that are set aside."""
        while self._condemned:
            yield self._condemned.pop()

    def send_again(self) -> None:
        """Take back what is out and send it to others; an item may be worked on twice, but gives one result."""
        self._mute |= dict.fromkeys((errand.worker for errand in self.out.values()), time.monotonic())
        for errand in list(self.out.values()):
            self._take_back(errand)
            self._again.append(errand)

    def cancel(self) -> None:
        """Give up what is out."""
        futures = [each for each in (self._call, *(errand.future for errand in self.out.values())) if each]
        self.out.clear()
        client = self._client
        if client.status == "running":
            with suppress(Exception):  # the cluster may be gone, and there is nothing left to save
                client.sync(client.cancel, futures, force=True, callback_timeout=5)
                if self._prepared:
                    client.sync(client.scheduler.unregister_worker_plugin, name=self._run, callback_timeout=5)

    # -------------------------------------------------------------------------------------- sending

    def _fill(self) -> None:
        """Send each worker twice as many items as it has threads; suspects first, each alone on a worker."""
        kept_free = self._send_suspects()
        room = {
            worker: 2 * threads - self._load[worker]
            for worker, threads in self._able().items()
            if worker not in kept_free
        }
        while room and self._peek():
            worker = max(room, key=room.__getitem__)
            if room[worker] < 1:
                return
            room[worker] -= 1
            self._send(self._again.popleft(), worker)

    def _able(self) -> dict[str, int]:
        """Threads of the workers that take work and did not let it lie lately; of all where none is left."""
        since = time.monotonic() - _MUTE_S
        running = self.roster.running
        return {each: threads for each, threads in running.items() if self._mute.get(each, since) <= since} or running

    def _send_suspects(self) -> set[str]:
        """Send suspects to idle workers; the workers that must get nothing else, at most half of them."""
        running = self._able()
        kept_free = {each.worker for each in self.out.values() if each.alone}
        most = max(1, len(running) // 2)
        by_load = sorted(running.keys() - kept_free, key=self._load.__getitem__)
        ready = self._ready_suspects()
        for errand, worker in zip(ready, by_load[: max(0, most - len(kept_free))]):
            kept_free.add(worker)
            if not self._load[worker]:
                self._suspects.remove(errand)
                self._send(errand, worker, alone=True)
        return kept_free

    def _ready_suspects(self) -> list[_Errand]:
        """Suspects whose next attempt may tell: the last one waits until others were finished, while there are any."""
        ready = [
            each
            for each in self._suspects
            if each.losses < ATTEMPTS - 1 or self._finished - each.finished >= len(self._deaths) - each.since
        ]
        if not ready and not self.out and not self._peek():
            return list(self._suspects)
        return sorted(ready, key=lambda each: each.losses)

    def _peek(self) -> bool:
        """Whether an item waits that is no suspect."""
        if not self._again:
            item = next(self._items, _END)
            if item is _END:
                return False
            self._again.append(_Errand(item))
        return True

    def _send(self, errand: _Errand, worker: str, *, alone: bool = False) -> None:
        self._sent += 1
        key = f"block-{self._run}-{self._sent}"
        errand.key, errand.worker, errand.alone, errand.sent = key, worker, alone, time.monotonic()
        errand.future = self._client.submit(
            self._function,
            errand.item,
            key=key,
            workers=[worker],
            allow_other_workers=False,
            priority=self._priority,
            pure=False,
        )
        self.out[key] = errand
        self._load[worker] += 1
        asyncio.run_coroutine_threadsafe(self._await(key, errand.future), self._loop)

    async def _await(self, key: str, future: Future) -> None:
        """Fetch a result when it is there; runs in the client's own thread."""
        try:
            self._landed.put((key, await future, None))
        except BaseException as error:  # whatever it is, it is looked at where the result would have been
            self._landed.put((key, None, error))

    def _call_for_workers(self) -> None:
        """While there is no worker, keep one small task waiting, so that an adaptive cluster sees the need."""
        if self.roster.present:
            self._call = None
        elif self._call is None and (self._suspects or self._peek()):
            self._call = self._client.submit(_here, key=f"call-{uuid.uuid4().hex[:8]}", pure=False)

    # ------------------------------------------------------------------------------------- landing

    def _arrive(self, key: str, result: Any, error: BaseException | None) -> list[Any]:
        errand = self.out.get(key)
        if errand is None or errand.future is None:
            return []  # it was taken back in the meantime
        status = errand.future.status
        seconds = time.monotonic() - errand.sent
        self._take_back(errand)
        if error is None:
            self._finished += 1
            self._mute.pop(errand.worker, None)
            self.mean_s += 0.1 * (seconds - self.mean_s) if self.mean_s else seconds
            if errand.losses:
                for death in self._deaths:
                    death.discard(errand)
            return [result]
        if isinstance(error, KilledWorker):
            self._blame({errand}, errand.worker)
        elif status == "error":
            _raise_own(error)
        elif status == "cancelled" or self._client.status != "running":
            raise lost_scheduler() from error
        else:
            self._again.appendleft(errand)  # it was finished, but its result did not reach us
        return []

    def _take_back(self, errand: _Errand) -> None:
        assert errand.future is not None
        del self.out[errand.key]
        self._load[errand.worker] -= 1
        if not self._load[errand.worker]:
            del self._load[errand.worker]
        errand.future.release()
        errand.future = None

    def _bury(self, worker: str) -> None:
        """Take back what a worker had that is gone, and find out whether it died over it."""
        had = {each for each in self.out.values() if each.worker == worker}
        for errand in had:
            self._take_back(errand)
        if self.roster.left_in_peace(worker):
            for errand in had:
                errand.leaves += 1
                errand.why = f"{errand.leaves} workers in turn left before they finished it, the last of them {worker}"
                (self._condemned if errand.leaves >= _MOST_ATTEMPTS else self._again).append(errand)
        else:
            self._blame(had, worker)

    def _blame(self, had: set[_Errand], worker: str) -> None:
        cause = " for using too much memory" if self.roster.out_of_memory(worker) else ""
        for errand in had:
            if not errand.losses:
                errand.since, errand.finished = len(self._deaths), self._finished
                errand.lately = bisect_left(self._died, time.monotonic() - _LATELY_S)
            errand.losses += 1
            errand.why = f"{errand.losses} workers in turn, the last of them {worker}{cause}"
        self._deaths.append(set(had))
        self._died.append(time.monotonic())
        self._note(f"worker {worker} died{cause} with {len(had)} blocks in hand; they are tried again, each alone")
        for errand in had:
            (self._condemned if self._guilty(errand) else self._suspects).append(errand)

    def _guilty(self, errand: _Errand) -> bool:
        unexplained = sum(not death for death in self._deaths[errand.lately :])
        return errand.losses >= _MOST_ATTEMPTS or (errand.losses >= ATTEMPTS and errand.losses > unexplained)

    def _relieve(self) -> None:
        """Take items from workers that have been paused for long, where another could do them."""
        now = time.monotonic()
        stuck = {worker for worker, since in self.roster.paused_since.items() if now - since > _PAUSED_S}
        if stuck and self.roster.running:
            for errand in [each for each in self.out.values() if each.worker in stuck]:
                self._take_back(errand)
                self._again.append(errand)


def _here() -> None:
    """A task that asks for a worker."""


def _raise_own(error: BaseException) -> None:
    """Raise what the function raised; a worker that lacks geoseg gets a sentence of its own."""
    if isinstance(error, ModuleNotFoundError):
        raise ClusterError(
            f"a worker lacks {error.name!r}; install the same geoseg and packages on the workers as here"
        ) from error
    raise error

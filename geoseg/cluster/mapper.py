"""Mapper: the map over a cluster. Like the builtin, but results come as they are finished, whatever becomes of workers.

A bounded number of items is in flight and each result is let go at once, so client and scheduler stay small.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from distributed import Client

from geoseg.cluster.liveness import SILENT_S, Liveness
from geoseg.cluster.tasks import Tasks

Item = TypeVar("Item")
Result = TypeVar("Result")
OtherItem = TypeVar("OtherItem")
OtherResult = TypeVar("OtherResult")
_log = logging.getLogger(__name__)


def map_over(
    client: Client,
    lost: Callable[[Item, str], Result],
    *,
    stall_s: float = 600.0,
    patience_s: float = 24 * 3600.0,
    silent_s: float = SILENT_S,
    priority: int = 0,
    note: Callable[[str], None] = lambda _: None,
    prepare: Callable[[], Any] | None = None,
) -> Over[Item, Result]:
    """A map over a cluster: like the builtin, but results come as they are finished.

    Every item gives exactly one result, whatever becomes of the workers. What the function raises is raised here.
    An item over which workers are lost is retried alone and at last set aside, by the rules of `suspects.Suspects`.

    Parameters
    ----------
    client : Client
        Of the cluster.
    lost : callable
        Makes the result of an item that was set aside, from the item and the reason.
    stall_s : float
        Without any result for this long, or for 20 times what an item takes where that is longer, what is in flight
        is sent again; after two such rounds the map gives up.
    patience_s : float
        How long to wait while there is no worker at all.
    silent_s : float
        A worker without a heartbeat for this long stands still: what it has in hand goes to others. Where all do, for
        four times as long, or none is ready within `stall_s`, the map gives up.
    priority : int
        Higher goes first where several jobs share the workers.
    note : callable
        Called with a sentence that a user should read: a worker is paused or lost, or there is none. It is logged too.
    prepare : callable, optional
        Run once in each worker process before its first item, also in those that join later. What it raises in a worker
        that is there from the beginning is raised by the map; one that joined later gets no item, and a note says so.

    Raises
    ------
    ClusterError
        By the map: if the scheduler is lost, no worker comes or all stand still, or nothing is finished any more.
    """
    return Over(client, lost, stall_s, patience_s, silent_s, priority, note, prepare)


@dataclass(frozen=True, slots=True)
class Over(Generic[Item, Result]):
    """A map over a cluster; the fields are those of `map_over`."""

    client: Client
    lost: Callable[[Item, str], Result]
    stall_s: float
    patience_s: float
    silent_s: float
    priority: int
    note: Callable[[str], None]
    prepare: Callable[[], Any] | None
    noun: str = "block"
    """What an item is called in notes."""

    def of(
        self, noun: str, lost: Callable[[OtherItem, str], OtherResult], stall_s: float
    ) -> Over[OtherItem, OtherResult]:
        """A map over the same cluster for other items, for which workers prepare nothing.

        Parameters
        ----------
        noun : str
            What an item is called in notes.
        lost, stall_s
            As in `map_over`; the longer `stall_s` of both counts.
        """
        mine: Any = self
        other: Over[OtherItem, OtherResult] = replace(
            mine, noun=noun, lost=lost, stall_s=max(stall_s, self.stall_s), prepare=None
        )
        return other

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The results as they come.

        Parameters
        ----------
        function : callable
            Of an item; pickled.
        items : iterable
            Taken one by one, as workers have room.
        """
        tasks = Tasks(self.client, function, items, self.priority, self._say, self.prepare, self.noun)
        liveness = Liveness(self.stall_s, self.patience_s, self._say, time.monotonic(), self.silent_s, self.noun)
        try:
            while tasks.advance():
                given_up = [self.lost(task.item, why) for task, why in tasks.set_aside()]
                results = tasks.results()
                yield from given_up
                yield from results
                if stuck := liveness.stuck(tasks.workers.addresses, tasks.silent, tasks.preparing):
                    tasks.pass_over(stuck)
                died, tasks.lost_idle = tasks.lost_idle, []
                if liveness.stalled(
                    time.monotonic(),
                    finished=bool(results or given_up),
                    workers=tasks.workers.present,
                    paused=len(tasks.workers.paused_since),
                    in_flight=len(tasks.in_flight),
                    mean_s=tasks.mean_s,
                    lost=died,
                ):
                    tasks.send_again()
            yield from (self.lost(task.item, why) for task, why in tasks.set_aside())
        finally:
            tasks.cancel()

    def _say(self, sentence: str) -> None:
        _log.warning("%s", sentence)
        self.note(sentence)

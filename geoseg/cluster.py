"""Cluster: Dask clusters and the map over them. The only room, with `arrays`, that knows Dask.

Work goes out through a bounded window and each result is let go at once, so that client and scheduler stay
small, nothing that finished is computed again when its worker dies, and a new worker finds work waiting.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import dask
from distributed import Client, Future, LocalCluster, WorkerPlugin, wait
from distributed.scheduler import KilledWorker

from geoseg.errors import ClusterError, LedgerError

Item = TypeVar("Item")
Result = TypeVar("Result")
ATTEMPTS = 3
"""Workers that a block may kill before it is set aside."""
_log = logging.getLogger(__name__)


class Setup(WorkerPlugin):  # type: ignore[misc]
    """Prepares a worker process before its first block; a failure here stops the worker early and clearly."""

    name = "geoseg-setup"

    def __init__(self, prepare: Callable[[], Any] | None = None) -> None:
        self.prepare = prepare

    def setup(self, worker: Any) -> None:
        """Load what the process needs, once."""
        if self.prepare is not None:
            self.prepare()


@contextmanager
def local(workers: int, memory_bytes: int) -> Iterator[Client]:
    """A cluster on this machine, listening on loopback only.

    Parameters
    ----------
    workers : int
        Processes, at least 1; each has two threads, so that reading one block overlaps labelling another.
    memory_bytes : int
        Limit of each process.
    """
    settings = {
        "distributed.scheduler.allowed-failures": ATTEMPTS - 1,
        "distributed.worker.daemon": True,
        "distributed.admin.large-graph-warning-threshold": "100MB",
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=2,
            memory_limit=memory_bytes,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def running(address: str, timeout_s: float = 10.0) -> Iterator[Client]:
    """A client of a cluster that already runs.

    Raises
    ------
    ClusterError
        If nothing answers at `address`.
    """
    try:
        client = Client(address, timeout=timeout_s)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {address} ({error}); start one with 'dask scheduler' or check the address"
        ) from error
    with client:
        yield client


def threads_per_worker(workers: int) -> int:
    """Windows that each of `workers` processes should label at once on this machine's CPU."""
    return max(1, cores() // max(1, workers))


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def mapper(
    client: Client, lost: Callable[[Item, str], Result], *, stall_s: float = 600.0
) -> Callable[[Callable[[Item], Result], Iterable[Item]], Iterator[Result]]:
    """A map over a cluster: like the builtin, but results come as they are finished.

    Parameters
    ----------
    client : Client
        Of the cluster.
    lost : callable
        Makes the result of an item whose work killed every worker that tried it, from the item and the reason.
    stall_s : float
        Without any result for this long, the items in flight are sent again; after two such rounds the map gives up.
    """

    def over(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        flight = _Flight(client, function)
        waiting = iter(items)
        stalls, last = 0, time.monotonic()
        try:
            while True:
                flight.fill(waiting)
                if not flight.items:
                    return
                finished = flight.land()
                for item, result in finished:
                    yield lost(item, str(result)) if isinstance(result, KilledWorker) else result
                if finished:
                    stalls, last = 0, time.monotonic()
                elif time.monotonic() - last > stall_s:
                    stalls, last = stalls + 1, time.monotonic()
                    if stalls > 2:
                        raise ClusterError(
                            f"no block finished in {3 * stall_s:.0f} s with {flight.workers} workers; "
                            "look at their logs, then run the same command again"
                        )
                    _log.warning("no block finished in %.0f s; sending %d again", stall_s, len(flight.items))
                    flight.send_again()
        finally:
            flight.cancel()

    return over


class _Flight:
    """The bounded set of items that a cluster is working on."""

    def __init__(self, client: Client, function: Callable[[Any], Any]) -> None:
        self.client = client
        self.function = function
        self.items: dict[Future, Any] = {}
        self.workers = 0
        self._room = 0
        self._looked = -60.0

    def fill(self, waiting: Iterator[Any]) -> None:
        """Send items until there are twice as many as worker threads, and two more."""
        if time.monotonic() - self._looked > 2:
            threads = self.client.nthreads()
            self.workers, self._looked = len(threads), time.monotonic()
            self._room = 2 * sum(threads.values()) + 2
        while len(self.items) < self._room:
            item = next(waiting, None)
            if item is None:
                return
            self._send(item)

    def land(self) -> list[tuple[Any, Any]]:
        """Items finished within a second or so, each with its result or KilledWorker."""
        with suppress(TimeoutError):
            wait(list(self.items), timeout=1.0, return_when="FIRST_COMPLETED")
        landed = []
        for future in [each for each in self.items if each.done()]:
            item = self.items.pop(future)
            landed.append((item, self._result(future)))
        return landed

    def _result(self, future: Future) -> Any:
        try:
            return future.result(timeout=30)
        except KilledWorker as error:
            return error
        except (OSError, TimeoutError, dask.distributed.CancelledError) as error:
            if isinstance(error, LedgerError):
                raise
            raise ClusterError(
                f"the Dask scheduler was lost ({error}); what was finished is kept, so run the same command again"
            ) from error
        finally:
            future.release()

    def send_again(self) -> None:
        """Cancel what is in flight and send it anew; blocks may be made twice, never counted twice."""
        items = list(self.items.values())
        self.cancel()
        for item in items:
            self._send(item)

    def cancel(self) -> None:
        """Give up what is in flight."""
        futures = list(self.items)
        self.items.clear()
        if futures and self.client.status == "running":
            with suppress(Exception):  # the cluster may be gone, and there is nothing left to save
                self.client.cancel(futures, force=True)

    def _send(self, item: Any) -> None:
        self.items[self.client.submit(self.function, item, pure=False)] = item

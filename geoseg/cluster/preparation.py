"""Preparation: what each worker process does before its first item (it loads the network), and who is ready for items.

It is a task for each worker, so that one which stands still while it prepares holds up nobody else.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from distributed import Client, Future, KilledWorker

from geoseg.cluster import compat
from geoseg.errors import ClusterError

_ANSWER_S = 20.0
_ENOUGH = 0.9
"""Share of the memory asked for that a worker must have: some count 2 GB as 2 GiB, or keep a little for themselves."""


@dataclass(frozen=True, slots=True)
class Prepare:
    """What a worker does before its first block: it makes sure that it has the memory the job is cut for, and loads.

    Parameters
    ----------
    memory : int
        Bytes that the job plans with for each worker.
    load : callable, optional
        Without arguments.
    """

    memory: int
    load: Callable[[], Any] | None = None

    def __call__(self) -> None:
        """Do so, on a worker.

        Raises
        ------
        ClusterError
            If Dask allows the worker less: it would be paused or killed again and again.
        """
        worker, limit = compat.limit_here()
        if limit is not None and limit < _ENOUGH * self.memory:
            raise ClusterError(
                f"the job is cut for workers with {self.memory / 1e9:.2f} GB each, and worker {worker} has "
                f"{limit / 1e9:.2f} GB; start workers that have as much, or lower memory_per_worker in the job (what "
                "is finished stays)"
            )
        if self.load is not None:
            self.load()


class Preparation:
    """Has workers prepare themselves, those that are there and those that join later.

    Parameters
    ----------
    client : Client
        Of the cluster.
    prepare : callable, optional
        Run once in each worker process; with None, every worker is ready.
    priority : int
        As of the items.
    note : callable
        Called with a sentence when a worker that joined later cannot prepare itself.
    wake : callable
        Called without arguments, in some thread, when a worker may be ready.
    """

    def __init__(
        self,
        client: Client,
        prepare: Callable[[], Any] | None,
        priority: int,
        note: Callable[[str], None],
        wake: Callable[[], None],
    ) -> None:
        self._client = client
        self._prepare = prepare
        self._priority = priority
        self._note = note
        self._wake = wake
        self._ready: set[str] = set()
        self._at_it: dict[str, tuple[Future, float]] = {}
        """Workers that prepare themselves, and since when (monotonic)."""
        self._unfit: dict[str, BaseException] = {}
        self._first: set[str] | None = None
        """Workers that were there when the map began."""

    def ready(self, running: Mapping[str, int]) -> dict[str, int]:
        """Those of the workers that are ready for items."""
        if self._prepare is None:
            return dict(running)
        return {worker: threads for worker, threads in running.items() if worker in self._ready}

    def is_ready(self, worker: str) -> bool:
        """Whether a worker had nothing to prepare any more when it was last seen."""
        return self._prepare is None or worker in self._ready

    def seconds(self) -> dict[str, float]:
        """How long each worker has prepared itself that is not ready yet."""
        now = time.monotonic()
        return {worker: now - since for worker, (_, since) in self._at_it.items()}

    def futures(self) -> list[Future]:
        """Of the workers that are preparing themselves."""
        return [future for future, _ in self._at_it.values()]

    def look(self, running: Iterable[str], gone: Iterable[str]) -> None:
        """Have workers that are new prepare themselves, and forget those that are gone.

        Parameters
        ----------
        running : iterable of str
            Workers that take work.
        gone : iterable of str
            Workers that left since the last call.
        """
        if self._prepare is None:
            return
        for worker in gone:
            self._ready.discard(worker)
            self._unfit.pop(worker, None)
            if worker in self._at_it:
                self._at_it.pop(worker)[0].release()
        running = set(running)
        self._first = running if self._first is None else self._first
        for worker in running - self._ready - self._unfit.keys() - self._at_it.keys():
            future = self._client.submit(
                _run,
                self._prepare,
                key=f"prepare-{uuid.uuid4().hex[:8]}",
                workers=[worker],
                allow_other_workers=False,
                priority=self._priority,
                pure=False,
            )
            future.add_done_callback(lambda _: self._wake())
            self._at_it[worker] = future, time.monotonic()
        if running and running <= self._unfit.keys():
            raise next(iter(self._unfit.values()))

    def settle(self) -> bool:
        """Whether a worker has become ready since the last call.

        What a worker raises that was there from the beginning is raised here; one that joined later gets no item.
        """
        more = False
        for worker, (future, _) in list(self._at_it.items()):
            if not future.done():
                continue
            del self._at_it[worker]
            if future.status == "finished":
                self._ready.add(worker)
                more = True
            elif future.status == "error":
                self._failed(worker, future.exception(timeout=_ANSWER_S))
            future.release()  # cancelled: it is asked again at the next look
        return more

    def _failed(self, worker: str, error: BaseException) -> None:
        if isinstance(error, KilledWorker):
            return
        if isinstance(error, ModuleNotFoundError):
            error = lacking(error)
        if not self._ready or (self._first and worker in self._first):
            raise error
        self._unfit[worker] = error
        self._note(f"worker {worker} gets no block, for it cannot prepare itself ({error})")


def lacking(error: ModuleNotFoundError) -> ClusterError:
    """What to say where a worker does not have a package."""
    said = ClusterError(f"a worker lacks {error.name!r}; install the same geoseg and packages on the workers as here")
    said.__cause__ = error
    return said


def _run(prepare: Callable[[], Any]) -> None:
    """Prepare this process; what comes of it stays here."""
    prepare()

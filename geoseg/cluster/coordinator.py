"""Coordinator: a long task that lives on a cluster with no client attached, and sends work to that cluster itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Client, Future, Reschedule, SchedulerPlugin, worker_client

from geoseg.cluster import compat
from geoseg.cluster.workers import lost_scheduler
from geoseg.errors import ClusterError

PREFIX = "geoseg-job-"
"""How the keys of coordinators begin."""
_FIRST = 1_000_000
"""Priority of a coordinator."""
_ANSWER_S = 20.0
_ENDING_S = 5.0
"""A job that was just cancelled has closed its folder a moment before the cluster knows that its task has ended."""


class Forgiving(SchedulerPlugin):  # type: ignore[misc]
    """Keeps coordinators from being blamed for the loss of the workers that they happened to run on.

    The scheduler gives a task up after a few of its workers were lost. A coordinator runs on some worker for hours
    while others' blocks may kill it, so its count starts again each time.
    """

    name = "geoseg-forgiving"
    idempotent = True

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """Forget the lost workers counted against coordinators.

        Parameters
        ----------
        scheduler : Scheduler
            Which calls this.
        worker : str
            Address of the one that was lost.
        """
        compat.forgive(scheduler, PREFIX)


def leave_running(client: Client, name: str, function: Callable[..., Any], *args: Any) -> None:
    """Start a function on the cluster and leave it there; it outlives this client.

    Parameters
    ----------
    client : Client
        Of the cluster.
    name : str
        One of a kind on the cluster.
    function : callable
        Called there with `args`; it finds the cluster through `inside`.

    Raises
    ------
    ClusterError
        If a task of this name is there already, or the scheduler lacks geoseg or does not answer.
    """
    key = PREFIX + name
    try:
        end = time.monotonic() + _ENDING_S
        while (known := _known(client, key)) and time.monotonic() < end:
            time.sleep(0.2)
        compat.add_scheduler_plugin(client, Forgiving(), _ANSWER_S)
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"the scheduler lacks {error.name!r}; install the same geoseg and packages there as here"
        ) from error
    except (OSError, TimeoutError) as error:
        raise lost_scheduler() from error
    if known:
        raise ClusterError(f"a job called {name!r} is on this cluster already; choose another --name or cancel it")
    # It takes no thread from others for long, and must not wait behind the blocks of a job that was there before.
    future = client.submit(function, *args, key=key, pure=False, priority=_FIRST)
    try:
        _leave(client, future)
    except (OSError, TimeoutError) as error:
        raise lost_scheduler() from error


def _leave(client: Client, future: Future) -> None:
    """Hand a task over to the scheduler.

    A scheduler reads what was submitted beside all else that it does, and drops a task whose client leaves before
    that; `fire_and_forget` says nothing of it.
    """
    end = time.monotonic() + _ANSWER_S
    while True:
        ended = future.done()  # before the question: while the future is held, a task that has ended is known
        if compat.run_on_scheduler(client, _kept, _ANSWER_S, key=future.key):
            return
        if ended:
            raise ClusterError(
                "the scheduler could not read the job; install the same geoseg and packages there as here"
            )
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.05)


@contextmanager
def inside() -> Iterator[Client]:
    """A client of the cluster that the calling task runs on; the task no longer takes a thread from others."""
    with worker_client(timeout=60) as client, compat.as_a_client():
        try:
            yield client
        except ClusterError as error:
            if client.status == "running":
                raise
            # This worker is leaving, or the scheduler is gone: start again elsewhere, if there is an elsewhere.
            raise Reschedule from error


def _known(client: Client, key: str) -> bool:
    return bool(compat.run_on_scheduler(client, _under_way, _ANSWER_S, key=key))


def _kept(key: str, dask_scheduler: Any = None) -> bool:
    return compat.keep(dask_scheduler, key)


def _under_way(key: str, dask_scheduler: Any = None) -> bool:
    return compat.is_under_way(dask_scheduler, key)

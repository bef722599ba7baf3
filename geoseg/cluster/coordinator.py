"""Resident: a long task that lives on a cluster with no client attached, and speaks to that cluster itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Client, Reschedule, SchedulerPlugin, fire_and_forget, worker_client
from distributed.utils import set_thread_state

from geoseg.errors import ClusterError

PREFIX = "geoseg-job-"
"""How the keys of resident tasks begin."""
_FIRST = 1_000_000
"""Priority of a resident task."""
_LETTING_GO_S = 5.0
"""A job that was just cancelled has closed its folder a moment before the cluster knows that its task has ended."""


class Forgiving(SchedulerPlugin):  # type: ignore[misc]
    """Keeps resident tasks from being blamed for the deaths of the workers that they happened to sit on.

    The scheduler gives a task up after a few of its workers died. A coordinator sits on some worker for hours while
    others' blocks may kill it, so its count starts again each time.
    """

    name = "geoseg-forgiving"
    idempotent = True

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """Forget the deaths counted against resident tasks."""
        for key, task in scheduler.tasks.items():
            if isinstance(key, str) and key.startswith(PREFIX):
                task.suspicious = 0


def leave_running(client: Client, name: str, function: Callable[..., Any], *args: Any) -> None:
    """Start `function` on the cluster and leave it there; it outlives this client.

    Raises
    ------
    ClusterError
        If a task of this name is there already, or the scheduler lacks geoseg.
    """
    key = PREFIX + name
    try:
        end = time.monotonic() + _LETTING_GO_S
        while (known := client.run_on_scheduler(_known, key=key)) and time.monotonic() < end:
            time.sleep(0.2)
        client.register_plugin(Forgiving())
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"the scheduler lacks {error.name!r}; install the same geoseg and packages there as here"
        ) from error
    if known:
        raise ClusterError(f"a job called {name!r} is on this cluster already; choose another --name or cancel it")
    # It takes no thread from others for long, and must not wait behind the blocks of a job that was there before.
    fire_and_forget(client.submit(function, *args, key=key, pure=False, priority=_FIRST))
    client.run_on_scheduler(_known, key=key)  # what was sent before is there when this is answered


@contextmanager
def inside() -> Iterator[Client]:
    """A client of the cluster that the calling task runs on; the task no longer takes a thread from others."""
    # Without its key, what the task sends counts as sent by a client; else it would go before all that clients send.
    with worker_client(timeout=60) as client, set_thread_state(key=None):
        try:
            yield client
        except ClusterError as error:
            if client.status == "running":
                raise
            # This worker is leaving, or the scheduler is gone: start again elsewhere, if there is an elsewhere.
            raise Reschedule from error


def _known(key: str, dask_scheduler: Any = None) -> bool:
    task = dask_scheduler.tasks.get(key)
    return task is not None and task.state not in ("memory", "erred", "forgotten", "released")

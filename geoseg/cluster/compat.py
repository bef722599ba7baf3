"""Compat: all that geoseg uses of distributed beyond its documented interface, so that an upgrade breaks one file.

Each was checked on distributed 2026.8.0; `tests/cluster/test_compat.py` says, one by one, what is gone or has changed
when it no longer holds. `worker.BlockWorker` overrides `Worker.close` and `Worker.close_gracefully`, whose signatures
are checked there too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

from distributed import Client, Future, Nanny, Scheduler, SchedulerPlugin, Worker, get_worker
from distributed.comm import connect
from distributed.core import Status
from distributed.security import Security
from distributed.system import MEMORY_LIMIT
from distributed.utils import set_thread_state

CHECKED = "2026.8.0"
"""The version of distributed that all of this was checked on."""
LEAVING = ("closing-worker", "retired")
"""Actions in a worker's events that say that it leaves in peace."""
JOINED = "add-worker"
"""Action in a worker's events when it joins; an address may be used again."""
OUT_OF_MEMORY = "worker-restart-memory"
"""Topic under which nannies say that they killed a worker for using too much memory."""
_KILL_AFTER = 0.8
"""Part of the time it is given that a nanny waits before it kills its worker."""
_ENDED = ("memory", "erred", "forgotten", "released")

# ---------------------------------------------------------------------------------------------- client


def shake_hands(address: str, security: Security, timeout_s: float) -> None:
    """Connect once and hang up. `distributed.comm.connect`.

    Its time limit leaves out the greeting that follows, so a `Client` waits for ever for one that never greets.

    Parameters
    ----------
    address : str
        Of a scheduler.
    security : Security
        What to show and to ask for.
    timeout_s : float
        How long it may take before OSError or TimeoutError.
    """

    async def shake() -> None:
        connecting = connect(address, timeout=timeout_s, **security.get_connection_args("client"))
        try:
            comm = await asyncio.wait_for(connecting, timeout_s + 0.5)
        except TimeoutError:
            raise TimeoutError(f"it took the connection and said nothing within {timeout_s:g} s") from None
        comm.abort()

    with ThreadPoolExecutor(1) as thread:  # a notebook's own thread has an event loop already
        thread.submit(asyncio.run, shake()).result()


def event_loop(client: Client) -> asyncio.AbstractEventLoop:
    """The event loop in which a client runs, in a thread of its own. `Client.loop.asyncio_loop` (tornado's)."""
    assert client.loop is not None
    loop: asyncio.AbstractEventLoop = client.loop.asyncio_loop  # type: ignore[attr-defined]
    return loop


def thread_counts(client: Client, timeout_s: float) -> tuple[dict[str, int], dict[str, int]]:
    """Threads of each worker by address: of all, and of those that take work.

    The scheduler's handlers `ncores` and `ncores_running`; the client's own methods know no time limit.

    Parameters
    ----------
    client : Client
        Of the cluster.
    timeout_s : float
        How long the scheduler may take before TimeoutError.
    """

    async def ask() -> tuple[dict[str, int], dict[str, int]]:
        return dict(await client.scheduler.ncores()), dict(await client.scheduler.ncores_running())

    counts: tuple[dict[str, int], dict[str, int]] = client.sync(ask, callback_timeout=timeout_s)
    return counts


def events(client: Client, topic: str, timeout_s: float) -> list[dict[str, Any]]:
    """What was logged under a topic, a worker's address say. The scheduler's handler `events`.

    Parameters
    ----------
    client : Client
        Of the cluster.
    topic : str
        OUT_OF_MEMORY, or the address of a worker, whose events have an 'action'.
    timeout_s : float
        How long the scheduler may take before TimeoutError.
    """
    logged = client.sync(client.scheduler.events, topic=topic, callback_timeout=timeout_s)
    return [event for _, event in logged if isinstance(event, dict)]


def paused(client: Client, timeout_s: float) -> dict[str, tuple[int, int]]:
    """Bytes used and allowed of each worker that is paused for memory. The scheduler's handler `identity`.

    Parameters
    ----------
    client : Client
        Of the cluster.
    timeout_s : float
        How long the scheduler may take before TimeoutError.
    """
    workers = client.sync(client.scheduler.identity, n_workers=-1, callback_timeout=timeout_s)["workers"]
    return {
        address: (facts["metrics"].get("memory", 0), facts["memory_limit"])
        for address, facts in workers.items()
        if facts["status"] == Status.paused.name
    }


def cancel(client: Client, futures: list[Future], timeout_s: float) -> None:
    """Give up futures, also those that others wait for. `Client.cancel` through `Client.sync`, for its time limit.

    Parameters
    ----------
    client : Client
        Of the cluster.
    futures : list of Future
        What is no longer wanted.
    timeout_s : float
        How long the scheduler may take before TimeoutError.
    """
    client.sync(client.cancel, futures, force=True, callback_timeout=timeout_s)


def heartbeats(client: Client, timeout_s: float) -> dict[str, float]:
    """When the scheduler last heard of each worker, by its own clock. The scheduler's handler `identity`.

    A process that is stopped, or cut off, sends no heartbeat; one that is busy does.

    Parameters
    ----------
    client : Client
        Of the cluster.
    timeout_s : float
        How long the scheduler may take before TimeoutError.
    """
    workers = client.sync(client.scheduler.identity, n_workers=-1, callback_timeout=timeout_s)["workers"]
    return {address: float(facts["last_seen"]) for address, facts in workers.items()}


def run_on_scheduler(client: Client, function: Callable[..., Any], timeout_s: float, **about: Any) -> Any:
    """Call a function in the scheduler's process. `Client.run_on_scheduler` through `Client.sync`, for its time limit.

    Parameters
    ----------
    client : Client
        Of the cluster.
    function : callable
        Takes `about`, and the scheduler as `dask_scheduler`.
    timeout_s : float
        How long the scheduler may take before TimeoutError.
    """
    return client.sync(client.run_on_scheduler, function, callback_timeout=timeout_s, **about)


def add_scheduler_plugin(client: Client, plugin: SchedulerPlugin, timeout_s: float) -> None:
    """Register a plugin. `Client.register_plugin` through `Client.sync`, for its time limit.

    Parameters
    ----------
    client : Client
        Of the cluster.
    plugin : SchedulerPlugin
        Idempotent.
    timeout_s : float
        How long the scheduler may take before TimeoutError.
    """
    client.sync(client.register_plugin, plugin, callback_timeout=timeout_s)


def as_a_client() -> AbstractContextManager[None]:
    """Inside a task: what it sends counts as sent by a client, not as its own subtask, which would go before all else.

    `distributed.utils.set_thread_state(key=None)`.
    """
    state: AbstractContextManager[None] = set_thread_state(key=None)
    return state


# ------------------------------------------------------------------------------------------- scheduler


def forgive(scheduler: Scheduler, prefix: str) -> None:
    """Forget the lost workers that the scheduler counts against tasks. `TaskState.suspicious`.

    Parameters
    ----------
    scheduler : Scheduler
        In its own process.
    prefix : str
        How the keys of these tasks begin.
    """
    for key, task in scheduler.tasks.items():
        if isinstance(key, str) and key.startswith(prefix):
            task.suspicious = 0


def is_under_way(scheduler: Scheduler, key: str) -> bool:
    """Whether a task waits or runs. `Scheduler.tasks` and `TaskState.state`.

    Parameters
    ----------
    scheduler : Scheduler
        In its own process.
    key : str
        Of the task.
    """
    task = scheduler.tasks.get(key)
    return task is not None and task.state not in _ENDED


def keep(scheduler: Scheduler, key: str) -> bool:
    """Let a task go on without its client, and say whether it is known. `Scheduler.client_desires_keys`.

    Parameters
    ----------
    scheduler : Scheduler
        In its own process.
    key : str
        Of the task.
    """
    if is_under_way(scheduler, key):
        scheduler.client_desires_keys([key], "fire-and-forget")  # who lets go of it when it has ended
    return key in scheduler.tasks


# ---------------------------------------------------------------------------------------------- worker


def memory_limit() -> int:
    """Bytes that this machine, container or batch job allows. `distributed.system.MEMORY_LIMIT`."""
    limit: int = MEMORY_LIMIT
    return limit


def limit_here() -> tuple[str, int | None]:
    """Address of this worker, and the bytes that Dask allows it: None where any number. `memory_manager.memory_limit`.

    Raises
    ------
    ValueError
        If this is no task on a worker.
    """
    worker = get_worker()
    return worker.address, worker.memory_manager.memory_limit or None


def is_at_work(worker: Worker) -> bool:
    """Whether a worker is neither starting nor leaving. `Status.running`, `Status.paused`."""
    return worker.status in (Status.running, Status.paused)


def takes_no_more(worker: Worker) -> None:
    """Have a worker start no other task, and its scheduler send none. `Status.closing_gracefully`, settable."""
    worker.status = Status.closing_gracefully


def executing(worker: Worker) -> int:
    """Number of tasks that a worker is running. `Worker.state.executing_count`, without those that seceded."""
    count: int = worker.state.executing_count
    return count


def restarts(worker: Worker) -> bool:
    """Whether a worker is started anew at the end of its lifetime. `Worker.lifetime_restart`."""
    return bool(worker.lifetime_restart)


async def retire(worker: Worker, timeout_s: float) -> None:
    """Have the scheduler take a worker off its list as one that leaves in peace, and its results elsewhere.

    The scheduler's handler `retire_workers`, which wants a `stimulus_id` from a worker.

    Parameters
    ----------
    worker : Worker
        In its own process.
    timeout_s : float
        How long the scheduler may take before TimeoutError.
    """
    retired = worker.scheduler.retire_workers(
        workers=[worker.address], close_workers=False, remove=True, stimulus_id=f"leave-{time.time()}"
    )
    await asyncio.wait_for(retired, timeout_s)


def is_signal(reason: str) -> bool:
    """Whether `Worker.close` was called at a signal, by its reason, 'signal-15' say."""
    return reason.startswith("signal-")


async def close_as_by_signal(nanny: Nanny, timeout_s: float) -> None:
    """Close a nanny; its worker's `close` is called with a reason for `is_signal` and with `timeout_s`, then killed.

    `Nanny.close(timeout, reason)`, which hands its worker 0.8 of the time.

    Parameters
    ----------
    nanny : Nanny
        In this process.
    timeout_s : float
        How long its worker gets.
    """
    await nanny.close(timeout=timeout_s / _KILL_AFTER, reason="signal-15")

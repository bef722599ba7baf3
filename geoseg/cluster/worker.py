"""Worker: a Dask worker set up for blocks, and one that leaves in peace.

Each process has two threads, so that reading one block overlaps labelling another. When it has to leave (SIGTERM,
SIGINT, end of its lifetime), it takes no more work, finishes the block in hand or abandons it when its time is up, and
hands back the rest. So a machine that is called back costs no block and counts against none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Sequence
from typing import Any

import dask
from distributed import Nanny, Worker
from distributed.security import Security

from geoseg.cluster import compat
from geoseg.cluster.tls import full_address, is_loopback
from geoseg.errors import ClusterError

THREADS = 2
"""Dask threads of a worker process: one labels a block while the other reads the next."""
LEAVE_S = 20.0
"""Seconds that a block in hand gets to finish when its worker has to leave."""
_CLOSE_S = 4.0
"""Time that a worker needs to sign off."""
_log = logging.getLogger(__name__)


class BlockWorker(Worker):  # type: ignore[misc]
    """A worker that finishes the block in hand when it has to leave.

    Parameters
    ----------
    cores : sequence of int, optional
        CPU cores that the process may use; so many windows it labels at once.
    leave_s : float
        Time that a block in hand gets when the worker's lifetime is over; at a signal, its nanny sets it.
    """

    def __init__(self, *args: Any, cores: Sequence[int] = (), leave_s: float = LEAVE_S, **kwargs: Any) -> None:
        if cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)
        if kwargs.get("nanny"):
            # The nanny decides; batch systems signal every process of a job at once, and the nanny's own way to end a
            # worker that uses too much memory is SIGKILL, a moment after the SIGTERM that is ignored here.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._leave_s = leave_s
        super().__init__(*args, **kwargs)

    async def close_gracefully(self, restart: bool | None = None, reason: str = "worker-close-gracefully") -> None:
        """Leave; dask's own would drop the block in hand.

        Parameters
        ----------
        restart : bool, optional
            Whether the nanny starts another worker; default: as configured for the end of a lifetime.
        reason : str
            For the log.
        """
        if not compat.is_at_work(self):
            await super().close_gracefully(restart=restart, reason=reason)
            return
        await self._hand_over(self._leave_s)
        await self.close(nanny=not (compat.restarts(self) if restart is None else restart), reason=reason)

    async def close(  # type: ignore[override]
        self, timeout: float = 30, executor_wait: bool = True, nanny: bool = True, reason: str = "worker-close"
    ) -> str | None:
        """Close; at a signal, finish the block in hand first.

        Parameters
        ----------
        timeout : float
            Seconds until the nanny kills this process.
        executor_wait : bool
            Whether to wait for threads that are still at work.
        nanny : bool
            Whether the nanny ends too.
        reason : str
            For the log; by it a signal is known.
        """
        if compat.is_signal(reason) and compat.is_at_work(self):
            await self._hand_over(max(0.0, timeout - _CLOSE_S))
            timeout, executor_wait = 1, False
        closed: str | None = await super().close(
            timeout=timeout, executor_wait=executor_wait, nanny=nanny, reason=reason
        )
        return closed

    async def _hand_over(self, seconds: float) -> None:
        """Take no more work, wait for what is in hand and for its result to be fetched, and sign off."""
        deadline = time.monotonic() + seconds
        compat.takes_no_more(self)
        while compat.executing(self) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        abandoned = compat.executing(self)
        fetched = min(deadline, time.monotonic() + 2)
        while self.data and time.monotonic() < fetched:
            await asyncio.sleep(0.05)
        _log.warning("worker %s leaves and abandons %d blocks", self.address, abandoned)
        with contextlib.suppress(OSError, TimeoutError):
            await compat.retire(self, 2)


def start(
    address: str,
    *,
    workers: int = 1,
    gpus: Sequence[str] = (),
    threads: int | None = None,
    memory_bytes: int | None = None,
    security: Security | None = None,
    name: str | None = None,
    lifetime: str | None = None,
    leave_s: float = LEAVE_S,
    timeout_s: float = 60.0,
) -> None:
    """Run worker processes on this machine until a signal, the end of their lifetime or of their scheduler.

    Where the scheduler is on loopback, so are they; else they listen on all interfaces.

    SIGTERM and Ctrl-C: the block in hand is finished, or abandoned after `leave_s`, and the process is gone at most
    5 s later. A second signal ends it at once.

    Parameters
    ----------
    address : str
        Of the scheduler.
    workers : int
        Processes; they share the cores and the memory evenly.
    gpus : sequence of str
        CUDA devices; one process for each, which sees no other. Overrides `workers`.
    threads : int, optional
        Windows that each process labels at once on a CPU; default: its share of the cores.
    memory_bytes : int, optional
        Limit of each process; default: its share of the memory.
    security : Security, optional
        From `tls.certificates`.
    name : str, optional
        Default: the process's address.
    lifetime : str, optional
        Leave after this long, '55 minutes' say; for batch systems, a little less than the job's own limit.

    Raises
    ------
    ClusterError
        If no scheduler answers within `timeout_s`, or a worker cannot start.
    """
    security = security or Security()
    address = full_address(address, security)
    count = len(gpus) or workers
    settings: dict[str, Any] = {"distributed.nanny.pre-spawn-environ.MALLOC_ARENA_MAX": 2}
    if lifetime is not None:
        settings |= {"distributed.worker.lifetime.duration": lifetime, "distributed.worker.lifetime.stagger": "30s"}
    options = {
        "nthreads": THREADS,
        "memory_limit": memory_bytes or compat.memory_limit() // count,
        "security": security,
        "worker_class": BlockWorker,
        "death_timeout": timeout_s,
        "dashboard": False,
        "leave_s": leave_s,
        **({"host": "127.0.0.1"} if is_loopback(address) else {}),
    }
    each = [
        options
        | {"name": name if count == 1 or name is None else f"{name}-{i}", "cores": cores, "env": environment(i, gpus)}
        for i, cores in enumerate(shares(count, threads))
    ]
    with dask.config.set(settings):
        asyncio.run(_serve(address, each, leave_s, timeout_s))


def environment(index: int = 0, gpus: Sequence[str] = ()) -> dict[str, str]:
    """What a worker process finds in its environment; what the user has set there already stays.

    Parameters
    ----------
    index : int
        Of the process among those of this machine.
    gpus : sequence of str
        CUDA devices, one for each process.
    """
    own = {"GDAL_CACHEMAX": os.environ.get("GDAL_CACHEMAX", "256")}
    return own | ({"CUDA_VISIBLE_DEVICES": gpus[index]} if gpus else {})


def shares(count: int, threads: int | None = None) -> list[tuple[int, ...]]:
    """CPU cores of each process; they overlap only where there are fewer cores than processes.

    Parameters
    ----------
    count : int
        Processes.
    threads : int, optional
        Most cores of each; default: all that it gets.
    """
    if not hasattr(os, "sched_getaffinity"):
        return [()] * count
    mine = sorted(os.sched_getaffinity(0))
    size = max(1, len(mine) // count)
    size = size if threads is None else min(threads, size)
    return [tuple(mine[(i * size + k) % len(mine)] for k in range(size)) for i in range(count)]


async def _serve(address: str, each: Sequence[dict[str, Any]], leave_s: float, timeout_s: float) -> None:
    """Start nannies and wait for a signal or their end."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    nannies = [Nanny(address, **options) for options in each]
    try:
        await asyncio.wait_for(asyncio.gather(*nannies), timeout_s + 10)
    except (OSError, TimeoutError, RuntimeError) as error:
        await _close(nannies, 1)
        raise ClusterError(
            f"no worker could be started for {address} ({str(error) or type(error).__name__}); "
            "check the address, the certificates and that the scheduler runs"
        ) from error
    ended = asyncio.ensure_future(asyncio.gather(*(nanny.finished() for nanny in nannies)))
    await asyncio.wait([ended, asyncio.ensure_future(stopped.wait())], return_when=asyncio.FIRST_COMPLETED)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
    await _close(nannies, leave_s + _CLOSE_S)


async def _close(nannies: Sequence[Nanny], seconds: float) -> None:
    """Close nannies; each gives its worker so many seconds before it kills it."""
    await asyncio.gather(*(compat.close_as_by_signal(nanny, seconds) for nanny in nannies), return_exceptions=True)

"""Local: clusters on this machine alone; a process for each share of the cores, or for each GPU.

They listen on loopback, and take no connection without the certificate made for the run: loopback is open to every
account of a machine, and who reaches a scheduler can run code as its user. The certificate and its key are handed to
the worker processes through pipes and are on no disk, but for the moment in which OpenSSL reads them from a folder that
only this account can enter.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import dask
from distributed import Client, LocalCluster, Nanny, Scheduler, SpecCluster
from distributed.security import Security

from geoseg.cluster import worker
from geoseg.errors import ClusterError
from geoseg.process import cores

PATIENT_SCHEDULER = {"distributed.scheduler.allowed-failures": 10}
"""The map keeps count of lost workers itself; the scheduler's own count also takes in tasks that only stood by."""
PATIENCE_S = 300.0
"""How long to wait while none of these processes is there: nobody else can join."""
_READ_ONLY = [
    "distributed.http.scheduler.prometheus",
    "distributed.http.scheduler.info",
    "distributed.http.scheduler.json",
    "distributed.http.health",
    "distributed.http.statics",
]
"""Pages of the dashboard, which asks for no certificate: none that acts (http.scheduler.api), nor a proxy to others."""
_OURS = {**PATIENT_SCHEDULER, "distributed.worker.daemon": True, "distributed.scheduler.http.routes": _READ_ONLY}
_LOOPBACK = "127.0.0.1"
_TLS = "tls://"


@contextmanager
def cpu_cluster(workers: int, memory_bytes: int) -> Iterator[Client]:
    """A cluster on this machine, listening on loopback only, for processes with its certificate.

    Parameters
    ----------
    workers : int
        Processes, at least 1; each has two threads, so that reading one block overlaps labelling another.
    memory_bytes : int
        Limit of each process.

    Raises
    ------
    ClusterError
        If they cannot be started.
    """
    settings = {
        **_OURS,
        "distributed.admin.large-graph-warning-threshold": "100MB",
        "distributed.nanny.pre-spawn-environ.MALLOC_ARENA_MAX": 2,
    }
    with dask.config.set(settings), ExitStack() as stack:
        cluster = stack.enter_context(
            _started(
                LocalCluster,
                n_workers=workers,
                threads_per_worker=worker.THREADS,
                memory_limit=memory_bytes,
                processes=True,
                worker_class=functools.partial(Nanny, worker_class=worker.BlockWorker),  # Ctrl-C is for us, not them
                host=_LOOPBACK,
                protocol=_TLS,
                security=Security.temporary(),
                dashboard_address=f"{_LOOPBACK}:0",
                silence_logs=logging.CRITICAL,  # geoseg says itself what happens to workers
                env=worker.environment(),
            )
        )
        yield stack.enter_context(Client(cluster))


@contextmanager
def gpu_cluster(gpus: int, memory_bytes: int) -> Iterator[Client]:
    """A cluster on this machine with one process for each GPU, which sees no other; guarded like `cpu_cluster`.

    dask-cuda does it where it is installed.

    Parameters
    ----------
    gpus : int
        How many this process may use (torch.cuda.device_count()).
    memory_bytes : int
        Limit of each process's main memory.

    Raises
    ------
    ClusterError
        If there is none, or the processes cannot be started.
    """
    names = devices(gpus)
    if not names:
        raise ClusterError("no CUDA device is visible here; use a local cluster, or check nvidia-smi and torch")
    guard: dict[str, Any] = {"host": _LOOPBACK, "protocol": _TLS, "security": Security.temporary()}
    common = {**guard, "nthreads": worker.THREADS, "memory_limit": memory_bytes, "dashboard": False}
    common |= {"worker_class": worker.BlockWorker}
    workers = {
        i: {"cls": Nanny, "options": {**common, "env": worker.environment(i, names), "silence_logs": "CRITICAL"}}
        for i in range(len(names))
    }
    dashboard = f"{_LOOPBACK}:0"
    with dask.config.set(_OURS), ExitStack() as stack:
        if importlib.util.find_spec("dask_cuda"):
            theirs = _started(
                importlib.import_module("dask_cuda").LocalCUDACluster,
                CUDA_VISIBLE_DEVICES=",".join(names),
                threads_per_worker=worker.THREADS,
                memory_limit=memory_bytes,
                dashboard_address=dashboard,
                **guard,
            )
        else:
            scheduler = {"cls": Scheduler, "options": {**guard, "port": 0, "dashboard_address": dashboard}}
            shared = {"security": guard["security"], "silence_logs": logging.CRITICAL}
            theirs = _started(SpecCluster, workers=workers, scheduler=scheduler, **shared)
        yield stack.enter_context(Client(stack.enter_context(theirs)))


def _started(kind: Callable[..., Any], **options: Any) -> Any:
    """A cluster; whatever keeps its processes from starting becomes one sentence."""
    try:
        return kind(**options)
    except Exception as error:  # theirs to raise whatever they like
        cause = error.__cause__ or error
        raise ClusterError(
            f"the workers of this machine could not be started ({type(cause).__name__}: {cause}); check memory, "
            "limits (ulimit -a) and that packages are whole, or try --workers 0"
        ) from error


def devices(gpus: int) -> tuple[str, ...]:
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES has them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(i) for i in range(gpus)] if visible is None else [each.strip() for each in visible.split(",")]
    return tuple(names[:gpus])


def threads_per_worker(workers: int) -> int:
    """Windows that each of `workers` processes should label at once on this machine's CPU."""
    return max(1, cores() // max(1, workers))

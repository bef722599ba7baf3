"""Local: clusters on this machine alone, on loopback; a process for each share of the cores, or for each GPU."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import dask
from distributed import Client, LocalCluster, Nanny, Scheduler, SpecCluster

from geoseg.cluster import worker
from geoseg.errors import ClusterError

PATIENT_SCHEDULER = {"distributed.scheduler.allowed-failures": 10}
"""The map keeps count of lost workers itself; the scheduler's own count also takes in tasks that only stood by."""
_OURS = {**PATIENT_SCHEDULER, "distributed.worker.daemon": True}
_LOOPBACK = "127.0.0.1"


@contextmanager
def cpu_cluster(workers: int, memory_bytes: int) -> Iterator[Client]:
    """A cluster on this machine, listening on loopback only.

    Parameters
    ----------
    workers : int
        Processes, at least 1; each has two threads, so that reading one block overlaps labelling another.
    memory_bytes : int
        Limit of each process.
    """
    settings = {
        **_OURS,
        "distributed.admin.large-graph-warning-threshold": "100MB",
        "distributed.nanny.pre-spawn-environ.MALLOC_ARENA_MAX": 2,
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=worker.THREADS,
            memory_limit=memory_bytes,
            processes=True,
            worker_class=functools.partial(Nanny, worker_class=worker.BlockWorker),  # Ctrl-C is for us, not them
            host=_LOOPBACK,
            dashboard_address=f"{_LOOPBACK}:0",
            silence_logs=logging.ERROR,
            env=worker.environment(),
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def gpu_cluster(gpus: int, memory_bytes: int) -> Iterator[Client]:
    """A cluster on this machine with one process for each GPU, which sees no other; on loopback only.

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
        If there is none.
    """
    names = devices(gpus)
    if not names:
        raise ClusterError("no CUDA device is visible here; use a local cluster, or check nvidia-smi and torch")
    common = {"nthreads": worker.THREADS, "memory_limit": memory_bytes, "host": _LOOPBACK, "dashboard": False}
    common |= {"worker_class": worker.BlockWorker}
    workers = {
        i: {"cls": Nanny, "options": {**common, "env": worker.environment(i, names), "silence_logs": "ERROR"}}
        for i in range(len(names))
    }
    own_scheduler = {"host": _LOOPBACK, "port": 0, "dashboard_address": f"{_LOOPBACK}:0"}
    with dask.config.set(_OURS), ExitStack() as stack:
        if importlib.util.find_spec("dask_cuda"):
            theirs = importlib.import_module("dask_cuda").LocalCUDACluster(
                CUDA_VISIBLE_DEVICES=",".join(names),
                threads_per_worker=worker.THREADS,
                memory_limit=memory_bytes,
                host=_LOOPBACK,
                dashboard_address=f"{_LOOPBACK}:0",
            )
            cluster = stack.enter_context(theirs)
        else:
            scheduler = {"cls": Scheduler, "options": own_scheduler}
            cluster = stack.enter_context(SpecCluster(workers, scheduler, silence_logs=logging.ERROR))
        yield stack.enter_context(Client(cluster))


def devices(gpus: int) -> tuple[str, ...]:
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES has them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(i) for i in range(gpus)] if visible is None else [each.strip() for each in visible.split(",")]
    return tuple(names[:gpus])


def threads_per_worker(workers: int) -> int:
    """Windows that each of `workers` processes should label at once on this machine's CPU."""
    return max(1, cores() // max(1, workers))


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""Kinds: the ways to start a cluster or to reach one."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from distributed import Client, LocalCluster

from geoseg.errors import ClusterError

PATIENT_SCHEDULER = {"distributed.scheduler.allowed-failures": 10}
"""The map keeps count of dead workers itself; the scheduler's own count also takes in those that only stood by."""


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
        **PATIENT_SCHEDULER,
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

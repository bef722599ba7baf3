"""Clusters on this machine: on loopback, each process with its share, each GPU with a process."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.cluster import local
from geoseg.cluster.worker import BlockWorker
from geoseg.errors import ClusterError


def visible_device() -> str:
    return os.environ["CUDA_VISIBLE_DEVICES"]


def kind_of_worker(dask_worker: object) -> str:
    return type(dask_worker).__name__


def environment() -> tuple[str | None, str | None]:
    return os.environ.get("GDAL_CACHEMAX"), os.environ.get("MALLOC_ARENA_MAX")


def test_each_gpu_gets_a_process_that_sees_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    with local.gpu_cluster(2, 1_000_000_000) as client:
        assert sorted(client.run(visible_device).values()) == ["3", "5"]
        assert set(client.nthreads().values()) == {2}
        assert client.scheduler.address.startswith("tcp://127.0.0.1")


def test_no_gpu_is_an_error() -> None:
    with pytest.raises(ClusterError, match="no CUDA device"), local.gpu_cluster(0, 1_000_000_000):
        pass


@pytest.mark.parametrize(
    ("visible", "gpus", "names"),
    [
        (None, 3, ("0", "1", "2")),
        ("3,5", 2, ("3", "5")),
        ("3, 5 ,7", 2, ("3", "5")),
        ("GPU-8f", 1, ("GPU-8f",)),
        ("", 0, ()),
        (None, 0, ()),
    ],
)
def test_gpus_are_named_as_cuda_names_them(
    visible: str | None, gpus: int, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert local.devices(gpus) == names


@given(st.integers(0, 10_000))
def test_threads_of_all_workers_fit_the_cores_and_each_has_one(workers: int) -> None:
    threads = local.threads_per_worker(workers)
    assert threads >= 1
    assert threads == 1 or threads * workers <= local.cores() < (threads + 1) * max(1, workers)


def test_cores_are_those_that_this_process_may_use() -> None:
    assert local.cores() == len(os.sched_getaffinity(0)) <= (os.cpu_count() or 1)


def test_workers_are_set_up_for_blocks_and_the_scheduler_leaves_counting_to_the_map(tmp_path: Path) -> None:
    with local.cpu_cluster(1, 1_000_000_000) as client:
        assert set(client.run(kind_of_worker).values()) == {BlockWorker.__name__}
        assert set(client.nthreads().values()) == {2}
        assert set(client.run(environment).values()) == {(os.environ.get("GDAL_CACHEMAX", "256"), "2")}
        assert client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.allowed_failures) == 10
        limits = {each["memory_limit"] for each in client.scheduler_info()["workers"].values()}
    assert limits == {1_000_000_000}


@pytest.mark.slow
def test_a_cluster_on_this_machine_listens_on_loopback_alone() -> None:
    with local.cpu_cluster(1, 1_000_000_000) as client:
        addresses = {*listening(), *client.run(listening).popitem()[1], *client.run(listening, nanny=True).popitem()[1]}
    assert len(addresses) >= 4  # scheduler, dashboard, nanny, worker
    assert {host for host, _ in addresses} <= {"127.0.0.1", "::1"}


def listening() -> list[tuple[str, int]]:
    """Where this process listens, as the system has it."""
    found = psutil.Process().net_connections(kind="tcp")
    return [tuple(each.laddr) for each in found if each.status == psutil.CONN_LISTEN]

"""Preparation: workers count as ready once they have prepared themselves, each on its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from clusters import Processes, client_of, wait_until

from geoseg.cluster.preparation import Preparation, Prepare
from geoseg.errors import ClusterError, ModelError


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    all_of_them = Processes(tmp_path, warm=True)
    yield all_of_them
    all_of_them.end()


def count(folder: str) -> object:
    """Note that this process prepares itself; what it gives cannot be sent."""
    with (Path(folder) / str(os.getpid())).open("a") as file:
        file.write("once\n")
    return threading.Lock()


def fail() -> None:
    raise ModelError("no weights")


def lack() -> None:
    raise ModuleNotFoundError("No module named 'geoseg'", name="geoseg")


def test_without_anything_to_prepare_all_are_ready(processes: Processes) -> None:
    processes.scheduler()
    with client_of(processes, 0) as client:
        preparation = Preparation(client, None, 0, print, lambda: None)
        preparation.look(["tcp://a"], [])
        assert preparation.ready({"tcp://a": 2}) == {"tcp://a": 2}
        assert preparation.is_ready("tcp://a")
        assert not preparation.settle()
        assert preparation.seconds() == {}


def test_each_worker_prepares_itself_once_and_what_it_made_stays_there(processes: Processes, tmp_path: Path) -> None:
    processes.scheduler()
    processes.workers(2)
    woken = threading.Event()
    with client_of(processes, 2) as client:
        threads = client.nthreads()
        preparation = Preparation(client, partial(count, str(tmp_path)), 0, print, woken.set)
        assert preparation.ready(threads) == {}
        preparation.look(threads, [])
        assert preparation.seconds().keys() == threads.keys()
        assert woken.wait(20)
        wait_until(lambda: preparation.settle() or not preparation.seconds())
        wait_until(lambda: preparation.settle() or not preparation.seconds())
        preparation.look(threads, [])
        assert preparation.futures() == []
        assert preparation.ready(threads) == threads
        counts = [(tmp_path / str(pid)).read_text() for pid in client.run(os.getpid).values()]
        assert counts == ["once\n"] * 2
        wait_until(lambda: not client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)), 5)
        first = next(iter(threads))
        preparation.look([], [first])
        assert preparation.ready(threads).keys() == threads.keys() - {first}, "its address may be used again"


@pytest.mark.parametrize(
    ("prepare", "kind", "sentence"),
    [(fail, ModelError, "^no weights"), (lack, ClusterError, "^a worker lacks 'geoseg'; install the same geoseg")],
)
def test_what_the_first_workers_raise_is_raised(
    processes: Processes, prepare: object, kind: type[Exception], sentence: str
) -> None:
    processes.scheduler()
    processes.workers(1)
    with client_of(processes, 1) as client:
        preparation = Preparation(client, prepare, 0, print, lambda: None)  # type: ignore[arg-type]
        preparation.look(client.nthreads(), [])
        with pytest.raises(kind, match=sentence):
            wait_until(preparation.settle)


@pytest.mark.parametrize(("limit", "asked", "fits"), [("1.5GB", 2e9, False), ("1.5GB", 1.6e9, True), ("0", 2e12, True)])
def test_a_worker_with_less_memory_than_the_job_is_cut_for_is_refused(
    processes: Processes, tmp_path: Path, limit: str, asked: float, fits: bool
) -> None:
    processes.scheduler()
    processes.workers(1, "--memory-limit", limit)
    with client_of(processes, 1) as client:
        preparation = Preparation(client, Prepare(int(asked), partial(count, str(tmp_path))), 0, print, lambda: None)
        preparation.look(client.nthreads(), [])
        if fits:
            wait_until(preparation.settle)
            assert preparation.ready(client.nthreads()) == client.nthreads()
            return
        with pytest.raises(
            ClusterError, match=r"cut for workers with 2\.00 GB each, and worker tcp://\S+ has 1\.50 GB; start"
        ):
            wait_until(preparation.settle)

"""Which workers there are, and how those that are gone have left; asked of a real scheduler."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import Processes, client_of, pause, wait_until
from distributed import Client

from geoseg.cluster import workers as workers_module
from geoseg.cluster.workers import Workers
from geoseg.errors import ClusterError


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    all_of_them = Processes(tmp_path, warm=True)
    yield all_of_them
    all_of_them.end()


@pytest.fixture(autouse=True)
def always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """However short ago the last look was."""
    monkeypatch.setattr(workers_module, "LOOK_S", 0.0)


def next_gone(workers: Workers) -> str:
    """The one worker that leaves next."""
    gone: set[str] = wait_until(workers.look)
    (worker,) = gone
    return worker


def test_a_look_a_moment_after_another_asks_nobody(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "LOOK_S", 1000.0)
    processes.scheduler()
    with client_of(processes, 0) as client:
        workers = Workers(client, print)
        assert workers.look() == set()
        begin = time.monotonic()
        assert workers.look() is None
        assert time.monotonic() - begin < 0.01


@pytest.mark.slow
def test_a_worker_that_is_killed_is_told_from_one_that_leaves(processes: Processes) -> None:
    processes.scheduler()
    killed, _ = processes.workers(2)
    processes.workers(1, "--lifetime", "2s")
    with client_of(processes, 3) as client:
        workers = Workers(client, print)
        assert workers.look() == set()
        assert (workers.present, set(workers.running.values())) == (3, {1})
        os.kill(killed.pid, signal.SIGKILL)
        lost = next_gone(workers)
        assert not workers.left_in_peace(lost)
        assert not workers.out_of_memory(lost)
        assert workers.left_in_peace(next_gone(workers)), "its lifetime was over"
        (retired,) = workers.running
        client.retire_workers([retired])
        assert next_gone(workers) == retired
        assert workers.left_in_peace(retired)
        assert workers.present == 0


def test_an_address_that_is_used_again_starts_with_a_clean_record(processes: Processes) -> None:
    """The first worker at an address is retired, the second one killed."""
    processes.scheduler()
    processes.workers(1)
    with client_of(processes, 1) as client:
        (address,) = client.nthreads()
        workers = Workers(client, print)
        workers.look()
        client.retire_workers([address])
        assert next_gone(workers) == address
        assert workers.left_in_peace(address)
        second = processes.worker("--no-nanny", "--worker-port", address.rpartition(":")[2])
        wait_until(lambda: address in client.nthreads())
        workers.look()
        second.kill()
        assert next_gone(workers) == address
        assert not workers.left_in_peace(address)


def test_a_pause_is_noted_once_and_again_when_it_comes_back(processes: Processes) -> None:
    processes.scheduler()
    processes.workers(2)
    notes: list[str] = []
    with client_of(processes, 2) as client:
        workers = Workers(client, notes.append)
        workers.look()
        address = next(iter(workers.running))

        def seen(running: bool) -> bool:
            workers.look()
            return (address in workers.running) is running

        for pauses in (1, 2):
            client.run(pause, workers=[address])
            wait_until(lambda: seen(False))
            since = workers.paused_since[address]
            assert seen(False)
            assert workers.paused_since == {address: since}
            assert len(notes) == pauses
            client.run(pause, False, workers=[address])
            wait_until(lambda: seen(True))
            assert workers.paused_since == {}
    assert notes[0].startswith(f"worker {address} is paused: it uses 0.")
    assert "of its 2.00 GB" in notes[0]


@pytest.mark.slow
def test_a_worker_that_is_stopped_is_no_longer_heard_of(processes: Processes) -> None:
    processes.scheduler()
    processes.workers(2)
    with client_of(processes, 2) as client:
        pids = client.run(os.getpid)
        stopped, lively = sorted(pids)
        workers = Workers(client, print)
        assert workers.silent() == dict.fromkeys(pids, 0.0)
        os.kill(pids[stopped], signal.SIGSTOP)
        try:
            wait_until(lambda: workers.silent()[stopped] > 3.0)
            assert workers.silent()[lively] < 3.0
        finally:
            os.kill(pids[stopped], signal.SIGCONT)
        wait_until(lambda: workers.silent()[stopped] < 1.0)


@pytest.mark.slow
def test_a_scheduler_that_is_gone_is_one_sentence(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = processes.scheduler()
    with client_of(processes, 0) as client:
        monkeypatch.setattr(workers_module, "_ANSWER_S", 2.0)
        workers = Workers(client, print)
        workers.look()
        scheduler.kill()
        scheduler.wait()
        with pytest.raises(ClusterError, match=r"^the Dask scheduler was lost; what was finished is kept"):
            wait_until(lambda: workers.look() is None)


def test_a_closed_client_counts_as_a_lost_scheduler(processes: Processes) -> None:
    processes.scheduler()
    wait_until(processes.file.exists)
    with Client(processes.address, set_as_default=False) as client:
        workers = Workers(client, print)
    with pytest.raises(ClusterError, match="the Dask scheduler was lost"):
        workers.look()

"""What a cluster works on: who gets which task, and what becomes of it when workers join, stand still or are lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from clusters import Processes, client_of, gone, nap, pause, wait_until
from distributed import Client, LocalCluster

from geoseg.cluster import compat
from geoseg.cluster.mapper import map_over
from geoseg.cluster.tasks import Tasks
from geoseg.errors import ClusterError, ModelError


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    all_of_them = Processes(tmp_path, warm=True)
    yield all_of_them
    all_of_them.end()


def poison(item: int) -> int:
    if item == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return item


def greedy(item: int) -> int:
    if item == 3:
        held = []
        while True:
            held.append(bytearray(os.urandom(1000)) * 20_000)
            time.sleep(0.02)
    time.sleep(0.02)
    return item


def where(item: int) -> tuple[int, int]:
    time.sleep(0.05)
    return item, os.getpid()


def half_a_second(item: int) -> tuple[int, int]:
    time.sleep(0.5)
    return item, os.getpid()


def make_ready(folder: str, fails: bool) -> None:
    if fails:
        raise ModelError(f"the weights are not in {folder}")
    (Path(folder) / str(os.getpid())).touch()


@pytest.mark.slow
def test_late_worker_gets_work_and_each_item_gives_one_result(processes: Processes) -> None:
    processes.scheduler()
    processes.workers(1)
    with client_of(processes, 1) as client:
        results = map_over(client, gone)(where, range(160))
        first = next(results)
        processes.workers(1)
        both = [first, *results]
    assert sorted(item for item, _ in both) == list(range(160))
    shares = Counter(pid for _, pid in both)
    assert len(shares) == 2
    assert min(shares.values()) > 10


@pytest.mark.slow
def test_adaptive_cluster_grows_from_nothing_and_shrinks_again() -> None:
    quiet = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "silence_logs": "ERROR"}
    with LocalCluster(n_workers=0, threads_per_worker=1, **quiet) as grown, Client(grown) as client:
        grown.adapt(minimum=0, maximum=2, interval="500ms", target_duration="1s", wait_count=3)
        results = list(map_over(client, gone)(half_a_second, range(40)))
        assert sorted(item for item, _ in results) == list(range(40))
        assert len({pid for _, pid in results}) == 2
        wait_until(lambda: not client.nthreads())


@pytest.mark.slow
def test_worker_paused_for_memory_is_noted_and_passed_over(processes: Processes) -> None:
    processes.scheduler()
    processes.workers(2)
    notes: list[str] = []
    with client_of(processes, 2) as client:
        paused, _ = client.nthreads()
        client.run(pause, workers=[paused])
        wait_until(lambda: paused not in compat.thread_counts(client, 10)[1])
        results = list(map_over(client, gone, note=notes.append)(where, range(40)))
        pids = client.run(os.getpid)
    assert sorted(item for item, _ in results) == list(range(40))
    assert {pid for _, pid in results} == {pid for address, pid in pids.items() if address != paused}
    assert len(notes) == 1
    assert f"worker {paused} is paused: it uses 0." in notes[0]


def test_every_worker_is_prepared_before_its_first_item(processes: Processes, tmp_path: Path) -> None:
    processes.scheduler()
    processes.workers(2)
    with client_of(processes, 2) as client:
        bad = partial(make_ready, str(tmp_path), True)
        with pytest.raises(ModelError, match="the weights are not in"):
            list(map_over(client, gone, prepare=bad)(nap, range(5)))
        good = partial(make_ready, str(tmp_path), False)
        results = list(map_over(client, gone, prepare=good)(where, range(20)))
        assert client.run_on_scheduler(lambda dask_scheduler: [*dask_scheduler.worker_plugins]) == ["shuffle"]
    for _, pid in results:
        assert (tmp_path / str(pid)).exists()


@pytest.mark.slow
def test_poison_block_is_set_aside_after_three_workers_and_the_rest_finishes(processes: Processes) -> None:
    processes.scheduler()
    processes.workers(4)
    notes: list[str] = []
    with client_of(processes, 4) as client:
        results = list(map_over(client, gone, note=notes.append)(poison, range(30)))
    bad = [each for each in results if isinstance(each, tuple)]
    assert [item for item, _ in bad] == [7]
    assert "3 workers in turn" in bad[0][1]
    assert sorted(each for each in results if isinstance(each, int)) == [i for i in range(30) if i != 7]
    assert sum("died" in note for note in notes) == 3


@pytest.mark.slow
def test_block_that_needs_too_much_memory_is_set_aside_with_that_reason(processes: Processes) -> None:
    processes.scheduler()
    for _ in range(2):
        processes.worker("--memory-limit", "500MB")
    with client_of(processes, 2) as client:
        results = list(map_over(client, gone)(greedy, range(12)))
    (bad,) = (each for each in results if isinstance(each, tuple))
    assert bad[0] == 3
    assert bad[1].startswith("3 workers in turn")
    assert bad[1].endswith("for using too much memory")
    assert len(results) == 12


@pytest.mark.slow
def test_no_block_is_lost_while_workers_are_killed(processes: Processes) -> None:
    processes.scheduler()
    for _ in range(2):
        processes.worker()
    stop = threading.Event()
    kills = 0

    def killing(client: Client) -> None:
        nonlocal kills
        while not stop.wait(1.5):
            pids = list(client.run(os.getpid, on_error="ignore").values())
            if len(pids) > 1:
                os.kill(pids[kills % 2], signal.SIGKILL)
                kills += 1

    with client_of(processes, 2) as client:
        killer = threading.Thread(target=killing, args=(client,))
        killer.start()
        try:
            results = list(map_over(client, gone)(nap, range(200)))
        finally:
            stop.set()
            killer.join()
    assert sorted(results, key=str) == sorted(range(200), key=str)
    assert kills >= 2


def die_beside(folder: str, item: int) -> tuple[int, int]:
    """Item 3 kills its worker the first time, while others wait at the same worker."""
    first = Path(folder) / "killed"
    if item == 3 and not first.exists():
        first.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return item, os.getpid()


@pytest.mark.slow
def test_what_a_lost_worker_had_in_hand_is_retried_alone(processes: Processes, tmp_path: Path) -> None:
    """What was beside it is not done over and over, and nothing that was finished is done again."""
    processes.scheduler()
    processes.workers(2)
    notes: list[str] = []
    with client_of(processes, 2) as client:
        tasks = Tasks(client, partial(die_beside, str(tmp_path)), range(20), 0, notes.append)
        results = []
        most_alone = 0
        while tasks.advance():
            for worker in {each.worker for each in tasks.in_flight.values() if each.alone}:
                beside = [each for each in tasks.in_flight.values() if each.worker == worker]
                most_alone = max(most_alone, len(beside))
            results += tasks.results()
            assert not list(tasks.set_aside())
    assert sorted(item for item, _ in results) == list(range(20))
    assert most_alone == 1
    (note,) = notes
    assert "died with 2 blocks in hand" in note


@pytest.mark.slow
def test_a_worker_has_no_more_than_twice_its_threads_in_hand(processes: Processes) -> None:
    processes.scheduler()
    processes.workers(1)
    processes.worker("--no-nanny", "--nthreads", "3")
    taken = iter(range(100))
    with client_of(processes, 2) as client:
        threads = client.nthreads()
        tasks = Tasks(client, where, taken, 0, print)
        while tasks.advance():
            load = Counter(each.worker for each in tasks.in_flight.values())
            assert all(count <= 2 * threads[worker] for worker, count in load.items())
            tasks.results()
            if next(taken, None) is not None:
                assert sum(load.values()) == 8, "as long as there are items, both are full"


def test_tasks_of_a_stalled_worker_go_to_others(processes: Processes) -> None:
    processes.scheduler()
    still, _ = processes.workers(2)
    with client_of(processes, 2) as client:
        pids = client.run(os.getpid)
        tasks = Tasks(client, where, range(4), 0, print)
        os.kill(still.pid, signal.SIGSTOP)
        try:
            assert tasks.advance()
            results: list[Any] = []
            wait_until(lambda: results.extend(tasks.results()) or len(results) == 2)
            assert {each.worker for each in tasks.in_flight.values()} == {
                worker for worker, pid in pids.items() if pid == still.pid
            }
            tasks.send_again()
            while tasks.advance():
                results += tasks.results()
            assert sorted(item for item, _ in results) == list(range(4))
        finally:
            still.kill()


def test_nothing_stays_on_the_cluster_when_a_map_is_given_up(processes: Processes) -> None:
    processes.scheduler()
    processes.workers(1)
    with client_of(processes, 1) as client:
        tasks = Tasks(client, where, range(100), 0, print, partial(abs, 1))
        wait_until(lambda: tasks.advance() and tasks.in_flight)
        tasks.cancel()
        assert not tasks.in_flight
        wait_until(lambda: not client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)), 5)
        assert client.run_on_scheduler(lambda dask_scheduler: [*dask_scheduler.worker_plugins]) == ["shuffle"]


def test_a_worker_without_geoseg_is_said(processes: Processes) -> None:
    processes.scheduler()
    processes.workers(1)
    with client_of(processes, 1) as client:
        tasks = Tasks(client, lacking, range(1), 0, print)
        with pytest.raises(ClusterError, match="a worker lacks 'geoseg'; install the same geoseg and packages"):
            wait_until(lambda: tasks.advance() and tasks.results())


def lacking(item: int) -> int:
    raise ModuleNotFoundError("No module named 'geoseg'", name="geoseg")

"""The map over a cluster keeps its promises, with real schedulers and workers as processes of their own."""

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
from clusters import Processes, client_of, gone, nap, wait_until
from distributed import Client, LocalCluster
from distributed.core import Status

from geoseg.cluster.mapper import map_over
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


async def pause(dask_worker: Any) -> None:
    """What its memory manager does, and keeps it from taking that back."""
    dask_worker.memory_manager.memory_pause_fraction = False
    dask_worker.status = Status.paused


def same(item: int) -> int:
    return item


def make_ready(folder: str, fails: bool) -> None:
    if fails:
        raise ModelError(f"the weights are not in {folder}")
    (Path(folder) / str(os.getpid())).touch()


def hang_once(folder: str, item: int) -> int:
    first = Path(folder) / f"tried-{item}"
    if item == 2 and not first.exists():
        first.touch()
        time.sleep(600)
    return item


def hang(item: int) -> int:
    time.sleep(600)
    return item


def troubled(item: int) -> int:
    if item == 3:
        raise ValueError("item 3 is wrong")
    return item


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


def test_late_worker_gets_work_and_each_item_gives_one_result(processes: Processes) -> None:
    processes.scheduler()
    processes.workers(1)
    with client_of(processes, 1) as client:
        results = map_over(client, gone)(where, range(300))
        first = next(results)
        processes.workers(1)
        both = [first, *results]
    assert sorted(item for item, _ in both) == list(range(300))
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


def test_map_waits_for_a_first_worker_and_gives_up_after_its_patience(processes: Processes) -> None:
    processes.scheduler()
    notes: list[str] = []
    with client_of(processes, 0) as client:
        with pytest.raises(ClusterError, match="no worker joined the cluster in 1 s"):
            list(map_over(client, gone, patience_s=1, note=notes.append)(nap, range(5)))
        assert "no worker in the cluster" in notes[0]
        processes.workers(1)
        assert sorted(map_over(client, gone)(nap, range(5))) == list(range(5))


def test_lost_scheduler_ends_the_map_with_a_cluster_error(processes: Processes) -> None:
    scheduler = processes.scheduler()
    processes.workers(1)
    with client_of(processes, 1) as client:
        results = map_over(client, gone)(nap, range(10_000))
        next(results)
        scheduler.kill()
        begin = time.monotonic()
        with pytest.raises(ClusterError, match="scheduler was lost"):
            list(results)
        assert time.monotonic() - begin < 5


@pytest.mark.slow
def test_scheduler_that_hangs_is_given_up(processes: Processes) -> None:
    scheduler = processes.scheduler()
    processes.workers(1)
    with client_of(processes, 1) as client:
        results = map_over(client, gone)(nap, range(10_000))
        next(results)
        os.kill(scheduler.pid, signal.SIGSTOP)
        begin = time.monotonic()
        try:
            with pytest.raises(ClusterError, match="scheduler was lost"):
                list(results)
            assert time.monotonic() - begin < 30
        finally:
            os.kill(scheduler.pid, signal.SIGCONT)


def test_what_the_function_raises_is_raised(processes: Processes) -> None:
    processes.scheduler()
    processes.workers(1)
    with client_of(processes, 1) as client:
        with pytest.raises(ValueError, match="item 3 is wrong"):
            list(map_over(client, gone)(troubled, range(5)))
        results = map_over(client, gone)(nap, range(1000))
        next(results)
        results.close()
        wait_until(lambda: not client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)), 5)


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


def test_stalled_items_are_sent_again_and_at_last_given_up(processes: Processes, tmp_path: Path) -> None:
    processes.scheduler()
    processes.worker("--no-nanny", "--nthreads", "4")
    notes: list[str] = []
    with client_of(processes, 1) as client:
        assert len(list(map_over(client, gone)(same, range(8)))) == 8  # so that none is slow for its imports
        again = map_over(client, gone, stall_s=1, note=notes.append)
        assert sorted(again(partial(hang_once, str(tmp_path)), range(5))) == list(range(5))
        assert [note.partition(" in ")[0] for note in notes] == ["no block was finished"]
        assert notes[0].endswith("sending 1 again")
        with pytest.raises(ClusterError, match=r"no block was finished in .* by 1 workers, 0 of them paused"):
            list(map_over(client, gone, stall_s=1, note=notes.append)(hang, range(3)))


def test_worker_paused_for_memory_is_told_and_passed_over(processes: Processes) -> None:
    processes.scheduler()
    processes.workers(2)
    notes: list[str] = []
    with client_of(processes, 2) as client:
        paused, _ = client.nthreads()
        client.run(pause, workers=[paused])
        results = list(map_over(client, gone, note=notes.append)(where, range(40)))
        pids = client.run(os.getpid)
    assert sorted(item for item, _ in results) == list(range(40))
    assert {pid for _, pid in results} == {pid for address, pid in pids.items() if address != paused}
    assert len(notes) == 1
    assert f"worker {paused} is paused: it uses 0." in notes[0]


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

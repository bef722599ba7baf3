"""The map over a cluster keeps its promises, with real schedulers and workers as processes of their own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from clusters import Processes, client_of, gone, nap, wait_until

from geoseg.cluster.mapper import map_over
from geoseg.errors import ClusterError


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    all_of_them = Processes(tmp_path, warm=True)
    yield all_of_them
    all_of_them.end()


def same(item: int) -> int:
    return item


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
        with pytest.raises(ClusterError, match=r"no block was finished in .* by 1 workers?, 0 of them paused"):
            list(map_over(client, gone, stall_s=1, note=notes.append)(hang, range(3)))

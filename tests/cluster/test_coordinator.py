"""Coordinators: tasks that outlive their client, send work to their own cluster and outlive their workers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from clusters import Processes, client_of, gone, wait_until
from distributed import Client, Scheduler

from geoseg.cluster import coordinator
from geoseg.cluster.mapper import map_over
from geoseg.errors import ClusterError

KEY = coordinator.PREFIX + "job"


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    all_of_them = Processes(tmp_path, warm=True)
    yield all_of_them
    all_of_them.end()


def square(item: int) -> int:
    return item * item


def map_inside(folder: str) -> None:
    """A coordinator: maps over the cluster that it runs on."""
    with coordinator.inside() as client:
        results = sorted(map_over(client, gone)(square, range(10)))
    (Path(folder) / "results").write_text(str(results))


def wait_for(folder: str, name: str) -> None:
    """A coordinator: notes its process, and ends when a file is there."""
    with (Path(folder) / "pids").open("a") as noted:
        noted.write(f"{os.getpid()}\n")
    wait_until((Path(folder) / name).exists)


def lose_the_scheduler_once(folder: str) -> None:
    """A coordinator whose own map says that it cannot go on; the first time, its client is closed as well."""
    tried = Path(folder) / "tried"
    if tried.exists():
        (Path(folder) / "done").touch()
        return
    tried.touch()
    with coordinator.inside() as client:
        client.close()
        raise ClusterError("the Dask scheduler was lost")


def give_up(folder: str) -> None:
    """A coordinator whose map gives up on a cluster that is there."""
    with (Path(folder) / "tried").open("a") as tried, coordinator.inside():
        tried.write("once ")
        raise ClusterError("no block was finished")


def suspicions(dask_scheduler: Scheduler) -> int:
    return int(dask_scheduler.tasks[KEY].suspicious)


@pytest.mark.slow
def test_it_outlives_its_client_and_maps_over_its_own_cluster(processes: Processes, tmp_path: Path) -> None:
    """On one thread, which it leaves to what it sends."""
    processes.scheduler()
    processes.workers(1)
    with client_of(processes, 1) as client:
        coordinator.leave_running(client, "job", map_inside, str(tmp_path))
    wait_until((tmp_path / "results").exists)
    wait_until(lambda: (tmp_path / "results").read_text() == str([square(item) for item in range(10)]))


def test_a_name_is_taken_until_its_task_has_ended(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "_ENDING_S", 0.3)
    processes.scheduler()
    processes.workers(1)
    with client_of(processes, 1) as client:
        coordinator.leave_running(client, "job", wait_for, str(tmp_path), "go")
        with pytest.raises(ClusterError, match=r"a job called 'job' is on this cluster already; choose another --name"):
            coordinator.leave_running(client, "job", wait_for, str(tmp_path), "go")
        coordinator.leave_running(client, "another", wait_for, str(tmp_path), "go")
        (tmp_path / "go").touch()
        wait_until(lambda: not client.run_on_scheduler(coordinator._under_way, key=KEY))
        coordinator.leave_running(client, "job", map_inside, str(tmp_path))
        wait_until((tmp_path / "results").exists)


@pytest.mark.slow
def test_it_moves_on_however_often_its_worker_is_killed(processes: Processes, tmp_path: Path) -> None:
    """Dask gives a task up after 3 lost workers."""
    processes.scheduler()
    noted = tmp_path / "pids"

    def has_begun(times: int) -> bool:
        return noted.exists() and len(noted.read_text().split()) == times

    with client_of(processes, 0) as client:
        coordinator.leave_running(client, "job", wait_for, str(tmp_path), "go")
        for lives in range(1, 7):
            (worker,) = processes.workers(1)
            wait_until(partial(has_begun, lives))
            assert client.run_on_scheduler(suspicions) == 0
            if lives < 6:
                worker.kill()
                worker.wait()
        (tmp_path / "go").touch()
        wait_until(lambda: not client.run_on_scheduler(coordinator._under_way, key=KEY))


def test_it_starts_again_elsewhere_when_its_worker_is_leaving(processes: Processes, tmp_path: Path) -> None:
    processes.scheduler()
    processes.workers(1)
    with client_of(processes, 1) as client:
        coordinator.leave_running(client, "job", lose_the_scheduler_once, str(tmp_path))
        wait_until((tmp_path / "done").exists)


@pytest.mark.slow
def test_it_does_not_start_again_when_its_map_gave_up(processes: Processes, tmp_path: Path) -> None:
    processes.scheduler()
    processes.workers(1)
    with client_of(processes, 1) as client:
        coordinator.leave_running(client, "job", give_up, str(tmp_path))
        wait_until((tmp_path / "tried").exists)
        wait_until(lambda: not client.run_on_scheduler(coordinator._under_way, key=KEY))
        time.sleep(0.3)
    assert (tmp_path / "tried").read_text() == "once "


def test_it_goes_before_the_blocks_of_jobs_that_were_there(processes: Processes, tmp_path: Path) -> None:
    processes.scheduler()
    processes.workers(1)
    with client_of(processes, 1) as client:
        busy = client.map(time.sleep, [0.3] * 40, pure=False)
        coordinator.leave_running(client, "job", wait_for, str(tmp_path), "pids")
        wait_until(lambda: not client.run_on_scheduler(coordinator._under_way, key=KEY))
        assert sum(each.status == "finished" for each in busy) < 20
        client.cancel(busy)


def without_geoseg() -> None:
    """On a scheduler: as if geoseg were not installed there."""
    import sys

    sys.modules["geoseg.cluster.coordinator"] = None  # type: ignore[assignment]


def test_a_scheduler_without_geoseg_is_said(processes: Processes, tmp_path: Path) -> None:
    processes.scheduler()
    with client_of(processes, 0) as client:
        assert isinstance(client, Client)
        client.run_on_scheduler(without_geoseg)
        with pytest.raises(ClusterError, match=r"the scheduler lacks 'geoseg.*'; install the same geoseg"):
            coordinator.leave_running(client, "job", wait_for, str(tmp_path), "go")

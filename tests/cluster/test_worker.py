"""Workers: set up for blocks, and leaving in peace."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from clusters import Processes, gone, wait_until
from hypothesis import given
from hypothesis import strategies as st

from geoseg.cluster import kinds, worker
from geoseg.cluster.mapper import map_over
from geoseg.errors import ClusterError


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    all_of_them = Processes(tmp_path, warm=True)
    yield all_of_them
    all_of_them.end()


def has_ipv6() -> bool:
    """Whether something could listen on ::1."""
    try:
        with socket.socket(socket.AF_INET6) as listening:
            listening.bind(("::1", 0))
    except OSError:
        return False
    return True


def slow(item: int) -> tuple[int, int, float]:
    begin = time.time()
    time.sleep(1.0)
    return item, os.getpid(), begin


@pytest.mark.slow
def test_worker_at_a_signal_finishes_its_block_and_hands_over_the_rest(processes: Processes) -> None:
    processes.scheduler()
    command = ("-c", "from geoseg.cli import main; main()", "worker", processes.address)
    leaving, staying = (processes.start(*command, "--memory", "1GB") for _ in range(2))
    notes: list[str] = []
    with kinds.running(processes.address) as client:
        wait_until(lambda: len(client.nthreads()) == 2)
        results = map_over(client, gone, note=notes.append)(slow, range(16))
        done = [next(results)]
        os.kill(leaving.pid, signal.SIGTERM)
        signalled = time.time()
        done += results
    assert leaving.wait(timeout=25) == 0
    assert sorted(item for item, _, _ in done) == list(range(16))
    assert notes == [], "nothing was counted as a loss"
    finished_late = {pid for _, pid, begin in done if begin < signalled < begin + 1}
    assert len(finished_late) == 2, "both workers finished what they had in hand at the signal"
    assert len({pid for _, pid, begin in done if begin > signalled + 1}) == 1
    assert staying.poll() is None


@pytest.mark.slow
def test_worker_abandons_a_block_that_takes_too_long(processes: Processes) -> None:
    processes.scheduler()
    command = ("-c", "from geoseg.cli import main; main()", "worker", processes.address, "--leave", "0.5")
    process = processes.start(*command)
    with kinds.running(processes.address) as client:
        wait_until(client.nthreads)
        client.submit(time.sleep, 120, pure=False)
        time.sleep(0.5)
        os.kill(process.pid, signal.SIGTERM)
        begin = time.monotonic()
        assert process.wait(timeout=25) == 0
        assert time.monotonic() - begin < 10
        assert client.nthreads() == {}


def test_processes_share_the_cores() -> None:
    mine = sorted(os.sched_getaffinity(0))
    assert worker.shares(1) == [tuple(mine)]
    each = worker.shares(len(mine))
    assert sorted(core for cores in each for core in cores) == mine
    assert [len(cores) for cores in worker.shares(3, threads=1)] == [1, 1, 1]


def test_worker_command_refuses_what_it_cannot_start() -> None:
    command = [sys.executable, "-c", "from geoseg.cli import main; main()", "worker", "tcp://127.0.0.1:1"]
    said = subprocess.run([*command, "--memory", "much"], capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 2
    assert "give bytes with a unit" in said.stderr


@given(st.integers(1, 64), st.none() | st.integers(1, 64))
def test_every_process_has_cores_of_its_own_while_there_are_enough(count: int, threads: int | None) -> None:
    mine = sorted(os.sched_getaffinity(0))
    each = worker.shares(count, threads)
    assert len(each) == count
    assert all(1 <= len(cores) <= (threads or len(mine)) and set(cores) <= set(mine) for cores in each)
    used = [core for cores in each for core in cores]
    assert len(used) == len(set(used)) or count > len(mine)


def test_what_the_user_set_in_the_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    assert worker.environment() == {"GDAL_CACHEMAX": "256"}
    monkeypatch.setenv("GDAL_CACHEMAX", "64")
    assert worker.environment() == {"GDAL_CACHEMAX": "64"}
    assert worker.environment(1, ("0", "GPU-8f"))["CUDA_VISIBLE_DEVICES"] == "GPU-8f"


@pytest.mark.slow
def test_no_worker_without_a_scheduler() -> None:
    with pytest.raises(ClusterError, match=r"no worker could be started for tcp://127\.0\.0\.1:1 .*check the address"):
        worker.start("127.0.0.1:1", timeout_s=1.0)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.1.1", "tcp://[::1]"])
@pytest.mark.sampled(3)
def test_worker_of_a_scheduler_on_loopback_listens_there_alone(host: str, processes: Processes) -> None:
    """127.0.1.1 is what Debian calls the machine itself."""
    if "[" in host and not has_ipv6():
        pytest.skip("no IPv6 here")
    processes.scheduler("--host", host)
    process = processes.start("-c", "from geoseg.cli import main; main()", "worker", processes.address)
    with kinds.running(processes.address) as client:
        wait_until(client.nthreads)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    found = {each.laddr[0] for one in family for each in one.net_connections("tcp") if each.status == "LISTEN"}
    assert found == {"127.0.0.1"}

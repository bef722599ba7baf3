"""The map over a cluster keeps its promises, with real schedulers and workers as processes of their own."""

from __future__ import annotations

import itertools
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from clusters import Process, Processes, client_of, gone, nap, wait_until
from distributed import Client
from farm import small

from geoseg.cluster import liveness, tasks
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


@pytest.mark.slow
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


@pytest.mark.slow
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


# ---------------------------------------------------------------------- workers that stand still, from the beginning


@pytest.fixture
def attentive(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes half a minute is noticed within a second."""
    monkeypatch.setattr(tasks, "_QUIET_S", 0.5)
    monkeypatch.setattr(tasks, "_ASK_S", 0.3)


def prepare_in(folder: str, seconds: float = 0.0, only: int | None = None) -> None:
    """Say that preparing has begun, and take so long, or only in one process."""
    (Path(folder) / f"prepares-{os.getpid()}").touch()
    time.sleep(seconds if only in (None, os.getpid()) else 0)


def die_while_preparing(folder: str, only: int | None = None) -> None:
    prepare_in(folder)
    if only in (None, os.getppid()):
        os.kill(os.getpid(), signal.SIGKILL)


def stop(process: Process) -> None:
    os.kill(process.pid, signal.SIGSTOP)


def address_of(client: Client, process: Process) -> str:
    return next(address for address, pid in client.run(os.getpid).items() if pid == process.pid)


@pytest.mark.slow
@pytest.mark.parametrize("prepares", [False, True])
@pytest.mark.sampled(2)
def test_a_worker_stopped_before_its_first_block_is_passed_over(
    processes: Processes, tmp_path: Path, attentive: None, prepares: bool
) -> None:
    processes.scheduler()
    still, _ = processes.workers(2)
    notes: list[str] = []
    prepare = partial(prepare_in, str(tmp_path)) if prepares else None
    with client_of(processes, 2) as client:
        address = address_of(client, still)
        stop(still)
        begin = time.monotonic()
        try:
            mapped = map_over(client, gone, silent_s=2.0, note=notes.append, prepare=prepare)
            assert sorted(mapped(nap, range(12))) == list(range(12))
        finally:
            still.kill()
    assert time.monotonic() - begin < 15
    assert prepares or any(note.startswith(f"worker {address} has given no sign of life for") for note in notes)


@pytest.mark.parametrize("moment", ["before", "while it prepares"])
@pytest.mark.slow
def test_the_only_worker_standing_still_is_named_within_four_times_the_silence(
    processes: Processes, tmp_path: Path, attentive: None, moment: str
) -> None:
    processes.scheduler()
    (still,) = processes.workers(1)
    with client_of(processes, 1) as client:
        address = address_of(client, still)
        mapped = map_over(client, gone, silent_s=1.0, prepare=partial(prepare_in, str(tmp_path), 3.0))

        def stop_in_time() -> None:
            if moment != "before":
                wait_until(lambda: [*tmp_path.glob("prepares-*")])
            stop(still)

        stopping = threading.Thread(target=stop_in_time)
        stopping.start()
        begin = time.monotonic()
        sentence = f"^worker {re.escape(address)} has given no sign of life for [45] s, and there is no other; see"
        try:
            with pytest.raises(ClusterError, match=sentence):
                list(mapped(nap, range(5)))
        finally:
            stopping.join()
            still.kill()
        assert time.monotonic() - begin < 15


@pytest.mark.slow
def test_a_worker_that_hangs_while_it_prepares_is_passed_over_and_the_last_one_named(
    processes: Processes, tmp_path: Path
) -> None:
    processes.scheduler()
    hanging, _ = processes.workers(2)
    notes: list[str] = []
    with client_of(processes, 2) as client:
        address = address_of(client, hanging)
        prepare = partial(prepare_in, str(tmp_path), 600.0, hanging.pid)
        how = {"stall_s": 4.0, "note": notes.append}
        assert sorted(map_over(client, gone, prepare=prepare, **how)(nap, range(60))) == list(range(60))
        client.retire_workers([each for each in client.nthreads() if each != address])
        wait_until(lambda: len(client.nthreads()) == 1)
        sentence = f"^worker {re.escape(address)} has not been ready for 4 s, and there is no other"
        with pytest.raises(ClusterError, match=sentence):
            list(map_over(client, gone, prepare=prepare, **how)(nap, range(5)))
        hanging.kill()


@pytest.mark.slow
def test_a_worker_that_dies_again_and_again_while_it_prepares(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its nanny starts it anew each time. Others do the work; if there are none, that is said after a few deaths."""
    monkeypatch.setattr(liveness, "_LOSSES", -1)
    processes.scheduler()
    dying = processes.worker("--nanny")
    notes: list[str] = []
    with client_of(processes, 1) as client:
        mapped = map_over(client, gone, note=notes.append, prepare=partial(die_while_preparing, str(tmp_path)))
        with pytest.raises(
            ClusterError, match=r"^3 workers in turn died before they began a block, the last of them tcp"
        ):
            list(mapped(nap, range(5)))
        assert sum(note.endswith(" died before it was ready") for note in notes) == 3
        processes.workers(1)
        wait_until(lambda: len(client.nthreads()) == 2)
        mapped = map_over(client, gone, prepare=partial(die_while_preparing, str(tmp_path), dying.pid))
        assert sorted(mapped(nap, range(30))) == list(range(30))


def fail_late(folder: str) -> None:
    if (Path(folder) / "begun").exists():
        raise FileNotFoundError("the model folder is not there")


def begin_in(folder: str, item: int) -> int:
    (Path(folder) / "begun").touch()
    return nap(item)


@pytest.mark.slow
def test_a_worker_that_joins_later_and_cannot_prepare_itself_gets_nothing(processes: Processes, tmp_path: Path) -> None:
    processes.scheduler()
    processes.workers(1)
    notes: list[str] = []
    with client_of(processes, 1) as client:
        mapped = map_over(client, gone, note=notes.append, prepare=partial(fail_late, str(tmp_path)))
        items = itertools.takewhile(lambda _: not notes, itertools.count())  # there is work until the note comes
        results = mapped(partial(begin_in, str(tmp_path)), items)
        first = next(results)
        (late,) = processes.workers(1)
        wait_until(lambda: len(client.nthreads()) == 2)
        address = address_of(client, late)
        assert len([first, *results]) < 1000
    assert notes == [f"worker {address} gets no block, for it cannot prepare itself (the model folder is not there)"]


IMPATIENT = """
from geoseg.cluster import tasks
from geoseg.cluster.mapper import map_over
map_over.__kwdefaults__["silent_s"] = 1.0
tasks._QUIET_S, tasks._ASK_S = 0.5, 0.3
from geoseg.cli import main
main()
"""


@pytest.mark.slow
def test_a_run_whose_only_worker_stands_still_ends_with_status_75(
    processes: Processes, tmp_path: Path, model: Path
) -> None:
    made = small(tmp_path, model, 2, 2)
    processes.scheduler()
    (still,) = processes.workers(1)
    with client_of(processes, 1):
        stop(still)
    command = ("run", str(made.folder / "job.yaml"), "--scheduler", processes.address, "--out", str(made.out))
    run = processes.start("-c", IMPATIENT, *command)
    assert run.wait(40) == 75, processes.log(run)
    said = processes.log(run)
    assert "\nClusterError: worker tcp://127.0.0.1:" in said
    assert "and there is no other; see whether its machine is stopped" in said
    assert f"go on with: geoseg {' '.join(command)}" in said
    assert "Traceback" not in said

"""Late comers: a worker or a coordinator of a job that lost its folder, and goes on when its successor has finished.

A worker's block is committed at every moment of the successor's run; a coordinator is paused before each change that it
makes of the folder, and continued when its successor has published. Neither changes a finished map.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from clusters import Process, Processes, wait_until
from farm import plan_of, quiet, small
from small_jobs import SmallJob, contents

from geoseg.jobs import run as job_run
from geoseg.jobs.claim import claim
from geoseg.storage import lock
from geoseg.storage.store import Store

STEPS = ("blocks", "map", "style", "picture", "vectors")


def two_jobs(folder: Path, model: Path) -> tuple[SmallJob, SmallJob]:
    """Jobs of four blocks on the same lattice with other pixels; the second is to take the folder of the first over."""
    outputs = {"report": False, "quicklook": True, "vectors": ["fgb"]}
    first = small(folder, model, 2, 2, name="first", outputs=outputs)
    second = small(folder, model, 2, 2, name="second", outputs=outputs)
    second.imagery(scale=0.5)
    return first, second


def outputs_of(folder: Path) -> dict[str, bytes]:
    kept = ("blocks/", "log/", "job.json", "status.json", "outputs.json", "job.lock")
    return {name: data for name, data in contents(folder).items() if not name.startswith(kept)}


@pytest.mark.parametrize("when", [*STEPS, "at the end", "after it"])
@pytest.mark.sampled(9)
def test_a_late_block_of_an_overwritten_job_changes_nothing(tmp_path, model, when):
    first, second = two_jobs(tmp_path, model)
    quiet(first), quiet(second)
    wanted = outputs_of(second.folder / "quiet")
    plan, other, folder = plan_of(first), plan_of(second), str(tmp_path / "out")
    late: list[Callable[[], object]] = []

    def stopping(function: Any, items: Any) -> Any:
        for item in items:
            late.append(partial(function, item))
        yield function(items[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job_run.run(plan, folder, mapper=stopping)
    assert len(late) == 4

    def arrive() -> None:
        while late:
            late.pop()()

    def arriving(now: job_run.Progress) -> None:
        if now.step == when and (when != "blocks" or now.finished == 2):
            arrive()

    def at_the_end(function: Any, items: Any) -> Any:
        yield from map(function, items)
        if when == "at the end":
            arrive()

    summary = job_run.run(other, folder, overwrite=True, progress=arriving, mapper=at_the_end)
    assert outputs_of(Path(folder)) == wanted
    assert bool(summary.notes) == (when in ("blocks", "map", "at the end"))  # they were found damaged, and made again
    if when == "after it":
        arrive()
    job_run.run(other, folder)
    assert outputs_of(Path(folder)) == wanted


def begun(processes: Processes, folder: Path, at: int) -> Process:
    """A coordinator of a folder's job that stands still before its change number `at`."""
    return processes.start("-m", "interruptions", str(folder), str(at), "pause")


def stands_still(process: Process) -> bool:
    state = (
        Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] if process.poll() is None else "-"
    )
    return state in ("T", "-")


def check_pauses(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, pauses: Any) -> int:
    """Pause a coordinator before each of some changes; the last one tried, where it ended before it was paused."""
    first, second = two_jobs(tmp_path, model)
    quiet(first), quiet(second)
    plan, other = plan_of(first), plan_of(second)
    made, wanted = (outputs_of(each.folder / "quiet") for each in (first, second))
    processes = Processes(tmp_path, warm=True)
    monkeypatch.setattr(lock, "STALE_S", 0.4)
    try:
        for at in pauses:
            folder = tmp_path / f"out{at}"
            claim(plan, Store.at(folder))
            coordinator = begun(processes, folder, at)
            wait_until(partial(stands_still, coordinator))
            if coordinator.poll() is not None:
                return at
            time.sleep(0.5)  # its lock goes stale
            whole = made.items() <= outputs_of(folder).items()  # all but the last word on it was said
            job_run.run(other, folder, overwrite=True, threads=1)
            assert outputs_of(folder) == wanted
            os.kill(coordinator.pid, signal.SIGCONT)
            status = coordinator.wait(60)
            assert whole or status != 0, f"paused before change {at}: {processes.log(coordinator)}"
            assert outputs_of(folder) == wanted, f"paused before change {at}: {processes.log(coordinator)}"
            job_run.run(other, folder, threads=1)
            assert outputs_of(folder) == wanted, f"run again after a pause before change {at}"
    finally:
        processes.end()
    return at


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_coordinator_that_stood_still_before_any_change_publishes_nothing_any_more(tmp_path, model, monkeypatch):
    assert 40 < check_pauses(tmp_path, model, monkeypatch, range(1, 1000)) < 200

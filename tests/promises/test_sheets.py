"""Sheets made on a cluster: whatever becomes of workers and coordinators, the map is that of one process, bit for bit.

Real schedulers and workers; `faults` lets sheets take long, and kill the worker that makes them.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import faults
import pytest
from clusters import client_of, wait_until
from farm import Farm, events, plan_of
from small_jobs import SmallJob, contents

from geoseg.cluster.mapper import map_over
from geoseg.jobs import run as job_run
from geoseg.jobs.plan import Plan
from geoseg.storage import lock

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SHEETS = 6


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, model: Path) -> tuple[SmallJob, dict[str, bytes], Path]:
    """A job of three sheets of two rasters, what one process makes of it, and a folder with its blocks alone."""
    made = SmallJob.write(tmp_path_factory.mktemp("sheets") / "job", model, (40, 1100))
    outputs = {"sheet_pixels": 512, "confidence": True, "quicklook": True, "report": False}
    made.job(inference={"window": 64, "block": 256}, outputs=outputs)
    job_run.run(plan_of(made), made.folder / "whole", threads=1)
    (made.folder / "blocks").mkdir()
    shutil.copytree(made.folder / "whole/blocks", made.folder / "blocks/blocks")
    shutil.copy(made.folder / "whole/job.json", made.folder / "blocks")
    return made, outputs_of(made.folder / "whole"), made.folder / "blocks"


@pytest.fixture
def folder(begun: tuple[SmallJob, dict[str, bytes], Path], tmp_path: Path) -> Path:
    """A folder of the job in which only the sheets are to be made."""
    shutil.copytree(begun[2], tmp_path / "out")
    return tmp_path / "out"


def outputs_of(folder: Path) -> dict[str, bytes]:
    kept = ("blocks/", "log/", "job.json", "status.json", "outputs.json", "job.lock")
    return {name: data for name, data in contents(folder).items() if not name.startswith(kept)}


def made(folder: Path) -> int:
    """Sheets that stand finished and are not part of a map yet."""
    return sum(not path.name.endswith(".order.json") for path in folder.glob("sheets/*.json"))


def command(job: SmallJob, folder: Path, farm: Farm) -> tuple[str, ...]:
    return "-m", "faults", "run", str(job.folder / "job.yaml"), "--scheduler", farm.address, "--out", str(folder)


def over(client: object, plan: Plan) -> object:
    return map_over(client, job_run.lost(plan.digest))


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_makes_the_same_bytes(farm, begun, folder, workers):
    job, wanted, _ = begun
    plan = plan_of(job)
    farm.scale(workers)
    with client_of(farm, workers) as client:
        summary = job_run.run(plan, folder, mapper=over(client, plan))
    assert len(faults.sheet_attempts(folder)) == SHEETS
    assert outputs_of(folder) == wanted
    assert summary.progress.reused == summary.progress.total


def test_workers_that_die_in_a_sheet_lose_nothing(farm, begun, folder):
    job, wanted, _ = begun
    plan, notes = plan_of(job), []
    faults.plan_trouble(folder, sheet_kills=2)
    farm.scale(4)
    with client_of(farm, 4) as client:
        mapper = map_over(client, job_run.lost(plan.digest), note=notes.append)
        job_run.run(plan, folder, mapper=mapper)
    assert outputs_of(folder) == wanted
    assert not list(folder.rglob(".new-*"))
    died = [each for each in notes if "died with" in each]
    assert len(died) == 2
    assert all("sheet" in each and "block" not in each for each in died)
    assert SHEETS + 2 <= len(faults.sheet_attempts(folder)) <= SHEETS + 4  # a worker may have two in hand


def test_a_sheet_that_kills_every_worker_ends_the_run_in_one_sentence(farm, begun, folder):
    job, _, _ = begun
    faults.plan_trouble(folder, sheet_kills=1000)
    farm.scale(4)
    client = farm.start(*command(job, folder, farm))
    feeding = time.monotonic() + 120
    while client.poll() is None and time.monotonic() < feeding:
        farm.scale(4)
        time.sleep(0.5)
    assert client.wait(1) == 2, farm.log(client)
    assert "a sheet of the map could not be made, since its workers died" in farm.log(client)
    assert "Traceback" not in farm.log(client)
    assert not (folder / "map.vrt").exists()
    faults.plan_trouble(folder)
    job_run.run(plan_of(job), folder, threads=1)
    assert outputs_of(folder) == begun[1]


def test_a_killed_coordinator_goes_on_with_the_sheets_that_were_made(farm, begun, folder):
    job, wanted, _ = begun
    faults.plan_trouble(folder, sheet_sleep=0.5)
    farm.scale(1)
    kept = 0
    for wanted_more in (1, 2):
        client = farm.start(*command(job, folder, farm))
        wait_until(lambda more=wanted_more: made(folder) >= more)
        client.kill()
        client.wait()
        kept = made(folder)
        assert not (folder / "map.vrt").exists()
    assert kept >= 2
    before = len(faults.sheet_attempts(folder))
    client = farm.start(*command(job, folder, farm))
    assert client.wait(120) == 0, farm.log(client)
    assert outputs_of(folder) == wanted
    assert not (folder / "sheets").exists()
    assert len(faults.sheet_attempts(folder)) - before <= SHEETS - kept
    assert not list(folder.rglob(".new-*"))


@pytest.mark.parametrize("how", ["slow", "stopped"])
def test_a_late_sheet_of_an_overwritten_job_changes_nothing(farm, begun, folder, tmp_path, model, monkeypatch, how):
    job, _, _ = begun
    other = SmallJob.write(tmp_path / "other", model, (40, 1100))
    other.save("job.yaml", job.load("job.yaml"))
    other.imagery(scale=0.5)
    successor = plan_of(other)
    job_run.run(successor, other.folder / "whole", threads=1)
    wanted = outputs_of(other.folder / "whole")
    assert wanted != begun[1]
    faults.plan_trouble(folder, sheets_wait=True)
    (worker,) = farm.scale(1)
    client = farm.start(*command(job, folder, farm))
    wait_until(lambda: list(folder.glob("sheets/.new-*/sheets/*.tif")))
    if how == "stopped":
        os.kill(worker.pid, signal.SIGSTOP)
    client.kill()
    client.wait()
    monkeypatch.setattr(lock, "STALE_S", 0.4)
    late = faults.sheet_attempts(folder)
    job_run.run(successor, folder, overwrite=True, threads=1)
    assert outputs_of(folder) == wanted
    faults.let_sheets_go(folder)
    if how == "stopped":
        os.kill(worker.pid, signal.SIGCONT)
    wait_until(lambda: len(faults.sheet_ends(folder)) >= len(late), 120)
    ends = faults.sheet_ends(folder)
    assert all(each.startswith(("LedgerError: ", "RasterError: ", "damaged")) for each in ends), ends
    assert outputs_of(folder) == wanted
    job_run.run(successor, folder, threads=1)
    assert outputs_of(folder) == wanted


def test_blocks_that_a_worker_finds_damaged_are_made_again_in_the_same_run(farm, begun, folder):
    job, wanted, _ = begun
    plan = plan_of(job)
    hurt = sorted((folder / "blocks").glob("*_labels.tif"))[2]

    def damage(now: job_run.Progress) -> None:
        if now.step == "map" and not list(folder.glob("sheets/*")):
            hurt.write_bytes(hurt.read_bytes()[:-9])

    farm.scale(2)
    with client_of(farm, 2) as client:
        summary = job_run.run(plan, folder, mapper=over(client, plan), progress=damage)
    assert len(summary.notes) == 1
    assert "has changed since it was written" in summary.notes[0]
    assert len(events(folder, "damaged")) == 1
    assert outputs_of(folder) == wanted


def test_the_command_makes_sheets_on_workers_of_its_own(begun, folder):
    job, wanted, _ = begun
    hurt = sorted((folder / "blocks").glob("*_confidence.tif"))[1]
    hurt.unlink()
    from small_jobs import process

    said = process("run", job.folder / "job.yaml", "--workers", "2", "--out", folder)
    assert said.code == 0, said
    assert outputs_of(folder) == wanted

"""A farm: a scheduler with workers that can be troubled, and the small jobs that are run on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clusters import Process, Processes
from distributed import Client
from small_jobs import SmallJob

from geoseg.jobs import resolve
from geoseg.jobs import run as job_run
from geoseg.jobs import spec as job_spec
from geoseg.jobs import status as job_status
from geoseg.jobs.plan import Plan
from geoseg.storage import journal, ledger
from geoseg.storage.store import Store

EDGE = 16
"""Of a block in pixels."""


class Farm(Processes):
    """A scheduler, and workers that make the trouble planned in `faults`; each is a process that can be killed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, warm=True)
        self.alive: list[Process] = []
        self.scheduler_process = self.scheduler()

    def scale(self, count: int) -> list[Process]:
        """Exactly so many workers; those that died are replaced."""
        self.alive = [each for each in self.alive if each.poll() is None]
        for each in self.alive[count:]:
            each.kill()
            each.wait()
        self.alive = self.alive[:count]
        while len(self.alive) < count:
            name = f"farm-{len(self.all)}"
            self.alive.append(self.worker("--no-nanny", "--preload", "faults", "--memory-limit", "4GB", "--name", name))
        return list(self.alive)

    def joined(self, client: Client) -> list[Process]:
        """The workers that the scheduler knows of."""
        names = {each["name"] for each in client.scheduler_info(n_workers=-1)["workers"].values()}
        return [each for each in self.alive if f"farm-{self.all.index(each)}" in names and each.poll() is None]


def small(folder: Path, model: Path, rows: int, cols: int, name: str = "job", **keys: object) -> SmallJob:
    """A job of rows x cols blocks in a folder of its own."""
    made = SmallJob.write(folder / name, model, (rows * EDGE, cols * EDGE))
    made.job(**{"inference": {"block": EDGE}, **keys})
    return made


def plan_of(made: SmallJob) -> Plan:
    """What the job resolves to."""
    return resolve.resolve(job_spec.read(made.folder / "job.yaml"))


def quiet(made: SmallJob) -> bytes:
    """The map of a run without trouble, one block after another."""
    summary = job_run.run(plan_of(made), made.folder / "quiet", threads=1)
    assert not summary.failed
    return (made.folder / "quiet/map.tif").read_bytes()


def check_whole(made: SmallJob, wanted: bytes) -> None:
    """The map is the wanted one, and each block has one record and one file."""
    plan, store = plan_of(made), Store.at(made.out)
    assert (made.out / "map.tif").read_bytes() == wanted
    known, damaged = ledger.records(store, plan.digest)
    assert sorted(known) == sorted(plan.blocks())
    assert not damaged
    assert {each.state for each in known.values()} == {"done"}
    assert len(list(store.names("blocks"))) == 2 * len(known)
    assert job_status.status(store).state == "finished"


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Lines of one kind in a job's log."""
    return [dict(line) for line in journal.read_log(Store.at(folder)) if line["event"] == kind]

"""Pipeline: the story of a run. Claim the folder, find what is missing, make it, put the map together.

The two heavy engines are arguments: `predict` labels pixels, `mapper` spreads blocks. With Python's own `map`
the run is serial, and that run is the reference which any cluster must equal, bit for bit.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from geoseg import blocks, ledger, outputs
from geoseg.errors import JobError, LedgerError, PredictionError
from geoseg.ledger import Record
from geoseg.plan import Plan, Predict
from geoseg.store import Store
from geoseg.windows import Window

Mapper = Callable[[Callable[[Window], Record], Iterable[Window]], Iterable[Record]]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands."""

    total: int
    """Blocks that can hold a label."""
    reused: int
    """Blocks that were finished before this run."""
    finished: int
    """Blocks of this run that are done or empty."""
    failed: int
    """Blocks of this run that failed."""
    pixels: int
    """Pixels labelled in this run."""
    seconds: float
    """Since the first block of this run was sent."""
    step: str = "blocks"
    """What is going on: 'blocks', or the name of an output."""

    @property
    def rate(self) -> float:
        """Megapixels labelled per second."""
        return self.pixels / 1e6 / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did."""

    folder: str
    progress: Progress
    failed: tuple[Record, ...]
    """Blocks that are nodata because they could not be made."""
    notes: tuple[str, ...]
    outputs: tuple[str, ...]
    """Names of the files that stand in the folder, in the order they were written."""
    kept: tuple[str, ...] = ()
    """Those of them that an earlier run had finished already."""


def run(
    plan: Plan,
    folder: Path | str,
    *,
    predict: Predict | None = None,
    mapper: Mapper = map,
    threads: int | None = None,
    overwrite: bool = False,
    strict: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Summary:
    """Run a job, or go on with it: what stands finished in the folder is checked and kept.

    Parameters
    ----------
    plan : Plan
        From `plan.resolve`.
    folder : path
        The job folder.
    predict : callable, optional
        (band, row, col) float32 with NaN for no data -> (row, col) labels; default: the plan's own network.
    mapper : callable
        Like the builtin `map`; results may come in any order.
    threads : int, optional
        Windows labelled at once in each process, on a CPU.
    overwrite : bool
        Drop another job's blocks from the folder.
    strict : bool
        Stop at the first block that fails.
    progress : callable
        Told of each block and each output.

    Returns
    -------
    Summary

    Raises
    ------
    GeosegError
        If the folder is another job's or in use, or cannot be written.
    """
    store = Store(str(Path(folder).absolute()))
    _check_apart(plan, Path(store.root))
    check_space(plan, Path(store.root))
    with ledger.lock(store):
        ledger.claim(store, _job(plan), overwrite=overwrite)
        known, damaged = ledger.records(store, plan.digest)
        done, now = _make(
            plan, store, known, mapper, blocks.task(store.root, plan.digest, predict, threads), strict, progress
        )
        written, kept = outputs.write(plan, store, done, lambda step: progress(replace(now, step=step)))
    failed = tuple(each for each in done if each.state == "failed")
    return Summary(store.root, now, failed, (*plan.notes, *damaged), written, kept)


def lost(digest: str) -> Callable[[Window, str], Record]:
    """Makes the record of a block whose work killed its workers; not committed, so a later run tries again."""

    def record(window: Window, why: str) -> Record:
        return Record(window, "failed", digest, error=f"the worker died while it made this block: {why}"[:300])

    return record


def _make(
    plan: Plan,
    store: Store,
    known: dict[Window, Record],
    mapper: Mapper,
    work: Callable[[Window], Record],
    strict: bool,
    progress: Callable[[Progress], None],
) -> tuple[Sequence[Record], Progress]:
    wanted = list(plan.blocks())
    done = {window: known[window] for window in wanted if window in known and known[window].state != "failed"}
    missing = [window for window in wanted if window not in done]
    now = Progress(len(wanted), len(done), 0, 0, 0, 0.0)
    progress(now)
    begin = time.monotonic()
    for record in mapper(work, missing):
        done[record.window] = record
        bad = record.state == "failed"
        if bad and strict:
            raise PredictionError(f"block {_place(record.window)} failed: {record.error} (--strict stops here)")
        now = replace(
            now,
            finished=now.finished + (not bad),
            failed=now.failed + bad,
            pixels=now.pixels + record.window.pixels,
            seconds=time.monotonic() - begin,
        )
        progress(now)
    return [done[window] for window in wanted], now


def _job(plan: Plan) -> dict[str, object]:
    return {"digest": plan.digest, "facts": json.loads(json.dumps(plan.facts)), "plan": plan.to_json()}


def _place(window: Window) -> str:
    return f"at row {window.row}, column {window.col}"


def _check_apart(plan: Plan, folder: Path) -> None:
    """Refuse to write among the imagery."""
    for file in plan.files:
        if Path(file).is_relative_to(folder):
            raise JobError(f"the output folder {folder} holds the imagery {file}; choose another folder with --out")


def check_space(plan: Plan, folder: Path) -> None:
    """Refuse a job whose output cannot fit; half a byte a pixel and 20 MB is what maps compress to at worst, nearly.

    Raises
    ------
    LedgerError
        If the disk has less than that.
    """
    place = folder
    while not place.exists():
        place = place.parent
    need = plan.layout.extent.pixels // 2 + 20_000_000
    free = shutil.disk_usage(place).free
    if free < need:
        raise LedgerError(
            f"no space left: the map may need {need / 1e9:.2f} GB and {place} has {free / 1e9:.2f} GB free; "
            "free some space or choose another folder with --out"
        )

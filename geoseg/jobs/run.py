"""Run: claim the folder, find what is missing, make it, put the map together.

The two heavy engines are arguments: `predict` labels pixels, `mapper` spreads blocks. With Python's own `map`
the run is serial, and that run is the reference which any cluster must equal, bit for bit.
"""

from __future__ import annotations

import math
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from geoseg import imagery
from geoseg.errors import CancelledError, ClusterError, DamagedBlocksError, GeosegError, LedgerError, PredictionError
from geoseg.grid import Window, cut
from geoseg.jobs import block as job_block
from geoseg.jobs import forecast, outputs
from geoseg.jobs.claim import claim
from geoseg.jobs.engines import Mapper, Predict
from geoseg.jobs.performance import Performance, Tally
from geoseg.jobs.plan import Plan, pixel_size
from geoseg.storage import ledger, lock
from geoseg.storage.journal import CANCEL, Journal, Status
from geoseg.storage.ledger import Gathered
from geoseg.storage.record import Record
from geoseg.storage.store import Store

_LOOK_S = 2.0
_REPAIRS = 3
"""How often blocks that were damaged before they were stitched are made again in one run."""
Spread = Callable[[Iterable[Window]], Iterable[Record]]
"""Makes blocks, in any order."""


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
    performance: Performance | None = None
    """How fast this run was; None where it labelled nothing."""


def run(
    plan: Plan,
    folder: Path | str,
    *,
    predict: Predict | None = None,
    mapper: Mapper[Window, Record] = map,
    threads: int | None = None,
    overwrite: bool = False,
    strict: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    resident: bool = False,
) -> Summary:
    """Run a job, or go on with it: what stands finished in the folder is checked and kept.

    Finished blocks are kept also where the job is cut into others now, as when it has less memory than before.

    Parameters
    ----------
    plan : Plan
        From `resolve.resolve`.
    folder : path
        The job folder.
    predict : callable, optional
        What labels pixels, see `engines.Predict`; default: the plan's own network.
    mapper : callable
        Like the builtin `map`; results may come in any order. Where it is also `engines.Elsewhere`, it makes the sheets
        of a map that has several, too.
    threads : int, optional
        Windows labelled at once in each process, on a CPU.
    overwrite : bool
        Drop another job's blocks from the folder.
    strict : bool
        Stop at the first block that fails.
    progress : callable
        Called after each block and before each output.
    resident : bool
        The run goes on by itself on a cluster: where the cluster is lost it will start again, and a request to cancel
        that came before it began counts.

    Returns
    -------
    Summary

    Raises
    ------
    ImageryChangedError
        If a file of the imagery changed since the job was planned; what was made of the old one is kept.
    GeosegError
        If the folder is another job's or in use, or cannot be written.
    """
    store, begin = Store.at(folder), time.time()
    task = job_block.task(store.root, plan, predict, threads, run=uuid.uuid4().hex[:8])
    spread = partial(mapper, task)
    elsewhere: Any = mapper if hasattr(mapper, "of") else None
    with lock.hold(store) as check_held:
        claim(plan, store, overwrite=overwrite)
        store.sweep(math.inf)  # what others left unfinished, who may only have stood still
        with _journal(store, resident, check_held) as journal:
            known, damaged = ledger.records(store, plan.digest)
            for sentence in damaged:
                journal.event("damaged", what=sentence)
            going = _Run(plan, journal, progress, strict, check_held)
            with _rolling(store) as roll:
                done = going.gather(known)
                going.make(spread, done, roll)
                for attempt in range(_REPAIRS + 1):
                    imagery.check_unchanged(plan.scene)
                    try:
                        written, kept = outputs.write(
                            plan, store, done, going.counts, going.step, check_held, elsewhere
                        )
                        break
                    except DamagedBlocksError as error:
                        if attempt == _REPAIRS or not error.windows:
                            raise
                        damaged.append(str(error))
                        going.repair(spread, done, roll, error)
            store.sweep(begin)
            performance = going.performance(begin)
            failed = tuple(each for each in done if each.state == "failed")
            journal.close("failed blocks" if failed else "finished")
    return Summary(store.root, going.now, failed, (*plan.notes, *damaged), written, kept, performance)


def finished(plan: Plan, known: Mapping[Window, Record]) -> list[Window]:
    """Blocks that need not be made again: done or empty, and none over another, whatever the cutting they come from.

    Where two overlap, which happens when a run ended amid blocks of another cutting, the larger one counts; both hold
    the same pixels.

    Parameters
    ----------
    plan : Plan
        The job.
    known : mapping
        Records of this job's blocks.
    """
    edge = plan.layout.block
    chosen: dict[tuple[int, int], list[Window]] = {}
    found = []
    windows = [window for window, record in known.items() if record.state != "failed"]
    for window in sorted(windows, key=lambda each: (-each.pixels, each)):
        beside = [chosen.setdefault((square.row, square.col), []) for square in cut(window, edge)]
        if any(window.meet(other) for others in beside for other in others):
            continue
        for others in beside:
            others.append(window)
        found.append(window)
    return found


def lost(digest: str) -> Callable[[Window, str], Record]:
    """Makes the record of a block whose work killed its workers; not committed, so a later run tries again."""

    def record(window: Window, why: str) -> Record:
        return Record(window, "failed", digest, error=f"the worker died while it made this block: {why}"[:300])

    return record


class _Run:
    """A run as it goes: counts what comes back, and keeps the journal and the caller informed."""

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        progress: Callable[[Progress], None],
        strict: bool,
        check_held: Callable[[], None],
    ) -> None:
        self.now = Progress(0, 0, 0, 0, 0, 0.0)
        self.counts: Counter[int] = Counter()
        """Pixels of each class so far."""
        self._tally = Tally(math.prod(pixel_size(plan.grid, plan.layout.extent)))
        self._status = Status("running")
        self._plan = plan
        self._journal = journal
        self._progress = progress
        self._strict = strict
        self._check_held = check_held
        self._begin = time.monotonic()
        self._looked = -_LOOK_S

    def gather(self, known: MutableMapping[Window, Record]) -> Gathered:
        """The blocks of the run, those finished before with their records; `known` empties."""
        kept = finished(self._plan, known)
        missing = self._plan.blocks(kept)
        done = Gathered(self._plan.digest, sorted([*kept, *missing]))
        for window in kept:
            record = known.pop(window)
            self.counts.update(record.counts)
            done.put(record)
        known.clear()
        return done

    def make(self, spread: Spread, done: Gathered, roll: ledger.Roll) -> None:
        """Make the blocks that are missing."""
        missing = done.missing()
        self._inform(Progress(len(done), len(done) - len(missing), 0, 0, 0, 0.0))
        self._begin = time.monotonic()
        self._look_around()
        for record in spread(missing):
            self._take(record)
            self.counts.update(record.counts)
            done.put(record)
            roll.add(record)
            self._look_around()
        self._check_held()

    def repair(self, spread: Spread, done: Gathered, roll: ledger.Roll, error: DamagedBlocksError) -> None:
        """Make blocks again that are not what was written; their pixels were counted before."""
        self._journal.event("damaged", what=str(error))
        for record in spread(error.windows):
            self._check_held()
            if record.state == "failed":
                raise error
            done.put(record)
            roll.add(record)

    def performance(self, begin: float) -> Performance | None:
        """What the run took that began at a time (s since 1970), beside what was foretold; its status says it too."""
        if not self.now.pixels:
            return None
        found = self._tally.performance(self.now.pixels, self.now.seconds, time.time() - begin)
        found = replace(found, forecast=None if self.now.reused else forecast.recalled(self._plan))
        self._journal.set_status(replace(self._status, performance=found.facts))
        return found

    def step(self, name: str) -> None:
        """Say that an output is being written; raises where the folder is no longer ours."""
        self._check_held()
        self._journal.event("output", name=name)
        self._inform(replace(self.now, step=name))

    def _take(self, record: Record) -> None:
        bad, window = record.state == "failed", record.window
        self._journal.event(
            "block",
            block=[window.row, window.col],
            state=record.state,
            attempts=record.attempts,
            worker=record.worker,
            seconds=dict(record.seconds),
            bytes=record.bytes,
            device=dict(record.device),
            **({"batch": record.batch} if record.batch else {}),
            **({"error": record.error} if bad else {}),
        )
        self._tally.add(record)
        if bad and self._strict:
            raise PredictionError(f"block {_position(window)} failed: {record.error} (--strict stops here)")
        self._inform(
            replace(
                self.now,
                finished=self.now.finished + (not bad),
                failed=self.now.failed + bad,
                pixels=self.now.pixels + sum(record.counts.values()),
                seconds=time.monotonic() - self._begin,
            )
        )

    def _look_around(self) -> None:
        """Stop where the folder is no longer ours, or someone asked for it."""
        if time.monotonic() - self._looked > _LOOK_S:
            self._looked = time.monotonic()
            self._check_held()
            if self._journal.cancelled():
                raise CancelledError("the job was cancelled; what was finished is kept")

    def _inform(self, now: Progress) -> None:
        self.now = now
        ahead, made = now.total - now.reused - now.finished - now.failed, now.finished + now.failed
        finishing = now.step != "blocks"
        self._status = Status(
            "finishing" if finishing else "running",
            total=now.total,
            done=now.reused + now.finished,
            failed=now.failed,
            rate=round(now.rate, 3),
            eta_s=round(now.seconds / made * ahead, 1) if made else None,
            step=now.step if finishing else "",
            performance=self._tally.performance(now.pixels, now.seconds, now.seconds).facts if now.pixels else {},
        )
        self._journal.set_status(self._status, now=finishing or not made)
        self._progress(now)


@contextmanager
def _journal(store: Store, resident: bool, check_held: Callable[[], None]) -> Iterator[Journal]:
    if not resident:
        store.drop(CANCEL)
    journal = Journal(store, check_held)
    try:
        with journal.recording_warnings("geoseg.cluster"):
            yield journal
    except BaseException as error:
        state = "cancelled" if isinstance(error, CancelledError) else "stopped"
        state = "submitted" if resident and isinstance(error, ClusterError) else state
        sentence = "stopped by the user" if isinstance(error, KeyboardInterrupt) else job_block.reason(error)
        with suppress(LedgerError):  # the folder may be another's now, or the disk full
            if isinstance(error, Exception) and not isinstance(error, GeosegError):
                journal.event("traceback", text="".join(traceback.format_exception(error)))
                error.add_note(f"geoseg logs {store.root}")
            journal.close(state, sentence)
        raise


@contextmanager
def _rolling(store: Store) -> Iterator[ledger.Roll]:
    roll = ledger.Roll(store)
    try:
        yield roll
    finally:
        with suppress(LedgerError):  # the records themselves are there
            roll.close()


def _position(window: Window) -> str:
    return f"at row {window.row}, column {window.col}"

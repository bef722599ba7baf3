"""Pipeline: the story of a run. Claim the folder, find what is missing, make it, put the map together.

The two heavy engines are arguments: `predict` labels pixels, `mapper` spreads blocks. With Python's own `map`
the run is serial, and that run is the reference which any cluster must equal, bit for bit.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from geoseg.errors import CancelledError, ClusterError, JobError, LedgerError, PredictionError
from geoseg.grid import Window
from geoseg.jobs import block as job_block
from geoseg.jobs import outputs
from geoseg.jobs.plan import Plan, Predict
from geoseg.storage import job_file, ledger, lock
from geoseg.storage.journal import CANCEL, Journal, Status
from geoseg.storage.ledger import Gathered
from geoseg.storage.record import Record
from geoseg.storage.store import Store

_LOOK_S = 2.0
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
    resident: bool = False,
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
    resident : bool
        The run goes on by itself on a cluster: where the cluster is lost it will start again, and a request to cancel
        that came before it began counts.

    Returns
    -------
    Summary

    Raises
    ------
    GeosegError
        If the folder is another job's or in use, or cannot be written.
    """
    store, begin = Store.at(folder), time.time()
    work = job_block.task(store.root, plan.digest, predict, threads)
    with lock.hold(store) as check_held:
        claim(plan, store, overwrite=overwrite)
        with _journal(store, resident, check_held) as journal:
            known, damaged = ledger.records(store, plan.digest)
            for sentence in damaged:
                journal.event("damaged", what=sentence)
            story = _Story(plan, journal, progress, strict, check_held)
            with _rolling(store) as roll:
                done = story.make(mapper, work, known, roll)
            written, kept = outputs.write(plan, store, done, story.counts, story.step)
            store.sweep(begin)
            failed = tuple(each for each in done if each.state == "failed")
            journal.close("failed blocks" if failed else "finished")
    return Summary(store.root, story.now, failed, (*plan.notes, *damaged), written, kept)


def claim(plan: Plan, store: Store, *, overwrite: bool = False) -> bool:
    """Check that a job can be kept in a folder and make the folder its own; see `job_file.claim`.

    Raises
    ------
    JobError
        If the imagery lies in the folder.
    LedgerError
        If the folder is another job's, or the disk is too full.
    """
    _check_apart(plan, store)
    if store.remote:
        check_space(plan, Path(tempfile.gettempdir()), "point TMPDIR at a larger disk, where the map is put together")
    else:
        check_space(plan, Path(store.root))
    return job_file.claim(store, _job(plan), overwrite=overwrite)


def lost(digest: str) -> Callable[[Window, str], Record]:
    """Makes the record of a block whose work killed its workers; not committed, so a later run tries again."""

    def record(window: Window, why: str) -> Record:
        return Record(window, "failed", digest, error=f"the worker died while it made this block: {why}"[:300])

    return record


class _Story:
    """A run as it goes: counts what comes back, and tells the journal and the caller."""

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
        self._plan = plan
        self._journal = journal
        self._progress = progress
        self._strict = strict
        self._check_held = check_held
        self._begin = time.monotonic()
        self._looked = -_LOOK_S

    def make(
        self, mapper: Mapper, work: Callable[[Window], Record], known: dict[Window, Record], roll: ledger.Roll
    ) -> Gathered:
        """Make the blocks that are not known to be finished; a record for each block comes back, `known` empties."""
        done = Gathered(self._plan.digest, self._plan.blocks())
        for window in done.missing():
            record = known.pop(window, None)
            if record is not None and record.state != "failed":
                self.counts.update(record.counts)
                done.put(record)
        missing = done.missing()
        self._tell(Progress(len(done), len(done) - len(missing), 0, 0, 0, 0.0))
        self._begin = time.monotonic()
        self._look_around()
        for record in mapper(work, missing):
            self._take(record)
            self.counts.update(record.counts)
            done.put(record)
            roll.add(record)
            self._look_around()
        self._check_held()
        return done

    def step(self, name: str) -> None:
        """Tell that an output is being written; raises where the folder is no longer ours."""
        self._check_held()
        self._journal.event("output", name=name)
        self._tell(replace(self.now, step=name))

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
            **({"error": record.error} if bad else {}),
        )
        if bad and self._strict:
            raise PredictionError(f"block {_place(window)} failed: {record.error} (--strict stops here)")
        self._tell(
            replace(
                self.now,
                finished=self.now.finished + (not bad),
                failed=self.now.failed + bad,
                pixels=self.now.pixels + window.pixels,
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

    def _tell(self, now: Progress) -> None:
        self.now = now
        ahead, made = now.total - now.reused - now.finished - now.failed, now.finished + now.failed
        finishing = now.step != "blocks"
        self._journal.stand(
            Status(
                "finishing" if finishing else "running",
                total=now.total,
                done=now.reused + now.finished,
                failed=now.failed,
                rate=round(now.rate, 3),
                eta_s=round(now.seconds / made * ahead, 1) if made else None,
                step=now.step if finishing else "",
            ),
            now=finishing or not made,
        )
        self._progress(now)


@contextmanager
def _journal(store: Store, resident: bool, check_held: Callable[[], None]) -> Iterator[Journal]:
    if not resident:
        store.drop(CANCEL)
    journal = Journal(store, check_held)
    try:
        with journal.listening("geoseg.cluster"):
            yield journal
    except BaseException as error:
        state = "cancelled" if isinstance(error, CancelledError) else "stopped"
        state = "submitted" if resident and isinstance(error, ClusterError) else state
        sentence = "stopped by the user" if isinstance(error, KeyboardInterrupt) else job_block.reason(error)
        with suppress(LedgerError):  # the folder may be another's now, or the disk full
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


def _job(plan: Plan) -> dict[str, object]:
    return {"digest": plan.digest, "facts": json.loads(json.dumps(plan.facts)), "plan": plan.to_json()}


def _place(window: Window) -> str:
    return f"at row {window.row}, column {window.col}"


def _check_apart(plan: Plan, store: Store) -> None:
    """Refuse to write among the imagery."""
    for file in plan.files:
        if PurePath(file.replace("/vsis3/", "s3://", 1)).is_relative_to(store.root):
            raise JobError(f"the output folder {store.root} holds the imagery {file}; choose another folder with --out")


def check_space(plan: Plan, folder: Path, advice: str = "choose another folder with --out") -> None:
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
            f"free some space or {advice}"
        )

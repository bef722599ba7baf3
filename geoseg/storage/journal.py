"""Journal: what a job says of itself while it runs, in its folder; readable without the cluster.

`status.json` holds where the job stands and is replaced whole about once a second; `log.jsonl` grows by one JSON
line for each block and event, in segments `log/<n>.jsonl`, each written whole, so that it also works where files
cannot be appended to.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from geoseg.errors import LedgerError
from geoseg.storage.store import Store

STATUS = "status.json"
CANCEL = "cancel"
LOG = "log"
_EVERY_S = 1.0
_SEGMENT = 200
"""Lines of one segment of the log."""


@dataclass(frozen=True, slots=True)
class Status:
    """Where a job stands."""

    state: str
    """submitted, running, finishing, finished, failed blocks, cancelled or stopped."""
    total: int = 0
    """Blocks that can hold a label."""
    done: int = 0
    """Blocks finished, those of earlier runs included."""
    failed: int = 0
    """Blocks that could not be made in this run."""
    rate: float = 0.0
    """Megapixels a second in this run."""
    eta_s: float | None = None
    """Seconds left, by the rate of blocks so far; None while it cannot be told."""
    step: str = ""
    """Output being written, where the state is 'finishing'."""
    updated: float = 0.0
    """Seconds since 1970."""
    error: str = ""
    """Why it stopped, one sentence."""


@dataclass(slots=True)
class Journal:
    """The pen: one for each run."""

    store: Store
    check_held: Callable[[], None] = lambda: None
    """Called before the journal is written; raises where the folder is another's by now."""
    _lines: list[str] = field(default_factory=list)
    _segment: int = -1
    _wrote: float = 0.0
    _status: Status = field(default_factory=lambda: Status("running"))
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def stand(self, status: Status, *, now: bool = False) -> None:
        """Say where the job stands; written at most once a second unless `now`."""
        with self._turn:
            self._status = status
            if now or time.time() - self._wrote >= _EVERY_S:
                self._flush()

    def event(self, kind: str, **facts: Any) -> None:
        """Add a line to the log."""
        with self._turn:
            self._lines.append(json.dumps({"time": round(time.time(), 3), "event": kind, **facts}))
            if len(self._lines) >= _SEGMENT:
                self._flush()

    def note(self, sentence: str) -> None:
        """Add what a user should know, so that it can be read at once."""
        self.event("note", what=sentence)
        with self._turn:
            self._flush()

    @contextmanager
    def listening(self, name: str) -> Iterator[None]:
        """Note what the logger `name` warns of in this thread: a paused or dead worker, a stall."""
        ear, logger = _Ear(self), logging.getLogger(name)
        logger.addHandler(ear)
        try:
            yield
        finally:
            logger.removeHandler(ear)

    def close(self, state: str, error: str = "") -> None:
        """Say how the run ended."""
        with self._turn:
            facts = asdict(self._status) | {"state": state, "error": error, "eta_s": None, "step": ""}
            self._status = Status(**facts)
            self._lines.append(json.dumps({"time": round(time.time(), 3), "event": state, "error": error}))
            self._flush()

    def cancelled(self) -> bool:
        """Whether someone asked the job to stop."""
        return self.store.exists(CANCEL)

    def _flush(self) -> None:
        self.check_held()
        self._wrote = time.time()
        facts = asdict(self._status) | {"updated": self._wrote}
        self.store.put(STATUS, json.dumps(facts).encode())
        if not self._lines:
            return
        if self._segment < 0:
            self._segment = len(list(self.store.names(LOG)))
        self.store.put(f"{LOG}/{self._segment:06d}.jsonl", ("\n".join(self._lines) + "\n").encode())
        if len(self._lines) >= _SEGMENT:
            self._segment, self._lines = self._segment + 1, []


class _Ear(logging.Handler):
    """Hears the thread that it was made in; other jobs of the process have journals of their own."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(logging.WARNING)
        self._journal = journal
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Note a warning; where that cannot be written, the next block tells."""
        if record.thread == self._thread:
            with suppress(LedgerError):
                self._journal.note(record.getMessage()[:500])


def read_status(store: Store) -> Status | None:
    """What the job last said of itself; None if it never did."""
    try:
        return Status(**json.loads(store.get(STATUS)))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def read_log(
    store: Store, last: int | None = None, until: Callable[[], bool] = lambda: True
) -> Iterator[Mapping[str, Any]]:
    """The lines of the log, oldest first; a damaged line is passed over.

    Parameters
    ----------
    store : Store
        The job folder.
    last : int, optional
        Begin with so many lines before the end; all by default.
    until : callable
        Wait for more lines until this is true.
    """
    at, seen = _from(store, last)
    while True:
        over = until()  # asked first, so that what was written up to the end is read after it
        for name in sorted(each for each in store.names(LOG) if each >= at):
            lines = _lines(store, name)
            yield from lines[seen if name == at else 0 :]
            at, seen = name, len(lines)
        if over:
            return
        time.sleep(_EVERY_S)


def _from(store: Store, last: int | None) -> tuple[str, int]:
    """Segment and line where the last lines begin; only the segments that hold them are read."""
    if last is not None:
        for name in sorted(store.names(LOG), reverse=True):
            count = len(_lines(store, name))
            if count >= last:
                return name, count - last
            last -= count
    return "", 0


def _lines(store: Store, name: str) -> list[Mapping[str, Any]]:
    lines = []
    for line in store.get(name).decode("utf-8", "replace").splitlines():
        with suppress(ValueError):
            lines.append(json.loads(line))
    return lines


def ask_to_cancel(store: Store) -> None:
    """Ask whoever runs the job to stop after the blocks in hand."""
    store.put(CANCEL, b"")

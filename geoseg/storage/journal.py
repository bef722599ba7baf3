"""Journal: what a job says of itself while it runs, in its folder; readable without the cluster.

`status.json` holds where the job stands and is replaced whole about once a second; `log.jsonl` grows by one JSON
line for each block and event, in segments `log/<n>.jsonl`, each written whole, so that it also works where files
cannot be appended to.
"""

from __future__ import annotations

import json
import logging
import math
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
_GROUPS = ("device", "foretold")
"""Of a status's performance: those that hold several numbers."""
STATES = ("submitted", "running", "finishing", "finished", "failed blocks", "cancelled", "stopped")


@dataclass(frozen=True, slots=True)
class Status:
    """Where a job stands."""

    state: str
    """One of `STATES`."""
    total: int = 0
    """Blocks that can hold a label."""
    done: int = 0
    """Blocks finished, those of earlier runs included."""
    failed: int = 0
    """Blocks that could not be made in this run."""
    rate: float = 0.0
    """Megapixels a second in this run."""
    eta_s: float | None = None
    """Seconds left, by the rate of blocks so far; None while that is not known."""
    step: str = ""
    """Output being written, where the state is 'finishing'."""
    updated: float = 0.0
    """Seconds since 1970, by the clock of the machine that wrote it; for reading, not for comparing."""
    error: str = ""
    """Why it stopped, one sentence."""
    performance: Mapping[str, Any] = field(default_factory=dict)
    """How fast it is or was: numbers, and groups of numbers, by name; see `jobs.performance`."""


@dataclass(slots=True)
class Journal:
    """Writes the status and the log of one run; its threads may share it."""

    store: Store
    check_held: Callable[[], None] = lambda: None
    """Called before the journal is written; raises where the folder is another's by now."""
    _lines: list[str] = field(default_factory=list)
    _segment: int = -1
    _wrote: float = -math.inf
    """By the monotonic clock."""
    _status: Status = field(default_factory=lambda: Status("running"))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def set_status(self, status: Status, *, now: bool = False) -> None:
        """Say where the job stands; written at most once a second unless `now`.

        Parameters
        ----------
        status : Status
            Its `updated` is filled in.
        now : bool
            Write at once.

        Raises
        ------
        LedgerError
            If the folder cannot be written, or is another's by now; so all that write.
        """
        with self._lock:
            self._status = status
            if now or time.monotonic() - self._wrote >= _EVERY_S:
                self._flush()

    def event(self, kind: str, **facts: Any) -> None:
        """Add a line to the log.

        Parameters
        ----------
        kind : str
            What happened, such as 'block'.
        **facts
            What JSON can hold.
        """
        with self._lock:
            self._lines.append(json.dumps({"time": round(time.time(), 3), "event": kind, **facts}))
            if len(self._lines) >= _SEGMENT:
                self._flush()

    def note(self, sentence: str) -> None:
        """Add what a user should know, so that it can be read at once."""
        self.event("note", what=sentence)
        with self._lock:
            self._flush()

    @contextmanager
    def recording_warnings(self, name: str) -> Iterator[None]:
        """Note what the logger `name` warns of in this thread: a paused or dead worker, a stall."""
        handler, logger = _Handler(self), logging.getLogger(name)
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)

    def close(self, state: str, error: str = "") -> None:
        """Say how the run ended.

        Parameters
        ----------
        state : str
            One of `STATES`.
        error : str
            Why, where it did not end well; one sentence.
        """
        with self._lock:
            facts = asdict(self._status) | {"state": state, "error": error, "eta_s": None, "step": ""}
            self._status = Status(**facts)
            self._lines.append(json.dumps({"time": round(time.time(), 3), "event": state, "error": error}))
            self._flush()

    def cancelled(self) -> bool:
        """Whether someone asked the job to stop."""
        return self.store.exists(CANCEL)

    def _flush(self) -> None:
        self.check_held()
        self._wrote = time.monotonic()
        facts = asdict(self._status) | {"updated": time.time()}
        self.store.put(STATUS, json.dumps(facts).encode())
        if not self._lines:
            return
        if self._segment < 0:
            self._segment = len(list(self.store.names(LOG)))
        self.store.put(f"{LOG}/{self._segment:06d}.jsonl", ("\n".join(self._lines) + "\n").encode())
        if len(self._lines) >= _SEGMENT:
            self._segment, self._lines = self._segment + 1, []


class _Handler(logging.Handler):
    """Takes what the thread logs that it was made in; other jobs of the process have journals of their own."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(logging.WARNING)
        self._journal = journal
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Note a warning; where that cannot be written, the next block will raise."""
        if record.thread == self._thread:
            with suppress(LedgerError):
                self._journal.note(record.getMessage()[:500])


def read_status(store: Store) -> Status | None:
    """What the job last said of itself; None if it never did, or what stands there is no status.

    Raises
    ------
    LedgerError
        If the store cannot be reached, or something else than a plain file has the name.
    """
    try:
        facts = json.loads(store.get(STATUS))
        return Status(**facts) if all(map(_fits, facts, facts.values())) and facts["state"] in STATES else None
    except (FileNotFoundError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None


def _fits(key: str, value: object) -> bool:
    """Whether a field of a status has its kind of value, and can be shown."""
    kinds = {"total": int, "done": int, "failed": int, "rate": float, "eta_s": float, "updated": float}
    kind = kinds.get(key, str)
    if key == "performance" and isinstance(value, dict):
        return all(
            isinstance(each, dict) and all(map(_is_number, each.values())) if name in _GROUPS else _is_number(each)
            for name, each in value.items()
        )
    if isinstance(value, str):
        value.encode()  # lone surrogates cannot be shown
        return kind is str
    if value is None:
        return key == "eta_s"
    return kind is not str and _is_number(value) and isinstance(value, int | kind)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 2**53


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
    lines: list[Mapping[str, Any]] = []
    with suppress(FileNotFoundError):  # removed just now
        for line in store.get(name).decode("utf-8", "replace").splitlines():
            with suppress(ValueError, RecursionError):
                facts = json.loads(line)
                if isinstance(facts, dict) and isinstance(facts.get("event"), str):
                    lines.append(facts)
    return lines


def ask_to_cancel(store: Store) -> None:
    """Ask whoever runs the job to stop after the blocks in hand."""
    store.put(CANCEL, b"")

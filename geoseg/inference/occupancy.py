"""Occupancy: what the device of this process spends its time on: windows, or waiting for reads or for writes.

A device has slots: as many as windows are labelled at once on a CPU, one elsewhere. A slot without a window waits for a
block that is being read; where none is, for one that is being written; else for the process itself, which cuts windows
out of blocks and puts labels together, or for its next block. Sums only, so that they take no memory. No torch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

Work = Literal["label", "read", "write"]
PARTS = ("busy", "read", "write", "other")
"""What a second of the device can go to."""


class Occupancy:
    """Of this process; kept by `process.kept`.

    Parameters
    ----------
    clock : callable
        Seconds.

    Examples
    --------
    >>> clock = iter([0.0, 2.0, 3.0, 5.0, 6.0, 6.0])
    >>> device = Occupancy(lambda: next(clock))
    >>> device.begin("a run")
    >>> with device.at("read"):
    ...     with device.at("label"):
    ...         pass
    >>> device.taken()
    {'busy': 2.0, 'read': 2.0, 'write': 0.0, 'other': 2.0}
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._run = ""
        self._at = dict.fromkeys(("label", "read", "write"), 0)
        self._slots = 1
        self._sums = dict.fromkeys(PARTS, 0.0)
        self._last = 0.0

    def begin(self, run: str) -> None:
        """Start from nothing where the time so far was of another run, or of none.

        Parameters
        ----------
        run : str
            A name for the run that a block is made for.
        """
        with self._lock:
            if run != self._run:
                self._run, self._last, self._sums = run, self._clock(), dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def at(self, work: Work, slots: int = 1) -> Iterator[None]:
        """Say that a thread labels a window, reads or writes.

        Parameters
        ----------
        work : str
            'label', 'read' or 'write'.
        slots : int
            Windows that may be labelled at once.
        """
        with self._lock:
            self._pass()
            self._at[work] += 1
            if work == "label":
                self._slots = slots
        try:
            yield
        finally:
            with self._lock:
                self._pass()
                self._at[work] -= 1

    def taken(self) -> dict[str, float]:
        """Seconds of the device for each of `PARTS` since this was asked last, or since the run began."""
        with self._lock:
            self._pass()
            found, self._sums = self._sums, dict.fromkeys(PARTS, 0.0)
        return {part: round(seconds, 4) for part, seconds in found.items()}

    def _pass(self) -> None:
        now = self._clock()
        passed, self._last = now - self._last, now
        busy = min(1.0, self._at["label"] / self._slots)
        waits = "read" if self._at["read"] else "write" if self._at["write"] else "other"
        self._sums["busy"] += busy * passed
        self._sums[waits] += (1 - busy) * passed

"""Suspects: which tasks kill their workers, and which only stood by. A pure state machine: events in, decisions out.

No Dask, no clock, no threads: the caller says what happened and when, and follows each decision.
The scheduler's own count cannot serve: it blames every task that a lost worker had in hand.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

T = TypeVar("T", bound=Hashable)
ATTEMPTS = 3
"""Workers that may be lost over a task before it is set aside."""
MOST_ATTEMPTS = 10
"""The same where machines die anyway, with or without the task; also how many may leave in peace before it is done."""
WINDOW_S = 120.0
"""How long before a task's first loss other losses still speak of the machines."""


@dataclass(frozen=True, slots=True)
class Decision(Generic[T]):
    """What to do with a task that a worker did not finish."""

    task: T
    how: Literal["retry", "retry alone", "set aside"]
    """'retry alone': as the only task of an idle worker, once `ready` names it; 'set aside' is final."""
    why: str = ""
    """The reason, where it is set aside."""


@dataclass(slots=True)
class _History:
    """What befell a task that has not finished at the first go."""

    losses: list[int] = field(default_factory=list)
    """Which of all lost workers had it in hand, counted from 0."""
    window: int = 0
    """The first worker lost within WINDOW_S before its first loss."""
    finished: int = 0
    """Tasks finished before its first loss."""
    leaves: int = 0
    """Workers that left in peace before they finished it."""


class Suspects(Generic[T]):
    """Tells the task that kills its workers from those that stood beside it.

    - A task that a lost worker had in hand becomes a suspect. A suspect is only retried alone, on a worker that has
      nothing else in hand, whatever happens in between: so a killer can take an innocent task with it once, not again.
    - A suspect is set aside when 3 workers were lost over it. Its third attempt waits until as many other tasks were
      finished, since its first loss, as workers were lost: where workers cannot live that long, losses say nothing.
      It does not wait when nothing else is left to do.
    - It is not set aside yet while the machines may be to blame: while at least as many workers were lost, since two
      minutes before its first loss, with nothing in hand or only with tasks that were finished after all.
    - After 10 losses it is set aside in any case.
    - A worker that left in peace (retired, end of its lifetime, SIGTERM to a `geoseg worker`) is no loss. After 10 of
      these without a result, a task is set aside too: it takes longer than workers live.

    Hence every task ends: after at most 10 losses and 10 leaves it is finished or set aside. Only tasks in trouble are
    remembered, and forgotten when they end; of each lost worker a time and a count are kept.
    """

    def __init__(self) -> None:
        self._troubled: dict[T, _History] = {}
        self._waiting: dict[T, None] = {}
        self._lost_s: list[float] = []
        self._blamed: list[int] = []
        """For each lost worker, how many of the tasks that it had in hand have not been finished since."""
        self._finished = 0

    @property
    def waiting(self) -> int:
        """Number of suspects that wait to be tried alone."""
        return len(self._waiting)

    def ready(self, *, only_suspects: bool) -> list[T]:
        """Suspects that may be tried now, those with the fewest losses first.

        Parameters
        ----------
        only_suspects : bool
            Whether nothing is in flight and nothing else is left to send.
        """
        ready = [task for task in self._waiting if self._may_tell(self._troubled[task])]
        if not ready and only_suspects:
            ready = list(self._waiting)
        return sorted(ready, key=lambda task: len(self._troubled[task].losses))

    def sent(self, task: T) -> None:
        """A task is on its way to a worker."""
        self._waiting.pop(task, None)

    def finished(self, task: T) -> None:
        """A task gave its result; it did not kill the workers that it was seen on."""
        self._finished += 1
        history = self._troubled.pop(task, None)
        for loss in history.losses if history else ():
            self._blamed[loss] -= 1

    def taken_back(self, task: T) -> Decision[T]:
        """A task comes back for no fault of its own: its worker stalled or is paused, or its result was lost."""
        history = self._troubled.get(task)
        return self._retry(task, alone=history is not None and bool(history.losses))

    def worker_left(self, tasks: Iterable[T], worker: str) -> list[Decision[T]]:
        """A worker left in peace.

        Parameters
        ----------
        tasks : iterable
            What it had in hand.
        worker : str
            Its address, for the reason.
        """
        decisions = []
        for task in tasks:
            history = self._troubled.setdefault(task, _History())
            history.leaves += 1
            if history.leaves >= MOST_ATTEMPTS:
                why = f"{history.leaves} workers in turn left before they finished it, the last of them {worker}"
                decisions.append(self._set_aside(task, why))
            else:
                decisions.append(self._retry(task, alone=bool(history.losses)))
        return decisions

    def worker_lost(self, tasks: Iterable[T], worker: str, now_s: float, cause: str = "") -> list[Decision[T]]:
        """A worker was lost: killed, crashed, out of reach.

        Parameters
        ----------
        tasks : iterable
            What it had in hand.
        worker : str
            Its address, for the reason.
        now_s : float
            When, by a clock that never goes back.
        cause : str
            ' for using too much memory', say, for the reason.
        """
        hers = list(dict.fromkeys(tasks))
        number = len(self._lost_s)
        self._lost_s.append(now_s)
        self._blamed.append(len(hers))
        decisions = []
        for task in hers:
            history = self._troubled.setdefault(task, _History())
            if not history.losses:
                history.finished = self._finished
                history.window = bisect_left(self._lost_s, now_s - WINDOW_S)
            history.losses.append(number)
        for task in hers:
            losses = len(self._troubled[task].losses)
            if self._guilty(self._troubled[task]):
                decisions.append(self._set_aside(task, f"{losses} workers in turn, the last of them {worker}{cause}"))
            else:
                decisions.append(self._retry(task, alone=True))
        return decisions

    def _may_tell(self, history: _History) -> bool:
        """Whether the next attempt may tell something; the last one waits until others were finished."""
        if len(history.losses) < ATTEMPTS - 1:
            return True
        return self._finished - history.finished >= len(self._lost_s) - history.losses[0]

    def _guilty(self, history: _History) -> bool:
        losses = len(history.losses)
        if losses >= MOST_ATTEMPTS:
            return True
        unexplained = sum(not blamed for blamed in self._blamed[history.window :])
        return losses >= ATTEMPTS and losses > unexplained

    def _retry(self, task: T, *, alone: bool) -> Decision[T]:
        if alone:
            self._waiting[task] = None
        return Decision(task, "retry alone" if alone else "retry")

    def _set_aside(self, task: T, why: str) -> Decision[T]:
        self._waiting.pop(task, None)
        self._troubled.pop(task, None)
        return Decision(task, "set aside", why)

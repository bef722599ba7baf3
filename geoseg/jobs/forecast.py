"""Forecast: what `geoseg plan` said that a job would take, noted in this account for its run to be held against.

A note is found by the plan's variant: another cutting, device or model is another job. It changes nothing of a run.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import platformdirs

from geoseg.errors import LedgerError
from geoseg.storage.store import Store

if TYPE_CHECKING:
    from geoseg.jobs.plan import Plan

_NOTES = 100
"""Kept at most; the oldest go first."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a job was expected to take."""

    seconds: float
    """From the run's begin to its last output."""
    memory: int
    """Bytes of a process that makes blocks."""
    workers: int
    """That were reckoned with."""

    @property
    def facts(self) -> dict[str, Any]:
        """The same as plain data."""
        return {**asdict(self), "seconds": round(self.seconds, 2)}


def remember(plan: Plan, forecast: Forecast) -> None:
    """Note what was said of a job; an account that cannot be written to is no error.

    Parameters
    ----------
    plan : Plan
        The job.
    forecast : Forecast
        What was said.
    """
    notes = _notes()
    with suppress(LedgerError):
        notes.put(_name(plan), json.dumps(forecast.facts).encode())
        names = sorted(notes.names(), key=lambda each: notes.age(each) or 0.0)
        for name in names[_NOTES:]:
            notes.drop(name)


def recalled(plan: Plan) -> Forecast | None:
    """What was said of a job last; None where nothing was, or the note is damaged.

    Parameters
    ----------
    plan : Plan
        The job.
    """
    try:
        found = json.loads(_notes().get(_name(plan)))
        return Forecast(float(found["seconds"]), int(found["memory"]), int(found["workers"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _name(plan: Plan) -> str:
    return f"{plan.variant[:32]}.json"


def _notes() -> Store:
    return Store(str(platformdirs.user_state_path("geoseg") / "forecasts"))

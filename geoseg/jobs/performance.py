"""Performance: how fast a job was, what its devices waited for, how much memory its processes took. Numbers only.

Nothing of this is a fact of the map: it enters neither its pixels nor its tags, nor what decides whether it stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from geoseg.inference.occupancy import PARTS
from geoseg.jobs.forecast import Forecast
from geoseg.quantities import counted, plain
from geoseg.storage.record import Record


@dataclass(frozen=True, slots=True)
class Performance:
    """What a run took."""

    pixels: int
    """Labelled."""
    pixel_m2: float
    """Area of one on the ground."""
    blocks_s: float
    """While blocks were made."""
    seconds: float
    """From the run's begin to its last output."""
    device: Mapping[str, float] = field(default_factory=dict)
    """Seconds of all devices by `occupancy.PARTS`."""
    memory: int = 0
    """Most bytes that a process held which made blocks; 0: not known."""
    forecast: Forecast | None = None
    """What `geoseg plan` said last of this job from here."""

    @property
    def mpx_s(self) -> float:
        """Megapixels labelled per second while blocks were made."""
        return self.pixels / 1e6 / self.blocks_s if self.blocks_s > 0 else 0.0

    @property
    def km2_h(self) -> float:
        """Square kilometres labelled per hour while blocks were made."""
        return self.mpx_s * self.pixel_m2 * 3600

    @property
    def facts(self) -> dict[str, Any]:
        """The same as plain data."""
        foretold = {} if self.forecast is None else {"foretold": self.forecast.facts}
        return {
            "mpx_s": round(self.mpx_s, 4),
            "km2_h": round(self.km2_h, 4),
            "blocks_s": round(self.blocks_s, 2),
            "seconds": round(self.seconds, 2),
            "device": {part: round(share, 4) for part, share in shares(self.device).items()},
            "memory": self.memory,
            **foretold,
        }


class Tally:
    """Sums over the records of a job's blocks, in any order; takes no more memory however many there are.

    Parameters
    ----------
    pixel_m2 : float
        Area of a pixel on the ground.
    """

    def __init__(self, pixel_m2: float) -> None:
        self._pixel_m2 = pixel_m2
        self.device: Counter[str] = Counter()
        self.memory = 0

    def add(self, record: Record) -> None:
        """Count a block."""
        self.device.update(record.device)
        self.memory = max(self.memory, record.memory)

    def performance(self, pixels: int, blocks_s: float, seconds: float) -> Performance:
        """What the blocks took.

        Parameters
        ----------
        pixels : int
            Labelled.
        blocks_s, seconds : float
            While blocks were made, and in all.
        """
        return Performance(pixels, self._pixel_m2, blocks_s, seconds, dict(self.device), self.memory)


def lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """The facts of a performance for people; what is missing is left out.

    Parameters
    ----------
    facts : mapping
        As `Performance.facts` gives them.
    """
    if {"mpx_s", "km2_h"} <= facts.keys():
        yield f"{plain(facts['mpx_s'], 3)} Mpx/s, {float(plain(facts['km2_h'], 3)):,.7g} km²/h while blocks were made"
    if facts.get("device"):
        yield f"device {told(facts['device'])}"
    if memory := facts.get("memory"):
        yield f"memory at most {plain(memory / 1e9, 3)} GB a process"
    if (said := facts.get("foretold")) and {"seconds", "memory", "workers"} <= said.keys() and facts.get("seconds"):
        seconds = facts["seconds"]
        text = f"foretold {duration(said['seconds'])} with {counted(said['workers'], 'worker')}"
        text += f", took {duration(seconds)} ({_off(seconds, said['seconds'])})"
        if memory and said["memory"]:
            text += f"; {plain(said['memory'] / 1e9, 3)} GB a process, took {plain(memory / 1e9, 3)} GB"
            text += f" ({_off(memory, said['memory'])})"
        yield text


def shares(device: Mapping[str, float]) -> dict[str, float]:
    """Shares of a device's seconds that go to each of `occupancy.PARTS`; empty where there are none.

    >>> shares({"busy": 9.0, "read": 1.0})
    {'busy': 0.9, 'read': 0.1, 'write': 0.0, 'other': 0.0}
    """
    total = sum(device.get(part, 0.0) for part in PARTS)
    return {part: device.get(part, 0.0) / total for part in PARTS} if total > 0 else {}


def told(device: Mapping[str, float]) -> str:
    """The shares in words.

    >>> told({"busy": 9.0, "read": 1.0})
    'busy 90 %, waited for reads 10 %, for writes 0 %, other 0 %'
    """
    found = shares(device)
    names = zip(("busy", "waited for reads", "for writes", "other"), PARTS)
    return ", ".join(f"{name} {100 * found.get(part, 0.0):.0f} %" for name, part in names)


def duration(seconds: float) -> str:
    """Minutes from 100 s on, else seconds."""
    return f"{seconds / 60:.1f} min" if seconds >= 100 else f"{max(1, round(seconds))} s"


def _off(took: float, said: float) -> str:
    return f"{100 * (took / said - 1):+.0f} %" if said > 0 else "-"

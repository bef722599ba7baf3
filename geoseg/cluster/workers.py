"""Workers: those of a cluster as last seen; who joined, who left and how, and who is paused for memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from distributed import Client

from geoseg.cluster import compat
from geoseg.errors import ClusterError

R = TypeVar("R")
LOOK_S = 1.0
"""Seconds between two looks at the cluster."""
_ANSWER_S = 20.0
"""A scheduler that takes longer to answer counts as lost."""


class Workers:
    """Which workers there are. It asks the scheduler two small questions a second, whatever the cluster's size.

    Parameters
    ----------
    client : Client
        Of the cluster.
    note : callable
        Called with a sentence when a worker is paused for memory.
    """

    def __init__(self, client: Client, note: Callable[[str], None]) -> None:
        self.running: dict[str, int] = {}
        """Threads of each worker that takes work, by address."""
        self.paused_since: dict[str, float] = {}
        """Workers that are there but take no work, and since when (monotonic)."""
        self._client = client
        self._note = note
        self._present: dict[str, int] = {}
        self._heard: dict[str, tuple[float, float]] = {}
        """Each worker's last heartbeat by the scheduler's clock, and since when it has been the last (monotonic)."""
        self._looked = -LOOK_S
        self._noted: set[str] = set()

    @property
    def present(self) -> int:
        """Number of workers, whether or not they take work."""
        return len(self._present)

    @property
    def addresses(self) -> set[str]:
        """Of the workers, whether or not they take work."""
        return set(self._present)

    def silent(self) -> dict[str, float]:
        """Seconds since each worker was last heard of, as far as calls of this have seen.

        It asks the scheduler for all that it knows of its workers, so it is not for every second.

        Raises
        ------
        ClusterError
            If the scheduler is gone or does not answer.
        """
        beats, now = self._ask(compat.heartbeats), time.monotonic()
        old = self._heard
        self._heard = {
            each: old[each] if each in old and old[each][0] == at else (at, now) for each, at in beats.items()
        }
        return {worker: now - since for worker, (_, since) in self._heard.items()}

    def look(self) -> set[str] | None:
        """Ask the scheduler, at most once in LOOK_S.

        Returns
        -------
        set of str or None
            Addresses of workers that left since the last look; None if that was a moment ago.

        Raises
        ------
        ClusterError
            If the scheduler is gone or does not answer.
        """
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return None
        present, self.running = self._ask(compat.thread_counts)
        self._looked = now
        gone = self._present.keys() - present.keys()
        self._present = present
        idle = present.keys() - self.running.keys()
        self.paused_since = {worker: self.paused_since.get(worker, now) for worker in idle}
        self._note_pauses()
        return set(gone)

    def left_in_peace(self, worker: str) -> bool:
        """Whether a worker that is gone left in peace (it was retired or closed itself) rather than was lost."""
        actions = [event.get("action") for event in self._ask(compat.events, worker)]
        if compat.JOINED in actions:  # an address may be used again
            actions = actions[len(actions) - actions[::-1].index(compat.JOINED) :]
        return any(each in compat.LEAVING for each in actions)

    def out_of_memory(self, worker: str) -> bool:
        """Whether a worker that is gone was killed by its nanny for using too much memory."""
        return any(event.get("worker") == worker for event in self._ask(compat.events, compat.OUT_OF_MEMORY))

    def _note_pauses(self) -> None:
        """Say so once for each worker and pause; a worker that is about to leave is not running either."""
        self._noted &= self.paused_since.keys()
        fresh = self.paused_since.keys() - self._noted
        if not fresh:
            return
        self._noted |= fresh
        for worker, (used, limit) in sorted(self._ask(compat.paused).items()):
            if worker in fresh:
                self._note(
                    f"worker {worker} is paused: it uses {used / 1e9:.2f} of its {limit / 1e9:.2f} GB; it takes no "
                    "block until memory is free again. Give workers more memory or the job a smaller memory_per_worker"
                )

    def _ask(self, question: Callable[..., R], *about: Any) -> R:
        if self._client.status != "running":
            raise lost_scheduler()
        try:
            return question(self._client, *about, timeout_s=_ANSWER_S)
        except (OSError, TimeoutError) as error:
            raise lost_scheduler() from error


def lost_scheduler() -> ClusterError:
    """The one way to say that the scheduler is gone; why, in Dask's many words, is its cause."""
    return ClusterError("the Dask scheduler was lost; what was finished is kept, so run the same command again")

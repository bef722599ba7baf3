"""Roster: the workers of a cluster as last seen; who came, who left and how, and who is paused for memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from distributed import Client

from geoseg.errors import ClusterError

LOOK_S = 1.0
"""Seconds between two looks at the cluster."""
_ANSWER_S = 20.0
"""A scheduler that takes longer to answer counts as lost."""
_FAREWELLS = ("closing-worker", "retired")


class Roster:
    """Which workers there are. It asks the scheduler two small questions a second, whatever the cluster's size."""

    def __init__(self, client: Client, note: Callable[[str], None]) -> None:
        self.running: dict[str, int] = {}
        """Threads of each worker that takes work, by address."""
        self.paused_since: dict[str, float] = {}
        """Workers that are there but take no work, and since when (monotonic)."""
        self._client = client
        self._note = note
        self._present: dict[str, int] = {}
        self._looked = -LOOK_S
        self._told: set[str] = set()

    @property
    def present(self) -> int:
        """Number of workers, whether or not they take work."""
        return len(self._present)

    def look(self) -> set[str]:
        """Ask the scheduler, at most once in LOOK_S.

        Returns
        -------
        set of str
            Addresses of workers that left since the last look.

        Raises
        ------
        ClusterError
            If the scheduler is gone or does not answer.
        """
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return set()
        present, self.running = self._ask(self._count)
        self._looked = now
        gone = self._present.keys() - present.keys()
        self._present = present
        idle = present.keys() - self.running.keys()
        self.paused_since = {worker: self.paused_since.get(worker, now) for worker in idle}
        self._tell_of_pauses()
        return set(gone)

    def left_in_peace(self, worker: str) -> bool:
        """Whether a worker that left said goodbye (retired, told to close, SIGTERM) rather than died."""
        said = [event.get("action") for event in self._events(worker)]
        if "add-worker" in said:  # an address may be used again
            said = said[len(said) - said[::-1].index("add-worker") :]
        return any(each in _FAREWELLS for each in said)

    def out_of_memory(self, worker: str) -> bool:
        """Whether a worker that left was ended by its nanny for using too much memory."""
        return any(event.get("worker") == worker for event in self._events("worker-restart-memory"))

    def _events(self, topic: str) -> list[dict[str, Any]]:
        events = self._ask(self._client.scheduler.events, topic=topic)
        return [event for _, event in events if isinstance(event, dict)]

    def _tell_of_pauses(self) -> None:
        """Say so once for each worker and pause; a worker that is about to leave is not running either."""
        self._told &= self.paused_since.keys()
        fresh = self.paused_since.keys() - self._told
        if not fresh:
            return
        self._told |= fresh
        workers = self._ask(self._client.scheduler.identity, n_workers=-1)["workers"]
        for worker in sorted(fresh & workers.keys()):
            facts = workers[worker]
            if facts["status"] == "paused":
                used, limit = facts["metrics"].get("memory", 0) / 1e9, facts["memory_limit"] / 1e9
                self._note(
                    f"worker {worker} is paused: it uses {used:.2f} of its {limit:.2f} GB; it takes no block until "
                    "memory is free again. Give workers more memory or the job a smaller memory_per_worker"
                )

    async def _count(self) -> tuple[dict[str, int], dict[str, int]]:
        scheduler = self._client.scheduler
        return dict(await scheduler.ncores()), dict(await scheduler.ncores_running())

    def _ask(self, question: Callable[..., Any], **about: Any) -> Any:
        if self._client.status != "running":
            raise lost_scheduler()
        try:
            return self._client.sync(question, callback_timeout=_ANSWER_S, **about)
        except (OSError, TimeoutError) as error:
            raise lost_scheduler() from error


def lost_scheduler() -> ClusterError:
    """The one way to say that the scheduler is gone; why, in Dask's many words, is its cause."""
    return ClusterError("the Dask scheduler was lost; what was finished is kept, so run the same command again")

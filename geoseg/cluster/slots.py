"""Slots: how many more tasks each worker takes, and which worker has most room for the next one."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping


class Slots:
    """Free slots of the workers of a cluster, kept from call to call.

    To take or to give back a slot costs the logarithm of the number of workers; only `resize` looks at each of them.
    """

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()
        """Tasks that each worker has in hand."""
        self._limits: dict[str, int] = {}
        self._rank: dict[str, int] = {}
        self._heap: list[tuple[int, int, str]] = []
        """(-free, rank, worker); an entry that no longer agrees with the worker's free slots counts for nothing."""

    def resize(self, limits: Mapping[str, int]) -> None:
        """Say how many tasks each worker may have in hand at once; workers that are not named get no more."""
        self._limits = dict(limits)
        self._rank = {worker: rank for rank, worker in enumerate(self._limits)}
        self._rebuild()

    def most_free(self) -> str | None:
        """The worker with most free slots, the first named among equals; None if no worker has any."""
        while self._heap:
            free, _, worker = self._heap[0]
            if -free != self._free(worker):
                heapq.heappop(self._heap)
            else:
                return worker if free < 0 else None
        return None

    def take(self, worker: str) -> None:
        """A worker got a task."""
        self.taken[worker] += 1
        self._changed(worker)

    def give_back(self, worker: str) -> None:
        """A worker has one of its tasks no longer."""
        self.taken[worker] -= 1
        if not self.taken[worker]:
            del self.taken[worker]
        self._changed(worker)

    def _free(self, worker: str) -> int:
        return self._limits[worker] - self.taken[worker]

    def _changed(self, worker: str) -> None:
        if worker not in self._limits:
            return
        heapq.heappush(self._heap, (-self._free(worker), self._rank[worker], worker))
        if len(self._heap) > 2 * len(self._limits) + 100:
            self._rebuild()

    def _rebuild(self) -> None:
        self._heap = [(-self._free(worker), rank, worker) for worker, rank in self._rank.items()]
        heapq.heapify(self._heap)

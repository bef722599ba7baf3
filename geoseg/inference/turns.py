"""Turns: tiles that a process labels at the same time share its CPU, window by window; the one begun first goes first.

So the last windows of one tile leave no core idle, and no more windows are held at once than the job's memory has room
for, however many tiles there are.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from geoseg.inference.occupancy import Occupancy
from geoseg.process import kept


class Turns:
    """Who may compute a window now, in this process."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy = 0
        self._waiting: list[tuple[int, int]] = []  # (tile, window), a heap
        self._given = 0
        self._tiles = 0
        self._torch_threads = 1

    @contextmanager
    def tile(self) -> Iterator[int]:
        """A number for a tile, lower than those of tiles that begin later.

        Windows are computed with one torch thread each, since how torch splits a convolution among threads changes its
        last bits; setting that in the threads of windows changes it for the whole process, so it is put back when the
        last tile is done.
        """
        with self._changed:
            if self._tiles == 0:
                self._torch_threads = torch.get_num_threads()
            self._tiles += 1
            number = self._number()
        try:
            yield number
        finally:
            with self._changed:
                self._tiles -= 1
                if self._tiles == 0:
                    torch.set_num_threads(self._torch_threads)  # the caller's notebook goes on with it

    @contextmanager
    def window(self, tile: int, most: int) -> Iterator[None]:
        """Wait until a window of a tile may be computed.

        Parameters
        ----------
        tile : int
            Its number.
        most : int
            Windows that may be computed at once.
        """
        with self._changed:
            mine = (tile, self._number())
            heapq.heappush(self._waiting, mine)
            self._changed.wait_for(lambda: self._waiting[0] == mine and self._busy < most)
            heapq.heappop(self._waiting)
            self._busy += 1
            self._changed.notify_all()
        try:
            with kept(Occupancy).at("label", most):
                yield
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def _number(self) -> int:
        self._given += 1
        return self._given

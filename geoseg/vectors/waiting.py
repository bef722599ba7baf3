"""Waiting: finished regions until all that come before them are finished too, in memory and in a temporary file."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from geoseg.vectors import rings
from geoseg.vectors.rings import Batch

HELD_BYTES = 256_000_000
"""Most bytes of finished regions that wait in memory."""


class Waiting:
    """Finished regions, by the strip in which each begins, until all of them are known."""

    def __init__(self, folder: Path | None, most_bytes: int) -> None:
        self.folder, self.most_bytes = folder, most_bytes
        self.starts: list[int] = []
        self.next = 0
        self.held: dict[int, list[Batch]] = defaultdict(list)
        self.spilled: dict[int, list[int]] = defaultdict(list)
        self.bytes = 0
        self.file: IO[bytes] | None = None

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()

    def begin(self, first: int) -> None:
        """The next strip begins at a pixel."""
        self.starts.append(first)

    def add(self, batch: Batch) -> None:
        """Take finished regions of the strips that have begun."""
        strip = np.searchsorted(self.starts, batch.firsts, side="right") - 1
        for index in np.unique(strip).tolist():
            part = batch if (strip == index).all() else batch.take(np.flatnonzero(strip == index))
            self.held[index].append(part)
            self.bytes += part.nbytes
        if self.bytes > self.most_bytes:
            self._spill()

    def released(self, oldest: int | None) -> Iterator[Batch]:
        """The regions that come before all that go on, strip by strip, in order.

        Parameters
        ----------
        oldest : int, optional
            First pixel of the first region that goes on; None: none does.
        """
        end = len(self.starts)
        if oldest is not None:
            end = int(np.searchsorted(self.starts, oldest, side="right")) - 1
        for index in range(self.next, end):
            parts = [self._read(at) for at in self.spilled.pop(index, [])]
            held = self.held.pop(index, [])
            self.bytes -= sum(each.nbytes for each in held)
            batch = rings.concatenated([*parts, *held])
            if len(batch):
                yield batch.take(np.argsort(batch.firsts))
        self.next = max(self.next, end)

    def _spill(self) -> None:
        if self.file is None:
            self.file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115, closed on exit
        self.file.seek(0, 2)
        for index, batches in self.held.items():
            self.spilled[index].append(self.file.tell())
            for array in rings.concatenated(batches).arrays:
                np.save(self.file, array, allow_pickle=False)
        self.held.clear()
        self.bytes = 0

    def _read(self, at: int) -> Batch:
        assert self.file is not None
        self.file.seek(at)
        arrays: list[Any] = [np.load(self.file, allow_pickle=False) for _ in range(7)]
        return Batch(*arrays)

"""Reading: chips made by processes of their own while the network learns, in the order that they were drawn in.

Chance stays in the process that trains: it draws the orders and hands them out in turn, so chips are the same ones
however many processes make them. No more are ordered ahead than two batches, or than some memory holds. Without readers
each batch is made when it is asked for.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import cloudpickle
import numpy as np

from geoseg.errors import JobError
from geoseg.quantities import counted
from geoseg.training.chips import Draw, Order
from geoseg.training.planes import Windowed

Batch = tuple[np.ndarray, np.ndarray]
"""(chip, band, row, col) float32 and (chip, row, col) int64."""
_MOST_READERS = 4
"""That are started unasked."""
_MOST_BYTES = 256_000_000
"""Of chips that are ordered ahead."""


def readers_of(asked: int | None, draw: Draw, processes: int) -> int:
    """How many readers there are: as many as asked; else one for each core but one; none where scenes are in memory.

    Parameters
    ----------
    asked
        By the spec.
    draw
        Of chips.
    processes
        That train together on this machine and share its cores.
    """
    if not any(isinstance(each.pixels, Windowed) for each in draw.sources):
        return 0
    if asked is not None:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(0, min(_MOST_READERS, cores // processes - 1))


class Source:
    """Batches of chips; `state` is that of chance after the last one, which it can be set back to."""

    def __init__(self, draw: Draw, batch: int) -> None:
        self.draw, self.batch = draw, batch

    def __call__(self) -> Batch:
        """The next batch."""
        return self.draw(self.batch)

    @property
    def state(self) -> Any:
        """Of chance, after the last batch."""
        return self.draw.random.bit_generator.state

    @state.setter
    def state(self, to: Any) -> None:
        self.draw.random.bit_generator.state = to


class _Ahead(Source):
    """Batches that readers make ahead."""

    def __init__(self, draw: Draw, batch: int, readers: list[_Reader]) -> None:
        super().__init__(draw, batch)
        self.readers = readers
        bands = len(draw.zeros[0])
        self.most = max(len(readers), min(2 * batch, _MOST_BYTES // (draw.chips.size**2 * (4 * bands + 8))))
        self.reached = super().state
        self.orders: deque[Order] = deque()
        """Drawn and not yet handed out."""
        self.states: deque[Any] = deque()
        """Of chance after each batch that was drawn and not yet given."""
        self.sent = self.got = 0

    def __call__(self) -> Batch:
        pixels, labels = zip(*(self._next() for _ in range(self.batch)))
        self.reached = self.states.popleft()
        return np.stack(pixels), np.stack(labels)

    @property
    def state(self) -> Any:
        return self.reached

    @state.setter
    def state(self, to: Any) -> None:
        while self.got < self.sent:
            self._taken()
        self.orders.clear()
        self.states.clear()
        self.reached = self.draw.random.bit_generator.state = to

    def _next(self) -> tuple[np.ndarray, np.ndarray]:
        while self.sent - self.got < self.most:
            if not self.orders:
                self.orders.extend(self.draw.orders(self.batch))
                self.states.append(self.draw.random.bit_generator.state)
            self.readers[self.sent % len(self.readers)].order(self.orders.popleft())
            self.sent += 1
        return self._taken()

    def _taken(self) -> tuple[np.ndarray, np.ndarray]:
        found = self.readers[self.got % len(self.readers)].made()
        self.got += 1
        return found


@contextmanager
def source(draw: Draw, batch: int, readers: int) -> Iterator[Source]:
    """Batches of chips, made by so many processes ahead; they end with the block.

    Parameters
    ----------
    draw
        Of chips. What its scenes keep of their pixels is shared out among the readers.
    batch
        Chips in a batch.
    readers
        Processes; 0: none, this one makes them.

    Raises
    ------
    JobError
        From a batch, if a reader ended; what else goes wrong in a reader is raised as it is.
    """
    if not readers:
        yield Source(draw, batch)
        return
    planes = [each.pixels for each in draw.sources if isinstance(each.pixels, Windowed)]
    for cache in {id(each.cache): each.cache for each in planes if each.cache is not None}.values():
        cache.shrink(cache.most_bytes // (readers + 1))
    data = cloudpickle.dumps(draw)
    started: list[_Reader] = []
    try:
        for _ in range(readers):
            started.append(_Reader(data, readers))
        yield _Ahead(draw, batch, started)
    finally:
        for reader in started:
            reader.close()


class _Reader:
    """A process that makes chips, as this one sees it."""

    def __init__(self, data: bytes, readers: int) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
        command = [sys.executable, "-m", "geoseg.training.reading"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        self.readers = readers
        self.found: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()
        self._send(data)

    def order(self, order: Order) -> None:
        """Have a chip made."""
        self._send(pickle.dumps(order))

    def made(self) -> tuple[np.ndarray, np.ndarray]:
        """The chip of the first order whose chip was not taken yet."""
        found = self.found.get()
        if found is None:
            raise self._gone()
        if isinstance(found, Exception):
            raise found
        pixels, labels = found
        return pixels, labels

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()
        self.process.kill()
        self.process.wait()

    def _send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        except OSError:
            raise self._gone() from None

    def _listen(self) -> None:
        """Take in what it makes, so that it never waits for this process."""
        assert self.process.stdout is not None
        with self.process.stdout as stream, suppress(EOFError, pickle.UnpicklingError, OSError, ValueError):
            while True:
                self.found.put(pickle.load(stream))  # of a process of our own
        self.found.put(None)

    def _gone(self) -> JobError:
        status = self.process.wait()
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        return JobError(
            f"one of {counted(self.readers, 'process', 'processes')} that read chips ended {how}, perhaps for lack of "
            "memory; make 'memory' or 'readers' smaller in the spec (readers: 0 reads without them), then give the "
            "same command again to go on"
        )


def _serve() -> None:
    """Make the chips of the orders that come in."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the process that trains
    orders, chips = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whoever prints does not print into chips
    draw: Draw = pickle.load(orders)
    with suppress(EOFError, BrokenPipeError):
        while True:
            order = pickle.load(orders)
            try:
                found: Any = draw.made(order)
            except Exception as error:
                found = error
            chips.write(_packed(found))
            chips.flush()


def _packed(found: Any) -> bytes:
    try:
        return pickle.dumps(found, pickle.HIGHEST_PROTOCOL)
    except Exception:  # an error that cannot be sent
        return pickle.dumps(JobError(f"a chip cannot be read: {found}"))


if __name__ == "__main__":
    _serve()

"""Ahead: the map over blocks within this process. Two threads, so that a block is read while another is labelled."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = 2
"""One labels a block; the other reads the next or writes the one before, as on a cluster's worker."""


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Like the builtin `map`, with the next item begun before the result of one is there; results come in order.

    What the function raises is raised in its item's turn; items that were not begun are not begun then.

    Parameters
    ----------
    function : callable
        May run in two threads at once.
    items : iterable
        Taken as they are needed.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(THREADS, "geoseg-block") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()

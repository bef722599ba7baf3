"""Process: what one process keeps from call to call, in one object: loaded networks, open files, clients, caches.

Nothing else in geoseg holds state at module level. A forked process starts with nothing kept; tests begin anew with
`renew`.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_KEPT = 32 * 2**20
"""The most that glibc takes for it; larger pieces always come from the system."""
_KEPT_BYTES = 256 * 2**20
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_bytes() -> int:
    """The most memory that this process ever held; 0 where the system does not tell."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text("ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next window instead of giving each layer's back to the system.

    Dask's workers ask for the opposite (MALLOC_TRIM_THRESHOLD_=65536), and a convolution's output then costs a page
    fault for each 4 kB: half of the time that a network took. Does nothing where the C library is another.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


class _Kept:
    """All that this process keeps."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.RLock()
        self.things: dict[object, Any] = {}

    def get(self, key: object, make: Callable[[], Any]) -> Any:
        found = self.things.get(key)
        if found is None:
            with self.lock:
                found = self.things.get(key)
                if found is None:
                    found = self.things[key] = make()
        return found


_kept = _Kept()


def kept(kind: Callable[[], T]) -> T:
    """The one `kind()` of this process, made at the first call; whichever thread asks first makes it.

    >>> class Numbers(list): ...
    >>> kept(Numbers).append(1)
    >>> kept(Numbers)
    [1]
    """
    found: T = _now().get(kind, kind)
    return found


def remembered(most: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Keep the last `most` results of a function of hashable arguments; threads that ask at once may each compute one.

    >>> @remembered(8)
    ... def double(number):
    ...     return 2 * number
    >>> double(4)
    8
    """

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        make = functools.lru_cache(most)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            found: R = _now().get(call, lambda: make(function))(*args, **kwargs)
            return found

        return call

    return wrap


def renew() -> None:
    """Forget all that is kept, as in a process that just began; what is in use elsewhere lives on there."""
    global _kept
    _kept = _Kept()


def _now() -> _Kept:
    if _kept.pid != os.getpid():
        renew()
    return _kept

"""Compiled: functions over arrays that numba turns into machine code, the first time that each is called.

The code is kept on disk beside the module or in the user's cache folder, and needs no lock of Python's while it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba  # type: ignore[import-untyped]

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """A function compiled when first called; kept on disk where there is a folder that can be written to."""
    try:
        made = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba finds no such folder: compiled again in each process
        made = numba.njit(nogil=True)(function)
    return cast(_Function, made)

"""Origin: work that checks what it needs on the worker, and whose refusals say on which worker that was."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from distributed import get_worker

from geoseg.errors import GeosegError


@dataclass(frozen=True, slots=True)
class Named:
    """A function that refuses in the worker's name. It and the checks can be pickled."""

    function: Callable[..., Any]
    check: Callable[[], None]
    """Called before and after the function; raises where it must not be believed."""

    def __call__(self, *items: Any) -> Any:
        """What the function gives of the items."""
        try:
            self.check()
            found = self.function(*items)
            self.check()
        except GeosegError as error:
            raise _said(error) from error
        return found


def _said(error: GeosegError) -> GeosegError:
    """The same error, with the worker in front; its kind stays."""
    sentence = f"worker {_here()}: {error}"
    try:
        return type(error)(sentence)
    except TypeError:  # of a kind that takes more than a sentence
        return GeosegError(sentence)


def _here() -> str:
    try:
        return f"{get_worker().address} on {socket.gethostname()}"
    except ValueError:  # not in a worker
        return f"on {socket.gethostname()}"

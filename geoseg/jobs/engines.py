"""Engines: what a run is given from outside: `predict` labels pixels, `mapper` spreads work. No torch, no Dask."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

import numpy as np

from geoseg.grid import Tile

Item = TypeVar("Item")
Result = TypeVar("Result")

Predict = Callable[[np.ndarray, Tile], Any]
"""(band, row, col) float32 over `tile.read`, NaN = no data, and the tile -> (row, col) uint8 labels of the same
pixels, or (labels, confidence)."""

Mapper = Callable[[Callable[[Item], Result], Iterable[Item]], Iterable[Result]]
"""Like the builtin `map`; results may come in any order. One over a cluster is also `Elsewhere`."""


class Elsewhere(Protocol):
    """What a mapper over other processes has besides: it can spread other work than blocks."""

    def of(self, noun: str, lost: Callable[[Any, str], Any], stall_s: float) -> Mapper[Any, Any]:
        """A mapper over the same processes, which prepare nothing for it.

        Parameters
        ----------
        noun : str
            What an item is called in notes to the user.
        lost : callable
            Makes the result of an item that could not be made, from the item and the reason.
        stall_s : float
            How long it may take until anything is finished.
        """
        ...

"""Engines: what a run is given from outside: `predict` labels pixels, `mapper` spreads work. No torch, no Dask."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from geoseg.grid import Tile

Item = TypeVar("Item")
Result = TypeVar("Result")

Predict = Callable[[np.ndarray, Tile], Any]
"""(band, row, col) float32 over `tile.read`, NaN = no data, and the tile -> (row, col) uint8 labels of the same
pixels, or (labels, confidence)."""

Mapper = Callable[[Callable[[Item], Result], Iterable[Item]], Iterable[Result]]
"""Like the builtin `map`; results may come in any order."""

"""Spread: a comparison counted by threads here, or by other processes, which read the files themselves.

Counts are integers that add up, so they are the same whoever counts what, in which order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geoseg.accuracy import calibration, counting, drawn
from geoseg.accuracy import zones as zoning
from geoseg.accuracy.counting import Comparison, Counts
from geoseg.accuracy.references import opened
from geoseg.catalog import Reference
from geoseg.grid import Window

Mapper = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""Like the builtin `map`, over other processes; results may come in any order."""
_AT_ONCE = 16
"""Squares that another process counts before it answers."""
Progress = Callable[[int, int], None]
"""Called with the squares that are done, and how many there are."""


def silent(done: int, total: int) -> None:
    """Nobody is told.

    Parameters
    ----------
    done, total : int
        As `Progress` has them.
    """


@dataclass(frozen=True, slots=True, eq=False)
class Counter:
    """Counts squares; can be pickled."""

    asked: Comparison
    """Without zones and confidence, which are opened here."""
    mapped: Reference
    """The map, as a raster of class ids."""
    reference: Reference
    zones: Path | None = None
    zone_column: str | None = None
    confidence: Path | None = None
    """Of the map, where it is to be judged."""

    def __call__(self, squares: Iterable[Window]) -> tuple[Counts, dict[int, str]]:
        """Counts, and the names of zones by their numbers.

        Parameters
        ----------
        squares : iterable of Window
            Of `Comparison.squares`; a list where the reference is to be drawn.

        Raises
        ------
        RasterError, CatalogError, GridError
            If a file cannot be read.
        """
        with opened(self.mapped) as ours:
            window = ours.window
            if self.reference.column is not None:
                squares = list(squares)
                window = _around(squares).grown(self.asked.boundaries.halo).meet(window) or window
            zones, grid = self.zones, self.asked.grid
            with (
                drawn.as_raster(self.reference, ours.grid, window) as raster,
                opened(raster) as other,
                nullcontext() if zones is None else zoning.on(zones, self.zone_column, grid) as parts,
                nullcontext() if self.confidence is None else calibration.on(self.confidence, ours) as trust,
            ):
                counted = counting.count(replace(self.asked, zones=parts, confidence=trust), ours, other, squares)
                return counted, {} if parts is None else parts.named({*counted.zones})


def counted(
    counter: Counter, *, workers: int = 1, mapper: Mapper | None = None, progress: Progress = silent
) -> tuple[Counts, dict[int, str]]:
    """All squares of a comparison.

    Parameters
    ----------
    counter : Counter
        Of the comparison.
    workers : int
        Threads.
    mapper : callable, optional
        In their place, see `Mapper`; the other processes find the files at the same paths.
    progress : callable
        Called now and then, see `Progress`.

    Returns
    -------
    Counts
        Of all squares.
    dict of int to str
        Names of the zones, sorted by their numbers.
    """
    squares = counter.asked.squares
    results: Iterable[tuple[Counts, dict[int, str], int]]
    if mapper is None:
        here = counting.in_threads(counter, squares, workers, lambda done: progress(done, len(squares)))
        results = ((*each, 0) for each in here)
    else:
        parts = [squares[at : at + _AT_ONCE] for at in range(0, len(squares), _AT_ONCE)]
        results = mapper(_Sized(counter), parts)
    found, done = Counts(counter.asked), 0
    names: dict[int, str] = {}
    for each, of_zones, size in results:
        found.add(each)
        names |= of_zones
        done += size
        if mapper is not None:
            progress(done, len(squares))
    return found, dict(sorted(names.items()))


@dataclass(frozen=True, slots=True, eq=False)
class _Sized:
    """Counts, and says how many squares that was."""

    counter: Counter

    def __call__(self, squares: list[Window]) -> tuple[Counts, dict[int, str], int]:
        return *self.counter(squares), len(squares)


def _around(squares: list[Window]) -> Window:
    row, col = min(each.row for each in squares), min(each.col for each in squares)
    height, width = max(each.row_end for each in squares) - row, max(each.col_end for each in squares) - col
    return Window(row, col, height, width)

"""Passes: the times that a map is gone through to be sieved, simplified and traced, by threads here or elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from geoseg.vectors import mapping_unit, simplify, stream
from geoseg.vectors.heights import Heights
from geoseg.vectors.mapping_unit import Change, MappingUnit
from geoseg.vectors.regions import OUTSIDE
from geoseg.vectors.rings import Batch
from geoseg.vectors.sieve import Strips
from geoseg.vectors.simplify import SQUARE, Kept
from geoseg.vectors.source import Source
from geoseg.vectors.spread import Mapper, Spread
from geoseg.vectors.strips import BLOCK_COLS, Amounts, Weights

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is."""

    step: str
    """'sieving', 'simplifying', 'smoothing' or 'tracing'."""
    done: int
    """Blocks that are done in this step."""
    total: int
    """Blocks of the map."""
    polygons: int
    """Polygons that have gone to the file so far."""


def silent(_: Progress) -> None:
    """Nobody is told."""


class Passes:
    """A map that is gone through; after `sieve` it is the sieved one."""

    def __init__(
        self,
        source: Source,
        *,
        workers: int = 1,
        mapper: Mapper | None = None,
        strip_rows: int | None = None,
        progress: Callable[[Progress], None] = silent,
    ) -> None:
        """Nothing is read yet.

        Parameters
        ----------
        source : Source
            The map.
        workers : int
            Threads.
        mapper : callable, optional
            In their place, see `spread.Mapper`.
        strip_rows : int, optional
            Rows read at a time by threads.
        progress : callable
            Called now and then.
        """
        self.source, self.polygons = source, 0
        self._workers, self._progress = workers, progress
        self._strip_rows = strip_rows
        self._pixels: Strips = partial(source.strips, strip_rows)
        self._spread = None if mapper is None else Spread.of(source, mapper)
        height = min(strip_rows or source.strip_rows, source.shape[0])
        self._blocks = -(-source.shape[0] // height) * -(-source.shape[1] // BLOCK_COLS)

    def sieve(self, unit: MappingUnit) -> list[Change]:
        """Have regions below least areas join others from now on.

        Parameters
        ----------
        unit : MappingUnit
            Least areas.
        """
        if self._spread is not None:
            parts = self._each("sieving", self._spread.parts(), self._spread.strip_rows)
            found, changes = mapping_unit.sieved(self.source, unit, parts=parts)
            self._spread = replace(self._spread, sieved=found)
            return changes
        read = partial(replace(self.source, wanted=None).strips, self._strip_rows)
        found, changes = mapping_unit.sieved(
            self.source, unit, workers=self._workers, strips=lambda: self._told("sieving", read())
        )
        self._pixels = replace(found, source=read).strips
        return changes

    def kept(self, pixels: float, weights: Weights, *, rounded: bool) -> Kept:
        """Corners that stay when outlines are simplified.

        Parameters
        ----------
        pixels, weights, rounded
            As for `simplify.kept`.
        """
        shape = self.source.shape
        if self._spread is None:
            strips = self._told("simplifying", self._pixels())
            return simplify.kept(strips, shape, pixels, weights=weights, rounded=rounded, workers=self._workers)
        rows = self._each("simplifying", self._spread.squares(pixels, rounded=rounded), SQUARE)
        squares = (each for row in rows for each in row)
        return simplify.gathered(squares, shape, Heights(weights, shape[0]), rounded=rounded)

    def regions(
        self, step: str, weights: Weights, amounts: Amounts | None = None, *, flagged: bool = False
    ) -> Iterator[Batch]:
        """All regions in order; without flags only those of the classes that are wanted.

        Parameters
        ----------
        step : str
            As `Progress` calls it.
        weights, amounts, flagged
            As for `stream.trace`.
        """
        cols, wanted = self.source.shape[1], None if flagged else self.source.wanted

        def told(now: stream.Stand) -> None:
            self._tell(step, now.row)

        if self._spread is not None:
            traced = replace(self._spread, only=wanted).strips(amounts, flagged=flagged)
            return stream.joined(traced, cols, flagged=flagged, progress=told)
        strips: Iterable[np.ndarray] = self._pixels()
        if wanted is not None:
            strips = (np.where(np.isin(each, wanted), each, OUTSIDE) for each in strips)
        how: dict[str, Any] = {"weights": weights, "amounts": amounts, "workers": self._workers, "flagged": flagged}
        return stream.trace(strips, cols, **how, progress=told)

    def _each(self, step: str, results: Iterable[T], rows: int) -> Iterator[T]:
        for at, each in enumerate(results):
            yield each
            self._tell(step, (at + 1) * rows)

    def _told(self, step: str, strips: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        row = 0
        for strip in strips:
            yield strip
            row += len(strip)
            self._tell(step, row)

    def _tell(self, step: str, row: int) -> None:
        height = self.source.shape[0]
        self._progress(Progress(step, self._blocks * min(row, height) // height, self._blocks, self.polygons))

"""Spread: a map traced, sieved and simplified by other processes, which read its rows themselves.

What they are sent is a path and which rows; what comes back are regions, not pixels. The results are those of one
process, to the byte, whatever rows are done where, in which order, or twice.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from geoseg.vectors import areas, sieve, simplify, strips
from geoseg.vectors.heights import Heights
from geoseg.vectors.regions import OUTSIDE
from geoseg.vectors.sieve import Sieved
from geoseg.vectors.simplify import SQUARE, Square
from geoseg.vectors.source import Source
from geoseg.vectors.strips import Amounts, Strip

Mapper = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""Like the builtin `map`, over other processes; results may come in any order."""
_HELD = 16
"""Results that wait in memory for an earlier one; more wait in a temporary file."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a map, not read: all that another process needs to read them."""

    source: Source
    start: int
    end: int
    """Rows [start, end)."""
    strip_rows: int = 0
    becomes: tuple[np.ndarray, ...] = ()
    """What the regions of each strip of so many rows that they meet become, where the map is sieved."""
    only: tuple[int, ...] | None = None
    """Classes that are wanted of the sieved map; None: all."""

    def read(self) -> np.ndarray:
        """(row, col) int32: class ids, OUTSIDE where there is no data or the class is not wanted."""
        if not self.becomes:
            return self.source.rows(self.start, self.end)
        first, height = self.start // self.strip_rows * self.strip_rows, self.source.shape[0]
        found = []
        for at, becomes in enumerate(self.becomes):
            start = first + at * self.strip_rows
            pixels = self.source.rows(start, min(start + self.strip_rows, height))
            pixels = sieve.changed(pixels, becomes)
            found.append(pixels[max(0, self.start - start) : self.end - start])
        pixels = np.concatenate(found)
        return pixels if self.only is None else np.where(np.isin(pixels, self.only), pixels, np.int32(OUTSIDE))


@dataclass(frozen=True, slots=True)
class Spread:
    """A map whose rows other processes read."""

    source: Source
    mapper: Mapper
    strip_rows: int
    sieved: Sieved | None = None
    """What becomes of its regions, by strips of as many rows."""
    only: tuple[int, ...] | None = None
    """As `Part.only`."""

    @classmethod
    def of(cls, source: Source, mapper: Mapper) -> Spread:
        """A map as it is.

        Parameters
        ----------
        source : Source
            The other processes find it at the same path.
        mapper : callable
            See `Mapper`.
        """
        return cls(replace(source, path=source.path.absolute()), mapper, source.strip_rows)

    def part(self, start: int, end: int) -> Part:
        """Rows [start, end), those of them that there are.

        Parameters
        ----------
        start, end : int
            Rows.
        """
        start, end = max(0, start), min(end, self.source.shape[0])
        if self.sieved is None:
            return Part(self.source, start, end)
        met = range(start // self.strip_rows, -(-end // self.strip_rows))
        becomes, whole = tuple(self.sieved.of_strip(at) for at in met), replace(self.source, wanted=None)
        return Part(whole, start, end, self.strip_rows, becomes, self.only)

    def parts(self) -> Iterator[sieve.Part]:
        """The regions of each strip, for `sieve.sieve`."""
        whole = replace(self, source=replace(self.source, wanted=None))
        return in_order(self.mapper, _regions, whole._cut(self.strip_rows, 0))

    def squares(self, pixels: float, *, rounded: bool) -> Iterator[list[Square]]:
        """All squares, row by row, for `simplify.gathered`.

        Parameters
        ----------
        pixels, rounded
            As for `simplify.kept`.
        """
        return in_order(self.mapper, _Squares(pixels, rounded), self._cut(SQUARE, 0))

    def strips(self, amounts: Amounts | None, *, flagged: bool) -> Iterator[Strip]:
        """All strips, for `stream.joined`.

        Parameters
        ----------
        amounts : callable, optional
            As for `stream.trace`; can be pickled.
        flagged : bool
            See `pieces`.
        """
        rows = self.strip_rows
        items = ((row, part) for row, part in zip(range(0, self.source.shape[0], rows), self._cut(rows, 1)))
        return in_order(self.mapper, _Strips(rows, amounts, flagged), items)

    def _cut(self, rows: int, around: int) -> Iterator[Part]:
        for row in range(0, self.source.shape[0], rows):
            yield self.part(row - around, row + rows + around)


@dataclass(frozen=True, slots=True)
class _Strips:
    """Traces rows, given with the first of them and one more above and below."""

    rows: int
    amounts: Amounts | None
    flagged: bool

    def __call__(self, item: tuple[int, Part]) -> Strip:
        row, part = item
        height, cols = part.source.shape
        pixels, nothing = part.read(), np.full(part.source.shape[1], OUTSIDE, np.int32)
        end = min(row + self.rows, height)
        above = pixels[0] if part.start < row else nothing
        below = pixels[-1] if part.end > end else nothing
        weights, _ = areas.weights(part.source.crs, part.source.transform, (height, cols))
        framed = strips.frame(pixels[row - part.start : end - part.start], above, below)
        rows = strips.prepared(framed, row, weights, self.amounts)
        return rows.strip([rows.block(index, flagged=self.flagged) for index in range(rows.blocks)])


@dataclass(frozen=True, slots=True)
class _Squares:
    """Simplifies a row of squares."""

    pixels: float
    rounded: bool

    def __call__(self, part: Part) -> list[Square]:
        weights, _ = areas.weights(part.source.crs, part.source.transform, part.source.shape)
        height = Heights(weights, part.source.shape[0])
        found = simplify.squares(part.read(), part.start, self.pixels, height, rounded=self.rounded)
        return [each() for each in found]


def _regions(part: Part) -> sieve.Part:
    weights, _ = areas.weights(part.source.crs, part.source.transform, part.source.shape)
    return sieve.part(part.read(), part.start, weights(part.start, part.end - part.start))


def in_order(mapper: Mapper, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """Results in the order of the items, however they come.

    Those that come too early wait, most of them in a temporary file.

    Parameters
    ----------
    mapper : callable
        See `Mapper`.
    function : callable
        Of an item; can be pickled, and its results too.
    items : iterable
        Can be pickled.
    """
    held: dict[int, Any] = {}
    written: dict[int, int] = {}
    following = 0
    with tempfile.TemporaryFile() as file:
        for index, result in mapper(_Numbered(function), enumerate(items)):
            if index != following and len(held) >= _HELD:
                written[index] = file.seek(0, 2)
                pickle.dump(result, file, pickle.HIGHEST_PROTOCOL)
            else:
                held[index] = result
            while following in held or following in written:
                if following in written:
                    file.seek(written.pop(following))
                    yield pickle.load(file)
                else:
                    yield held.pop(following)
                following += 1


@dataclass(frozen=True, slots=True)
class _Numbered:
    function: Callable[[Any], Any]

    def __call__(self, item: tuple[int, Any]) -> tuple[int, Any]:
        return item[0], self.function(item[1])

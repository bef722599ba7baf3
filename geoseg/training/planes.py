"""Planes: the pixels, labels and divisions of a scene by windows, from an array in memory or read when asked for.

Arrays end with (row, col). What was read is kept in squares of the lattice up to a number of bytes, those used last;
what a window holds never depends on what was kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from geoseg.grid import Window, cut
from geoseg.rasters.footprints import SQUARE

Read = Callable[[Window], tuple[np.ndarray, np.ndarray]]
"""Pixels (band, row, col) and labels (row, col) of a window."""


@dataclass(frozen=True, slots=True, eq=False)
class Windowed:
    """A plane that is made when it is asked for."""

    of: Callable[[Window], np.ndarray]
    """(…, row, col) of a window of the lattice, inside of the scene."""
    cache: Cache | None = None
    """Where what was read is kept."""


Plane = np.ndarray | Windowed
"""All of a scene, (…, row, col), or a way to make it."""


def taken(plane: Plane, extent: Window, window: Window) -> np.ndarray:
    """A window of a plane.

    Parameters
    ----------
    plane
        Of a scene.
    extent
        The scene's window.
    window
        Inside of it.
    """
    if isinstance(plane, Windowed):
        return plane.of(window)
    found: np.ndarray = plane[..., *window.within(extent)]
    return found


class Cache:
    """Squares of scenes, as many as so many bytes hold."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.bytes = most_bytes, 0
        self.kept: OrderedDict[tuple[int, Window], tuple[np.ndarray, np.ndarray]] = OrderedDict()

    def __reduce__(self) -> tuple[type[Cache], tuple[int]]:
        """To another process it goes empty."""
        return Cache, (self.most_bytes,)

    def shrink(self, most_bytes: int) -> None:
        """Hold less from now on.

        Parameters
        ----------
        most_bytes
            Of pixels and labels.
        """
        self.most_bytes = most_bytes
        self._let_go()

    def _let_go(self) -> None:
        while self.bytes > self.most_bytes:
            self.bytes -= sum(each.nbytes for each in self.kept.popitem(last=False)[1])

    def get(self, key: tuple[int, Window]) -> tuple[np.ndarray, np.ndarray] | None:
        """What is kept of a square of a scene.

        Parameters
        ----------
        key
            Number of the scene, and the part of it in a square of the lattice.
        """
        found = self.kept.get(key)
        if found is not None:
            self.kept.move_to_end(key)
        return found

    def put(self, key: tuple[int, Window], found: tuple[np.ndarray, np.ndarray]) -> None:
        """Keep a square, and let go those that were used longest ago.

        Parameters
        ----------
        key
            As for `get`.
        found
            Its pixels and labels.
        """
        self.kept[key] = found
        self.bytes += sum(each.nbytes for each in found)
        self._let_go()


class Squares:
    """A scene that is read in squares of the lattice, those that lie side by side in one go."""

    def __init__(self, read: Read, extent: Window, cache: Cache, number: int) -> None:
        self.read, self.extent, self.cache, self.number = read, extent, cache, number
        self.last: tuple[Window, tuple[np.ndarray, np.ndarray]] | None = None

    def __reduce__(self) -> tuple[type[Squares], tuple[Read, Window, Cache, int]]:
        """To another process it goes without what was read last."""
        return Squares, (self.read, self.extent, self.cache, self.number)

    def pixels(self, window: Window) -> np.ndarray:
        """(band, row, col) of a window inside of the scene."""
        return self._both(window)[0]

    def labels(self, window: Window) -> np.ndarray:
        """(row, col) of a window inside of the scene."""
        return self._both(window)[1]

    def _both(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        if self.last is None or self.last[0] != window:
            self.last = (window, self._assembled(window))
        return self.last[1]

    def _assembled(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        found: dict[Window, tuple[np.ndarray, np.ndarray]] = {}
        lacking: list[Window] = []
        for square in cut(window, SQUARE):
            part = square.meet(self.extent)
            assert part is not None
            kept = self.cache.get((self.number, part))
            if kept is not None:
                found[part] = kept
            elif lacking and lacking[-1].row == part.row and lacking[-1].col_end == part.col:
                lacking[-1] = lacking[-1].join(part)
            else:
                lacking.append(part)
        for run in lacking:
            found |= self._read(run)
        return tuple(_put_together(window, {part: pair[at] for part, pair in found.items()}) for at in (0, 1))  # type: ignore[return-value]

    def _read(self, run: Window) -> dict[Window, tuple[np.ndarray, np.ndarray]]:
        """The squares of a run that lie side by side."""
        pixels, labels = self.read(run)
        found = {}
        for square in cut(run, SQUARE):
            part = square.meet(run)
            assert part is not None
            rows, cols = part.within(run)
            found[part] = (pixels[:, rows, cols].copy(), labels[rows, cols].copy())
            self.cache.put((self.number, part), found[part])
        return found


def _put_together(window: Window, parts: dict[Window, np.ndarray]) -> np.ndarray:
    first = next(iter(parts.values()))
    out = np.empty((*first.shape[:-2], *window.shape), first.dtype)
    for part, values in parts.items():
        here = part.meet(window)
        assert here is not None
        out[..., *here.within(window)] = values[..., *here.within(part)]
    return out

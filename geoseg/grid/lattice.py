"""Lattice: how an extent is cut into cores and blocks, and what is read to label one. Pixels, bytes; no files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from geoseg.errors import JobError
from geoseg.grid.windows import Window, count, cut
from geoseg.quantities import counted

_LARGEST_BLOCK = 2048
_FEWEST_BLOCKS = 16
_FIXED_BYTES = 700_000_000
"""What a worker holds before its first block: Python, torch, GDAL and its 256 MB cache."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A piece of the lattice to label: what was read, the cores in it, and what of them is kept."""

    read: Window
    """What the pixels cover: whole cores, grown by a margin."""
    core: int
    """Edge of a core, pixels; cores begin at its multiples."""
    keep: Window
    """What is wanted of it."""

    def __post_init__(self) -> None:
        if self.cores.grown(self.margin) != self.read or self.margin < 0:
            raise ValueError(f"{self.read} is no frame of whole cores of {self.core} pixels around {self.keep}")

    @property
    def cores(self) -> Window:
        """The whole cores around what is kept."""
        return self.keep.snapped(self.core)

    @property
    def margin(self) -> int:
        """Pixels read beyond the cores on each side."""
        return self.cores.row - self.read.row


@dataclass(frozen=True, slots=True)
class Layout:
    """How an extent is cut: cores on the lattice, blocks of whole cores."""

    extent: Window
    """What the map covers, on the lattice."""
    core: int
    """Edge of a core."""
    margin: int
    """Pixels read beyond a block on each side."""
    block: int
    """Edge of a block, a multiple of the core."""

    def __post_init__(self) -> None:
        if self.core < 1 or self.block % self.core:
            raise JobError(f"block {self.block} is no multiple of the core of {self.core} pixels")

    @property
    def blocks(self) -> int:
        """Number of blocks, skipped ones included."""
        return count(self.extent, self.block)

    def cut(self) -> Iterator[Window]:
        """Blocks in row-major order, clipped to the extent; they partition it."""
        return map(self.clipped, cut(self.extent, self.block))

    def tile(self, window: Window) -> Tile:
        """What must be read to label `window`: the whole cores around it and the margin."""
        return Tile(window.snapped(self.core).grown(self.margin), self.core, window)

    def left(self, block: Window, kept: Sequence[Window]) -> list[Window]:
        """The parts of a block that blocks of an earlier cutting leave to be made, as rectangles of whole cores.

        Runs of free cores along a row, each joined with those below that begin and end alike; clipped to the extent.

        Parameters
        ----------
        block : Window
            One of `cut`.
        kept : sequence of Window
            Unions of whole cores, clipped to the extent, that meet the block and do not overlap each other.
        """
        if not kept:
            return [block]
        if block in kept:
            return []
        square = block.snapped(self.core)
        free = np.ones((square.height // self.core, square.width // self.core), bool)
        for window in kept:
            part = window.snapped(self.core).meet(square)
            if part is not None:
                rows, cols = part.within(square)
                free[
                    rows.start // self.core : rows.stop // self.core, cols.start // self.core : cols.stop // self.core
                ] = 0
        return [self.clipped(part) for part in _rectangles(free, square, self.core)]

    def clipped(self, square: Window) -> Window:
        """A block's square without what lies beyond the extent."""
        window = square.meet(self.extent)
        assert window is not None
        return window


def block_edge(extent: Window, core: int, margin: int, bands: int, allowed_bytes: int) -> int:
    """Edge of a block: large enough to amortise its margin, small enough for the budget and for many workers.

    Parameters
    ----------
    extent : Window
        What the map covers.
    core, margin : int
        Edge of a core, and what is read beyond a block on each side; pixels.
    bands : int
        Bands that are read.
    allowed_bytes : int
        Memory that a worker may use.

    Raises
    ------
    JobError
        If not even one core fits the budget.
    """
    if block_bytes(core, margin, bands) > allowed_bytes:
        need = block_bytes(core, margin, bands)
        raise JobError(
            f"memory_per_worker is {allowed_bytes / 1e9:.1f} GB, but one window of {core} pixels with a margin of "
            f"{margin} and {counted(bands, 'band')} needs {need / 1e9:.1f} GB; "
            "raise it or choose a smaller inference.window"
        )
    edge = core
    while edge + core <= _LARGEST_BLOCK and block_bytes(edge + core, margin, bands) <= allowed_bytes:
        edge += core
    while edge > 2 * core and count(extent, edge) < _FEWEST_BLOCKS:
        edge -= core
    return edge


def block_bytes(edge: int, margin: int, bands: int) -> int:
    """Peak memory of a worker with two blocks in hand (one read ahead), in bytes; an upper estimate.

    Per pixel and band: float32 as read, as normalised and in the windows; per pixel: masks and labels; and for the
    window in the network 2 kB a pixel, which is above what compact encoder-decoders need.

    Parameters
    ----------
    edge, margin : int
        Edge of a block, and what is read beyond it on each side; pixels.
    bands : int
        Bands that are read.
    """
    side = edge + 2 * margin
    window = 256 + 2 * margin
    return _FIXED_BYTES + 2 * side * side * (12 * bands + 8) + window * window * 2048


def _rectangles(free: np.ndarray, square: Window, core: int) -> Iterator[Window]:
    """The True cells of (row, col) bool, cores of a square, as rectangles."""
    begun: dict[tuple[int, int], int] = {}
    for row in range(len(free) + 1):
        runs = _runs(free[row]) if row < len(free) else []
        for run in [each for each in begun if each not in runs]:
            first = begun.pop(run)
            height, width = (row - first) * core, (run[1] - run[0]) * core
            yield Window(square.row + first * core, square.col + run[0] * core, height, width)
        for run in runs:
            begun.setdefault(run, row)


def _runs(free: np.ndarray) -> list[tuple[int, int]]:
    """First and end of each run of True in (col,) bool."""
    edges = np.flatnonzero(np.diff(np.r_[False, free, False].astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist()))

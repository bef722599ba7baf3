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
_FIXED_BYTES = 1_050_000_000
"""What a worker holds besides its network and blocks: Python, torch, Dask (790 MB), GDAL's cache (256 MB)."""

_LEFT_BYTES = 256 * 2**20
"""What blocks may leave with the allocator, see `process.keep_freed_memory`."""
_SHEET_BYTES = 150_000_000
"""What making a sheet takes besides GDAL's cache: open blocks, the mosaic over them, tiles being compressed."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a network asks of a worker's memory, bytes."""

    window: int
    """For a window that is labelled."""
    loaded: int = 0
    """Once it is loaded, with its libraries."""
    pixel: int = 0
    """For a pixel of a block, besides its bands, labels and confidence."""

    @classmethod
    def unknown(cls, margin: int) -> Demand:
        """Of a network that nobody can measure: what compact ones take for windows of 256 pixels, 2 kB a pixel.

        Parameters
        ----------
        margin : int
            Pixels that a window sees beyond its core on each side.
        """
        return cls((256 + 2 * margin) ** 2 * 2048)


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


def block_edge(extent: Window, core: int, margin: int, bands: int, demand: Demand, allowed_bytes: int) -> int:
    """Edge of a block: large enough to amortise its margin, small enough for the budget and for many workers.

    Parameters
    ----------
    extent : Window
        What the map covers.
    core, margin : int
        Edge of a core, and what is read beyond a block on each side; pixels.
    bands : int
        Bands that are read.
    demand : Demand
        Of the network.
    allowed_bytes : int
        Memory that a worker may use.

    Raises
    ------
    JobError
        If not even one core fits the budget.
    """
    need = worker_bytes(core, margin, bands, demand)
    if need > allowed_bytes:
        raise JobError(
            f"memory_per_worker leaves {allowed_bytes / 1e9:.2f} GB for blocks, but one window of {core} pixels with a "
            f"margin of {margin} and {counted(bands, 'band')} needs {need / 1e9:.2f} GB; raise it "
            f"{need / allowed_bytes * 1.01:.2f}-fold or choose a smaller inference.window"
        )
    edge = core
    while edge + core <= _LARGEST_BLOCK and worker_bytes(edge + core, margin, bands, demand) <= allowed_bytes:
        edge += core
    while edge > 2 * core and count(extent, edge) < _FEWEST_BLOCKS:
        edge -= core
    return edge


def worker_bytes(edge: int, margin: int, bands: int, demand: Demand, windows: int = 1) -> int:
    """Peak memory of a worker with two blocks in hand (one read ahead), in bytes; an upper estimate.

    Per pixel and band: float32 as read, as normalised and in between; per pixel: masks and labels.

    Parameters
    ----------
    edge, margin : int
        Edge of a block, and what is read beyond it on each side; pixels.
    bands : int
        Bands that are read.
    demand : Demand
        Of the network.
    windows : int
        Windows that are labelled at once.
    """
    side = edge + 2 * margin
    return _FIXED_BYTES + demand.loaded + 2 * side * side * (12 * bands + 8 + demand.pixel) + windows * demand.window


def windows_that_fit(edge: int, margin: int, bands: int, demand: Demand, allowed_bytes: int) -> int:
    """How many windows a worker can label at once within its memory, at least 1.

    Parameters
    ----------
    edge, margin, bands, demand
        As for `worker_bytes`.
    allowed_bytes : int
        Memory that the worker may use.
    """
    left = allowed_bytes - worker_bytes(edge, margin, bands, demand, windows=0)
    return max(1, left // max(1, demand.window))


def sheets_that_fit(width: int, edge: int, bands: int, demand: Demand, allowed_bytes: int) -> int:
    """How many sheets of a map a worker can put together at once within its memory; 0 where none fits.

    Parameters
    ----------
    width : int
        Of a sheet, pixels.
    edge : int
        Of a block.
    bands : int
        Of the sheet and its blocks.
    demand : Demand
        Of the network, which stays loaded.
    allowed_bytes : int
        Memory that the worker may use.
    """
    # A block as its bytes, decoded and as the sheet has it; rows of tiles from which overviews are made.
    each = _SHEET_BYTES + bands * (4 * edge * edge + 2048 * width)
    return max(0, allowed_bytes - _FIXED_BYTES - _LEFT_BYTES - demand.loaded) // each


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

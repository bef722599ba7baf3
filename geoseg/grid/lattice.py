"""Lattice: how an extent is cut into cores and blocks, and what is read to label one. Pixels, bytes; no files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from geoseg.errors import JobError
from geoseg.grid.windows import Window, count, cut

_LARGEST_BLOCK = 2048
_FEWEST_BLOCKS = 16
_FIXED_BYTES = 700_000_000
"""What a worker holds before its first block: Python, torch, GDAL and its 256 MB cache."""


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
        for square in cut(self.extent, self.block):
            clipped = square.meet(self.extent)
            assert clipped is not None
            yield clipped

    def reading(self, window: Window) -> Window:
        """What must be read to label `window`: the whole cores around it and the margin."""
        return window.snapped(self.core).grown(self.margin)


def block_edge(extent: Window, core: int, margin: int, bands: int, allowed_bytes: int) -> int:
    """Edge of a block: large enough to amortise its margin, small enough for the budget and for many workers.

    Raises
    ------
    JobError
        If not even one core fits the budget.
    """
    if block_bytes(core, margin, bands) > allowed_bytes:
        need = block_bytes(core, margin, bands)
        raise JobError(
            f"memory_per_worker is {allowed_bytes / 1e9:.1f} GB, but one window of {core} pixels with a margin of "
            f"{margin} and {bands} bands needs {need / 1e9:.1f} GB; raise it or choose a smaller inference.window"
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
    """
    side = edge + 2 * margin
    window = 256 + 2 * margin
    return _FIXED_BYTES + 2 * side * side * (12 * bands + 8) + window * window * 2048

"""Windows: rectangles of pixels as (row, col, height, width) on an endless lattice.

Integers only; no coordinates, no files. Rows and columns count from the lattice's origin and may be
negative. A *core* is what a network's window keeps, a *block* a rectangle of whole cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A rectangle of pixels; never empty in either direction."""

    row: int
    """First row."""
    col: int
    """First column."""
    height: int
    """Rows, at least 1."""
    width: int
    """Columns, at least 1."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"a window needs at least 1 x 1 pixels, got {self.height} x {self.width}")

    @property
    def row_end(self) -> int:
        """First row below."""
        return self.row + self.height

    @property
    def col_end(self) -> int:
        """First column to the right."""
        return self.col + self.width

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return self.height, self.width

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    def grown(self, margin: int) -> Window:
        """The window with `margin` more pixels on each side (fewer if negative).

        >>> Window(10, 20, 5, 5).grown(2)
        Window(row=8, col=18, height=9, width=9)
        """
        return Window(self.row - margin, self.col - margin, self.height + 2 * margin, self.width + 2 * margin)

    def meet(self, other: Window) -> Window | None:
        """The part common to both, or None where they do not overlap.

        >>> Window(0, 0, 4, 4).meet(Window(2, 3, 4, 4))
        Window(row=2, col=3, height=2, width=1)
        """
        row, col = max(self.row, other.row), max(self.col, other.col)
        height = min(self.row_end, other.row_end) - row
        width = min(self.col_end, other.col_end) - col
        return Window(row, col, height, width) if height > 0 and width > 0 else None

    def join(self, other: Window) -> Window:
        """The smallest window that holds both."""
        row, col = min(self.row, other.row), min(self.col, other.col)
        height = max(self.row_end, other.row_end) - row
        width = max(self.col_end, other.col_end) - col
        return Window(row, col, height, width)

    def holds(self, other: Window) -> bool:
        """Whether `other` lies wholly inside."""
        return self.meet(other) == other

    def snapped(self, step: int) -> Window:
        """The smallest window around this one whose edges are multiples of `step`.

        >>> Window(-3, 5, 4, 4).snapped(8)
        Window(row=-8, col=0, height=16, width=16)
        """
        row, col = self.row // step * step, self.col // step * step
        row_end, col_end = -(-self.row_end // step) * step, -(-self.col_end // step) * step
        return Window(row, col, row_end - row, col_end - col)

    def within(self, other: Window) -> tuple[slice, slice]:
        """Slices that cut this window out of an array that covers `other`.

        >>> Window(2, 3, 1, 2).within(Window(0, 0, 9, 9))
        (slice(2, 3, None), slice(3, 5, None))
        """
        row, col = self.row - other.row, self.col - other.col
        return slice(row, row + self.height), slice(col, col + self.width)


def cut(window: Window, step: int) -> Iterator[Window]:
    """Squares of the lattice with edge `step` that touch `window`, whole, in row-major order.

    The squares depend on the lattice and `step` alone, so two windows that overlap share squares.

    Parameters
    ----------
    window : Window
        What the squares must touch.
    step : int
        Edge of a square, pixels; squares begin at its multiples.

    >>> [(w.row, w.col) for w in cut(Window(3, 7, 2, 2), 4)]
    [(0, 4), (0, 8), (4, 4), (4, 8)]
    """
    whole = window.snapped(step)
    for row in range(whole.row, whole.row_end, step):
        for col in range(whole.col, whole.col_end, step):
            yield Window(row, col, step, step)


def count(window: Window, step: int) -> int:
    """How many squares `cut` yields.

    Parameters
    ----------
    window, step
        As for `cut`.
    """
    whole = window.snapped(step)
    return (whole.height // step) * (whole.width // step)

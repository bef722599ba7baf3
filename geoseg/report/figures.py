"""Figures: drawn without a display and without matplotlib's global state, laid out in inches, written as PNG."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geoseg.quantities import length
from geoseg.report import fonts
from geoseg.storage.store import Store

HATCH = {"facecolor": "white", "hatch": "////", "edgecolor": "#d0d0d0", "linewidth": 0.0}
"""How pixels without data look."""
_DPI = 200


class Inches:
    """A figure on which things are put in inches from its lower left corner."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.width, self.height = figure.get_size_inches()

    def axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """New axes.

        Parameters
        ----------
        left, bottom : float
            Lower left corner.
        width, height : float
            Size.
        """
        box = (left / self.width, bottom / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box)

    def text(self, left: float, bottom: float, text: str, **how: Any) -> None:
        """A text; nothing where it is empty.

        Parameters
        ----------
        left, bottom : float
            Lower left corner.
        text : str
            Characters that no font has become question marks.
        **how
            As matplotlib's `Text` takes it.
        """
        if text:
            setting = fonts.setting(text) | {"va": "bottom"} | how
            self.figure.text(left / self.width, bottom / self.height, fonts.legible(text), **setting)

    def scale_bar(self, ground_m: float, left: float, width: float, bottom: float) -> None:
        """A bar of a round length, about a third of a map's width, with that length beside it.

        Parameters
        ----------
        ground_m : float
            Width of the map on the ground in metres.
        left, width : float
            Where the map begins and how wide it is drawn.
        bottom : float
            Lower edge of the bar.
        """
        metres = round_length(ground_m / 3)
        axes = self.axes(left, bottom, metres / ground_m * width, 0.06)
        axes.set(xticks=[], yticks=[], facecolor="black")
        self.text(left + metres / ground_m * width + 0.08, bottom + 0.03, length(metres), size=9, va="center")


def round_length(most: float) -> float:
    """The longest of 1, 2 and 5 times a power of ten that is not above `most`.

    >>> round_length(70), round_length(0.03)
    (50.0, 0.02)
    """
    power = 10.0 ** math.floor(math.log10(most))
    return max(step * power for step in (0.5, 1, 2, 5) if step * power <= most)  # a logarithm may round up


def fit(size: Sequence[float], side: float) -> tuple[float, float]:
    """(height, width) in inches of a panel: the longer edge is `side`, the shorter at least a sixth of it.

    Parameters
    ----------
    size : (height, width)
        On the ground or in pixels.
    side : float
        Inches.
    """
    longest = max(size)
    return max(size[0] / longest * side, side / 6), max(size[1] / longest * side, side / 6)


def draw(axes: Axes, image: np.ndarray) -> None:
    """Fill axes with an image.

    Parameters
    ----------
    axes : Axes
        Their proportions are the ground's already.
    image : (row, col, 3 or 4) uint8
        What is transparent shows the hatch of nodata.
    """
    axes.imshow(image, interpolation="nearest", aspect="auto")
    axes.patch.set(**HATCH)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color="#888888", linewidth=0.6)


def save(figure: Figure, out: Path | str) -> None:
    """Write a figure as PNG, whole or not at all.

    Parameters
    ----------
    figure : Figure
        Any.
    out : path
        File to write, replaced if there.

    Raises
    ------
    LedgerError
        If the file cannot be written.
    """
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # of a bold or slanted font, which may have fewer
        if engine := figure.get_layout_engine():  # savefig would draw everything once more only to lay it out
            figure.set_dpi(_DPI)
            engine.execute(figure)
            figure.set_layout_engine(None)
        figure.savefig(data, format="png", dpi=_DPI)
    path = Path(out).absolute()
    Store(str(path.parent)).put(path.name, data.getvalue())

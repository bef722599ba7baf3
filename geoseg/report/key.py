"""Key: which colour of a picture means what, and how much of the classified pixels each class has."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.legend import Legend as DrawnKey
from matplotlib.patches import Patch, Rectangle

from geoseg.catalog.legend import LandClass, Legend
from geoseg.report import fonts
from geoseg.report.figures import HATCH, Inches

Row = tuple[str, str, dict[str, Any]]
"""Name, share and how its patch looks."""
_LINE = 0.2
"""Inches from one line of text to the next."""
_STRANGE = (255, 0, 255)
"""Colour of a value that is neither nodata nor in the legend."""


def label(each: LandClass) -> str:
    """What to call a class in a picture: its name, or its id where no installed font can write the name."""
    return each.name if fonts.writable(each.name) else f"class {each.id}"


def coloured(labels: np.ndarray, legend: Legend, nodata: int) -> np.ndarray:
    """Labels as an image.

    Parameters
    ----------
    labels : (row, col) integer
        Class ids.
    legend : Legend
        Their colours; a value that it lacks is magenta.
    nodata : int
        Value that becomes transparent.

    Returns
    -------
    (row, col, 4) uint8
        Red, green, blue, opacity.
    """
    table = np.empty((max(256, int(labels.max()) + 1), 4), np.uint8)
    table[:] = (*_STRANGE, 255)
    for each in legend.classes:
        if each.id < len(table):
            table[each.id] = (*each.rgb, 255)
    if nodata < len(table):
        table[nodata] = 0
    return table[labels]


def count(labels: np.ndarray) -> dict[int, int]:
    """Pixels of each value."""
    values, counts = np.unique(labels, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist()))


def rows(
    counts: Mapping[int, int], legend: Legend, nodata: int, *, has_nodata: bool, characters: int = 1000
) -> list[Row]:
    """One row for each class present, then one for all values that the legend lacks, then one for nodata.

    Parameters
    ----------
    counts : mapping
        Pixels of each value.
    legend : Legend
        Names and colours, in its order.
    nodata : int
        Value that counts for no share.
    has_nodata : bool
        Whether nodata is to be seen.
    characters : int
        Longest line of a name; longer ones are wrapped.
    """
    left = {value: pixels for value, pixels in counts.items() if value != nodata and pixels > 0}
    total = sum(left.values())
    found: list[Row] = []
    frame = {"edgecolor": "#555555", "linewidth": 0.5}
    for each in legend.classes:
        if each.id in left:
            name = textwrap.fill(label(each), characters)
            found.append((name, _share(left.pop(each.id), total), {"facecolor": each.colour} | frame))
    if left:
        strange = {"facecolor": tuple(value / 255 for value in _STRANGE)} | frame
        found.append(("not in the legend", _share(sum(left.values()), total), strange))
    if has_nodata:
        found.append(("no data", "", HATCH))
    return found


def size(rows: Sequence[Row]) -> tuple[float, float]:
    """(height, width) in inches that `draw_column` needs."""
    return sum(_row_height(name) for name, _, _ in rows) + 0.5, 1.5 + 0.09 * _longest(rows)


def draw_column(axes: Axes, rows: Sequence[Row], width: float, height: float) -> None:
    """Draw a key under a heading, one class below the other.

    Parameters
    ----------
    axes : Axes
        Filled from the top left.
    rows : sequence of Row
        Its rows.
    width, height : float
        Size of the axes in inches.
    """
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    small = fonts.setting("share") | {"size": 8, "color": "#555555", "va": "top"}
    axes.text(width, 0.0, "share of\nclassified", ha="right", **small)
    top = 0.38
    for name, share, patch in rows:
        middle = top + _row_height(name) / 2
        axes.add_patch(Rectangle((0, middle - 0.08), 0.28, 0.16, **patch))
        axes.text(0.4, middle, name, va="center", size=10, **fonts.setting(name))
        axes.text(width, middle, share, va="center", ha="right", size=10, **fonts.setting(share))
        top += _row_height(name)


def columns(rows: Sequence[Row], width: float) -> tuple[int, float]:
    """How many columns of a key fit into a figure, and how high they are.

    Parameters
    ----------
    rows : sequence of Row
        Its rows.
    width : float
        Of the figure, in inches.

    Returns
    -------
    int
        Columns, at least one.
    float
        Height in inches.
    """
    count = max(1, int(width / (0.7 + 0.09 * _longest(rows))))
    lines = max((sum(1 + name.count("\n") for name, _, _ in rows[i::count]) for i in range(count)), default=0)
    return count, 0.24 * lines


def draw_columns(sheet: Inches, rows: Sequence[Row], count: int, top: float) -> None:
    """Draw a key in columns across a figure, without shares.

    Parameters
    ----------
    sheet : Inches
        The figure.
    rows : sequence of Row
        Its rows.
    count : int
        Columns.
    top : float
        Upper edge, in inches above the figure's lower edge.
    """
    drawn = sheet.figure.legend(
        handles=[Patch(label=str(index), **patch) for index, (_, _, patch) in enumerate(rows)],
        loc="upper center",
        bbox_to_anchor=(0.5, top / sheet.height),
        ncols=count,
        frameon=False,
        fontsize=10,
        borderpad=0,
    )
    name_rows(drawn, [name for name, _, _ in rows])


def name_rows(drawn: DrawnKey, names: Sequence[str]) -> None:
    """Give the rows of matplotlib's own key their names, since it leaves out a label that begins with '_'.

    Parameters
    ----------
    drawn : matplotlib Legend
        With any labels that do not.
    names : sequence of str
        One for each of its rows.
    """
    for text, name in zip(drawn.get_texts(), names):
        text.set(text=name, **fonts.setting(name))


def _share(count: int, total: int) -> str:
    share = 100 * count / total
    return f"{share:.1f} %" if share >= 0.05 else "< 0.1 %"


def _longest(rows: Sequence[Row]) -> int:
    """Characters of the longest line among the names."""
    return max((len(line) for name, _, _ in rows for line in name.split("\n")), default=8)


def _row_height(name: str) -> float:
    return _LINE * (1 + name.count("\n")) + 0.12

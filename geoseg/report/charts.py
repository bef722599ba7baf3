"""Charts: the figures of a report as PNG and SVG: areas, IoU, confusion matrix, where map and reference differ."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from geoseg.report import fonts, page, reliability, squares
from geoseg.report.figures import HATCH

_WIDTH = 7.0


def charts(facts: Mapping[str, Any], scores: Mapping[str, Any] | None) -> dict[str, bytes]:
    """Files of the figures, equal for equal arguments.

    Parameters
    ----------
    facts : mapping
        As `page.render` takes them.
    scores : mapping or None
        What accuracy.json holds.

    Returns
    -------
    mapping of str to bytes
        PNG and SVG by their names.
    """
    classes = facts["classes"]
    found = {"areas": _bars([(e["name"], e["colour"], e["area_m2"] / 1e6, None) for e in classes], "area (km²)")}
    if scores is not None:
        bars = [(e["name"], e["colour"], e["iou"], e["interval"]) for e in page.bars(scores, classes)]
        found["iou"] = _bars(bars, "IoU with the reference (0 to 1)", 1.0)
        if (matrix := page.confusion(scores)) is not None:
            found["confusion"] = _confusion(matrix, "of_row", "% of the reference's pixels of the row's class")
            found["confusion_of_map"] = _confusion(matrix, "of_col", "% of the map's pixels of the column's class")
        if reliability.drawn(scores) is not None:
            found |= {"reliability": reliability.diagram(scores), "coverage": reliability.curve(scores)}
        names = ("differing", "block_iou")
        found |= {name: _grid(*each) for name, each in zip(names, squares.arrays(scores).items())}
    return {f"{name}.{kind}": _saved(figure, kind) for name, figure in found.items() for kind in ("png", "svg")}


def _bars(rows: list[tuple[str, str, float | None, Any]], unit: str, most: float | None = None) -> Figure:
    figure = Figure(figsize=(_WIDTH, 1.0 + 0.35 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for at, (_, colour, value, interval) in enumerate(rows):
        axes.barh(at, value or 0.0, color=colour, edgecolor="#555555", linewidth=0.6)
        if interval is not None:
            axes.plot(interval, (at, at), color="black", linewidth=1.5, marker="|")
    axes.set(xlabel=unit, xlim=(0, most), ylim=(len(rows) - 0.4, -0.6))
    _named(axes.set_yticks, [name for name, *_ in rows])
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _grid(title: str, values: np.ndarray) -> Figure:
    rows, cols = values.shape
    longer = max(rows, cols)
    figure = Figure(figsize=(1.6 + 5 * cols / longer, 0.6 + max(1.5, 5 * rows / longer)), layout="constrained")
    axes = figure.subplots()
    axes.patch.set(**HATCH)
    drawn = axes.imshow(
        values, cmap=squares.SCALE, vmin=0, vmax=1.0 if "IoU" in title else None, interpolation="nearest"
    )
    figure.colorbar(drawn, ax=axes, label=title, shrink=0.8)
    axes.set(xticks=[], yticks=[])
    return figure


def _confusion(found: Mapping[str, Any], kind: str, label: str) -> Figure:
    names = [row["name"] for row in found["rows"]]
    shares = np.array([[cell[kind] or 0.0 for cell in row["cells"]] for row in found["rows"]])
    return confusion(names, shares, label)


def confusion(
    names: list[str], shares: np.ndarray, label: str = "% of the reference's pixels of the row's class"
) -> Figure:
    """A figure of a confusion matrix.

    Parameters
    ----------
    names : list of str
        Of the classes.
    shares : (class, class) float
        Of the pixels that the label says.
    label : str
        What they are shares of.
    """
    side = 2.5 + 0.5 * len(names)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(100 * shares, cmap="cividis", vmin=0, vmax=100)
    figure.colorbar(drawn, ax=axes, label=label, shrink=0.8)
    for (row, col), share in np.ndenumerate(shares):
        colour = "black" if share > 0.5 else "white"
        axes.text(col, row, f"{100 * share:.0f}", ha="center", va="center", size=8, color=colour)
    axes.set(xlabel="map", ylabel="reference")
    _named(axes.set_yticks, names)
    _named(axes.set_xticks, names)
    axes.tick_params(axis="x", rotation=90)
    return figure


def _named(place: Callable[..., Any], names: list[str]) -> None:
    shown = [fonts.legible(name) for name in names]
    place(range(len(names)), labels=shown, **fonts.setting("".join(shown)))


def _saved(figure: Figure, kind: str) -> bytes:
    data = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "geoseg", "svg.fonttype": "path"}):
        figure.savefig(data, format=kind, dpi=200, metadata={"Date": None} if kind == "svg" else None)
    return data.getvalue()

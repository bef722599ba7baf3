"""Trained: pictures of what a network came to: confusion, how sure it is, and examples of held-out ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from geoseg.catalog.legend import NODATA, Legend
from geoseg.report import charts, fonts, key
from geoseg.report.figures import draw, save

_WRONG, _RIGHT, _UNJUDGED = (0, 0, 0), (215, 215, 215), (255, 255, 255)
_PANEL = 2.6  # inches


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A window of held-out ground; arrays are (row, col)."""

    title: str
    image: np.ndarray
    """(row, col, 4) uint8."""
    reference: np.ndarray
    """uint8 class ids, 255 for none."""
    labels: np.ndarray
    """uint8 class ids, 255 where there are no data."""
    wrong: np.ndarray
    """uint8: 1 where the labels differ from the reference, 0 where they are the same, 255 where nothing is judged."""


def confusion(matrix: np.ndarray, legend: Legend, out: Path | str) -> None:
    """Draw a confusion matrix as shares of each class of the reference, its legend's colours beside the names.

    Parameters
    ----------
    matrix : (class, class) int64
        Pixels; rows are the reference.
    legend : Legend
        Names and colours.
    out : path
        PNG to write, replaced if there.

    Raises
    ------
    LedgerError
        If the file cannot be written.
    """
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    figure = charts.confusion([key.label(each) for each in legend.classes], shares)
    axes = figure.axes[0]
    for at, each in enumerate(legend.classes):
        style: dict[str, Any] = {"facecolor": each.colour, "edgecolor": "#555555", "linewidth": 0.6, "clip_on": False}
        axes.add_patch(_square(-0.5 - 0.16, at - 0.4, 0.12, 0.8, style))
        axes.add_patch(_square(at - 0.4, len(legend) - 0.5 + 0.04, 0.8, 0.12, style))
    for ticks in (axes.xaxis, axes.yaxis):
        ticks.set_tick_params(length=0, pad=14)
    save(figure, out)


def reliability(pairs: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray, float]], out: Path | str) -> None:
    """Draw how often a network is right against how sure it is.

    Parameters
    ----------
    pairs : sequence of (name, confidence, accuracy, pixels, error)
        Before and after calibration; (bin,) arrays, NaN in empty bins.
    out : path
        PNG to write, replaced if there.

    Raises
    ------
    LedgerError
        If the file cannot be written.
    """
    figure = Figure(figsize=(5.2, 6.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    upper.plot((0, 1), (0, 1), color="#999999", linewidth=0.8, linestyle=":")
    styles: tuple[dict[str, Any], ...] = ({"color": "#999999", "linestyle": "--"}, {"color": "black"})
    for (name, confidence, accuracy, pixels, error), style in zip(pairs, styles):
        known = pixels > 0
        label = f"{name}: ECE {error:.3f}"
        upper.plot(confidence[known], accuracy[known], marker="o", markersize=4, label=label, clip_on=False, **style)
        edges = np.linspace(0, 1, len(pixels) + 1)
        lower.stairs(pixels / pixels.sum(), edges, **style)
    upper.legend(frameon=False, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    upper.set(ylabel="share of pixels labelled rightly", xlim=(0, 1), ylim=(0, 1))
    lower.set(xlabel="confidence", ylabel="share of pixels", ylim=(0, None))
    for axes in (upper, lower):
        axes.grid(color="#e5e5e5", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, out)


def examples(shown: Sequence[Example], legend: Legend, out: Path | str) -> None:
    """Draw windows row by row: image, reference, what the network makes of it, and where it errs.

    Parameters
    ----------
    shown : sequence of Example
        At least one.
    legend : Legend
        Names and colours.
    out : path
        PNG to write, replaced if there.

    Raises
    ------
    LedgerError
        If the file cannot be written.
    """
    figure = Figure(figsize=(4 * _PANEL + 2.2, len(shown) * (_PANEL + 0.3)), layout="constrained")
    all_axes = figure.subplots(len(shown), 4, squeeze=False)
    for row, each in zip(all_axes, shown):
        panels = (each.image, *(key.coloured(part, legend, NODATA) for part in (each.reference, each.labels)))
        for axes, image in zip(row, (*panels, _judged(each.wrong))):
            draw(axes, image)
            axes.set_aspect("equal")
        row[0].set_title(fonts.legible(each.title), loc="left", fontsize=9, **fonts.setting(each.title))
    for axes, title in zip(all_axes[0, 1:], ("reference", "network", "where it errs")):
        axes.set_title(title, fontsize=9)
    rows = [Patch(facecolor=each.colour, edgecolor="#555555") for each in legend.classes]
    rows += [Patch(facecolor=_share(colour), edgecolor="#555555") for colour in (_WRONG, _RIGHT)]
    names = [*(key.label(each) for each in legend.classes), "wrong", "right"]
    drawn = figure.legend(
        rows, [str(at) for at in range(len(rows))], loc="outside right upper", frameon=False, fontsize=9
    )
    key.name_rows(drawn, names)
    save(figure, out)


def _share(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = (each / 255 for each in colour)
    return red, green, blue


def _judged(wrong: np.ndarray) -> np.ndarray:
    colours = np.full((256, 3), _UNJUDGED, np.uint8)
    colours[0], colours[1] = _RIGHT, _WRONG
    found: np.ndarray = colours[wrong]
    return found


def _square(left: float, bottom: float, width: float, height: float, style: dict[str, Any]) -> Patch:
    return Rectangle((left, bottom), width, height, **style)

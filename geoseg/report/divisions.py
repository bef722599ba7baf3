"""Divisions: where labels lie and what they are for, as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from geoseg.catalog.legend import Legend
from geoseg.report import fonts, key
from geoseg.report.figures import save

MOST = 24
"""Scenes in a picture."""
EDGE = 600
"""Pixels of a scene's longer side in the picture, at most."""
_FRAMES = {1: ("validation", "#e69f00"), 2: ("test", "#cc0000")}
"""By the numbers of `training.division`."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A scene."""

    name: str
    labels: np.ndarray
    """(row, col), index in the legend, below 0 for none."""
    division: np.ndarray
    """(row, col) uint8: 0 for training, 1 validation, 2 test; others are not used."""


def divisions(scenes: Sequence[Drawn], legend: Legend, out: Path | str) -> None:
    """Draw the labels of scenes in the legend's colours as PNG: full to learn from, framed where held out, else pale.

    Parameters
    ----------
    scenes : sequence of Drawn
        The first `MOST` of them are drawn.
    legend : Legend
        Names and colours.
    out : path
        File to write, replaced if there.

    Raises
    ------
    LedgerError
        If the file cannot be written.
    """
    shown = scenes[:MOST]
    across = math.ceil(math.sqrt(len(shown)))
    down = math.ceil(len(shown) / across)
    figure = Figure(figsize=(3.2 * across + 2, 3.0 * down + 0.4), layout="constrained")
    colours = np.array([(1.0, 1.0, 1.0), *(to_rgb(each.colour) for each in legend.classes)])
    all_axes = figure.subplots(down, across, squeeze=False).ravel()
    for axes in all_axes:
        axes.set_axis_off()
    for axes, scene in zip(all_axes, shown):
        step = max(1, math.ceil(max(scene.labels.shape) / EDGE))
        labels, division = scene.labels[::step, ::step], scene.division[::step, ::step]
        picture = colours[np.maximum(labels, -1) + 1]
        picture = np.where((division > 2)[..., None], 0.25 * picture + 0.75, picture)
        for kind, (_, colour) in _FRAMES.items():
            held = np.pad(division == kind, 1)
            inner = held[2:, 1:-1] & held[:-2, 1:-1] & held[1:-1, 2:] & held[1:-1, :-2]
            picture[held[1:-1, 1:-1] & ~inner] = to_rgb(colour)
        axes.imshow(picture, interpolation="nearest")
        axes.set_title(fonts.legible(scene.name), fontsize=9)
    rows = [Patch(color=each.colour) for each in legend.classes]
    rows += [Patch(edgecolor=colour, facecolor="white") for _, colour in _FRAMES.values()]
    names = [key.label(each) for each in legend.classes] + [name for name, _ in _FRAMES.values()]
    drawn = figure.legend(
        rows, [str(at) for at in range(len(rows))], loc="outside right upper", frameon=False, fontsize=9
    )
    key.name_rows(drawn, names)
    save(figure, out)

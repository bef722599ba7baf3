"""Curves: how a training went, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from geoseg.catalog.legend import Legend
from geoseg.report import fonts, key
from geoseg.report.figures import save


def learning_curves(rows: Sequence[Mapping[str, float]], out: Path | str, *, legend: Legend | None = None) -> None:
    """Draw the learning curves of a training as PNG: loss on the left, validation IoU on the right.

    Parameters
    ----------
    rows : sequence of mapping
        One for each epoch: `epoch`, `loss`, `validation_loss` (if known), `mean_iou` and `iou <class>` for each class;
        NaN leaves a gap.
    out : path
        File to write, replaced if there.
    legend : Legend, optional
        Colours of the classes; matplotlib's own by default.

    Raises
    ------
    LedgerError
        If the file cannot be written.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    style: dict[str, Any] = {"marker": "o", "markersize": 3} if len(rows) < 30 else {}
    left.plot(epochs, [row["loss"] for row in rows], label="training", color="black", **style)
    if "validation_loss" in rows[0]:
        held = [row["validation_loss"] for row in rows]
        left.plot(epochs, held, label="validation", color="black", linestyle="--", **style)
    left.legend(frameon=False, fontsize=9)
    left.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    classes = {each.name: each for each in legend.classes} if legend else {}
    names = [name.removeprefix("iou ") for name in rows[0] if name.startswith("iou ")]
    labels = []
    for index, name in enumerate(names):
        colour = {"color": classes[name].colour} if name in classes else {}
        right.plot(epochs, [row[f"iou {name}"] for row in rows], label=str(index), linewidth=1, **style, **colour)
        labels.append(key.label(classes[name]) if name in classes else fonts.legible(name))
    means = np.array([row["mean_iou"] for row in rows])
    right.plot(epochs, means, label="mean", color="black", linewidth=2.2, **style)
    if np.isfinite(means).any():
        best = int(np.nanargmax(means))
        text = f"best: {means[best]:.3f} in epoch {epochs[best]:.0f}"
        right.axvline(epochs[best], color="#999999", linewidth=0.8, linestyle=":")
        right.set_title(text, fontsize=10)
    right.set(xlabel="epoch", ylabel="IoU on validation squares", ylim=(0, 1))
    for axes in (left, right):
        axes.grid(color="#e5e5e5", linewidth=0.6)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
    drawn = right.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    key.name_rows(drawn, [*labels, "mean"])
    save(figure, out)

"""Report: pictures and tables that people look at.

Figures are drawn without a display and written under a temporary name first, so that a file which exists is whole.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from geoseg.store import Store


def learning_curves(rows: Sequence[Mapping[str, float]], out: Path | str) -> None:
    """Draw the learning curves of a training as PNG: loss on the left, validation IoU on the right.

    Parameters
    ----------
    rows
        One for each epoch: `epoch`, `loss`, `mean_iou` and `iou <class>` for each class; NaN leaves a gap.
    out
        File to write, replaced if there.

    Raises
    ------
    LedgerError
        If it cannot be written.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    left.plot(epochs, [row["loss"] for row in rows], color="black")
    left.set(xlabel="epoch", ylabel="training loss")
    for name in (key for key in rows[0] if key.startswith("iou ")):
        right.plot(epochs, [row[name] for row in rows], label=name.removeprefix("iou "), linewidth=1)
    right.plot(epochs, [row["mean_iou"] for row in rows], label="mean", color="black", linewidth=2)
    right.set(xlabel="epoch", ylabel="IoU on validation squares", ylim=(0, 1))
    right.legend(fontsize="small", ncols=2)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=120)
    path = Path(out).absolute()
    Store(str(path.parent)).put(path.name, data.getvalue())

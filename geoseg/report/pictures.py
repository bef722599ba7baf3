"""Report: pictures that people look at.

Labels are (row, col) integers, images (row, col, 3 or 4) with colours in 0..255. Figures are drawn without a display
and without matplotlib's global state, and written whole or not at all. Files of imagery and maps are not opened here.
"""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.legend import Legend as Key
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from geoseg.catalog.legend import NODATA, Legend
from geoseg.storage.store import Store

_DPI = 200
_LINE = 0.2
"""Inches from one line of text in a key to the next."""
_STRANGE = (255, 0, 255)
"""Colour of a value that is neither nodata nor in the legend."""
_HATCH = {"facecolor": "white", "hatch": "////", "edgecolor": "#d0d0d0", "linewidth": 0.0}
KeyRow = tuple[str, str, dict[str, Any]]
"""Name, share and how its patch looks."""
_SCRIPTS = ("DejaVu Sans", "Noto Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Microsoft YaHei", "PingFang SC")


def quicklook(
    labels: np.ndarray,
    legend: Legend,
    out: Path | str,
    *,
    title: str = "",
    attribution: str = "",
    nodata: int = NODATA,
    counts: Mapping[int, int] | None = None,
    ground_m: tuple[float, float] | None = None,
) -> None:
    """Draw a map with a key of the classes present and their share of the classified pixels, as PNG.

    Nodata is hatched. A value that the legend lacks is drawn in magenta and named as such.

    Parameters
    ----------
    labels : (row, col) integer
        The map, or a small view of it such as `maps.view.overview` gives.
    legend : Legend
        Its classes.
    out : path
        File to write, replaced if there.
    title, attribution : str
        Shown above and below; nothing when empty.
    nodata : int
        Value of pixels without a class.
    counts : mapping, optional
        Pixels of each class in the whole map, for exact shares; those of `labels` by default.
    ground_m : (height, width), optional
        Size on the ground in metres, such as `maps.view.ground_size` gives: the picture keeps its proportions and gets
        a scale bar. Square pixels and no bar by default.

    Raises
    ------
    LedgerError
        If the file cannot be written.
    """
    rows = _key(_count(labels) if counts is None else counts, legend, nodata, bool((labels == nodata).any()))
    wrapped = [(textwrap.fill(name, 34), share, patch) for name, share, patch in rows]
    height, width = _fit(ground_m or labels.shape, 8.0)
    key_height = sum(_row_height(name) for name, _, _ in wrapped) + 0.5
    key_width = 1.5 + 0.09 * _longest(wrapped)
    body = max(height, key_height)
    figure = Figure(figsize=(width + key_width + 0.9, body + 1.2))
    place = _Inches(figure)
    axes = place.axes(0.3, 0.7 + body - height, width, height)
    _draw(axes, _coloured(labels, legend, nodata))
    _key_column(place.axes(width + 0.6, 0.7, key_width, body), wrapped, key_width, body)
    place.text(0.3, body + 0.85, title, size=13, weight="bold")
    below = 0.7 + body - height
    if ground_m is not None:
        _scale_bar(place, ground_m[1], 0.3, width, below - 0.2)
    place.text(0.3, 0.2, textwrap.fill(attribution, int((width + key_width) / 0.07)), size=7, color="#555555")
    _save(figure, out)


def panels(
    panels: Sequence[tuple[str, np.ndarray]],
    legend: Legend,
    out: Path | str,
    *,
    attribution: str = "",
    nodata: int = NODATA,
    ground_m: tuple[float, float] | None = None,
) -> None:
    """Draw images and maps of one place side by side over one key, as PNG.

    Parameters
    ----------
    panels : sequence of (title, array)
        Labels (row, col) or images (row, col, 3 or 4); they may differ in shape, not in the ground they show.
    legend : Legend
        Classes of all label arrays; the key lists those present in any.
    out : path
        File to write, replaced if there.
    attribution : str
        Shown below; nothing when empty.
    nodata : int
        Value of pixels without a class, hatched.
    ground_m : (height, width), optional
        Size on the ground in metres, for proportions and a scale bar; square pixels and no bar by default.

    Raises
    ------
    LedgerError
        If the file cannot be written.
    """
    labelled = [array for _, array in panels if array.ndim == 2]
    found: dict[int, int] = {}
    for array in labelled:
        found |= _count(array)
    key = [
        (textwrap.fill(name, 40), share, patch)
        for name, share, patch in _key(found, legend, nodata, any((array == nodata).any() for array in labelled))
    ]
    height, width = _fit(ground_m or panels[0][1].shape[:2], 5.0)
    whole = len(panels) * (width + 0.25) + 0.25
    columns = max(1, int(whole / (0.7 + 0.09 * _longest(key))))
    lines = max((sum(1 + name.count("\n") for name, _, _ in key[i::columns]) for i in range(columns)), default=0)
    base = 0.7 + 0.24 * lines + (0.3 if ground_m else 0.0)
    titles = [textwrap.fill(title, max(12, int(width / 0.085))) for title, _ in panels]
    above = 0.2 + 0.2 * max(title.count("\n") + 1 for title in titles)
    figure = Figure(figsize=(whole, base + height + above))
    place = _Inches(figure)
    for index, (title, (_, array)) in enumerate(zip(titles, panels)):
        left = 0.25 + index * (width + 0.25)
        axes = place.axes(left, base, width, height)
        _draw(axes, _coloured(array, legend, nodata) if array.ndim == 2 else array)
        place.text(left + width / 2, base + height + 0.08, title, size=10, ha="center")
    _key_rows(figure, place, key, columns, base - (0.4 if ground_m else 0.15))
    if ground_m is not None:
        _scale_bar(place, ground_m[1], 0.25, width, base - 0.17)
    place.text(0.25, 0.12, textwrap.fill(attribution, int(whole / 0.07)), size=7, color="#555555")
    _save(figure, out)


def stretched(pixels: np.ndarray) -> np.ndarray:
    """Three bands as an image: each from its 2nd to its 98th percentile, nodata transparent.

    Parameters
    ----------
    pixels : (3, row, col) float
        Red, green, blue; NaN means no data.

    Returns
    -------
    (row, col, 4) uint8
        Red, green, blue, opacity.
    """
    valid = np.isfinite(pixels).all(axis=0)
    image = np.zeros((*valid.shape, 4), np.uint8)
    if valid.any():
        for band, values in enumerate(pixels):
            step = max(1, valid.sum() // 1_000_000)
            low, high = np.percentile(values[valid][::step], (2, 98))
            shown = (values[valid] - low) / max(high - low, 1e-12)
            image[valid, band] = np.clip(shown * 255, 0, 255).astype(np.uint8)
    image[valid, 3] = 255
    return image


def learning_curves(rows: Sequence[Mapping[str, float]], out: Path | str) -> None:
    """Draw the learning curves of a training as PNG: loss on the left, validation IoU on the right.

    Parameters
    ----------
    rows : sequence of mapping
        One for each epoch: `epoch`, `loss`, `mean_iou` and `iou <class>` for each class; NaN leaves a gap.
    out : path
        File to write, replaced if there.

    Raises
    ------
    LedgerError
        If the file cannot be written.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    style: dict[str, Any] = {"marker": "o", "markersize": 3} if len(rows) < 30 else {}
    left.plot(epochs, [row["loss"] for row in rows], color="black", **style)
    left.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    names = [key for key in rows[0] if key.startswith("iou ")]
    for index, name in enumerate(names):
        right.plot(epochs, [row[name] for row in rows], label=str(index), linewidth=1, **style)
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
    key = right.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    _name(key, [*(name.removeprefix("iou ") for name in names), "mean"])
    _save(figure, out)


# ------------------------------------------------------------------------------------------- parts of a picture


class _Inches:
    """Places things on a figure in inches from its lower left corner."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.width, self.height = figure.get_size_inches()

    def axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        box = (left / self.width, bottom / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box)

    def text(self, left: float, bottom: float, text: str, **how: Any) -> None:
        if text:
            self.figure.text(left / self.width, bottom / self.height, text, **(_font() | {"va": "bottom"} | how))


def _fit(size: Sequence[float], side: float) -> tuple[float, float]:
    """(height, width) in inches of a panel: the longer edge is `side`, the shorter at least a sixth of it."""
    longest = max(size)
    return max(size[0] / longest * side, side / 6), max(size[1] / longest * side, side / 6)


def _draw(axes: Axes, image: np.ndarray) -> None:
    """Fill axes, whose proportions are the ground's already, with an image."""
    axes.imshow(image, interpolation="nearest", aspect="auto")
    axes.patch.set(**_HATCH)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color="#888888", linewidth=0.6)


def _coloured(labels: np.ndarray, legend: Legend, nodata: int) -> np.ndarray:
    """(row, col, 4) uint8 colours of labels, nodata transparent."""
    table = np.empty((max(256, int(labels.max()) + 1), 4), np.uint8)
    table[:] = (*_STRANGE, 255)
    for each in legend.classes:
        if each.id < len(table):
            table[each.id] = (*each.rgb, 255)
    if nodata < len(table):
        table[nodata] = 0
    return table[labels]


def _count(labels: np.ndarray) -> dict[int, int]:
    values, counts = np.unique(labels, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist()))


def _key(counts: Mapping[int, int], legend: Legend, nodata: int, has_nodata: bool) -> list[KeyRow]:
    """One row for each class present, then values that are none, then nodata."""
    left = {value: count for value, count in counts.items() if value != nodata and count > 0}
    total = sum(left.values())
    rows: list[KeyRow] = []
    frame = {"edgecolor": "#555555", "linewidth": 0.5}
    for each in legend.classes:
        if each.id in left:
            rows.append((each.name, _share(left.pop(each.id), total), {"facecolor": each.colour} | frame))
    if left:
        strange = {"facecolor": tuple(value / 255 for value in _STRANGE)} | frame
        rows.append(("not in the legend", _share(sum(left.values()), total), strange))
    if has_nodata:
        rows.append(("no data", "", _HATCH))
    return rows


def _share(count: int, total: int) -> str:
    share = 100 * count / total
    return f"{share:.1f} %" if share >= 0.05 else "< 0.1 %"


def _key_column(axes: Axes, rows: Sequence[KeyRow], width: float, height: float) -> None:
    """A key under a heading, one class below the other, in inches from the top left of `axes`."""
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    small = _font() | {"size": 8, "color": "#555555", "va": "top"}
    axes.text(width, 0.0, "share of\nclassified", ha="right", **small)
    top = 0.38
    for name, share, patch in rows:
        middle = top + _row_height(name) / 2
        axes.add_patch(Rectangle((0, middle - 0.08), 0.28, 0.16, **patch))
        axes.text(0.4, middle, name, va="center", size=10, **_font())
        axes.text(width, middle, share, va="center", ha="right", size=10, **_font())
        top += _row_height(name)


def _longest(rows: Sequence[KeyRow]) -> int:
    """Characters of the longest line among the names."""
    return max((len(line) for name, _, _ in rows for line in name.split("\n")), default=8)


def _row_height(name: str) -> float:
    return _LINE * (1 + name.count("\n")) + 0.12


def _key_rows(figure: Figure, place: _Inches, rows: Sequence[KeyRow], columns: int, top: float) -> None:
    """A key in columns across the figure, its upper edge `top` inches above the lower one."""
    patches = [Patch(label=str(index), **patch) for index, (_, _, patch) in enumerate(rows)]
    box = (0.5, top / place.height)
    key = figure.legend(
        handles=patches, loc="upper center", bbox_to_anchor=box, ncols=columns, frameon=False, fontsize=10, borderpad=0
    )
    _name(key, [name for name, _, _ in rows])


def _name(key: Key, names: Sequence[str]) -> None:
    """Names in a key, set afterwards since matplotlib leaves out a label that begins with '_'."""
    for text, name in zip(key.get_texts(), names):
        text.set(text=name, **_font())


def _scale_bar(place: _Inches, ground_m: float, left: float, width: float, bottom: float) -> None:
    """A bar of a round length below a map that begins at `left`, is `width` inches wide and shows `ground_m` metres."""
    metres = ground_m / 3
    power = 10 ** math.floor(math.log10(metres))
    metres = max(step * power for step in (1, 2, 5) if step * power <= metres)
    length = metres / ground_m * width
    axes = place.axes(left, bottom, length, 0.06)
    axes.set(xticks=[], yticks=[], facecolor="black")
    label = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
    place.text(left + length + 0.08, bottom + 0.03, label, size=9, va="center")


@lru_cache(maxsize=1)
def _families() -> list[str]:
    """Installed fonts that together write most scripts."""
    known = set(fontManager.get_font_names())
    return [name for name in _SCRIPTS if name in known]


def _font() -> dict[str, Any]:
    """How all text from outside is set: dollar signs are no formulas."""
    return {"fontfamily": _families(), "parse_math": False}


def _save(figure: Figure, out: Path | str) -> None:
    data = io.BytesIO()
    with warnings.catch_warnings():
        # A script that no installed font writes shows as boxes; that is no reason to stop.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(data, format="png", dpi=_DPI)
    path = Path(out).absolute()
    Store(str(path.parent)).put(path.name, data.getvalue())

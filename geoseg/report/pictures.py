"""Pictures: maps with their key, as PNG.

Labels are (row, col) integers, images (row, col, 3 or 4) with colours in 0..255. Files of imagery and maps are not
opened here. A class whose name no installed font can write is called by its id.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from geoseg.catalog.legend import NODATA, Legend
from geoseg.report import key
from geoseg.report.figures import Inches, draw, fit, save


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
    shown = key.count(labels) if counts is None else counts
    rows = key.rows(shown, legend, nodata, has_nodata=bool((labels == nodata).any()), characters=34)
    height, width = fit(ground_m or labels.shape, 8.0)
    key_height, key_width = key.size(rows)
    body = max(height, key_height)
    sheet = Inches(Figure(figsize=(width + key_width + 0.9, body + 1.2)))
    below = 0.7 + body - height
    draw(sheet.axes(0.3, below, width, height), key.coloured(labels, legend, nodata))
    key.draw_column(sheet.axes(width + 0.6, 0.7, key_width, body), rows, key_width, body)
    sheet.text(0.3, body + 0.85, title, size=13, weight="bold")
    if ground_m is not None:
        sheet.scale_bar(ground_m[1], 0.3, width, below - 0.2)
    sheet.text(0.3, 0.2, textwrap.fill(attribution, int((width + key_width) / 0.07)), size=7, color="#555555")
    save(sheet.figure, out)


def panels(
    panels: Sequence[tuple[str, np.ndarray]],
    legend: Legend,
    out: Path | str,
    *,
    attribution: str = "",
    nodata: int = NODATA,
    ground_m: tuple[float, float] | None = None,
) -> None:
    """Draw images and maps of the same ground side by side over one key, as PNG.

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
        found |= key.count(array)
    has_nodata = any((array == nodata).any() for array in labelled)
    rows = key.rows(found, legend, nodata, has_nodata=has_nodata, characters=40)
    height, width = fit(ground_m or panels[0][1].shape[:2], 5.0)
    whole = len(panels) * (width + 0.25) + 0.25
    columns, key_height = key.columns(rows, whole)
    base = 0.7 + key_height + (0.3 if ground_m else 0.0)
    titles = [textwrap.fill(title, max(12, int(width / 0.085))) for title, _ in panels]
    above = 0.2 + 0.2 * max(title.count("\n") + 1 for title in titles)
    sheet = Inches(Figure(figsize=(whole, base + height + above)))
    for index, (title, (_, array)) in enumerate(zip(titles, panels)):
        left = 0.25 + index * (width + 0.25)
        image = key.coloured(array, legend, nodata) if array.ndim == 2 else array
        draw(sheet.axes(left, base, width, height), image)
        sheet.text(left + width / 2, base + height + 0.08, title, size=10, ha="center")
    key.draw_columns(sheet, rows, columns, base - (0.4 if ground_m else 0.15))
    if ground_m is not None:
        sheet.scale_bar(ground_m[1], 0.25, width, base - 0.17)
    sheet.text(0.25, 0.12, textwrap.fill(attribution, int(whole / 0.07)), size=7, color="#555555")
    save(sheet.figure, out)

"""Texts: the tables of a report as CSV, Markdown and LaTeX.

Names are written so that each format shows them as they are.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

Cell = str | float | int | None
_LATEX = {each: f"\\{each}" for each in "&%$#_{}"}
_LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}"}
_LATEX |= {">": r"\textgreater{}", '"': r"\textquotedbl{}"}
_MEASURES = ("iou", "precision", "recall", "f1", "reference_pixels", "map_pixels")


def tables(facts: Mapping[str, Any], scores: Mapping[str, Any] | None) -> dict[str, bytes]:
    """Files of the tables: areas, and with scores accuracy, confusion and zones, each in three formats.

    Parameters
    ----------
    facts : mapping
        As `page.render` takes them.
    scores : mapping or None
        What accuracy.json holds.

    Returns
    -------
    mapping of str to bytes
        Files in UTF-8 by their names.
    """
    areas = [
        (each["name"], each["id"], each["pixels"], each["area_m2"] / 1e6, each["share"]) for each in facts["classes"]
    ]
    found: dict[str, tuple[Sequence[str], Sequence[Sequence[Cell]]]] = {
        "areas": (("class", "id", "pixels", "area_km2", "share_of_classified"), areas)
    }
    if scores is not None:
        rows = [(name, *(values.get(each) for each in _MEASURES)) for name, values in scores["classes"].items()]
        found["accuracy"] = ("class", *_MEASURES), rows
        names = scores["confusion"]["classes"]
        matrix = [(name, *row) for name, row in zip(names, scores["confusion"]["pixels"])]
        found["confusion"] = ("reference \\ map", *names), matrix
        if scores.get("zones"):
            measures = ("pixel_accuracy", "mean_iou", "frequency_weighted_iou")
            zoned = [(z["name"], z["pixels"]["compared"], *(z[each] for each in measures)) for z in scores["zones"]]
            found["zones"] = ("zone", "compared_pixels", *measures), zoned
    makers = {"csv": as_csv, "md": as_markdown, "tex": as_latex}
    return {f"{name}.{end}": make(*table).encode() for name, table in found.items() for end, make in makers.items()}


def as_csv(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table as CSV; numbers in full, what has no value is empty.

    Parameters
    ----------
    head, rows : sequences
        Names of the columns, and a value for each column in each row.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([head, *(["" if v is None else v for v in row] for row in rows)])
    return text.getvalue()


def as_markdown(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table as Markdown; arguments as those of `as_csv`.

    Parameters
    ----------
    head, rows : sequences
        See `as_csv`.
    """
    lines = [[_marked(_text(cell)) for cell in row] for row in (head, *rows)]
    lines.insert(1, [":--", *["--:"] * (len(head) - 1)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def as_latex(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table as a LaTeX `tabular` for the package booktabs; arguments as those of `as_csv`.

    Parameters
    ----------
    head, rows : sequences
        See `as_csv`.
    """
    first, *lines = (" & ".join(_tex(_text(cell)) for cell in row) + r" \\" for row in (head, *rows))
    columns = "l" + "r" * (len(head) - 1)
    parts = [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        first,
        r"\midrule",
        *lines,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(parts) + "\n"


def _text(cell: Cell) -> str:
    if cell is None:
        return "–"
    return " ".join(cell.split()) if isinstance(cell, str) else f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def _marked(text: str) -> str:
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]|#!~$])", r"\\\1", safe)


def _tex(text: str) -> str:
    return "".join(_LATEX.get(each, each) for each in text)

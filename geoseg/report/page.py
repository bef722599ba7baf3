"""Page: a finished job as one HTML file that needs no network, for phones, desks and paper.

Facts come as plain data; nothing is opened here. Names are shown as text whatever they hold: the template escapes
everything, scripts run by their hash alone and nothing can be loaded from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import jinja2

from geoseg.report import reliability, squares

_SHOWN = 40
"""Most classes in a table of confusions; beyond, only the most frequent are shown and the page says so."""


def render(facts: Mapping[str, Any], scores: Mapping[str, Any] | None, viewer: Mapping[str, Any]) -> bytes:
    """The page.

    Parameters
    ----------
    facts : mapping
        As `jobs.page.facts` gives them: title, classes, areas, blocks, speed, provenance.
    scores : mapping or None
        What accuracy.json holds; what it lacks is left out.
    viewer : mapping
        Levels of tiles of imagery and map, as `tiles.level` gives them, the map's size, and blocks to outline.

    Returns
    -------
    bytes
        HTML in UTF-8; equal for equal arguments.
    """
    files = resources.files(__package__)
    style, script = (files.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    template = _environment().from_string(files.joinpath("page.html.jinja").read_text("utf-8"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = template.render(
        **facts,
        style=style,
        script=script,
        script_hash=digest,
        viewer=viewer,
        scores=scores,
        bars=[] if scores is None else bars(scores, facts["classes"]),
        confusion=None if scores is None else confusion(scores),
        squares=[] if scores is None else squares.pictured(scores),
        gradient=squares.gradient(),
        trust=None if scores is None else reliability.drawn(scores),
    )
    return text.encode("utf-8")


def bars(scores: Mapping[str, Any], classes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """IoU of each class with its interval, where the scores have one.

    Parameters
    ----------
    scores : mapping
        What accuracy.json holds.
    classes : sequence of mapping
        With 'name' and 'colour'; a class of the scores that is not among them is grey.
    """
    colours = {each["name"]: each["colour"] for each in classes}
    intervals = scores.get("intervals") or {}
    found = []
    for name, values in scores["classes"].items():
        interval = values.get("iou_interval") or (intervals.get("classes") or {}).get(name, {}).get("iou")
        pair = interval if isinstance(interval, (list, tuple)) and len(interval) == 2 else None
        if pair is not None and any(each is None for each in pair):
            pair = None
        bar = {"name": name, "colour": colours.get(name, "#888888"), "interval": pair}
        found.append(bar | {each: values.get(each) for each in ("iou", "precision", "recall", "f1")})
    return found


def confusion(scores: Mapping[str, Any]) -> dict[str, Any] | None:
    """Confusion matrix of the classes that occur: counts, and shares of each row and of each column.

    Parameters
    ----------
    scores : mapping
        What accuracy.json holds.

    Returns
    -------
    mapping or None
        'rows', each with a name and cells of pixels, both shares and how dark they are; 'left_out', how many classes
        were too rare to be shown.
    """
    matrix, names = scores["confusion"]["pixels"], scores["confusion"]["classes"]
    rows = [sum(row) for row in matrix]
    cols = [sum(row[at] for row in matrix) for at in range(len(names))]
    met = [at for at in range(len(names)) if rows[at] or cols[at]]
    shown = sorted(sorted(met, key=lambda at: (-(rows[at] + cols[at]), at))[:_SHOWN])
    if not shown:
        return None
    most = max(matrix[row][col] for row in shown for col in shown) or 1
    lines = []
    for row in shown:
        cells = []
        for col in shown:
            pixels = matrix[row][col]
            shares = pixels / rows[row] if rows[row] else None, pixels / cols[col] if cols[col] else None
            cells.append(
                {
                    "pixels": pixels,
                    "of_row": shares[0],
                    "of_col": shares[1],
                    "styles": [_shade(math.sqrt(pixels / most)), *(_shade(each or 0.0) for each in shares)],
                    "diagonal": row == col,
                }
            )
        lines.append({"name": names[row], "cells": cells, "pixels": rows[row]})
    return {"rows": lines, "left_out": len(met) - len(shown), "cols": [cols[at] for at in shown]}


def _shade(share: float) -> str:
    """A cell's colours: white to dark blue, a scale of lightness alone, which any eye can read."""
    light = [round(255 + (end - 255) * share) for end in (8, 69, 148)]
    return f"background:rgb({light[0]},{light[1]},{light[2]});color:{'#fff' if share > 0.5 else '#111'}"


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"share": _share, "number": lambda value: f"{value:,}", "measure": _measure, "area": _area}
    return made


def _share(value: float | None) -> str:
    return "–" if value is None else "<0.1 %" if 0 < value < 0.0005 else f"{100 * value:.1f} %"


def _measure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _area(value_m2: float) -> str:
    return f"{value_m2 / 1e6:,.2f} km²" if value_m2 >= 1e6 else f"{value_m2 / 1e4:,.2f} ha"

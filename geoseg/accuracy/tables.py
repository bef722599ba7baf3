"""Tables: the scores of a map as files and as text: accuracy.json, accuracy.csv, and what a terminal shows.

Measures that have no value (NaN, of a class found in neither map nor reference) are null in JSON, empty in CSV and '-'
in a terminal, never 0.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.accuracy import blocks, boundaries, calibration, zone_tables
from geoseg.accuracy.confusion import BY_CLASS, OVERALL, confused, iou
from geoseg.accuracy.intervals import LEVEL, REPLICATES, SEED
from geoseg.accuracy.score import Accuracy
from geoseg.catalog.legend import Legend
from geoseg.quantities import counted, length
from geoseg.storage.store import Store

SCHEMA = 3
"""Of accuracy.json; a number more whenever a key changes its meaning or goes."""
_SHOWN = 5
"""Confusions that are said in words."""
_NUMBERS = re.compile(r"\[\n[-0-9.e+null, \n]+\]")
"""Lists of numbers alone, which fit one line; no text in JSON holds an end of line."""
_MEASURES = ("iou", "precision", "recall", "f1", "reference_pixels", "map_pixels", "unlabelled_pixels")
_AREAS = ("reference_area_m2", "map_area_m2")


def write(accuracy: Accuracy, folder: Path | str) -> tuple[Path, ...]:
    """Write accuracy.json and accuracy.csv into a folder, each whole or not at all; with zones zones.csv too.

    Parameters
    ----------
    accuracy : Accuracy
        From `score.score`.
    folder : path
        Made if it is not there.

    Returns
    -------
    tuple of Path
        accuracy.json, with everything, accuracy.csv, a line for each class, and zones.csv, a line for each zone.

    Raises
    ------
    LedgerError
        If the folder cannot be written.
    """
    store = Store(str(Path(folder).absolute()))
    store.put("accuracy.json", as_json(accuracy).encode())
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    ends = [f"{name}_{end}" for name in accuracy.intervals.classes for end in ("low", "high")]
    near = accuracy.borders.iou if accuracy.borders is not None and accuracy.boundaries.width else None
    lines.writerow(("class", "id", *_MEASURES, *_AREAS, *ends, "boundary_iou"))
    for at, (each, values) in enumerate(zip(accuracy.legend.classes, _rows(accuracy))):
        between = [_number(end) for pairs in accuracy.intervals.classes.values() for end in pairs[at]]
        border = None if near is None else _number(near[at])
        lines.writerow((each.name, each.id, *("" if v is None else v for v in (*values, *between, border))))
    store.put("accuracy.csv", text.getvalue().encode())
    if accuracy.zones:
        store.put("zones.csv", zone_tables.as_csv(accuracy.zones, accuracy.legend).encode())
    return tuple(map(store.path, ("accuracy.json", "accuracy.csv", *(["zones.csv"] if accuracy.zones else []))))


def as_json(accuracy: Accuracy) -> str:
    """What accuracy.json holds, as text."""
    text = json.dumps(plain(accuracy), indent=1, allow_nan=False) + "\n"
    return _NUMBERS.sub(lambda found: re.sub(r"\s+", " ", found[0]).replace("[ ", "[").replace(" ]", "]"), text)


def table(scores: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str | float | int | None, ...]], list[str]]:
    """What a terminal shows: column heads, a row of values for each class, and lines below them.

    Parameters
    ----------
    scores : mapping
        As `plain` gives them, or read from accuracy.json.

    Returns
    -------
    heads
        Of the columns.
    rows
        Name of a class, then shares as float and pixels as int; None where a measure has no value.
    lines
        Sentences.

    Raises
    ------
    KeyError
        If something is missing, as in a damaged file.
    """
    head = ("class", "IoU", "precision", "recall", "F1", "ref px", "map px", "nodata px")
    rows = [(name, *(values[each] for each in _MEASURES)) for name, values in scores["classes"].items()]
    said = {each: "-" if scores.get(each) is None else f"{scores[each]:.3f}" for each in OVERALL}
    feet = [
        f"mean IoU {said['mean_iou']} over {scores['classes_in_mean']} of {counted(len(rows), 'class', 'classes')}, "
        f"pixel accuracy {said['pixel_accuracy']}, frequency-weighted IoU {said['frequency_weighted_iou']}, "
        f"{scores['pixels']['compared']:,} pixels compared",
    ]
    if "kappa" in scores:  # older files lack it
        feet.append(
            f"balanced accuracy {said['balanced_accuracy']}, kappa {said['kappa']}; disagreement in quantity "
            f"{said['quantity_disagreement']}, in allocation {said['allocation_disagreement']}"
        )
    feet += _said(scores)
    if scores.get("boundary"):
        feet.append(boundaries.sentence(scores["boundary"]))
    if scores.get("reliability"):
        feet.append(calibration.sentence(scores["reliability"]))
    if scores.get("top_confusions"):
        feet.append(f"most confused: {'; '.join(each['text'] for each in scores['top_confusions'])}")
    feet += [
        *([scores["rule"]] if "rule" in scores else []),
        *scores["notes"],
        *(
            f"crosswalk: {each['class']} ({each['pixels']:,} px): {each['note']}"
            for each in scores["crosswalk"]["lossy"]
        ),
    ]
    return head, rows, feet


def _rows(accuracy: Accuracy) -> list[tuple[Any, ...]]:
    """`_MEASURES` and `_AREAS` of each class, None where a measure has no value."""
    counted = accuracy.confusion
    matrix = counted.matrix
    shares = [measure(matrix) for measure in BY_CLASS.values()]
    pixels = (matrix.sum(1), matrix.sum(0), counted.unlabelled)
    return [
        (
            *(_number(share[i]) for share in shares),
            *(int(each[i]) for each in pixels),
            *(float(each) for each in accuracy.areas_m2[:, i]),
        )
        for i in range(len(accuracy.legend))
    ]


def plain(accuracy: Accuracy) -> dict[str, Any]:
    """What accuracy.json holds, as plain data."""
    counted, legend = accuracy.confusion, accuracy.legend
    matrix = counted.matrix
    return {
        "schema": SCHEMA,
        **{name: _number(measure(matrix)) for name, measure in OVERALL.items()},
        "classes_in_mean": int(np.isfinite(iou(matrix)).sum()),
        "pixels": {
            "compared": int(matrix.sum()),
            "unlabelled": int(counted.unlabelled.sum()),
            "left_out": int(counted.left_out.sum()),
            "ignored": counted.ignored,
        },
        "classes": {
            each.name: {"id": each.id, **dict(zip((*_MEASURES, *_AREAS), values))}
            | {f"{name}_interval": _pair(pairs[at]) for name, pairs in accuracy.intervals.classes.items()}
            for at, (each, values) in enumerate(zip(legend.classes, _rows(accuracy)))
        },
        "intervals": _intervals(accuracy),
        "blocks": _blocks(accuracy),
        "top_confusions": _confusions(matrix, legend),
        "confusion": {
            "rows": "reference",
            "columns": "map",
            "classes": list(legend.names),
            "pixels": matrix.tolist(),
            "unlabelled": counted.unlabelled.tolist(),
            "left_out": counted.left_out.tolist(),
        },
        "crosswalk": {
            "name": accuracy.crosswalk.name,
            "direction": accuracy.direction,
            "lossy": [{"class": name, "pixels": pixels, "note": text} for name, pixels, text in accuracy.lossy],
        },
        "grid": accuracy.alignment.grid_of,
        "resampling": accuracy.alignment.how,
        "rule": accuracy.alignment.rule,
        "pixel_size": {
            "map": _number(accuracy.alignment.pixel_sizes[0]),
            "reference": _number(accuracy.alignment.pixel_sizes[1]),
            "unit": accuracy.alignment.unit,
        },
        **accuracy.provenance,
        **({"reliability": calibration.plain(accuracy.calibration)} if accuracy.calibration is not None else {}),
        **({} if accuracy.borders is None else boundaries.plain(accuracy.borders, accuracy.boundaries, legend)),
        **({"zones": zone_tables.plain(accuracy.zones, accuracy.legend)} if accuracy.zones else {}),
        "notes": list(accuracy.notes),
    }


def _intervals(accuracy: Accuracy) -> dict[str, Any]:
    """How intervals were made, and those of the measures of all classes together."""
    found = accuracy.intervals
    return {
        "level": LEVEL,
        "method": "spatial block bootstrap, expanded percentiles",
        "block_pixels": found.block or None,
        "block_m": found.block * accuracy.side_m if found.block else None,
        "block_by": "correlogram" if found.chosen else "option",
        "blocks": found.blocks,
        "replicates": REPLICATES,
        "seed": SEED,
        "correlogram": {"lag_pixels": found.cell, "correlation": [_number(each) for each in found.correlogram]},
        **{name: _pair(pair) for name, pair in found.overall.items()},
        "why_not": found.why_not or None,
    }


def _blocks(accuracy: Accuracy) -> dict[str, Any]:
    """What was compared and what differs in each square block, row by row from the upper left."""
    held = accuracy.blocks
    _, mean = blocks.measures(held)
    return {
        "edge_pixels": held.edge,
        "edge_m": held.edge * accuracy.side_m,
        "first_row": held.window.row,
        "first_column": held.window.col,
        "rows": held.window.height,
        "columns": held.window.width,
        "compared": held.compared.ravel().tolist(),
        "differing": held.wrong.ravel().tolist(),
        "mean_iou": [_number(round(each, 4)) for each in mean.ravel().tolist()],
    }


def _said(scores: Mapping[str, Any]) -> list[str]:
    """The intervals in words."""
    made = scores.get("intervals")
    if not made:
        return []
    if made["why_not"]:
        return [f"no 95 % intervals: {made['why_not']}"]
    pairs = {"mean IoU": made["mean_iou"], "pixel accuracy": made["pixel_accuracy"]}
    pairs |= {f"IoU of {name}": values["iou_interval"] for name, values in scores["classes"].items()}
    known = [f"{name} {pair[0]:.3f} to {pair[1]:.3f}" for name, pair in pairs.items() if pair is not None]
    how = f"{counted(made['blocks'], 'block')} of {made['block_pixels']:,} px ({length(made['block_m'])})"
    without = sum(pair is None for name, pair in pairs.items())
    rest = f"; {without} more {'has' if without == 1 else 'have'} none, see docs/accuracy.md" if without else ""
    return [f"95 % intervals, by resampling {how}: {', '.join(known) or 'none'}{rest}"]


def _pair(pair: Sequence[float]) -> list[float] | None:
    return [float(each) for each in pair] if np.isfinite(pair).all() else None


def _confusions(matrix: np.ndarray, legend: Legend) -> list[dict[str, Any]]:
    """The pairs of classes with most confused pixels, also in words."""
    found = []
    for row, col in confused(matrix, _SHOWN):
        share = matrix[row, col] / matrix[row].sum()
        said = f"{share:.0%}".replace("%", " %") if share >= 0.005 else "less than 1 %"
        text = f"{said} of {legend.names[row]} is mapped as {legend.names[col]}"
        pair = {"reference": legend.names[row], "map": legend.names[col]}
        found.append({**pair, "pixels": int(matrix[row, col]), "share": float(share), "text": text})
    return found


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None

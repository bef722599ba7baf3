"""Zone tables: the scores of zones as plain data, as CSV and for a terminal.

Measures that have no value, as all of a zone where nothing was compared, are null, empty and '-', never 0.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from geoseg.accuracy.confusion import BY_CLASS, OVERALL, iou
from geoseg.accuracy.zones import Zone
from geoseg.catalog.legend import Legend
from geoseg.quantities import counted


def plain(zones: Sequence[Zone], legend: Legend) -> list[dict[str, Any]]:
    """What accuracy.json holds of each zone.

    Parameters
    ----------
    zones : sequence of Zone
        As `score.Accuracy` has them.
    legend : Legend
        The classes compared.
    """
    return [{"name": each.name, **_scores(each, legend)} for each in zones]


def as_csv(zones: Sequence[Zone], legend: Legend) -> str:
    """A table with a line for each zone: the measures of all classes together, then the IoU of each class.

    Parameters
    ----------
    zones, legend
        As for `plain`.
    """
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    totals = ("compared", "unlabelled", *OVERALL, "classes_in_mean")
    lines.writerow(("zone", *totals, *(f"iou {name}" for name in legend.names)))
    for held in plain(zones, legend):
        values = {**held, **held["pixels"]}
        row = [*(values[each] for each in totals), *(each["iou"] for each in held["classes"].values())]
        lines.writerow((held["name"], *("" if value is None else value for value in row)))
    return text.getvalue()


def table(zones: Sequence[Zone]) -> tuple[list[str], list[tuple[str | float | int | None, ...]], list[str]]:
    """What a terminal shows: heads, a row for each zone, and lines below."""
    head = ["zone", "accuracy", "mean IoU", "classes", "px compared", "nodata px"]
    rows: list[tuple[str | float | int | None, ...]] = []
    for each in zones:
        matrix = each.confusion.matrix
        means = (_number(OVERALL[name](matrix)) for name in ("pixel_accuracy", "mean_iou"))
        rows.append((each.name, *means, _present(matrix), int(matrix.sum()), int(each.confusion.unlabelled.sum())))
    empty = sum(not each.confusion.matrix.any() for each in zones)
    return head, rows, [f"{counted(empty, 'zone')} without a compared pixel"] if empty else []


def _scores(zone: Zone, legend: Legend) -> dict[str, Any]:
    matrix = zone.confusion.matrix
    shares = {name: measure(matrix) for name, measure in BY_CLASS.items()}
    return {
        **{name: _number(measure(matrix)) for name, measure in OVERALL.items()},
        "classes_in_mean": _present(matrix),
        "pixels": {
            "compared": int(matrix.sum()),
            "unlabelled": int(zone.confusion.unlabelled.sum()),
            "left_out": int(zone.confusion.left_out.sum()),
            "ignored": zone.confusion.ignored,
        },
        "classes": {
            name: {
                **{measure: _number(values[at]) for measure, values in shares.items()},
                "reference_pixels": int(matrix[at].sum()),
                "map_pixels": int(matrix[:, at].sum()),
                "unlabelled_pixels": int(zone.confusion.unlabelled[at]),
            }
            for at, name in enumerate(legend.names)
        },
        "confusion": matrix.tolist(),
    }


def _present(matrix: np.ndarray) -> int:
    return int(np.isfinite(iou(matrix)).sum())


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None

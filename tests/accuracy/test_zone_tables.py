"""Zone tables: files and text of zones' scores against numbers worked on paper and pandas."""

import io
import json

import numpy as np
import pandas
import pytest

from geoseg.accuracy import zone_tables
from geoseg.accuracy.confusion import Confusion
from geoseg.accuracy.zones import Zone
from geoseg.catalog.legend import LandClass, Legend

LEGEND = Legend("two", (LandClass(1, "green, dark", "#000000"), LandClass(2, "grey", "#000000")))
NONE = np.zeros(2, np.int64)
ZONES = (
    Zone("a; b", Confusion(np.array([[90, 0], [10, 0]]), np.array([3, 0]), NONE, 5)),
    Zone("empty", Confusion(np.zeros((2, 2), np.int64), NONE, NONE, 0)),
)


def test_json_holds_every_measure_and_null_where_nothing_was_compared():
    full, empty = json.loads(json.dumps(zone_tables.plain(ZONES, LEGEND), allow_nan=False))
    assert (full["name"], full["mean_iou"], full["pixel_accuracy"], full["classes_in_mean"]) == ("a; b", 0.45, 0.9, 2)
    assert full["pixels"] == {"compared": 100, "unlabelled": 3, "left_out": 0, "ignored": 5}
    assert full["classes"]["green, dark"]["iou"] == 0.9
    assert full["classes"]["grey"] == {
        "iou": 0.0, "precision": None, "recall": 0.0, "f1": 0.0,
        "reference_pixels": 10, "map_pixels": 0, "unlabelled_pixels": 0,
    }  # fmt: skip
    assert full["confusion"] == [[90, 0], [10, 0]]
    for key in ("mean_iou", "pixel_accuracy", "frequency_weighted_iou", "kappa", "quantity_disagreement"):
        assert empty[key] is None
    assert empty["classes"]["grey"]["iou"] is None


def test_csv_is_read_by_pandas_with_gaps_where_there_is_no_value():
    found = pandas.read_csv(io.StringIO(zone_tables.as_csv(ZONES, LEGEND)), index_col="zone")
    assert list(found.index) == ["a; b", "empty"]
    assert found.loc["a; b", "iou green, dark"] == 0.9
    assert found.loc["a; b", "unlabelled"] == 3
    assert found.loc["empty", "compared"] == 0
    assert found.loc["empty"].isna().sum() == 9


def test_a_terminal_shows_a_row_for_each_zone_and_counts_empty_ones():
    head, rows, feet = zone_tables.table(ZONES)
    assert rows == [("a; b", 0.9, pytest.approx(0.45), 2, 100, 3), ("empty", None, None, 0, 0, 0)]
    assert all(len(row) == len(head) for row in rows)
    assert feet == ["1 zone without a compared pixel"]
    assert zone_tables.table(ZONES[:1])[2] == []

"""Tables: files and text of the scores, read back with plain json and csv, against numbers worked on paper."""

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import precision_recall_fscore_support

from geoseg.accuracy import blocks, intervals, tables
from geoseg.accuracy.alignment import Alignment
from geoseg.accuracy.confusion import Confusion
from geoseg.accuracy.score import Accuracy
from geoseg.catalog.legend import Crosswalk, LandClass, Legend, identity
from geoseg.errors import LedgerError
from geoseg.grid import Grid, Window

LEGEND = Legend("three", tuple(LandClass(i, n, "#000000") for i, n in ((1, "green"), (2, "grey"), (30, "née, «rock»"))))


GRID = Grid("EPSG:32612", (30.0, 0.0, 0.0, 0.0, -30.0, 0.0))
ALIGNED = Alignment(
    GRID, Window(0, 0, 3, 1), None, ("nearest", "nearest"), "map", "none", (30.0, 30.0), "metre", "compared so."
)


def accuracy_of(matrix, unlabelled=(0, 0, 0), left_out=(0, 0, 0), ignored=0, **change) -> Accuracy:
    counted = Confusion(np.array(matrix), np.array(unlabelled), np.array(left_out), ignored)
    provenance = {
        "map": {"file": "map.tif", "sha256": "0" * 64, "tags": {"GEOSEG_MODEL": "m"}},
        "reference": {"name": "truth", "file": "truth.tif", "legend": "three", "attribution": "Somebody"},
        "region": None,
    }
    made = Accuracy(
        legend=LEGEND,
        confusion=counted,
        areas_m2=900.0 * np.array([counted.matrix.sum(1), counted.matrix.sum(0)]),
        crosswalk=identity(LEGEND),
        direction="same legend",
        lossy=(),
        alignment=ALIGNED,
        provenance=provenance,
        notes=(),
        blocks=blocks.nothing(Window(0, 0, 3, 1), 8, 3),
        intervals=intervals.of(blocks.nothing(Window(0, 0, 3, 1), 8, 3), given=True),
        side_m=30.0,
    )
    return replace(made, **change)


PAPER = accuracy_of([[1, 0, 0], [1, 1, 0], [0, 0, 0]], unlabelled=(1, 0, 0))


def test_written_files_hold_the_scores(tmp_path):
    as_json, as_csv = tables.write(PAPER, tmp_path / "new" / "folder")
    held = json.loads(as_json.read_text())
    assert held["mean_iou"] == 0.5
    assert held["pixel_accuracy"] == pytest.approx(2 / 3)
    assert held["classes"]["green"] == {
        "id": 1, "iou": 0.5, "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3),
        "reference_pixels": 1, "map_pixels": 2, "unlabelled_pixels": 1,
        "reference_area_m2": 900.0, "map_area_m2": 1800.0,
        "iou_interval": None, "precision_interval": None, "recall_interval": None, "f1_interval": None,
    }  # fmt: skip
    assert held["schema"] == tables.SCHEMA
    assert held["classes"]["née, «rock»"]["iou"] is None
    assert held["classes_in_mean"] == 2
    assert held["confusion"]["pixels"] == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert held["pixels"] == {"compared": 3, "unlabelled": 1, "left_out": 0, "ignored": 0}
    assert held["pixel_size"] == {"map": 30.0, "reference": 30.0, "unit": "metre"}
    assert held["map"]["tags"]["GEOSEG_MODEL"] == "m"
    assert held["reference"]["attribution"] == "Somebody"
    rows = list(csv.DictReader(as_csv.read_text().splitlines()))
    assert [row["class"] for row in rows] == ["green", "grey", "née, «rock»"]
    assert [row["id"] for row in rows] == ["1", "2", "30"]
    assert rows[2]["iou"] == ""
    assert sorted(path.name for path in as_json.parent.iterdir()) == ["accuracy.csv", "accuracy.json"]


def test_the_table_shows_a_row_for_each_class_and_the_means():
    head, rows, feet = tables.table(tables.plain(PAPER))
    assert all(len(row) == len(head) for row in rows)
    assert rows[0] == ("green", 0.5, 0.5, 1.0, pytest.approx(2 / 3), 1, 2, 1)
    assert rows[2][1:5] == (None, None, None, None)
    assert feet[0].startswith("mean IoU 0.500 over 2 of 3 classes, pixel accuracy 0.667")
    assert feet[1] == "balanced accuracy 0.750, kappa 0.400; disagreement in quantity 0.333, in allocation 0.000"
    assert feet[2].startswith("no 95 % intervals: the compared pixels make 0 blocks of 8 pixels, and 20 are needed")
    assert feet[3] == "most confused: 50 % of grey is mapped as green"
    assert feet[4:] == ["compared so."]


def test_intervals_are_told_where_there_are_some(tmp_path):
    counts = blocks.nothing(Window(0, 0, 800, 800), 8, 3)
    dice = np.random.default_rng(0)
    counts.sums[:, :, 0, :2] = dice.integers(20, 30, (100, 100, 2))
    counts.sums[:, :, 1:, :2] = 32
    made = intervals.of(counts, given=True)
    scores = tables.plain(replace(PAPER, intervals=made))
    _, _, feet = tables.table(scores)
    low, high = made.overall["mean_iou"]
    assert feet[2].startswith("95 % intervals, by resampling 10000 blocks of 8 px (240 m): mean IoU")
    assert f"mean IoU {low:.3f} to {high:.3f}" in feet[2]
    assert feet[2].endswith("1 more has none, see docs/accuracy.md")
    assert scores["classes"]["green"]["iou_interval"] == list(made.classes["iou"][0])
    held = json.loads(tables.write(replace(PAPER, intervals=made), tmp_path)[0].read_text())["intervals"]
    assert (held["block_pixels"], held["block_m"], held["block_by"]) == (8, 240.0, "option")


def test_confusions_are_said_in_words_the_largest_first_and_no_more_than_there_are():
    matrix = [[600, 100, 0], [1, 999, 0], [0, 250, 750]]
    found = tables.plain(accuracy_of(matrix))["top_confusions"]
    assert [each["text"] for each in found] == [
        "25 % of née, «rock» is mapped as grey",
        "14 % of green is mapped as grey",
        "less than 1 % of grey is mapped as green",
    ]
    assert found[1] == {
        "reference": "green", "map": "grey", "pixels": 100, "share": pytest.approx(1 / 7), "text": found[1]["text"]
    }  # fmt: skip
    assert tables.plain(accuracy_of(np.eye(3, dtype=int)))["top_confusions"] == []


def test_scores_of_an_older_file_can_be_shown():
    held = tables.plain(PAPER)
    for key in ("schema", "kappa", "balanced_accuracy", "top_confusions", "intervals", "rule"):
        del held[key]
    assert len(tables.table(held)[2]) == 1


def test_notes_and_lossy_entries_stand_below_the_table_and_in_the_json(tmp_path):
    walk = Crosswalk("walk", LEGEND, LEGEND, ((1, 1), (2, 2)), ((2, "Half of it."),))
    made = replace(
        PAPER, crosswalk=walk, direction="reference to map", lossy=(("grey", 1200, "Half of it."),), notes=("A note.",)
    )
    _, _, feet = tables.table(json.loads(tables.as_json(made)))
    assert feet[-3:] == ["compared so.", "A note.", "crosswalk: grey (1,200 px): Half of it."]
    held = json.loads(tables.write(made, tmp_path)[0].read_text())
    assert held["notes"] == ["A note."]
    assert held["crosswalk"] == {
        "name": "walk",
        "direction": "reference to map",
        "lossy": [{"class": "grey", "pixels": 1200, "note": "Half of it."}],
    }


@given(arrays(np.int64, (3, 3), elements=st.one_of(st.just(0), st.integers(0, 10**6))))
def test_every_number_of_a_class_is_scikit_learns_or_has_no_value(matrix):
    assume(matrix.any())
    rows = tables._rows(accuracy_of(matrix))
    truth, mapped = np.divmod(np.arange(9), 3)
    judge = precision_recall_fscore_support(
        truth, mapped, labels=[0, 1, 2], sample_weight=matrix.ravel(), zero_division=0
    )
    for place, (iou, *shares, reference_pixels, map_pixels, _, in_reference, on_map) in enumerate(rows):
        assert (in_reference, on_map) == (900 * reference_pixels, 900 * map_pixels)
        assert (reference_pixels, map_pixels) == (matrix[place].sum(), matrix[:, place].sum())
        assert (shares[0] is None) == (map_pixels == 0)
        assert (shares[1] is None) == (reference_pixels == 0)
        assert (iou is None) == (map_pixels + reference_pixels == 0)
        for share, wanted in zip(shares, judge):
            assert share is None or share == pytest.approx(wanted[place])


def test_a_pixel_size_that_is_not_known_is_null(tmp_path):
    text = tables.write(replace(PAPER, alignment=replace(ALIGNED, pixel_sizes=(30.0, math.nan))), tmp_path)[
        0
    ].read_text()
    assert json.loads(text)["pixel_size"]["reference"] is None
    assert "NaN" not in text


def test_old_files_are_replaced_whole(tmp_path):
    tables.write(PAPER, tmp_path)
    tables.write(accuracy_of(np.eye(3, dtype=int) * 7), tmp_path)
    assert json.loads((tmp_path / "accuracy.json").read_text())["mean_iou"] == 1.0
    assert "7" in (tmp_path / "accuracy.csv").read_text()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_in_the_way_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="file"):
        tables.write(PAPER, tmp_path / "file")

"""Results: the table of a training from its card, and a warning for each class that it cannot speak of."""

import numpy as np
import pytest
import rasterio
from model_folders import write_model
from small_jobs import geoseg

from geoseg.training import fit, recipe, results
from geoseg.training.results import FEW

KINDS = ("train", "validation", "test", "beyond", "buffer")


def card(tmp_path, pixels, validation=(0.25, 0.75), unseen=(0.5, 1.0)):
    """A card of two classes with so many labelled pixels in each division, and these scores."""

    def scores(each):
        found = [value for value in each if value is not None]
        mean = sum(found) / len(found) if found else 0.0
        return {"mean_iou": mean, "pixel_accuracy": 0.5, "pixels": 9, "iou": dict(zip(("water", "land"), each))}

    history = {
        "labelled_pixels": {name: dict(zip(KINDS, each)) for name, each in zip(("water", "land"), pixels)},
        "recipe": {"chips": {"square": 64, "buffer": 40}},
    }
    held = {"all validation": validation, "all unseen": unseen}
    said = {name: scores(each) for name, each in held.items() if each is not None}
    classes = [{"id": id, "name": name, "colour": "#000000"} for id, name in ((3, "water"), (1, "land"))]
    return write_model(tmp_path / "model", training=history, scores=said, classes=classes).card


def test_every_class_has_its_pixels_and_scores_and_the_mean_is_last(tmp_path):
    head, rows, warnings = results.table(card(tmp_path, [(1000, 200, 300, 40, 7), (5000, 600, 700, 0, 9)]))
    assert head == ("class", "train px", "validation px", "test px", "IoU validation", "IoU test")
    assert rows == [
        ("water", 1000, 200, 340, 0.25, 0.5),
        ("land", 5000, 600, 700, 0.75, 1.0),
        ("mean", 6000, 800, 1040, 0.5, 0.75),
    ]
    assert warnings == []


@pytest.mark.parametrize(
    ("pixels", "validation", "test", "said"),
    [
        ((900, FEW - 1, 500, 0, 0), None, 0.5, f"its labels are {FEW - 1} validation pixels, and {FEW} are needed"),
        ((900, 500, 0, 0, 0), 0.25, None, "its labels are 0 test pixels"),
        ((900, 500, 60, 60, 0), 0.25, 0.5, None),
        ((900, 3, 0, 4, 0), None, None, "its labels are 3 validation and 4 test pixels"),
        ((900, FEW, FEW, 0, 0), 0.25, 0.5, None),
    ],
)
def test_a_class_with_few_pixels_is_not_judged(tmp_path, pixels, validation, test, said):
    _, rows, warnings = results.table(card(tmp_path, [pixels, (5000, 600, 700, 0, 0)]))
    assert rows[0][4:] == (validation, test)
    assert rows[1][4:] == (0.75, 1.0)
    if said is None:
        assert warnings == []
    else:
        (warning,) = warnings
        assert warning.startswith("class 'water' cannot be judged: ")
        assert said in warning


def test_a_class_that_nothing_is_learnt_of_is_named(tmp_path):
    _, _, warnings = results.table(card(tmp_path, [(0, 200, 300, 0, 0), (5000, 600, 700, 0, 0)]))
    assert warnings == ["class 'water' has no label to learn from; the network will not map it"]


def test_without_test_squares_there_are_no_test_scores(tmp_path):
    shown = card(tmp_path, [(900, 200, 0, 0, 0), (5000, 600, 0, 0, 0)], unseen=None)
    _, rows, warnings = results.table(shown)
    assert [row[5] for row in rows] == [None, None, None]
    assert [row[4] for row in rows] == [0.25, 0.75, 0.5]
    assert warnings == ["nothing was held out to test on; scores on what the epoch was chosen on flatter a little"]


@pytest.mark.parametrize(("theirs", "told"), [(0.7, []), (0.75, ["mean IoU 0.750 on test areas, the network 0.750"])])
def test_a_random_forest_has_a_row_and_is_told_where_it_is_as_good(tmp_path, theirs, told):
    shown = card(tmp_path, [(1000, 200, 300, 40, 7), (5000, 600, 700, 0, 9)])
    forest = {"what": "trees", "all validation": {"mean_iou": 0.9}, "all unseen": {"mean_iou": theirs}}
    shown = shown.model_copy(update={"scores": {**shown.scores, "baselines": {"random forest": forest}}})
    _, rows, warnings = results.table(shown)
    assert rows[-2][0] == "mean"
    assert rows[-1] == ("mean, random forest", None, None, None, 0.9, theirs)
    assert len(warnings) == len(told)
    assert all(part in warning for part, warning in zip(told, warnings))


def test_a_buffer_that_takes_more_than_it_leaves_is_told_with_what_to_change(tmp_path):
    _, _, warnings = results.table(card(tmp_path, [(1000, 200, 300, 0, 3000), (500, 600, 700, 0, 1500)]))
    assert warnings == [
        "75% of the labels on training squares lie within 40 pixels of what is held out and are not learnt from; "
        "larger squares than chips.square: 64 keep more"
    ]


def test_the_table_of_a_training_is_what_was_trained(folder):
    with rasterio.open(folder / "truth.tif", "r+") as file:  # bare soil is left in one corner alone
        codes = file.read(1)
        rare = (codes == 20) & (np.add.outer(np.arange(96), np.arange(100)) > 24)
        codes[rare] = 0
        file.write(codes, 1)
    model = fit.train(recipe.read(folder / "training.yaml").model_copy(update={"epochs": 1}))
    _, rows, warnings = results.table(model.card)
    assert [row[0] for row in rows] == ["green", "water", "soil", "mean"]
    for name, *counts, _, _ in rows[:3]:
        said = model.card.training["labelled_pixels"][name]
        assert counts == [said["train"], said["validation"], said["test"] + said["beyond"]]
    assert rows[0][4] == model.card.scores["all validation"]["iou"]["green"]
    assert rows[3][5] == model.card.scores["all unseen"]["mean_iou"]
    assert rows[2][4:] == (None, None)
    assert any(each.startswith("class 'soil' cannot be judged") for each in warnings)


def test_the_command_prints_the_table_and_then_what_it_cannot_say(folder):
    spec = (folder / "training.yaml").read_text().replace("epochs: 6", "epochs: 1")
    (folder / "training.yaml").write_text(spec)
    answer = geoseg("train", folder / "training.yaml")
    assert answer.code == 0
    head, *rows = (line.split("\t") for line in answer.out.splitlines() if "\t" in line)
    assert head == list(results.HEAD)
    assert [row[0] for row in rows] == ["green", "water", "soil", "mean"]
    assert answer.out.splitlines()[-1] == f"wrote {folder / 'tiny'}"
    assert "note: 82% of the labels on training squares lie within 8 pixels of what is held out" in answer.err


@pytest.mark.slow
def test_each_epoch_is_a_line_also_where_nobody_looks(folder, monkeypatch):
    monkeypatch.chdir(folder)
    answer = geoseg("train", "training.yaml")
    lines = [each for each in answer.err.splitlines() if each.startswith("epoch ")]
    assert [each.split(":")[0] for each in lines] == [f"epoch {n} of 6" for n in range(1, 7)]
    assert all("mean IoU 0." in each and "(green 0." in each and ", water 0." in each for each in lines)


@pytest.mark.parametrize(
    ("epoch", "seconds", "ends"), [(3, 10.2, "10 s, 71 s left"), (1, 60, "60 s, 9 min left"), (10, 60, "0.500), 60 s")]
)
def test_an_epoch_says_how_much_time_is_left(epoch, seconds, ends):
    row = {"epoch": epoch, "loss": 1.0, "validation_loss": 1.0, "mean_iou": 0.5, "iou a": 0.5, "seconds": seconds}
    assert results.line(row, 10).endswith(ends)

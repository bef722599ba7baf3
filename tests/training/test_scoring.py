"""Scoring: pixels counted window by window are those of the whole scene at once, and the card says so."""

import math

import numpy as np
import pytest
import torch
from labelled_scenes import loaded
from sklearn.metrics import confusion_matrix

from geoseg.catalog.legend import LandClass, Legend
from geoseg.models import loading, networks, receptive_field
from geoseg.training import fit, recipe, scoring
from geoseg.training.scenes import BEYOND, DIVISIONS, TEST, TRAIN, VALIDATION

LEGEND = Legend("plain", tuple(LandClass(at, name, "#000000") for at, name in enumerate(("green", "water", "soil"))))


@pytest.mark.parametrize("core", [16, 64, 256])
@pytest.mark.parametrize("division", [VALIDATION, TEST, BEYOND])
def test_windows_count_what_the_whole_scene_in_one_piece_counts(folder, monkeypatch, core, division):
    monkeypatch.setattr(scoring, "CORE", core)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = networks.build({"name": "compact", "width": 4, "depth": 1}, 2, 3).eval()
    field = receptive_field.probe(network, 2)
    scene = loaded(folder, {"west": 0.5})
    pixels = np.nan_to_num(scene.pixels if division == BEYOND else scene.seen())
    top, left = 64 + scene.window.row % 2, 64 + scene.window.col % 2  # cells of the stride begin at even pixels
    assert (top, left) == (65, 65)
    with torch.no_grad():
        whole = network(torch.from_numpy(np.pad(pixels, ((0, 0), (top, 65), (left, 65))))[None])[0]
    labels = whole.argmax(0).numpy()[top:-65, left:-65]
    chosen = (scene.division == division) & (scene.labels >= 0)
    expected = confusion_matrix(scene.labels[chosen], labels[chosen], labels=range(3))
    assert np.array_equal(scoring.confusion(network, field, scene, division, 3), expected)


def test_the_scores_on_the_card_are_those_of_its_weights(folder):
    model = fit.train(recipe.read(folder / "training.yaml"))
    network = loading.load(model, "cpu")
    field = receptive_field.Field(model.card.halo, model.card.stride, model.card.field)
    scene = loaded(folder)
    for division in (VALIDATION, TEST):
        matrix = scoring.confusion(network, field, scene, division, 3)
        assert matrix.sum() == (scene.labels[scene.division == division] >= 0).sum()
        said = scoring.scores_of(matrix, model.card.legend)
        assert said == model.card.scores["scene"][DIVISIONS[division]]


def test_a_class_that_is_found_nowhere_has_no_score():
    said = scoring.scores_of(np.array([[6, 2, 0], [0, 2, 0], [0, 0, 0]]), LEGEND)
    assert said == {
        "mean_iou": round((6 / 8 + 2 / 4) / 2, 4), "pixel_accuracy": 0.8, "pixels": 10,
        "iou": {"green": 0.75, "water": 0.5, "soil": None},
    }  # fmt: skip


def test_a_row_of_the_curves_names_each_class():
    row = scoring.row_of(2, 0.5, 1e-3, np.diag([1, 2, 0]), LEGEND, 7.0)
    assert (row["epoch"], row["loss"], row["mean_iou"], row["iou green"], row["seconds"]) == (3, 0.5, 1, 1, 7.0)
    assert math.isnan(row["iou soil"])


def test_unseen_scores_leave_validation_out(folder):
    network = networks.build({"name": "compact", "width": 2, "depth": 1}, 2, 3).eval()
    field = receptive_field.probe(network, 2)
    scene = loaded(folder, {"west": 0.5})
    found = scoring.scores_by_scene(network, field, [scene], LEGEND)
    assert set(found["scene"]) == {DIVISIONS[each] for each in (VALIDATION, TEST, BEYOND)}
    assert found["all unseen"]["pixels"] == sum(found["scene"][DIVISIONS[each]]["pixels"] for each in (TEST, BEYOND))
    assert DIVISIONS[TRAIN] not in found["scene"]

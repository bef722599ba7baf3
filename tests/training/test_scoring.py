"""Scoring: pixels counted window by window are those of the whole scene at once, and the card says so."""

import math

import numpy as np
import pytest
import torch
from labelled_scenes import loaded
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score, log_loss

from geoseg.catalog.legend import LandClass, Legend
from geoseg.models import loading, networks, receptive_field
from geoseg.training import scoring
from geoseg.training.division import BEYOND, DIVISIONS, TEST, VALIDATION

LEGEND = Legend("plain", tuple(LandClass(at, name, "#000000") for at, name in enumerate(("green", "water", "soil"))))


@pytest.mark.parametrize("core", [16, 64, 256])
@pytest.mark.parametrize("division", [VALIDATION, TEST, BEYOND])
@pytest.mark.sampled(2)
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


def test_the_scores_on_the_card_are_those_of_its_weights(trained):
    folder, _, model = trained
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
    judged = scoring.Judged(np.diag([1, 2, 0]), 3.0, 4.0)
    row = scoring.row_of(2, 0.5, judged, 1e-3, LEGEND, 7.0)
    assert list(row) == [
        "epoch", "loss", "validation_loss", "mean_iou", "pixel_accuracy", "iou green", "iou water", "iou soil",
        "learning_rate", "seconds",
    ]  # fmt: skip
    assert (row["epoch"], row["loss"], row["mean_iou"], row["iou green"], row["seconds"]) == (3, 0.5, 1, 1, 7.0)
    assert (row["validation_loss"], row["learning_rate"]) == (0.75, 1e-3)
    assert math.isnan(row["iou soil"])
    assert math.isnan(scoring.row_of(0, 1.0, scoring.Judged(np.eye(3), 0.0, 0.0), 1, LEGEND, 1)["validation_loss"])


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.5, 2.0, 0.0)])
def test_the_validation_loss_is_sklearns(folder, weights):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = networks.build({"name": "compact", "width": 2, "depth": 1}, 2, 3).eval()
    scene = loaded(folder)
    field = receptive_field.probe(network, 2)
    pixels = np.nan_to_num(np.pad(scene.seen(), ((0, 0), (65, 64), (65, 64))))
    assert (scene.window.row % 2, scene.window.col % 2) == (1, 1)  # cells of the stride begin at even pixels
    pixels = pixels[:, : pixels.shape[1] // 2 * 2, : pixels.shape[2] // 2 * 2]
    with torch.no_grad():
        scores = network(torch.from_numpy(pixels)[None])[0, :, 65 : 65 + 96, 65 : 65 + 112]
    chosen = (scene.division == VALIDATION) & (scene.labels >= 0)
    truth, shares = scene.labels[chosen], scores.softmax(0).numpy()[:, chosen].T.astype(float)
    shares /= shares.sum(axis=1, keepdims=True)
    expected = log_loss(truth, shares, labels=range(3), sample_weight=np.array(weights)[truth])
    judged = scoring.judge(network, field, scene, VALIDATION, torch.tensor(weights))
    assert judged.mean_loss == pytest.approx(expected, rel=1e-4)
    assert judged.weight == pytest.approx(np.array(weights)[truth].sum())
    np.testing.assert_array_equal(judged.matrix, scoring.confusion(network, field, scene, VALIDATION, 3))


def test_what_is_judged_in_two_parts_adds_up():
    one = scoring.Judged(np.diag([1, 2, 3]), 2.0, 4.0)
    two = scoring.Judged(np.ones((3, 3), np.int64), 1.0, 2.0)
    both = one + two
    np.testing.assert_array_equal(both.matrix, np.diag([1, 2, 3]) + 1)
    assert (both.loss, both.weight, both.mean_loss) == (3.0, 6.0, 0.5)
    assert math.isnan(scoring.Judged(np.zeros((2, 2), np.int64), 0.0, 0.0).mean_loss)


@pytest.mark.parametrize("seed", range(3))
def test_the_scores_of_a_card_are_sklearns(seed):
    random = np.random.default_rng(seed)
    truth, found = random.integers(0, 3, (2, 500))
    said = scoring.scores_of(confusion_matrix(truth, found), LEGEND)
    each = jaccard_score(truth, found, average=None)
    assert list(said["iou"].values()) == [round(float(value), 4) for value in each]
    assert said["mean_iou"] == round(float(each.mean()), 4)
    assert said["pixel_accuracy"] == round(accuracy_score(truth, found), 4)
    assert said["pixels"] == 500

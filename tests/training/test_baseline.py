"""Baseline: the forest learns from training labels alone, is scored on the network's pixels, and is scikit-learn's."""

import importlib.util

import numpy as np
import pytest
from labelled_scenes import loaded
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import jaccard_score

from geoseg import catalog
from geoseg.errors import JobError
from geoseg.grid import Window
from geoseg.training import baseline, fit, recipe
from geoseg.training.division import BEYOND, TEST, TRAIN, VALIDATION
from geoseg.training.planes import Windowed
from geoseg.training.scenes import LabelledScene


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch):
    monkeypatch.setattr(baseline, "_TREES", 8)
    monkeypatch.setattr(baseline, "_TRIED", 8)


def asked(folder, **change):
    return recipe.read(folder / "training.yaml").model_copy(update={"baseline": None, **change})


def legend(folder):
    return catalog.read(folder / "data_catalog.yaml").legend("plain")


def test_its_scores_are_scikit_learn_s_of_one_of_the_forests_that_were_tried(folder):
    scene = loaded(folder, {"west": 0.7})
    found = baseline.of(asked(folder), [scene], legend(folder), 1)

    def of(*kinds):
        wanted = np.isin(scene.division, kinds) & (scene.labels >= 0)
        return scene.pixels[:, wanted].T, scene.labels[wanted].astype(int)

    possible = []
    for leaf in (5, 20):
        for weights in (None, "balanced_subsample"):
            forest = RandomForestClassifier(
                8, min_samples_leaf=leaf, class_weight=weights, max_samples=1.0, random_state=1
            )
            forest.fit(*of(TRAIN))
            pairs = [(truth, forest.predict(pixels)) for pixels, truth in (of(VALIDATION), of(TEST, BEYOND))]
            possible.append([round(jaccard_score(*pair, average="macro"), 4) for pair in pairs])
    best = max(possible, key=lambda each: each[0])
    assert [found["all validation"]["mean_iou"], found["all unseen"]["mean_iou"]] == pytest.approx(best, abs=1e-4)
    assert found["scene"]["beyond"]["pixels"] == len(of(BEYOND)[1])
    assert found["all unseen"]["pixels"] == len(of(TEST, BEYOND)[1])


@pytest.mark.parametrize("most", [10**6, 500])
def test_it_learns_from_training_labels_alone_each_as_likely(monkeypatch, most):
    monkeypatch.setattr(baseline, "_MOST_LEARNT", most)
    window = Window(-3, 7, 60, 70)
    division = np.random.default_rng(0).integers(0, 5, window.shape).astype(np.uint8)
    labels = np.random.default_rng(1).integers(-1, 3, window.shape).astype(np.int16)
    pixels = np.arange(labels.size, dtype=np.float32).reshape(1, *window.shape)
    held = LabelledScene("a", window, pixels, labels, division, 1.0)
    read = [Windowed(lambda at, of=of: of[..., *at.within(window)]) for of in (pixels + labels.size, labels, division)]
    values, truth = baseline.learnt([held, LabelledScene("b", window, *read, 1.0)], 3, 0)
    at = values[:, 0].astype(int) % labels.size
    assert len(np.unique(values)) == len(values) == min(most, 2 * ((division == TRAIN) & (labels >= 0)).sum())
    assert (division.ravel()[at] == TRAIN).all()
    np.testing.assert_array_equal(labels.ravel()[at], truth)
    assert 0.4 < (values[:, 0] >= labels.size).mean() < 0.6


def test_of_many_pixels_it_is_scored_on_every_so_manieth_and_says_so(folder, monkeypatch):
    monkeypatch.setattr(baseline, "_MOST_JUDGED", 400)
    scene = loaded(folder)
    every = int(((scene.division == VALIDATION) & (scene.labels >= 0)).sum())
    found = baseline.of(asked(folder), [scene], legend(folder), 1)
    step = -(-every // 400)
    assert found["all validation"]["pixels"] == -(-every // step)
    assert "; scored on one in " in found["what"]


@pytest.mark.slow
def test_it_stands_on_the_card_beside_the_network_and_changes_no_weight(folder):
    ours = fit.train(asked(folder, epochs=1), folder / "with").card
    bare = fit.train(asked(folder, epochs=1, baseline="none"), folder / "without").card
    forest = ours.scores["baselines"]["random forest"]
    assert "baselines" not in bare.scores
    assert ours.weights.sha256 == bare.weights.sha256
    for kind in ("all validation", "all unseen"):
        assert forest[kind]["pixels"] == ours.scores[kind]["pixels"]
        assert forest[kind]["mean_iou"] > 0.8
    again = fit.train(asked(folder, epochs=1), folder / "again").card
    assert again.scores["baselines"] == ours.scores["baselines"]


def test_without_scikit_learn_it_is_refused_where_it_is_asked_for_and_a_note_elsewhere(folder, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "sklearn" else found(name))
    with pytest.raises(
        JobError, match=r"baseline is 'random_forest', which needs scikit-learn; install geoseg\[forest"
    ):
        fit.train(asked(folder, baseline="random_forest"))
    card = fit.train(asked(folder, epochs=1)).card
    assert "baselines" not in card.scores
    assert any("there is no random forest to compare with" in each for each in card.training["notes"])
    assert baseline.notes(asked(folder, baseline="none")) == []

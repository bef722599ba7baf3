"""Calibration: the temperature is scipy's, the error torchmetrics', and no label ever changes."""

import numpy as np
import pytest
import torch
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from labelled_scenes import loaded
from scipy import optimize, special

from geoseg.catalog.card import ModelCard, read_model
from geoseg.models import loading, receptive_field
from geoseg.training import calibration, evaluation
from geoseg.training.division import VALIDATION


def drawn(seed, true=1.0, pixels=4000, classes=4):
    """Scores of which the labels are drawn by softmax, times a temperature."""
    random = np.random.default_rng(seed)
    scores = random.normal(0, 2, (pixels, classes))
    labels = (special.softmax(scores, axis=1).cumsum(axis=1) < random.random((pixels, 1))).sum(axis=1)
    return (scores * true).astype(np.float32), labels.clip(max=classes - 1)


@pytest.mark.parametrize("true", [0.2, 1.0, 3.0])
def test_the_temperature_is_the_one_the_labels_were_drawn_with_and_scipys(true):
    scores, labels = drawn(0, true)

    def likelihood(temperature):
        return -special.log_softmax(scores / temperature, axis=1)[np.arange(len(labels)), labels].mean()

    found = calibration.temperature_of(scores, labels)
    assert found == pytest.approx(true, rel=0.06)
    best = optimize.minimize_scalar(likelihood, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-6})
    assert found == pytest.approx(best.x, rel=1e-3)
    assert calibration.likelihood(scores, labels, found) == pytest.approx(likelihood(found), rel=1e-5)
    assert found == calibration.temperature_of(scores, labels)


def test_a_network_that_is_always_right_or_never_stays_within_bounds():
    scores, _ = drawn(0)
    assert calibration.temperature_of(scores, scores.argmax(1)) == pytest.approx(0.05, rel=1e-3)
    assert calibration.temperature_of(scores, scores.argmin(1)) == pytest.approx(20, rel=1e-3)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_calibration_error_is_torchmetrics(temperature):
    from torchmetrics.functional.classification import multiclass_calibration_error  # slow to load

    scores, labels = drawn(1, 2.0)
    shares = torch.from_numpy(special.softmax(scores.astype(float) / temperature, axis=1))
    expected = multiclass_calibration_error(shares, torch.from_numpy(labels), 4, n_bins=calibration.BINS, norm="l1")
    found = calibration.reliability(scores, labels, temperature)
    assert found.error == pytest.approx(float(expected), abs=1e-5)
    assert found.pixels.sum() == len(labels)


def test_calibration_makes_the_error_smaller_where_a_network_is_too_sure():
    scores, labels = drawn(2, 3.0)
    said = calibration.described(scores, labels, calibration.temperature_of(scores, labels))
    assert said["ece"][1] < 0.3 * said["ece"][0]
    assert said["nll"][1] < said["nll"][0]


@settings(max_examples=share_of(200), deadline=None)
@given(
    arrays.arrays(np.float32, (5, 3), elements=st.floats(-50, 50, width=32)),
    st.floats(0.05, 20),
)
def test_no_temperature_moves_a_score_past_another(scores, temperature):
    scaled = scores / np.float32(temperature)
    best = scores.argmax(axis=1)
    assert (scaled[np.arange(5), best] == scaled.max(axis=1)).all()


@pytest.mark.slow
def test_the_card_has_the_temperature_of_its_validation_areas(trained):
    folder, _, model = trained
    card = read_model(model.folder).card
    network = loading.load(model, "cpu")
    field = receptive_field.Field(card.halo, card.stride, card.field)
    scene = loaded(folder, buffer=8)
    found = evaluation.evaluate(network, field, [scene], card.legend)
    sample = found.samples["all validation"]
    assert len(sample.labels) == scene.counts(VALIDATION, 3).sum()
    assert card.temperature == calibration.temperature_of(sample.scores, sample.labels)
    said = card.training["calibration"]
    assert said["all validation"] == calibration.described(sample.scores, sample.labels, card.temperature)
    assert said["all validation"]["nll"][1] <= said["all validation"]["nll"][0]
    assert said["all unseen"]["pixels"] == card.scores["all unseen"]["pixels"]


@pytest.mark.parametrize("value", [0, -1, "nan", "inf"])
def test_a_temperature_is_a_positive_number(base, value):
    plain = base.card.model_dump(mode="json")
    with pytest.raises(ValueError, match="temperature"):
        ModelCard.model_validate({**plain, "temperature": float(value)})
    assert ModelCard.model_validate({**plain, "temperature": None}).temperature is None

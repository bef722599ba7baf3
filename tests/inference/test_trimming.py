"""Trimming: less is computed and no byte changes; where one would, whole windows are computed."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from examples import share_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from noise import label, network_of, pixels_of

from geoseg import process
from geoseg.grid import Window
from geoseg.inference import trimming
from geoseg.models import loading

few = settings(max_examples=share_of(10), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
windows = st.builds(Window, st.integers(-40, 40), st.integers(-40, 40), st.integers(1, 60), st.integers(1, 60))


@pytest.fixture(autouse=True)
def _anew(monkeypatch):
    process.renew()
    yield
    process.renew()


def shapes_of(predict, scene, at, monkeypatch, network=None):
    """Labels, and how often windows of each shape were computed."""
    network, shapes = network or network_of(predict), Counter()

    def count(x):
        shapes[tuple(x.shape[2:])] += 1
        return network(x)

    monkeypatch.setattr(loading, "load", lambda *_: count)
    return label(predict, scene, at, 2), shapes


@few
@given(at=windows, seed=st.integers(0, 99), threads=st.integers(1, 3), hole=st.booleans())
def test_trimmed_windows_change_no_byte(crop, at, seed, threads, hole):
    scene = pixels_of(at.shape, seed, missing=0.02)
    if hole:
        scene[:, : at.height // 2, at.width // 3 :] = np.nan
    predict = replace(crop, threads=threads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trimming, "_SEEN", 10**9)
        wanted = label(predict, scene, at, 2)
        patch.setattr(trimming, "_SEEN", 0)
        assert np.array_equal(label(predict, scene, at, 2), wanted)


def test_windows_at_an_edge_are_computed_as_far_as_the_scene_goes(crop, monkeypatch):
    at = Window(0, 0, 16 * 12, 20)  # the second column of cores holds 4 pixels of 16
    scene, side = pixels_of(at.shape), 16 + 2 * crop.halo
    labels, shapes = shapes_of(replace(crop, threads=1), scene, at, monkeypatch)
    small = (side, 4 + 2 * crop.halo)
    assert shapes == {(side, side): 12 + trimming._SEEN + 1, small: 12 - trimming._SEEN + 1}  # one of each is the trial
    monkeypatch.setattr(trimming.Trimming, "part", lambda self, core, wanted: core)
    assert np.array_equal(labels, label(crop, scene, at, 2))


LIARS = {
    "rounds otherwise in another shape": lambda x, y: y * (1 + 1e-6 * (x.shape[3] % 7)),
    "looks at the whole window": lambda x, y: y + 1e-3 * x.mean(dim=(1, 2, 3), keepdim=True),
}


@pytest.mark.parametrize("lie", LIARS)
def test_a_network_whose_bits_depend_on_the_shape_computes_whole_windows(crop, lie, monkeypatch):
    at, network = Window(0, 0, 16 * 12, 20), network_of(crop)
    scene, side = pixels_of(at.shape), 16 + 2 * crop.halo

    def liar(x):
        return LIARS[lie](x, network(x))

    labels, shapes = shapes_of(replace(crop, threads=1), scene, at, monkeypatch, liar)
    assert shapes == {(side, side): 24 + 1, (side, 4 + 2 * crop.halo): 1}  # the trial alone
    monkeypatch.setattr(trimming.Trimming, "part", lambda self, core, wanted: core)
    assert np.array_equal(labels, label(crop, scene, at, 2))


@pytest.mark.parametrize(
    "change", [{"stitch": "blend"}, {"halo": 2}, {"field": "image-wide"}], ids=["blend", "small halo", "image-wide"]
)
def test_where_a_window_needs_all_of_itself_it_is_whole(crop, change, monkeypatch):
    if "field" in change:
        model = crop.model
        card = model.card.model_copy(update=change)
        change = {"model": type(model)(model.folder, card)}
    predict = replace(crop, **change)
    at = Window(0, 0, 16 * 6, 20)
    _, shapes = shapes_of(predict, pixels_of(at.shape), at, monkeypatch)
    assert set(shapes) == {(predict.core + 2 * predict.halo,) * 2}


def test_a_score_that_is_not_finite_counts_where_a_label_is_asked_for_alone(crop, monkeypatch):
    at = Window(0, 0, 16, 4)
    network = network_of(crop)

    def broken(x):
        scores = network(x)
        scores[..., crop.halo + 8 :] = torch.inf  # beyond what is kept, within the core
        return scores

    monkeypatch.setattr(loading, "load", lambda *_: broken)
    assert (label(crop, pixels_of(at.shape), at, 1)[0] != 255).all()

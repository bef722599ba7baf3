"""Chips: training labels alone, pixels and labels together, rare classes as often as asked."""

import numpy as np
import pytest
from examples import share_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from labelled_scenes import loaded
from scipy import ndimage

from geoseg.grid import Window
from geoseg.training import scenes
from geoseg.training.chips import Draw
from geoseg.training.division import TRAIN, Squares, divide
from geoseg.training.recipe import ChipsSpec


def test_chips_show_training_labels_alone(folder):
    scene = loaded(folder)
    held = scene.division != TRAIN
    marked = np.where(held, np.int16(2), np.where(scene.labels >= 0, np.int16(0), np.int16(-1)))
    marked = scenes.LabelledScene("scene", scene.window, scene.pixels, marked, scene.division, 1.0)
    pixels, labels = Draw([marked], ChipsSpec(size=16, jitter=0.0), 3, 0)(50)
    assert set(np.unique(labels)) == {-1, 0}
    assert pixels.dtype == np.float32
    assert labels.dtype == np.int64
    assert (labels >= 0).any(axis=(1, 2)).all()


@given(
    edge=st.integers(8, 24), buffer=st.integers(0, 12), size=st.sampled_from([8, 16, 40]), seed=st.integers(0, 50),
    side=st.sampled_from(["west", "north", None]),
)  # fmt: skip
@settings(max_examples=share_of(40), deadline=None)
def test_no_label_of_a_chip_lies_near_a_pixel_that_is_judged_by(edge, buffer, size, seed, side):
    window = Window(-20, 33, 70, 90)
    held = divide(window, {side: 0.7} if side else {}, Squares(edge, 0.1, 0.1, 0, seed)) != TRAIN
    division = divide(window, {side: 0.7} if side else {}, Squares(edge, 0.1, 0.1, buffer, seed))
    assume((division == TRAIN).any() and held.any())
    distance = ndimage.distance_transform_cdt(~held, "chessboard")  # by another hand than the division's
    position = np.stack(np.indices(window.shape)).astype(np.float32)  # each pixel says where it lies
    scene = scenes.LabelledScene("s", window, position + 1, np.zeros(window.shape, np.int16), division, 1.0)
    pixels, labels = Draw([scene], ChipsSpec(size=size, jitter=0.0), 1, seed)(12)
    rows, cols = pixels.transpose(1, 0, 2, 3)[:, labels >= 0].astype(int) - 1
    assert len(rows)
    assert distance[rows, cols].min() > buffer


def test_chips_keep_pixels_and_labels_together_and_nodata_zero(folder):
    scene = loaded(folder)
    learnt = np.where(scene.division == TRAIN, scene.labels, -1)
    pixels = np.where(np.isnan(scene.pixels), np.nan, np.stack([scene.labels + 10.0] * 2)).astype(np.float32)
    scene = scenes.LabelledScene("scene", scene.window, pixels, learnt.astype(np.int16), scene.division, 1.0)
    pixels, labels = Draw([scene], ChipsSpec(size=16, jitter=0.0), 3, 0)(50)
    assert (pixels == 0).any()
    np.testing.assert_array_equal(pixels[:, 0][labels >= 0], labels[labels >= 0] + 10.0)
    jittered, labels = Draw([scene], ChipsSpec(size=16, jitter=0.5), 3, 0)(50)
    assert ((jittered == 0) == (jittered[:, :1] == 0)).all()
    assert (jittered == 0).any()


def test_a_chip_larger_than_the_scene_is_filled_with_nodata(folder):
    pixels, labels = Draw([loaded(folder)], ChipsSpec(size=256), 3, 0)(2)
    assert pixels.shape == (2, 2, 256, 256)
    assert (labels >= 0).any(axis=(1, 2)).all()


def test_the_same_seed_draws_the_same_chips_in_the_same_order(folder):
    scene = loaded(folder)
    first, again, other = (Draw([scene], ChipsSpec(size=16), 3, seed) for seed in (5, 5, 6))
    for _ in range(3):
        pixels, labels = first(4)
        same_pixels, same_labels = again(4)
        np.testing.assert_array_equal(pixels, same_pixels)
        np.testing.assert_array_equal(labels, same_labels)
        assert not np.array_equal(pixels, other(4)[0])


def dotted(weight=1.0):
    """A scene of which one class has single pixels, 20 apart."""
    labels = np.zeros((200, 200), np.int16)
    labels[::20, ::20] = 1
    window = Window(0, 0, 200, 200)
    pixels = np.repeat(labels[None].astype(np.float32), 2, axis=0)
    return scenes.LabelledScene("s", window, pixels, labels, np.full((200, 200), TRAIN, np.uint8), weight)


@pytest.mark.parametrize(("rarity", "share"), [(0.0, 0.16), (1.0, 0.5 + 0.5 * 0.16)])
def test_rarity_says_how_often_a_rare_class_is_met(rarity, share):
    # 8 x 8 pixels meet a dot by chance in 64 of 400 cases; with rarity 1 every other chip is drawn on one.
    _, labels = Draw([dotted()], ChipsSpec(size=8, rarity=rarity, jitter=0.0), 2, 0)(600)
    assert (labels == 1).any(axis=(1, 2)).mean() == pytest.approx(share, abs=0.06)


def test_scenes_are_drawn_by_their_weight(folder):
    blank = dotted(3.0)
    other = scenes.LabelledScene("t", blank.window, blank.pixels + 5, blank.labels, blank.division, 1.0)
    pixels, _ = Draw([blank, other], ChipsSpec(size=8, jitter=0.0), 2, 0)(400)
    assert 0.68 < (pixels.max(axis=(1, 2, 3)) < 3).mean() < 0.82


def test_chips_are_turned_and_mirrored_in_all_eight_ways():
    labels = np.arange(64, dtype=np.int16).reshape(8, 8)
    scene = scenes.LabelledScene(
        "s", Window(0, 0, 8, 8), labels[None].astype(np.float32), labels, np.zeros((8, 8), np.uint8), 1.0
    )
    draw = Draw([scene], ChipsSpec(size=8, jitter=0.0, rarity=1.0), 64, 0)
    _, found = draw(4000)
    whole = [each for each in found if (each >= 0).all()]
    ways = {tuple(np.rot90(side, turns).ravel()) for side in (labels, labels[:, ::-1]) for turns in range(4)}
    assert {tuple(each.ravel()) for each in whole} == ways

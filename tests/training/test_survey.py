"""Survey: labels are counted and found again as numpy does on the whole scene at once."""

import numpy as np
import pytest
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.grid import Window
from geoseg.training.division import DIVISIONS, TRAIN
from geoseg.training.scenes import LabelledScene


def scene_of(extent, seed, classes=3):
    random = np.random.default_rng(seed)
    labels = random.integers(-1, classes, extent.shape).astype(np.int16)
    division = random.integers(0, len(DIVISIONS), extent.shape).astype(np.uint8)
    pixels = random.random((2, *extent.shape), np.float32)
    return LabelledScene("s", extent, pixels, labels, division, 1.0)


@settings(max_examples=share_of(25), deadline=None)
@given(
    st.builds(Window, st.integers(-600, 600), st.integers(-600, 600), st.integers(1, 400), st.integers(1, 700)),
    st.integers(0, 9),
)
def test_the_nth_pixel_of_a_class_is_the_nth_of_the_whole_row_by_row(extent, seed):
    scene = scene_of(extent, seed)
    found = scene.survey()
    for kind in range(3):
        learnt = (scene.labels == kind) & (scene.division == TRAIN)
        expected = np.flatnonzero(learnt)
        if not len(expected):
            assert kind not in found.places
            continue
        assert len(found.places[kind]) == len(expected)
        for number in {0, len(expected) // 3, len(expected) - 1}:
            piece, before = found.places[kind].nth(number)
            row, col = divmod(int(expected[number]), extent.width)
            assert piece.row == extent.row + row
            here = np.flatnonzero(scene.learnt(piece)[0] == kind)
            assert piece.col + here[before] == extent.col + col


def test_counts_are_those_of_the_whole():
    scene = scene_of(Window(-100, 250, 333, 4500), 3)
    for division in range(len(DIVISIONS)):
        inside = scene.labels[(scene.division == division) & (scene.labels >= 0)]
        np.testing.assert_array_equal(scene.survey().of(division, 5), np.bincount(inside, minlength=5))


def test_a_class_that_appears_late_is_counted():
    extent = Window(0, 0, 600, 10)
    labels = np.zeros(extent.shape, np.int16)
    labels[590:] = 7
    scene = LabelledScene("s", extent, np.zeros((1, 600, 10), np.float32), labels, np.zeros(extent.shape, np.uint8), 1)
    assert scene.survey().of(TRAIN, 8).tolist() == [5900, 0, 0, 0, 0, 0, 0, 100]
    assert scene.survey().places[7].within(Window(0, 0, 595, 10)) == 50


@pytest.mark.parametrize("name", ["pixels", "labels", "division"])
def test_the_digest_is_another_once_anything_is(name):
    one, two = (scene_of(Window(0, 0, 300, 300), 0) for _ in range(2))
    assert one.survey().digest == two.survey().digest
    getattr(two, name)[..., 299, 299] += 1
    assert (
        one.survey().digest != LabelledScene("s", two.window, two.pixels, two.labels, two.division, 1.0).survey().digest
    )

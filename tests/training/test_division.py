"""Division: by position and seed alone, in the stated shares, with nothing learnt from near what is held out."""

from hashlib import sha256

import numpy as np
import pytest
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from labelled_scenes import loaded
from scipy import ndimage

from geoseg.grid import Window
from geoseg.models.receptive_field import Field
from geoseg.training.division import BEYOND, BUFFER, TEST, TRAIN, VALIDATION, Squares, divide, rectangles
from geoseg.training.recipe import ChipsSpec

HELD = (VALIDATION, TEST)


def squares(edge=16, validation=0.15, test=0.15, buffer=0, seed=0):
    return Squares(edge, validation, test, buffer, seed)


def distance_to(mask):
    """Chessboard distance of each pixel to the nearest one of a mask, by SciPy's distance transform."""
    if not mask.any():
        return np.full(mask.shape, 10**6)
    return ndimage.distance_transform_cdt(~mask, "chessboard")


windows = st.builds(
    Window, st.integers(-300, 300), st.integers(-300, 300), st.integers(1, 70), st.integers(1, 70)
)  # fmt: skip


@given(
    row=st.integers(-500, 500), col=st.integers(-500, 500), dy=st.integers(0, 30), dx=st.integers(0, 30),
    buffer=st.integers(0, 20), seed=st.integers(0, 99),
)  # fmt: skip
def test_the_division_of_a_pixel_depends_on_its_position_alone(row, col, dy, dx, buffer, seed):
    cut = squares(buffer=buffer, seed=seed)
    whole = divide(Window(row, col, 64, 80), {}, cut)
    inner = Window(row + dy, col + dx, 20, 30)
    np.testing.assert_array_equal(divide(inner, {}, cut), whole[inner.within(Window(row, col, 64, 80))])


@given(window=windows, edge=st.integers(4, 40), buffer=st.integers(0, 30), seed=st.integers(0, 99))
@settings(max_examples=share_of(60))
def test_the_buffer_is_what_lies_near_held_out_pixels_and_nothing_else(window, edge, buffer, seed):
    around = divide(window.grown(buffer), {}, squares(edge, seed=seed))
    near = distance_to(np.isin(around, HELD))[window.within(window.grown(buffer))] <= buffer
    plain = around[window.within(window.grown(buffer))]
    expected = np.where((plain == TRAIN) & near, BUFFER, plain)
    np.testing.assert_array_equal(divide(window, {}, squares(edge, buffer=buffer, seed=seed)), expected)


@given(
    window=windows, buffer=st.integers(0, 20), share=st.floats(0.05, 0.95),
    side=st.sampled_from(["west", "east", "north", "south"]),
)  # fmt: skip
@settings(max_examples=share_of(60))
def test_no_training_pixel_lies_near_one_that_is_judged_by(window, buffer, share, side):
    found = divide(window, {side: share}, squares(buffer=buffer))
    judged = np.isin(found, (*HELD, BEYOND))
    assert not (judged | (found == BUFFER))[found == TRAIN].any()
    assert (distance_to(judged)[found == TRAIN] > buffer).all()


def test_what_is_held_out_does_not_depend_on_the_buffer():
    window = Window(7, -40, 300, 200)
    plain = divide(window, {"west": 0.7}, squares())
    for buffer in (1, 5, 40):
        found = divide(window, {"west": 0.7}, squares(buffer=buffer))
        for kind in (*HELD, BEYOND):
            np.testing.assert_array_equal(found == kind, plain == kind)
        np.testing.assert_array_equal(np.isin(found, (TRAIN, BUFFER)), plain == TRAIN)


def test_squares_are_divided_in_the_stated_shares():
    found = divide(Window(0, 0, 4000, 4000), {}, squares(validation=0.2, test=0.1))
    shares = np.bincount(found.ravel(), minlength=5) / found.size
    np.testing.assert_allclose(shares, [0.7, 0.2, 0.1, 0, 0], atol=0.01)


def test_every_square_goes_whole_to_one_division_and_neighbours_are_independent():
    found = divide(Window(-160, 320, 1600, 1600), {}, squares()).reshape(100, 16, 100, 16)
    assert (found == found[:, :1, :, :1]).all()
    cells = found[:, 0, :, 0] == VALIDATION
    # 15 % of pairs of neighbours by chance: 0.0225 of 9900, standard deviation 15.
    assert abs(int((cells[1:] & cells[:-1]).sum()) - 223) < 75
    assert abs(int((cells[:, 1:] & cells[:, :-1]).sum()) - 223) < 75


def test_a_division_is_what_it_was_when_models_were_made_with_it():
    # The shipped model's card lists the squares of seed 2.
    found = divide(Window(-64, 0, 128, 384), {}, squares(64, seed=2))[::64, ::64]
    assert found.tolist() == [[by_hand(2, row, col) for col in range(6)] for row in (-1, 0)]


def by_hand(seed, row, col):
    chance = int(sha256(f"{seed} {row} {col}".encode()).hexdigest()[:16], 16) / 16**16
    return VALIDATION if chance < 0.15 else TEST if chance < 0.3 else TRAIN


@pytest.mark.parametrize(
    ("chips", "field", "edge", "buffer"),
    [
        ({}, Field(40, 8, "bounded"), 160, 40),
        ({}, Field(8, 2, "bounded"), 64, 8),
        ({"size": 96}, Field(64, 32, "image-wide"), 192, 48),
        ({"buffer": 10}, Field(40, 8, "bounded"), 64, 10),
        ({"square": 64}, Field(40, 8, "bounded"), 64, 40),
        ({"square": 16, "buffer": 0}, Field(40, 8, "bounded"), 16, 0),
    ],
)
def test_squares_fit_the_network_unless_the_spec_says_otherwise(chips, field, edge, buffer):
    found = Squares.of(ChipsSpec(**chips), 3, field)
    assert found == Squares(edge, 0.15, 0.15, buffer, 3)


def test_default_squares_leave_about_half_of_the_labels():
    found = divide(Window(0, 0, 3000, 3000), {}, Squares.of(ChipsSpec(), 0, Field(40, 8, "bounded")))
    assert 0.4 < (found == TRAIN).mean() / np.isin(found, (TRAIN, BUFFER)).mean() < 0.75
    assert (found == TRAIN).mean() > 0.3


@pytest.mark.parametrize(
    ("side", "kept"),
    [("west", np.s_[:, :28]), ("east", np.s_[:, 84:]), ("north", np.s_[:24]), ("south", np.s_[72:])],
)
def test_a_part_is_its_share_of_a_side(folder, side, kept):
    scene = loaded(folder, {side: 0.25})
    inside = np.zeros((96, 112), bool)
    inside[kept] = True
    np.testing.assert_array_equal(scene.division == BEYOND, ~inside)


@given(mask=arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_rectangles_cover_a_mask_once_and_nothing_else(mask):
    window = Window(-3, 50, *mask.shape)
    drawn = np.zeros(mask.shape, int)
    for each in rectangles(mask, window):
        assert window.holds(each)
        drawn[each.within(window)] += 1
    np.testing.assert_array_equal(drawn, mask)


def test_rectangles_are_as_few_as_squares_allow():
    found = divide(Window(0, 0, 640, 640), {}, squares(64))
    for kind in (TRAIN, *HELD):
        assert len(rectangles(found == kind, Window(0, 0, 640, 640))) <= 10 * 5
    assert rectangles(np.ones((5, 7), bool), Window(2, 3, 5, 7)) == [Window(2, 3, 5, 7)]
    assert rectangles(np.zeros((5, 7), bool), Window(2, 3, 5, 7)) == []

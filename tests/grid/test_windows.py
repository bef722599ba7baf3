"""Windows: laws of rectangles on the lattice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.grid import Window, windows

PLACE, SIDE, STEP = st.integers(-50, 50), st.integers(1, 40), st.integers(1, 17)
ANY = st.builds(Window, PLACE, PLACE, SIDE, SIDE)


def pixels(window: Window | None) -> set[tuple[int, int]]:
    if window is None:
        return set()
    return {(row, col) for row in range(window.row, window.row_end) for col in range(window.col, window.col_end)}


@given(ANY, STEP)
def test_squares_cover_every_pixel_once(window, step):
    counts = np.zeros(window.shape, int)
    for square in windows.cut(window, step):
        part = square.meet(window)
        assert part is not None
        counts[part.within(window)] += 1
    assert (counts == 1).all()


@given(ANY, STEP)
def test_squares_are_whole_counted_and_in_row_major_order(window, step):
    squares = list(windows.cut(window, step))
    assert len(squares) == windows.count(window, step)
    assert squares == sorted(squares)
    assert {square.shape for square in squares} == {(step, step)}
    assert all(square.row % step == square.col % step == 0 for square in squares)


@given(ANY, ANY, STEP)
def test_windows_that_overlap_share_the_squares_there(one, other, step):
    common = one.meet(other)
    shared = set(windows.cut(one, step)) & set(windows.cut(other, step))
    if common is not None:
        assert set(windows.cut(common, step)) <= shared


@given(ANY, STEP, st.integers(1, 4))
def test_large_squares_are_made_of_whole_small_ones(window, step, times):
    small = {part for square in windows.cut(window, step * times) for part in windows.cut(square, step)}
    assert small >= set(windows.cut(window, step))
    assert len(small) == windows.count(window, step * times) * times**2


@given(ANY, ANY)
def test_meet_is_what_both_have(one, other):
    assert pixels(one.meet(other)) == pixels(one) & pixels(other)
    assert one.meet(other) == other.meet(one)
    assert one.meet(one) == one


@given(ANY, ANY)
def test_join_is_the_smallest_that_holds_both(one, other):
    joined = one.join(other)
    assert joined == other.join(one)
    assert joined.holds(one)
    assert joined.holds(other)
    assert {joined.row, joined.col} <= {one.row, one.col, other.row, other.col}
    assert joined.row_end in (one.row_end, other.row_end)
    assert joined.col_end in (one.col_end, other.col_end)


@given(ANY, ANY)
def test_a_window_holds_another_when_it_has_all_its_pixels(one, other):
    assert one.holds(other) == (pixels(one) >= pixels(other))


@given(ANY, STEP)
def test_snapping_takes_in_less_than_a_step_on_each_side(window, step):
    snapped = window.snapped(step)
    assert snapped.holds(window)
    assert all(edge % step == 0 for edge in (snapped.row, snapped.col, snapped.row_end, snapped.col_end))
    assert window.row - snapped.row < step
    assert window.col - snapped.col < step
    assert snapped.row_end - window.row_end < step
    assert snapped.col_end - window.col_end < step
    assert snapped.snapped(step) == snapped


@given(ANY, st.integers(0, 20))
def test_growing_and_shrinking_return(window, margin):
    grown = window.grown(margin)
    assert grown.grown(-margin) == window
    assert grown.shape == (window.height + 2 * margin, window.width + 2 * margin)
    assert grown.holds(window)


@given(ANY, st.integers(0, 9), st.integers(0, 9))
def test_a_window_cuts_its_own_pixels_out_of_an_array_around_it(window, margin, more):
    around = window.grown(margin).join(Window(window.row - more, window.col, 1, 1))
    row, col = np.mgrid[around.row : around.row_end, around.col : around.col_end]
    assert row[window.within(around)].shape == window.shape
    assert (row[window.within(around)][0, 0], col[window.within(around)][0, 0]) == (window.row, window.col)


@pytest.mark.parametrize("shape", [(0, 1), (1, 0), (-3, 5)])
def test_a_window_is_never_empty(shape):
    with pytest.raises(ValueError, match="needs at least 1 x 1 pixels"):
        Window(0, 0, *shape)
    with pytest.raises(ValueError, match="needs at least 1 x 1 pixels"):
        Window(0, 0, 4, 4).grown(-2)

"""Planes: a window of what is read in squares is that window of the whole, whatever was kept, and little is kept."""

import numpy as np
import pytest
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.grid import Window
from geoseg.training import planes
from geoseg.training.planes import Cache, Squares, Windowed

EXTENT = Window(-300, 130, 700, 900)
PIXELS = np.random.default_rng(0).random((2, *EXTENT.shape), np.float32)
LABELS = np.random.default_rng(1).integers(-1, 5, EXTENT.shape).astype(np.int16)
SQUARE_BYTES = 256 * 256 * (2 * 4 + 2)


class Counted:
    """Reads, and how many pixels were asked for."""

    def __init__(self):
        self.pixels = 0

    def __call__(self, window):
        assert EXTENT.holds(window)
        self.pixels += window.pixels
        return PIXELS[:, *window.within(EXTENT)], LABELS[window.within(EXTENT)]


windows = st.builds(
    lambda row, col, down, across: Window(EXTENT.row + row, EXTENT.col + col, min(down, 700 - row),
                                          min(across, 900 - col)),
    st.integers(0, 699), st.integers(0, 899), st.integers(1, 500), st.integers(1, 500),
)  # fmt: skip


@settings(max_examples=share_of(25), deadline=None)
@given(st.lists(windows, min_size=1, max_size=6), st.sampled_from([0, SQUARE_BYTES, 4 * SQUARE_BYTES, 10**9]))
def test_windows_are_those_of_the_whole_and_no_more_is_kept_than_allowed(asked, most):
    cache = Cache(most)
    found = Squares(Counted(), EXTENT, cache, 0)
    for window in asked:
        np.testing.assert_array_equal(found.pixels(window), PIXELS[:, *window.within(EXTENT)])
        np.testing.assert_array_equal(found.labels(window), LABELS[window.within(EXTENT)])
        assert cache.bytes == sum(one.nbytes + two.nbytes for one, two in cache.kept.values()) <= most


def test_what_is_kept_is_not_read_again_and_scenes_do_not_mix():
    read, cache = Counted(), Cache(10**9)
    one, two = Squares(read, EXTENT, cache, 0), Squares(lambda at: (PIXELS[:, :1, :1] * 0, LABELS), EXTENT, cache, 1)
    one.pixels(EXTENT)
    one.labels(Window(-10, 300, 50, 50))
    one.pixels(Window(0, 310, 50, 50))
    assert read.pixels == EXTENT.pixels
    assert two.read(EXTENT)[0].shape == (2, 1, 1)
    assert cache.get((1, EXTENT)) is None


def test_squares_used_last_stay():
    cache = Cache(3 * SQUARE_BYTES)
    read = Counted()
    found = Squares(read, EXTENT, cache, 0)
    whole = [Window(0, 256 * at, 256, 256) for at in (1, 2, 3)]
    for window in (*whole, whole[0], Window(-256, 256, 256, 256)):
        found.pixels(window)
    before = read.pixels
    found.pixels(whole[0])
    assert read.pixels == before
    found.pixels(whole[1])
    assert read.pixels == before + 256 * 256


@pytest.mark.parametrize("plane", [PIXELS, Windowed(lambda window: PIXELS[:, *window.within(EXTENT)])])
def test_a_plane_gives_a_window_whatever_it_is(plane):
    window = Window(-20, 200, 30, 40)
    np.testing.assert_array_equal(planes.taken(plane, EXTENT, window), PIXELS[:, 280:310, 70:110])

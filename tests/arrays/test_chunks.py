"""Chunks: squares of the lattice partition any extent, and pieces of any chunking give each its reading window."""

import dask
import dask.array
import numpy as np
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import windows

from geoseg.arrays import chunks
from geoseg.grid import Window, cut

SPACE = Window(-40, -30, 90, 80)


@given(extent=windows(SPACE, 60), step=st.integers(1, 25))
def test_sizes_are_those_of_the_squares_that_meet_the_extent(extent, step):
    rows, cols = chunks.sizes(extent, step)
    met = [square.meet(extent) for square in cut(extent, step)]
    assert [(each.height, each.width) for each in met] == [(row, col) for row in rows for col in cols]
    assert (sum(rows), sum(cols)) == extent.shape


def painted(shared, window):
    """Each pixel painted with its own row and column."""
    assert shared == {"what": "all chunks share"}
    return np.stack(np.mgrid[window.row : window.row_end, window.col : window.col_end])


@given(extent=windows(SPACE, 40), step=st.integers(3, 25))
@settings(max_examples=share_of(25), deadline=None)
def test_each_chunk_is_made_of_its_own_window(extent, step):
    shared = {"what": "all chunks share"}
    made = chunks.lazy(painted, shared, extent, step, np.empty((2, 0, 0), int), "painted")
    with dask.config.set(scheduler="synchronous"):
        assert np.array_equal(made.compute(), painted(shared, extent))
    assert made.dtype == int
    assert made.chunks == ((2,), *chunks.sizes(extent, step))
    assert sum(value is shared for value in dict(made.dask).values()) == 1


def summed(margin, window, parts, places):
    """Sum over a square of 2 margin + 1 pixels around each, zeros beyond the edge: pixels that come twice show."""
    wide = np.zeros(window.grown(margin).shape)
    for part, place in zip(parts, places):
        assert part.shape[1:] == place.shape
        wide[place.within(window.grown(margin))] += part[0]
    shifts = [(row, col) for row in range(2 * margin + 1) for col in range(2 * margin + 1)]
    return sum(wide[row : row + window.height, col : col + window.width] for row, col in shifts)[None]


def sizes_of(length):
    """Chunks of a length, empty ones among them."""
    cuts = st.lists(st.integers(0, length), max_size=5).map(sorted)
    return cuts.map(lambda edges: tuple(np.diff([0, *edges, length]).tolist()))


@given(data=st.data(), extent=windows(SPACE, 40), step=st.integers(3, 25), margin=st.integers(0, 9))
@settings(max_examples=share_of(40), deadline=None)
def test_pieces_of_any_chunks_give_each_window_whole(data, extent, step, margin):
    pixels = np.random.default_rng(0).integers(0, 9, (1, *extent.shape)).astype(float)
    cutting = ((1,), data.draw(sizes_of(extent.height)), data.draw(sizes_of(extent.width)))
    given_ = dask.array.from_array(pixels, cutting)
    made = chunks.lazy_from(
        given_, lambda window: window.grown(margin), summed, margin, extent, step, np.empty((1, 0, 0)), "summed"
    )
    padded = np.pad(pixels[0], margin)
    rows, cols = extent.shape
    shifts = [(row, col) for row in range(2 * margin + 1) for col in range(2 * margin + 1)]
    wanted = sum(padded[row : row + rows, col : col + cols] for row, col in shifts)
    for optimised in (True, False):
        with dask.config.set(scheduler="synchronous"):
            assert np.array_equal(made.compute(optimize_graph=optimised)[0], wanted)

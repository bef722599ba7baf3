"""Blocks: sums by squares of the lattice, judged by counting with numpy, square by square."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.accuracy import blocks
from geoseg.accuracy.confusion import iou, mean_iou, tally
from geoseg.errors import GridError
from geoseg.grid import Window, count

windows = st.builds(Window, st.integers(-30, 30), st.integers(-30, 30), st.integers(1, 40), st.integers(1, 40))
SAME = np.arange(5)
"""Three classes, not labelled, no counterpart."""


def pair(window, seed=0):
    made = np.random.default_rng(seed)
    return made.integers(0, 5, window.shape), made.integers(0, 4, window.shape)


def filled(window, edge, ours, other, of_row=SAME, of_col=SAME, classes=3):
    """Blocks to which one pixel after another was added."""
    found = blocks.nothing(window, edge, classes)
    for row, col in np.ndindex(*window.shape):
        one = tally(other[row, col], ours[row, col], 3, 3)[None, None]
        at = (np.array([(window.row + row) // edge]), np.array([(window.col + col) // edge]))
        found.take(*at, one, of_row, of_col)
    return found


def judged(window, edge, ours, other, classes=3):
    """(row, col, 3, class) and (row, col) by masks."""
    whole = window.snapped(edge)
    down, along = (np.arange(whole.row, whole.row_end, edge), np.arange(whole.col, whole.col_end, edge))
    sums, unlabelled = [], []
    for row in down:
        for col in along:
            part = Window(row, col, edge, edge).meet(window).within(window)
            a, b = ours[part], other[part]
            both = (a < classes) & (b < classes)
            of_each = [((a == k) & (b == k), b == k, a == k) for k in range(classes)]
            sums.append([[(both & of_each[k][kind]).sum() for k in range(classes)] for kind in range(3)])
            unlabelled.append(((a == classes) & (b < classes)).sum())
    shape = len(down), len(along)
    return np.array(sums).reshape(*shape, 3, classes), np.array(unlabelled).reshape(shape)


@given(window=windows, edge=st.sampled_from([3, 8, 17]), times=st.integers(1, 5), seed=st.integers(0, 9))
def test_merged_blocks_are_those_of_a_longer_edge(window, edge, times, seed):
    window = Window(window.row, window.col, min(window.height, 12), min(window.width, 12))
    ours, other = pair(window, seed)
    small = filled(window, edge, ours, other)
    sums, unlabelled = judged(window, edge, ours, other)
    assert np.array_equal(small.sums, sums)
    assert np.array_equal(small.unlabelled, unlabelled)
    large = small.merged(times)
    sums, unlabelled = judged(window, edge * times, ours, other)
    assert large.edge == edge * times
    assert np.array_equal(large.sums, sums)
    assert np.array_equal(large.unlabelled, unlabelled)
    assert large.window.snapped(1) == blocks.nothing(window, edge * times, 3).window


def test_groups_of_rows_and_a_crosswalk():
    """Classes 0 and 1 of the reference are class 0; class 2 of the map has no counterpart."""
    window, of_row, of_col = Window(5, 2, 9, 6), np.array([0, 0, 1, 2, 2]), np.array([0, 1, 3, 2, 2])
    ours, other = pair(window)
    one_by_one = filled(window, 4, ours, other, of_row, of_col, 2)
    found = blocks.nothing(window, 4, 2)
    by_row = np.array([[tally(b[at], a[at], 3, 3) for at in (slice(0, 2), slice(2, 6))] for a, b in zip(ours, other)])
    found.take(np.arange(5, 14) // 4, np.array([0, 1]), by_row, of_row, of_col)
    assert np.array_equal(found.sums, one_by_one.sums)
    assert np.array_equal(found.unlabelled, one_by_one.unlabelled)
    assert found.wrong.sum() + found.sums[:, :, 0].sum() == found.compared.sum()


def test_measures_are_those_of_the_blocks_pixels():
    window = Window(0, 0, 20, 30)
    ours, other = pair(window)
    ours[:10, :10] = 3  # no data
    each, mean = blocks.measures(filled(window, 10, ours, other))
    assert np.isnan(each[0, 0]).all()
    assert np.isnan(mean[0, 0])
    matrix = tally(other[:10, 10:20], ours[:10, 10:20], 3, 3)[:3, :3]
    np.testing.assert_allclose(each[0, 1], iou(matrix), rtol=1e-12)
    assert mean[0, 1] == pytest.approx(mean_iou(matrix), rel=1e-12)


@pytest.mark.parametrize(
    ("shape", "pairs"), [((30, 40), 25), ((36_000, 36_000), 169), ((10**6, 3), 169), ((99, 9), 10**6)]
)
def test_blocks_are_few_enough_and_so_are_the_counters_of_what_is_read_at_once(shape, pairs):
    extent = Window(-7, 1001, *shape)
    edge = blocks.edge_for(extent, pairs)
    assert count(extent, edge) <= 64**2
    assert (1024 // edge) * pairs <= 2**22
    assert edge == 8 or count(extent, edge // 2) > 64**2 or (2048 // edge) * pairs > 2**22


@pytest.mark.parametrize(
    ("text", "edge"), [("64 px", 64), ("64px", 64), ("1920 m", 64), (" 0.6 km ", 20), ("31 m", 1), ("1e9 m", None),
                       ("m", None), ("", None), ("-3 px", None), ("0 px", None), ("..5 m", None), ("5", None)],
)  # fmt: skip
def test_a_block_is_given_in_pixels_or_metres(text, edge):
    if edge is None:
        with pytest.raises(GridError, match="give a length such as '64 px'"):
            blocks.given(text, 30.0, Window(0, 0, 90, 90))
    else:
        assert blocks.given(text, 30.0, Window(0, 0, 90, 90)) == edge


def test_blocks_too_small_to_be_counted_are_refused_with_what_can_be():
    with pytest.raises(GridError, match=r"blocks of 10 m were asked for, and a pixel has 30 m"):
        blocks.given("10 m", 30.0, Window(0, 0, 90, 90))
    with pytest.raises(GridError, match=r"blocks of 2 px would be 25,000,000, more than 16,384; give (\d+) px") as said:
        blocks.given("2 px", 30.0, Window(0, 0, 10_000, 10_000))
    wanted = str(said.value).split("give ")[1].split(",")[0]
    assert blocks.given(wanted, 30.0, Window(0, 0, 10_000, 10_000)) == 128

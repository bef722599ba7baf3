"""Sieving: the same whatever the strips, and what merging one region after the other gives on paper."""

import numpy as np
import scipy.ndimage
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geoseg.vectors import regions, sieve

VALUES = st.integers(1, 4).flatmap(
    lambda most: arrays(
        np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([-1, *range(1, most + 1)])
    )
)


def one_by_one(values: np.ndarray, least: dict[int, int], tall: int = 1, wide: int = 1) -> np.ndarray:
    """Find all regions anew, merge the smallest that is too small, and begin again."""
    values = values.copy()
    while True:
        labels, count = regions.components(values)
        members = [labels == label for label in range(count)]
        classes = [int(values[each][0]) for each in members]
        sizes = [int(each.sum()) for each in members]
        for here in sorted(range(count), key=lambda label: (sizes[label], label)):
            if sizes[here] >= least.get(classes[here], 0):
                continue
            borders = {}
            for axis, side in ((0, wide), (1, tall)):
                for step in (1, -1):
                    moved = np.roll(labels, step, axis)
                    edge = np.zeros(labels.shape, bool)
                    edge[(slice(None),) * axis + (0 if step == 1 else -1,)] = True
                    for other in moved[members[here] & ~edge].tolist():
                        if other >= 0 and other != here:
                            borders[other] = borders.get(other, 0) + side
            if borders:
                best = max(borders, key=lambda label: (borders[label], sizes[label], -classes[label], -label))
                values[members[here]] = classes[best]
                break
        else:
            return values


def sieved(values, heights, least, **how):
    def strips():
        row = 0
        for height in heights:
            yield values[row : row + height]
            row += height
        yield values[row:]

    found = sieve.sieve(lambda: (each for each in strips() if len(each)), least, **how)
    return found, np.concatenate(list(found.strips()))


@settings(deadline=None, max_examples=share_of(200))
@given(VALUES, st.lists(st.integers(0, 4), max_size=4), st.lists(st.integers(0, 9), min_size=4, max_size=4))
def test_any_strips_give_what_merging_one_by_one_gives(values, heights, sizes):
    least = dict(zip(range(1, 5), sizes))
    _, found = sieved(values, heights, least, workers=2)
    np.testing.assert_array_equal(found, one_by_one(values, least))


@settings(deadline=None, max_examples=share_of(100))
@given(VALUES, st.integers(0, 12))
def test_nothing_smaller_is_left_but_islands_and_no_data_stays(values, least):
    found, after = sieved(values, [3], {}, other=least)
    np.testing.assert_array_equal(after < 0, values < 0)
    labels, count = regions.components(after)
    for label in range(count):
        around = scipy.ndimage.binary_dilation(labels == label) & (labels != label)
        assert (labels == label).sum() >= least or (after[around] < 0).all()
    assert sum(found.before.values()) == sum(found.after.values()) == (values >= 0).sum()
    assert {id: int((after == id).sum()) for id in found.after} == found.after


@settings(deadline=None, max_examples=share_of(50))
@given(VALUES)
def test_borders_are_as_long_as_the_sides_of_pixels_say(values):
    least = dict.fromkeys(range(1, 5), 4)
    _, found = sieved(values, [2], least, sides=(30.0, 10.0))
    np.testing.assert_array_equal(found, one_by_one(values, least, tall=3, wide=1))


def test_a_hole_is_filled_and_a_ring_around_it_keeps_its_class():
    values = np.full((5, 5), 1, np.int32)
    values[1:4, 1:4], values[2, 2] = 2, 3
    _, found = sieved(values, [1, 1], {3: 2})
    np.testing.assert_array_equal(found, np.where(values == 3, 2, values))

"""Regions of a block: judged by SciPy's labels, and by uniting whatever is asked."""

import numpy as np
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geoseg.vectors import regions

VALUES = arrays(np.int32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(-1, 2))


@settings(deadline=None)
@given(VALUES)
def test_components_are_those_scipy_finds_for_each_value_in_the_order_of_their_first_pixels(values):
    labels, count = regions.components(values)
    wanted = np.full(values.shape, -1)
    found = 0
    for value in np.unique(values[values >= 0]):
        each, parts = scipy.ndimage.label(values == value)
        wanted[each > 0] = each[each > 0] + found
        found += parts
    assert count == found
    pairs = np.unique(np.stack([labels.ravel(), wanted.ravel()]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    inside = labels[labels >= 0]
    _, firsts = np.unique(inside, return_index=True)
    assert (np.diff(firsts) > 0).all()
    np.testing.assert_array_equal(labels < 0, values < 0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_united_labels_share_the_smallest_as_their_root(pairs):
    parent = np.arange(10)
    groups = [{each} for each in range(10)]
    for one, other in pairs:
        regions.unite(parent, one, other)
        merged = groups[one] | groups[other]
        for each in merged:
            groups[each] = merged
    assert regions.roots(parent).tolist() == [min(group) for group in groups]
    assert all(regions.root(parent, each) == min(groups[each]) for each in range(10))


def test_lines_unite_where_equal_values_touch():
    parent = np.arange(6)
    values, across = np.array([4, 4, -1, 7]), np.array([4, 5, -1, 7])
    regions.unite_lines(parent, values, np.array([0, 0, -1, 1]), across, np.array([2, 3, -1, 4]))
    assert regions.roots(parent).tolist() == [0, 1, 0, 3, 1, 5]

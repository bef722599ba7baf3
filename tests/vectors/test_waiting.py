"""Finished regions that wait: they come back in order, whole, and no sooner than all before them are known."""

import numpy as np
import pytest

from geoseg.vectors import stream
from geoseg.vectors.rings import concatenated
from geoseg.vectors.waiting import Waiting

COLS = 8


def regions():
    """Sixteen rows of small regions, in order."""
    labels = np.random.default_rng(4).integers(0, 3, (16, COLS)).astype(np.int32)
    return concatenated(list(stream.trace([labels], COLS, amounts=lambda row, rows: labels + 5)))


@pytest.mark.parametrize("most_bytes", [0, 500, 10**9])
def test_regions_in_any_order_come_back_in_theirs(tmp_path, most_bytes):
    whole, rng = regions(), np.random.default_rng(1)
    with Waiting(tmp_path, most_bytes) as waiting:
        for row in range(0, 16, 2):
            waiting.begin(row * COLS)
        for index in rng.permutation(len(whole)):
            waiting.add(whole.take(np.array([index])))
        middle = int(whole.firsts[len(whole) // 2])
        before = concatenated(list(waiting.released(middle)))
        assert (before.firsts < middle // (2 * COLS) * 2 * COLS).all()  # whole strips alone
        found = concatenated([before, *waiting.released(None)])
    for one, other in zip(found.arrays, whole.arrays):
        np.testing.assert_array_equal(one, other)
    assert list(tmp_path.iterdir()) == []
    assert whole.sums.sum() == sum(5 * size + value * size for value, size in zip(whole.values, whole.sizes))

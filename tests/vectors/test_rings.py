"""Rings and batches: picked, put together, and spread over chunks without a change."""

import numpy as np
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.vectors import rings, stream


def batch(seed: int = 0) -> rings.Batch:
    labels = np.random.default_rng(seed).integers(0, 3, (9, 11)).astype(np.int32)
    labels[3:6, 3:6] = 7
    labels[4, 4] = 1
    return rings.concatenated(list(stream.trace([labels], 11)))


def each(found: rings.Batch) -> list[tuple]:
    """Every region on its own, as plain Python."""
    rows = []
    for region in range(len(found)):
        shapes = [
            found.corners[found.ring_starts[ring] : found.ring_starts[ring + 1]].tolist()
            for ring in range(found.region_starts[region], found.region_starts[region + 1])
        ]
        rows.append((int(found.values[region]), int(found.sizes[region]), int(found.firsts[region]), shapes))
    return rows


@settings(deadline=None, max_examples=share_of(40))
@given(st.data())
def test_taking_regions_takes_their_rings_and_corners(data):
    found = batch()
    picked = data.draw(st.lists(st.integers(0, len(found) - 1)))
    assert each(found.take(np.array(picked, int))) == [each(found)[index] for index in picked]


def test_batches_follow_each_other():
    one, other = batch(1), batch(2)
    assert each(rings.concatenated([one, other])) == each(one) + each(other)
    assert len(rings.concatenated([])) == 0
    assert one.nbytes == sum(array.nbytes for array in one.arrays)


def test_corners_are_gathered_from_several_chunks():
    chunks = [np.array([[0, 1], [2, 3]], np.int32), np.array([[4, 5], [6, 7], [8, 9]], np.int32)]
    found = rings.gathered(chunks, np.array([1, 0, 1]), np.array([1, 0, 0]), np.array([2, 1, 0]))
    assert found.tolist() == [[6, 7], [8, 9], [0, 1]]

"""Pieces of outlines in one block: what ends at its border begins again on the other side."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geoseg.vectors import pieces

ONE = np.ones((1, 1), np.int64)
VALUES = arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(2, 12)), elements=st.integers(-1, 2))


def traced(values, row=0, col=0, cols=None, junctions=False):
    weights = np.ones((len(values) - 2, 1), np.int64)
    return pieces.trace(values.astype(np.int32), row, col, cols or values.shape[1] - 2, weights, junctions)


@settings(deadline=None)
@given(VALUES, st.data())
def test_what_ends_in_one_block_begins_in_the_other(values, data):
    cols = values.shape[1]
    at = data.draw(st.integers(1, cols - 1))
    framed = np.pad(values, 1, constant_values=-1)
    found = [traced(framed[:, : at + 2], cols=cols)[5], traced(framed[:, at:], col=at, cols=cols)[5]]
    both = np.concatenate(found)
    arcs = both[(both[:, pieces.KIND] & pieces.CLOSED) == 0]
    passed = (arcs[:, pieces.KIND] & pieces.PINCHED) != 0
    starts = sorted(arcs[:, pieces.START] >> 2)  # by point: a pinched end may turn either way
    assert sorted(arcs[:, pieces.END] >> 2) == starts
    assert set(arcs[~passed, pieces.END]) <= set(arcs[:, pieces.START])


@settings(deadline=None)
@given(VALUES)
def test_a_whole_map_has_closed_rings_alone_that_start_at_their_least_corner(values):
    *_, touching, found, corners = traced(np.pad(values, 1, constant_values=-1))
    assert not touching.any()
    assert (found[:, pieces.KIND] == pieces.CLOSED).all()
    for piece in found:
        ring = corners[piece[pieces.OFFSET] : piece[pieces.OFFSET] + piece[pieces.LENGTH]]
        keys = [(row, col) for col, row in ring.tolist()]
        assert min(keys) == keys[0]
        assert piece[pieces.LEAST] == (keys[0][0] << 32) + keys[0][1]


def test_junctions_are_corners_too_and_say_what_lies_beyond():
    values = np.array([[-1, -1, -1, -1], [-1, 1, 1, -1], [-1, 2, 3, -1], [-1, -1, -1, -1]])
    *_, found, corners = traced(values, junctions=True)
    first = corners[found[0, pieces.OFFSET] : found[0, pieces.OFFSET] + found[0, pieces.LENGTH]]
    rows = [(int(col) >> pieces.FLAG_BITS, int(row), int(col) & 3) for col, row in first]
    junction, border = pieces.JUNCTION, pieces.BORDER
    assert rows == [(0, 0, border), (0, 1, junction), (1, 1, junction), (2, 1, junction | border), (2, 0, border)]


def test_an_edge_is_numbered_in_the_whole_map():
    values = np.full((3, 3), 5)
    values[1, 0] = 4  # the region of the middle pixel goes on to all other sides
    *_, touching, found, _ = traced(values, row=2, col=3, cols=10)
    assert touching.tolist() == [True]
    assert found[0, pieces.START] == 4 * (2 * 11 + 3)  # down from (row 2, col 3)
    assert found[0, pieces.END] == 4 * (3 * 11 + 3) + 3  # to the left, around the pixel that differs


@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_a_ring_is_turned_to_begin_elsewhere(first):
    corners = np.arange(12).reshape(6, 2)
    pieces.rotate(corners, 1, 5, 1 + first)
    assert corners[:, 0].tolist() == [0, *np.roll([2, 4, 6, 8], -first).tolist(), 10]

"""Strips: each sees its own rows and the lines next to them, however they were cut."""

import numpy as np
import pytest

from geoseg.errors import RasterError
from geoseg.vectors import strips
from geoseg.vectors.regions import OUTSIDE

LABELS = np.arange(35, dtype=np.int32).reshape(7, 5)


@pytest.mark.parametrize("heights", [[7], [1, 1, 1, 1, 1, 1, 1], [3, 0, 4], [2, 5]])
def test_each_strip_is_framed_by_its_neighbours(heights):
    whole = np.pad(LABELS, 1, constant_values=OUTSIDE)
    rows = np.split(LABELS, np.cumsum(heights)[:-1])
    found = list(strips.framed(rows, 5))
    assert [row for _, row in found] == sorted({0, *np.cumsum(heights)[:-1].tolist()})
    for framed, row in found:
        np.testing.assert_array_equal(framed, whole[row : row + len(framed)])


@pytest.mark.parametrize("block_cols", [1, 2, 5, 9])
def test_blocks_of_rows_hold_all_pixels_once(block_cols):
    (framed, row), *_ = strips.framed([LABELS[:4], LABELS[4:]], 5)
    rows = strips.prepared(framed, row, strips.ones, None, block_cols)
    blocks = [rows.block(index, flagged=False) for index in range(rows.blocks)]
    strip = rows.strip(blocks)
    assert (strip.row, strip.end) == (0, 4)
    assert (strip.top == LABELS[0]).all()
    assert (strip.bottom == LABELS[3]).all()
    assert (strip.below == LABELS[4]).all()
    seen = [value for block in blocks for value in (*block.complete.values.tolist(), *block.values.tolist())]
    assert sorted(seen) == LABELS[:4].ravel().tolist()


def test_a_pixel_without_an_amount_is_told_by_row_and_column():
    amounts = np.zeros((7, 5), np.int64)
    amounts[5, 2] = strips.NO_AMOUNT
    (_, _), (framed, row) = strips.framed([LABELS[:4], LABELS[4:]], 5)
    with pytest.raises(RasterError, match="no data at row 5, column 2"):
        strips.prepared(framed, row, strips.ones, lambda row, rows: amounts[row : row + rows])

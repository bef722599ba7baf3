"""Areas of outlines on rows of different sizes, judged by exact integrals over the rows."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.vectors.heights import Heights

SIZES = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3], np.int64)
PLACE = st.one_of(st.integers(0, 10).map(float), st.floats(0, 10, width=32))


def heights():
    return Heights(lambda row, rows: SIZES[row : row + rows, None], len(SIZES))


@settings(deadline=None)
@given(st.lists(st.tuples(PLACE, PLACE), min_size=3, max_size=7))
def test_corners_may_lie_within_rows(points):
    shape = shapely.convex_hull(shapely.MultiPoint(points))
    if shape.geom_type != "Polygon" or shape.area < 1e-6:
        return
    rows = [shapely.intersection(shape, shapely.box(-1, row, 11, row + 1)).area for row in range(10)]
    ring = shapely.get_coordinates(shape)
    for corners in (ring, ring[:-1], ring[::-1]):  # closed or not, either way round
        (found,) = heights().of_rings(np.array([0, 1]), np.array([0, len(corners)]), corners)
        assert abs(found) == pytest.approx(np.dot(rows, SIZES), rel=1e-9, abs=1e-9)


def test_a_hole_counts_against_its_shell():
    shell, hole = [(0, 0), (0, 10), (10, 10), (10, 0)], [(2, 4), (5, 4), (5, 6), (2, 6)]
    (found,) = heights().of_rings(np.array([0, 2]), np.array([0, 4, 8]), np.array(shell + hole, np.int32))
    assert found == 10 * SIZES.sum() - 3 * (5 + 9)

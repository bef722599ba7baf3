"""Features: their bytes are read by GEOS and by GDAL."""

import itertools

import numpy as np
import shapely
from affine import Affine
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geoseg.vectors import features, rings, stream

VALUES = arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-1, 2))
NORTH_UP, SOUTH_UP = Affine(30, 0, 500, 0, -30, 900), Affine(30, 5, 500, 3, 30, 900)


def of(values, transform=NORTH_UP):
    batch = rings.concatenated(list(stream.trace([values], values.shape[1])))
    return features.located(batch, transform, 900.0)


def shapes(found):
    return shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, found.points, (found.ring_starts, found.polygon_starts)
    )


@settings(deadline=None, max_examples=share_of(50))
@given(VALUES, st.sampled_from([NORTH_UP, SOUTH_UP]))
def test_wkb_is_what_geos_writes(values, transform):
    found = of(values, transform)
    wanted = shapely.to_wkb(shapes(found), byte_order=1)
    buffer, starts = found.wkb()
    assert [buffer[a:b].tobytes() for a, b in itertools.pairwise(starts)] == list(wanted)
    np.testing.assert_array_equal(found.boxes, shapely.bounds(shapes(found)))
    assert shapely.is_ccw(shapely.get_exterior_ring(shapes(found))).all()


@settings(deadline=None, max_examples=share_of(50))
@given(VALUES, st.integers(1, 5), st.integers(1, 60))
def test_parts_are_the_whole(values, most_polygons, most_points):
    found = of(values)
    parts = list(found.parts(most_polygons, most_points))
    assert all(len(part) == 1 or len(part.points) <= most_points for part in parts)
    assert all(len(part) <= most_polygons for part in parts)
    put_together = features.concatenated(parts)
    for name in features.Features.__slots__:
        np.testing.assert_array_equal(getattr(put_together, name), getattr(found, name))


@settings(deadline=None, max_examples=share_of(50))
@given(VALUES)
def test_taken_polygons_are_those_of_shapely(values):
    found = of(values)
    picked = np.flatnonzero(found.class_ids == 1)
    assert (shapes(found.take(picked)) == shapes(found)[picked]).all()
    assert found.take(picked).areas_m2.tolist() == found.areas_m2[picked].tolist()


def test_polygons_of_shapely_come_back():
    found = of(np.random.default_rng(0).integers(0, 3, (9, 9)).astype(np.int32))
    _, points, offsets = shapely.to_ragged_array(shapes(found)[3:9])
    again = features.from_ragged(found.class_ids[3:9], found.areas_m2[3:9], points, offsets)
    assert (shapes(again) == shapes(found)[3:9]).all()


def test_a_record_of_a_shapefile_is_that_of_the_description():
    words, starts = of(np.array([[7]], np.int32)).records(3)
    raw = words.tobytes()
    assert starts.tolist() == [0, len(raw) // 4]
    assert int.from_bytes(raw[:4], "big") == 3
    assert int.from_bytes(raw[4:8], "big") == (44 + 4 + 5 * 16) // 2 == len(raw[8:]) // 2
    assert np.frombuffer(raw[12:44], "<f8").tolist() == [500, 870, 530, 900]
    assert np.frombuffer(raw[44:56], "<i4").tolist() == [1, 5, 0]
    ring = np.frombuffer(raw[56:], "<f8").reshape(5, 2)
    assert not shapely.LinearRing(ring).is_ccw

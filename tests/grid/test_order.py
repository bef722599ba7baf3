"""Order: latitude before longitude is recognised, and nothing that is right is taken for it."""

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.crs import CRS
from odc.geo.geom import box

from geoseg.errors import GridError
from geoseg.grid import Grid, Region, Window, project
from geoseg.grid.order import check_latitudes, swapped

DEGREES = CRS("EPSG:4326")


def boxes(widest_lon: float = 180.0):
    lon, lat = st.floats(-widest_lon, widest_lon), st.floats(-90, 90)
    pairs = st.tuples(st.tuples(lon, lon).map(sorted), st.tuples(lat, lat).map(sorted))
    return pairs.map(lambda each: (each[0][0], each[1][0], each[0][1], each[1][1]))


@given(boxes())
def test_bounds_on_earth_pass_and_swapped_ones_beyond_a_pole_are_named(bounds):
    left, bottom, right, top = bounds
    check_latitudes("region", bounds, DEGREES)
    if max(abs(left), abs(right)) > 90.5:
        with pytest.raises(GridError, match=r"region: there is no latitude .*; are the numbers swapped"):
            check_latitudes("region", (bottom, left, top, right), DEGREES)


def test_metres_are_no_latitudes():
    check_latitudes("region", (50, 4_100_000, 80, 4_200_000), CRS("EPSG:32612"))
    assert swapped(box(50, 41, 80, 42, CRS("EPSG:32612"))) is None


@given(boxes(widest_lon=90.0).filter(lambda b: b[2] - b[0] > 1 and b[3] - b[1] > 1))
def test_swapping_twice_is_the_region_again(bounds):
    region = box(*bounds, DEGREES)
    other = swapped(region)
    assert other.boundingbox.bbox == (bounds[1], bounds[0], bounds[3], bounds[2])
    assert shapely.equals(swapped(other).geom, region.geom)


@pytest.mark.parametrize("shape", [False, True])
def test_a_region_of_bounds_or_of_a_file_is_refused_with_the_order(shape):
    numbers = (37.1, -113.4, 37.5, -112.9)
    with pytest.raises(
        GridError, match=r"no latitude -113.4; are the numbers swapped\? the order is left, bottom, right"
    ):
        Region.of_shape(shapely.box(*numbers), "EPSG:4326") if shape else Region.of_bounds(numbers, "EPSG:4326")


def test_the_hint_says_so_only_where_the_swapped_region_meets_the_imagery():
    grid, window = Grid.regular("EPSG:32633", 10.0), Window(-540_000, 50_000, 1000, 1000)  # Lower Austria
    outline = grid.footprint(window)
    left, bottom, right, top = project(outline, "EPSG:4326", 1000.0).boundingbox.bbox
    there = Region.of_bounds((bottom, left, top, right), "EPSG:4326")
    assert "with latitude and longitude swapped" in there.hint(grid, window)
    assert Region.of_bounds((left, bottom, right, top), "EPSG:4326").hint(grid, window) == ""
    assert Region.of_bounds((10.0, 10.0, 11.0, 11.5), "EPSG:4326").hint(grid, window) == ""

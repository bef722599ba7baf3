"""Areas: judged by geodesics and by the plane."""

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.vectors.areas import area_of


def one(crs, transform, row, col, length):
    sizes = area_of(pyproj.CRS(crs), transform)(np.array([row]), np.array([col]), np.array([length]))
    return float(sizes[0])


@settings(max_examples=share_of(60), deadline=None)
@given(
    latitude=st.floats(-85, 85),
    side=st.floats(1e-4, 0.05),
    row=st.integers(0, 50),
    col=st.integers(0, 50),
    length=st.integers(1, 9),
    ellipsoid=st.sampled_from(["EPSG:4326", "EPSG:4267", "+proj=longlat +R=1737400 +no_defs"]),
)
def test_a_run_on_a_geographic_grid_is_as_large_as_the_geodesics_around_it(latitude, side, row, col, length, ellipsoid):
    transform = Affine(side, 0, 10, 0, -side, latitude)
    crs = pyproj.CRS(ellipsoid)
    left, top = 10 + side * col, latitude - side * row
    right, bottom = left + side * length, top - side
    box = shapely.box(left, bottom, right, top).segmentize(side / 20)  # along parallels, which are no geodesics
    wanted, _ = crs.get_geod().geometry_area_perimeter(box)
    assert one(ellipsoid, transform, row, col, length) == pytest.approx(abs(wanted), rel=2e-5)


def test_a_whole_sphere_of_runs_is_the_earth():
    transform = Affine(0.25, 0, -180, 0, -0.25, 90)
    rows = np.arange(720)
    sizes = area_of(pyproj.CRS("EPSG:4326"), transform)(rows, np.zeros(720, int), np.full(720, 1440))
    assert sizes.sum() == pytest.approx(5.10065622e14, rel=1e-5)  # m², WGS 84


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 1000))
def test_a_plane_counts_pixels_wherever_they_lie(row, col, length):
    transform = Affine.rotation(30) @ Affine.scale(20, -35)
    assert one("EPSG:32612", transform, row, col, length) == pytest.approx(700 * length)


def test_feet_become_metres():
    assert one("EPSG:2264", Affine.scale(10, -10), 0, 0, 2) == pytest.approx(200 * (1200 / 3937) ** 2)

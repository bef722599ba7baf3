"""Masks: judged by shapely on pixel centres, and by GDAL drawing the whole region at once."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geom import Geometry
from rasterio.features import geometry_mask
from strategies import TRANSFORMS, stars, windows

from geoseg import imagery
from geoseg.grid import Grid, Window
from geoseg.rasters import masks

CRS = "EPSG:32612"
AROUND = Window(950, -520, 600, 640)


def grid_of(transform: Affine) -> Grid:
    return Grid(CRS, tuple(transform)[:6], 1000, -500)


def centres(grid: Grid, window: Window) -> tuple[np.ndarray, np.ndarray]:
    row, col = np.mgrid[0 : window.height, 0 : window.width] + 0.5
    a, b, c, d, e, f = tuple(grid.transform_of(window))[:6]
    return a * col + b * row + c, d * col + e * row + f


def drawn_shapes(grid: Grid) -> st.SearchStrategy[shapely.Geometry]:
    x, y = grid.transform_of(AROUND) @ (300, 310)
    several = st.tuples(stars((x, y), 330 * 25), stars((x - 60 * 25, y), 90 * 25)).map(shapely.union_all)
    return st.one_of(stars((x, y), 330 * 25), several)


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@settings(max_examples=share_of(15), deadline=None)
@given(data=st.data())
@pytest.mark.sampled(2)
def test_a_pixel_is_inside_when_shapely_says_its_centre_is(transform: Affine, data: st.DataObject) -> None:
    grid = grid_of(transform)
    shape = data.draw(drawn_shapes(grid))
    x, y = centres(grid, AROUND)
    wanted = shapely.contains_xy(shape, x, y)
    found = masks.inside(Geometry(shape, CRS), grid, AROUND)
    off = found != wanted
    edge = shapely.distance(shape.boundary, shapely.points(x[off], y[off]))
    assert (edge < 1e-6).all()  # metres; a centre on the very edge may fall on either side
    window = data.draw(windows(AROUND, 300))
    part = window.meet(AROUND)
    assert part is not None
    drawn = masks.inside(Geometry(shape, CRS), grid, window)
    np.testing.assert_array_equal(drawn[part.within(window)], found[part.within(AROUND)])


@settings(max_examples=share_of(15), deadline=None)
@given(data=st.data())
def test_squares_hold_what_gdal_draws_in_one_go(data: st.DataObject) -> None:
    grid = grid_of(TRANSFORMS["north up"])
    shape = data.draw(drawn_shapes(grid))
    judge = geometry_mask([shape], AROUND.shape, grid.transform_of(AROUND), invert=True)
    np.testing.assert_array_equal(masks.inside(Geometry(shape, CRS), grid, AROUND), judge)


@settings(max_examples=share_of(10), deadline=None)
@given(data=st.data())
def test_a_long_outline_is_cut_to_pieces_with_the_same_result(data: st.DataObject) -> None:
    """Corners added along the edges change nothing but the way the outline is cut; here across several sheets."""
    grid = grid_of(TRANSFORMS["rotated"])
    window = Window(masks._SHEET - 301, 2 * masks._SHEET - 207, 600, 450)
    shape = data.draw(stars(grid.transform_of(window) @ (225, 300), 300 * 30))
    dense = shapely.segmentize(shape, shape.length / 4000)
    assert shapely.get_num_coordinates(dense) > masks._LONG > shapely.get_num_coordinates(shape)
    plain, cut = (masks.inside(Geometry(each, CRS), grid, window) for each in (shape, dense))
    x, y = centres(grid, window)
    off = plain != cut
    assert (shapely.distance(shape.boundary, shapely.points(x[off], y[off])) < 1e-6).all()
    assert plain.any()
    assert not plain.all()


def test_edges_through_centres_and_holes_by_hand() -> None:
    grid = Grid.regular(CRS, 10.0)
    outline = shapely.Polygon(shapely.box(2, -38, 38, -2).exterior, [shapely.box(12, -28, 28, -12).exterior])
    found = masks.inside(Geometry(outline, CRS), grid, Window(-1, -1, 6, 6))
    wanted = np.zeros((6, 6), bool)
    wanted[1:5, 1:5] = True
    wanted[2:4, 2:4] = False
    np.testing.assert_array_equal(found, wanted)


def test_regions_that_share_an_edge_share_no_pixel_and_leave_none_out() -> None:
    grid = Grid.regular(CRS, 10.0)
    window = Window(-300, 0, 300, 400)
    x, y = 1234.5, -1111.0
    west, east = shapely.box(-1, -9000, x, 9000), shapely.box(x, -9000, 9000, 9000)
    north, south = shapely.box(-1, y, 9000, 9000), shapely.box(-1, -9000, 9000, y)
    for one, other in ((west, east), (north, south)):
        pair = [masks.inside(Geometry(each, CRS), grid, window).astype(int) for each in (one, other)]
        assert (pair[0] + pair[1] == 1).all()


def test_far_from_the_region_nothing_and_deep_within_everything_is_inside() -> None:
    grid = Grid.regular(CRS, 10.0)
    region = Geometry(shapely.box(0, 0, 100_000, 100_000), CRS)
    assert imagery.inside(region, grid, Window(-5000, 5000, 300, 300)).all()
    assert not imagery.inside(region, grid, Window(5000, 5000, 300, 300)).any()


def test_a_region_smaller_than_a_pixel_is_where_a_centre_is() -> None:
    grid = Grid.regular(CRS, 10.0)
    for low, hit in ((4.9, True), (5.1, False)):
        dot = Geometry(shapely.box(low, -low - 0.3, low + 0.3, -low), CRS)
        assert masks.inside(dot, grid, Window(-3, -3, 7, 7)).sum() == hit

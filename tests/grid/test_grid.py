"""Grid: laws of the lattice, and regions that are refused."""

import math

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import assume, given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry, box
from strategies import TRANSFORMS

from geoseg.errors import GridError
from geoseg.grid import Grid, Region, Window, cut, read_crs

UTM = "EPSG:32612"
PLACE, SIDE = st.integers(-5000, 5000), st.integers(1, 3000)
WINDOWS = st.builds(Window, PLACE, PLACE, SIDE, SIDE)
AFFINES = st.builds(
    lambda x, y, angle, across, down, flip: (
        Affine.translation(x, y) @ Affine.rotation(angle) @ Affine.scale(across, down if flip else -down)
    ),
    st.floats(-1e7, 1e7),
    st.floats(-1e7, 1e7),
    st.sampled_from([0.0, 0.0, 90.0, 31.0, -7.5]),
    st.floats(0.3, 5000),
    st.floats(0.3, 5000),
    st.booleans(),
)
GRIDS = st.builds(lambda affine, shape: Grid.of(GeoBox(shape, affine, UTM)), AFFINES, st.tuples(SIDE, SIDE))


def raster(affine: Affine, shape: tuple[int, int] = (7, 11), crs: str = UTM) -> GeoBox:
    return GeoBox(shape, affine, crs)


# ---------------------------------------------------------------------------------------------- grids


@given(AFFINES, st.tuples(SIDE, SIDE))
def test_a_rasters_window_on_its_own_grid_is_the_raster(affine, shape):
    geobox = raster(affine, shape)
    grid = Grid.of(geobox)
    window = grid.window_of(geobox)
    assert window == Window(grid.row0, grid.col0, *shape)
    assert grid.geobox(window) == geobox  # its corner to the last bit
    assert grid.pixel_area == pytest.approx(abs(affine.determinant))


@given(GRIDS, WINDOWS)
def test_window_to_raster_to_window_returns(grid, window):
    assert grid.window_of(grid.geobox(window)) == window


@given(GRIDS, WINDOWS)
def test_window_to_ground_to_window_returns(grid, window):
    assert grid.cover(grid.footprint(window)) == window


@given(st.floats(0.1, 1000), PLACE, PLACE, SIDE, SIDE)
def test_bounds_to_window_to_bounds_returns(resolution, left, bottom, width, height):
    grid = Grid.regular(UTM, resolution)
    bounds = tuple(edge * resolution for edge in (left, bottom, left + width, bottom + height))
    window = grid.cover(Region.of_bounds(bounds, UTM).on(grid))
    assert window.shape == (height, width)
    assert grid.geobox(window).boundingbox.bbox == pytest.approx(bounds, abs=1e-6 * resolution)


@given(GRIDS)
def test_the_lattice_starts_within_a_pixel_of_the_crs_origin(grid):
    col, row = ~grid.affine @ (0.0, 0.0)
    assert abs(col) <= 0.51
    assert abs(row) <= 0.51


@given(GRIDS, WINDOWS, WINDOWS)
def test_rasters_of_one_lattice_agree_on_it(grid, one, other):
    moved = Grid.of(grid.geobox(one))
    phase = np.array(~grid.affine @ (0.0, 0.0))
    assume((abs(abs(phase) - 0.5) > 0.01).all())  # see the next test for the half
    assert (moved.row0, moved.col0) == (one.row, one.col)
    assert moved.window_of(grid.geobox(other)) == other


@given(PLACE, PLACE, st.sampled_from([30.0, 10.0, 0.3, 1 / 3, 1 / 12000, 28.5]), st.sampled_from([0.5, -0.5]))
def test_scenes_whose_corners_lie_half_a_pixel_off_agree_on_the_lattice(row, col, size, half):
    """Landsat's corners: odd multiples of 15 m, pixels of 30 m; rounding must not part two of its scenes."""
    first = Grid.of(raster(Affine(size, 0, half * size, 0, -size, -half * size)))
    far = raster(Affine(size, 0, (col + half) * size, 0, -size, -(row + half) * size))
    assert (Grid.of(far).row0 - first.row0, Grid.of(far).col0 - first.col0) == (row, col)
    assert first.window_of(far) == Window(Grid.of(far).row0, Grid.of(far).col0, 7, 11)


@given(GRIDS, WINDOWS, WINDOWS, st.integers(16, 700))
def test_two_windows_of_one_lattice_share_squares_on_the_ground(grid, one, other, step):
    other = Window(one.row + other.row % one.height, one.col + other.col % one.width, *other.shape)
    common = one.meet(other)
    assert common is not None
    for square in list(cut(common, step))[:3]:
        assert square in set(cut(one, step)) & set(cut(other, step))


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("shift", [(0.5, 0), (0, 0.01), (0.25, 0.25)])
def test_a_shifted_scaled_or_turned_raster_is_not_on_the_grid(transform, shift):
    grid = Grid.of(raster(transform))
    assert grid.window_of(raster(transform @ Affine.translation(*shift))) is None
    assert grid.window_of(raster(transform @ Affine.scale(1.001), (500, 500))) is None
    assert grid.window_of(raster(transform @ Affine.rotation(0.1), (50, 50))) is None
    assert grid.window_of(raster(transform @ Affine.scale(-1, 1))) is None
    assert grid.window_of(raster(transform, crs="EPSG:32613")) is None
    assert grid.window_of(GeoBox((7, 11), transform, None)) is None
    assert grid.window_of(raster(transform @ Affine.translation(1e-4, 1e-4))) is not None


def test_resolution_is_that_of_a_row_and_of_a_column():
    grid = Grid.of(raster(TRANSFORMS["oblong"]))
    assert grid.resolution == (35, 20)
    turned = Affine.rotation(31) @ Affine.scale(20, -35)
    assert Grid.of(raster(turned)).resolution == pytest.approx((35, 20))


@given(GRIDS, st.lists(st.tuples(PLACE, PLACE), min_size=3, max_size=8, unique=True))
def test_the_cover_of_a_shape_is_the_smallest_window_around_it(grid, corners):
    hull = shapely.MultiPoint([grid.affine @ (col + 0.5, row + 0.5) for row, col in corners]).convex_hull
    rows, cols = zip(*corners)
    wanted = Window(min(rows), min(cols), max(rows) - min(rows) + 1, max(cols) - min(cols) + 1)
    assert grid.cover(Geometry(hull, grid.crs)) == wanted


def test_what_has_no_extent_is_refused():
    grid = Grid.regular(UTM, 30)
    with pytest.raises(GridError, match="no finite extent"):
        grid.cover(Geometry(shapely.Polygon(), UTM))
    with pytest.raises(GridError, match="no finite extent"):
        grid.cover(box(0, 0, math.inf, 1, UTM))


def test_grids_that_cannot_be_are_refused():
    with pytest.raises(GridError, match=r"grid\.crs: 'EPSG:1' is no CRS that PROJ knows"):
        Grid.regular("EPSG:1", 30)
    for resolution in (0, -30, math.nan, math.inf):
        with pytest.raises(GridError, match="give a positive number of CRS units"):
            Grid.regular(UTM, resolution)
    with pytest.raises(GridError, match="the raster has no CRS"):
        Grid.of(GeoBox((5, 5), Affine.identity(), None))
    with pytest.raises(GridError, match="cannot be inverted"):
        Grid.of(raster(Affine(1, 2, 0, 2, 4, 0)))


def test_a_crs_without_a_code_is_kept_as_text():
    albers = "+proj=aea +lat_0=23 +lon_0=-96 +lat_1=29.5 +lat_2=45.5 +datum=NAD83 +units=m"
    grid = Grid.regular(albers, 30)
    assert read_crs(grid.crs, "here") == read_crs(albers, "here")
    assert Grid.regular("epsg:32612", 30).crs == UTM


# ---------------------------------------------------------------------------------------------- regions


@pytest.mark.parametrize(
    ("bounds", "crs", "sentence"),
    [
        ((0, 0, math.nan, 1), UTM, "are not all finite numbers; give left, bottom, right, top"),
        ((170, -20, -170, -10), "EPSG:4326", "cross the antimeridian; split the region at 180 degrees"),
        ((5, 0, 5, 1), UTM, "enclose nothing; the order is left, bottom, right, top"),
        ((0, 7, 5, 1), UTM, "enclose nothing; the order is left, bottom, right, top"),
        ((9, 0, 5, 1), UTM, "enclose nothing; the order is left, bottom, right, top"),
        ((0, 0, 5, 1), "EPSG:99999999", r"park\.crs: 'EPSG:99999999' is no CRS that PROJ knows"),
    ],
)
def test_bounds_that_are_no_region_are_refused(bounds, crs, sentence):
    with pytest.raises(GridError, match=sentence):
        Region.of_bounds(bounds, crs, "park")


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        (shapely.Polygon(), "the region is empty"),
        (shapely.Polygon([(0, 0), (1, 1), (2, 2)]), "the region is empty"),
        (shapely.LineString([(0, 0), (1, 1)]), "the region is empty|LineString; give polygons"),
        (
            shapely.GeometryCollection([shapely.box(0, 0, 1, 1), shapely.Point(3, 3)]),
            "is a GeometryCollection; give polygons",
        ),
        (shapely.Polygon([(0, 0), (10, 10), (10, 1), (0, 10)]), r"not valid \(Self-intersection.*repair it"),
        (shapely.Polygon([(0, 0), (math.inf, 0), (1, 1)]), r"not valid \(Invalid Coordinate"),
    ],
)
def test_shapes_that_are_no_region_are_refused(shape, sentence):
    with pytest.raises(GridError, match=f"park: .*({sentence})"):
        Region.of_shape(shape, UTM, "park")


def test_a_region_keeps_its_shape_on_its_own_crs():
    shape = shapely.box(3e5, 4e6, 3.1e5, 4.2e6).difference(shapely.box(3.02e5, 4.01e6, 3.03e5, 4.02e6))
    assert Region.of_shape(shape, UTM).on(Grid.regular(UTM, 30)).geom.equals(shape)


def test_the_edges_of_a_region_stay_where_they_were():
    """A parallel is an arc in UTM: at its middle it lies some 400 m off the straight line between its ends."""
    region = Region.of_bounds((-114.0, 37.0, -112.0, 38.0), "EPSG:4326")
    moved = region.on(Grid.regular(UTM, 30))
    assert moved.crs.epsg == 32612
    to_degrees = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    middle = shapely.line_interpolate_point(moved.geom.exterior, np.linspace(0, 1, 2000), normalized=True)
    lon, lat = to_degrees.transform(shapely.get_x(middle), shapely.get_y(middle))
    off_edges = np.minimum.reduce([abs(lon + 114), abs(lon + 112), abs(lat - 37), abs(lat - 38)])
    assert off_edges.max() < 1e-6  # 0.1 m


def test_a_region_beyond_its_grids_crs_is_refused():
    south = Region.of_bounds((-10.0, -60.0, 10.0, -50.0), "EPSG:4326", "south")
    with pytest.raises(GridError, match=r"south: the region lies outside the area where .* is defined"):
        south.on(Grid.regular("+proj=ortho +lat_0=90 +datum=WGS84", 1000))

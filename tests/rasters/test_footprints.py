"""Footprints: where one file lies on a grid, judged by PROJ point by point."""

from __future__ import annotations

import math

import numpy as np
import pytest
from affine import Affine
from examples import share_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from strategies import NORTH_UP, TRANSFORMS

from geoseg.errors import RasterError
from geoseg.grid import Grid, Window
from geoseg.rasters import footprints
from geoseg.rasters.files import Source

SYSTEMS = ["EPSG:32612", "EPSG:32613", "EPSG:4326", "EPSG:3857", "EPSG:5070", "EPSG:3413"]


def source_of(transform: Affine, shape: tuple[int, int] = (90, 130), crs: str = "EPSG:32612") -> Source:
    return Source("a.tif", 1, "1", crs, tuple(transform)[:6], shape, None, False, "uint8")


@st.composite
def files(draw: st.DrawFn) -> Source:
    """Files somewhere in the western United States."""
    crs = draw(st.sampled_from(SYSTEMS))
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(
        draw(st.floats(-117, -105)), draw(st.floats(30, 48))
    )
    pixel = draw(st.floats(5, 300)) / (111_000 if crs == "EPSG:4326" else 1)
    turn = draw(st.sampled_from([0.0, 20.0, 180.0]))
    transform = Affine.translation(x, y) @ Affine.rotation(turn) @ Affine.scale(pixel, -pixel)
    return source_of(transform, draw(st.tuples(st.integers(1, 900), st.integers(1, 900))), crs)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    crs = draw(st.sampled_from(SYSTEMS))
    return Grid.regular(crs, draw(st.floats(5, 300)) / (111_000 if crs == "EPSG:4326" else 1))


def moved(transform: Affine, crs: str, target: str, col: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = transform @ (col, row)
    x, y = Transformer.from_crs(crs, target, always_xy=True).transform(x, y)
    return np.asarray(x), np.asarray(y)


# ------------------------------------------------------------------------------------ own pixels


@given(st.integers(-9999, 9999), st.integers(-9999, 9999), st.floats(-0.9e-3, 0.9e-3), st.floats(-0.9e-3, 0.9e-3))
def test_a_file_shifted_by_whole_pixels_is_the_grids_own(row: int, col: int, down: float, across: float) -> None:
    grid = Grid("EPSG:32612", tuple(NORTH_UP)[:6])
    source = source_of(NORTH_UP @ Affine.translation(col + across, row + down))
    assert footprints.own(source, grid) == Window(row, col, 90, 130) == footprints.cover(source, grid)


@given(st.floats(2e-3, 0.998))
def test_a_file_shifted_by_a_part_of_a_pixel_or_turned_is_not(part: float) -> None:
    grid = Grid("EPSG:32612", tuple(NORTH_UP)[:6])
    changes = (
        Affine.translation(part, 0), Affine.translation(0, part), Affine.rotation(part), Affine.scale(1 + part / 9)
    )  # fmt: skip
    for change in changes:
        assert footprints.own(source_of(NORTH_UP @ change), grid) is None
    assert footprints.own(source_of(NORTH_UP, crs="EPSG:32613"), grid) is None


@settings(max_examples=share_of(60), deadline=None)
@given(st.data())
def test_of_an_aligned_file_a_window_needs_exactly_what_they_share(data: st.DataObject) -> None:
    grid = Grid("EPSG:32612", tuple(NORTH_UP)[:6])
    source = source_of(NORTH_UP @ Affine.translation(11, 7))
    spans = [data.draw(st.integers(low, high)) for low, high in ((-100, 150), (-150, 200), (1, 99), (1, 99))]
    window = Window(*spans)
    own = footprints.own(source, grid)
    assert own is not None
    shared, need = own.meet(window), footprints.needed(source, grid, window)
    assert (need is None) == (shared is None)
    if shared is not None and need is not None:
        assert need == Window(shared.row - 7, shared.col - 11, *shared.shape)


# ------------------------------------------------------------------------------------ other grids


@settings(max_examples=share_of(60), deadline=None)
@given(files(), grids())
def test_the_cover_holds_every_pixel_of_the_file_and_is_tight(source: Source, grid: Grid) -> None:
    cover = footprints.cover(source, grid)
    rows, cols = source.shape
    row, col = (each.ravel() for each in np.mgrid[0:101, 0:101] / 100)
    x, y = moved(Affine(*source.transform), source.crs, grid.crs, col * cols, row * rows)
    col, row = ~grid.affine @ (x, y)
    slack = 1e-3 + 1e-3 * max(cover.shape)  # an edge may bulge between the points looked at
    assert row.min() > cover.row - slack
    assert col.min() > cover.col - slack
    assert row.max() < cover.row_end + slack
    assert col.max() < cover.col_end + slack
    assert row.min() < cover.row + 1 + slack
    assert col.max() > cover.col_end - 1 - slack


@settings(max_examples=share_of(100), deadline=None)
@given(files(), grids(), st.data())
def test_whatever_lies_under_a_window_and_two_pixels_around_it_is_needed(
    source: Source, grid: Grid, data: st.DataObject
) -> None:
    """Two pixels of the coarser of file and grid: what cubic resampling looks at."""
    cover = footprints.cover(source, grid)
    assume(max(cover.shape) < 20_000)
    row, col = (
        data.draw(st.integers(low - 300, high))
        for low, high in ((cover.row, cover.row_end), (cover.col, cover.col_end))
    )
    window = Window(row, col, data.draw(st.integers(1, 256)), data.draw(st.integers(1, 256)))
    need = footprints.needed(source, grid, window)
    down, across = footprints.steps(source, grid, window)
    row, col = (each.ravel() for each in np.mgrid[0:33, 0:33] / 32)
    x, y = moved(grid.transform_of(window), grid.crs, source.crs, col * window.width, row * window.height)
    col, row = ~Affine(*source.transform) @ (x, y)
    for more_rows in (-2 * max(1, down), 2 * max(1, down)):
        for more_cols in (-2 * max(1, across), 2 * max(1, across)):
            at = np.floor(row + more_rows).astype(int), np.floor(col + more_cols).astype(int)
            hit = (at[0] >= 0) & (at[0] < source.shape[0]) & (at[1] >= 0) & (at[1] < source.shape[1])
            inside = (np.floor(row) >= 0) & (row < source.shape[0]) & (np.floor(col) >= 0) & (col < source.shape[1])
            if not inside.any():
                continue
            assert need is not None
            assert (at[0][hit] >= need.row).all()
            assert (at[0][hit] < need.row_end).all()
            assert (at[1][hit] >= need.col).all()
            assert (at[1][hit] < need.col_end).all()


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_steps_and_fineness_in_the_files_own_crs_are_those_of_the_pixels_sides(transform: Affine, scale: float) -> None:
    side = math.sqrt(abs(transform.determinant))
    grid = Grid.regular("EPSG:32612", scale * side)
    source = source_of(transform)
    window = footprints.cover(source, grid)
    down, across = footprints.steps(source, grid, window)
    lengths = math.hypot(transform.b, transform.e), math.hypot(transform.a, transform.d)
    assert (down, across) == pytest.approx((scale * side / lengths[0], scale * side / lengths[1]))
    assert footprints.fineness(source, grid, window) == pytest.approx(scale)


@settings(max_examples=share_of(40), deadline=None)
@given(files(), grids())
def test_fineness_is_the_root_of_an_area_that_proj_sees(source: Source, grid: Grid) -> None:
    cover = footprints.cover(source, grid)
    window = Window(cover.row, cover.col, 8, 8)
    col, row = np.array([0, 8, 8, 0]), np.array([0, 0, 8, 8])
    x, y = moved(grid.transform_of(window), grid.crs, source.crs, col, row)
    col, row = ~Affine(*source.transform) @ (x, y)
    area = 0.5 * abs(np.dot(col, np.roll(row, -1)) - np.dot(row, np.roll(col, -1)))
    assert footprints.fineness(source, grid, window) == pytest.approx(math.sqrt(area) / 8, rel=1e-3)


def test_beyond_a_projection_there_is_no_fineness_and_nothing_is_needed() -> None:
    world = Grid("ESRI:54030", (500.0, 0.0, 0.0, 0.0, -500.0, 0.0))
    corner = Window(-17_000, -34_000, 100, 100)  # the world is round there
    assert footprints.fineness(source_of(NORTH_UP), world, corner) == 0.0
    assert footprints.needed(source_of(NORTH_UP), world, corner) is None
    assert footprints.steps(source_of(NORTH_UP), world, corner) == (1.0, 1.0)


# ------------------------------------------------------------------------------ the antimeridian


@pytest.mark.parametrize(("lon", "crosses"), [(179.99, True), (-179.99, True), (178.0, False), (-178.0, False)])
def test_only_windows_on_both_sides_of_180_degrees_straddle_it(lon: float, crosses: bool) -> None:
    degrees = source_of(Affine(0.1, 0, -180, 0, -0.1, 90), (1800, 3600), "EPSG:4326")
    fiji = Grid.regular("EPSG:3460", 100.0)
    x, y = Transformer.from_crs("EPSG:4326", fiji.crs, always_xy=True).transform(lon, -17)
    col, row = ~fiji.affine @ (x, y)
    window = Window(int(row) - 128, int(col) - 128, 256, 256)
    assert footprints.straddles_antimeridian(degrees, fiji, window) == crosses
    metres = source_of(Affine(100, 0, 0, 0, -100, 0), (1800, 3600), "EPSG:32760")
    assert not footprints.straddles_antimeridian(metres, fiji, window)
    assert not footprints.straddles_antimeridian(degrees, Grid.regular("EPSG:4326", 1.0), Window(-90, -180, 180, 360))


def test_a_file_that_crosses_the_antimeridian_has_no_cover_in_degrees() -> None:
    fiji = source_of(Affine(1000, 0, 700_000, 0, -1000, 8_000_000), (200, 300), "EPSG:32760")
    with pytest.raises(RasterError, match=r"a\.tif as a whole cannot be expressed in EPSG:4326.*the antimeridian"):
        footprints.cover(fiji, Grid.regular("EPSG:4326", 0.01))
    assert footprints.cover(fiji, Grid.regular("EPSG:3460", 1000.0)).pixels > 60_000

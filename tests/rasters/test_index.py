"""Many files: an index finds every file that a window needs, and what is read does not depend on there being one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from affine import Affine
from examples import share_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from strategies import coordinates, layer, windows, write

from geoseg import imagery
from geoseg.errors import RasterError
from geoseg.grid import Grid, Window
from geoseg.imagery import Scene
from geoseg.rasters import footprints, index
from geoseg.rasters.files import Source
from geoseg.rasters.index import Index

CRSS = ["EPSG:32612", "EPSG:32613", "EPSG:4326", "EPSG:3857", "EPSG:3413", "EPSG:5070", "ESRI:54030"]
GRIDS = {
    "own": Grid.regular("EPSG:32612", 30.0),
    "half a pixel off": Grid("EPSG:32612", (30.0, 0.0, 15.0, 0.0, -30.0, 15.0)),
    "next zone": Grid.regular("EPSG:32613", 30.0),
    "rotated": Grid("EPSG:32612", tuple(Affine.rotation(31) @ Affine.scale(40, -30))[:6]),
    "degrees": Grid.regular("EPSG:4326", 0.0004),
    "coarser": Grid.regular("EPSG:5070", 250.0),
}


def every(known: Index, _grid: Grid, _window: Window) -> Iterator[int]:
    """The slow way: all files, each square of each to be looked at by itself."""
    yield from known.own[:, 0].tolist()
    for zone in known.others:
        yield from zone.numbers.tolist()


def needed(files: list[Source], grid: Grid, window: Window) -> set[int]:
    return {number for number, source in enumerate(files) if footprints.needed(source, grid, window) is not None}


@st.composite
def turned(draw: st.DrawFn, crs: str) -> tuple[float, ...]:
    """Coefficients of a transform whose first pixel lies anywhere on Earth, most often in two UTM zones' north."""
    lon = draw(st.one_of(st.floats(-117, -102), st.floats(-180, 180)))
    lat = draw(st.one_of(st.floats(20, 70), st.floats(-89, 90)))
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
    if not (math.isfinite(x) and math.isfinite(y)):
        x, y = 0.0, 0.0
    pixel = draw(st.sampled_from([10.0, 30.0, 1000.0])) / (111_000 if crs == "EPSG:4326" else 1)
    turn = draw(st.sampled_from([0.0, 0.0, 0.0, 17.0, 135.0]))
    return tuple(Affine.translation(x, y) @ Affine.rotation(turn) @ Affine.scale(pixel, -pixel))[:6]


@st.composite
def sources(draw: st.DrawFn) -> Source:
    crs = draw(st.sampled_from(CRSS))
    shape = draw(st.tuples(st.integers(1, 11000), st.integers(1, 11000)))
    return Source("a.tif", 1, "1", crs, draw(turned(crs)), shape, None, False, "uint8")


# ------------------------------------------------------------------------------------- the index


@settings(max_examples=share_of(30), deadline=None)
@given(st.data(), st.lists(sources(), min_size=1, max_size=6), st.integers(1, 3000), st.integers(1, 3000))
def test_no_file_that_a_window_needs_is_left_out(
    data: st.DataObject, files: list[Source], height: int, width: int
) -> None:
    crs = data.draw(st.sampled_from(CRSS))
    grid = Grid(crs, data.draw(turned(crs)))
    windows = [Window(0, 0, height, width), Window(-height // 2, -width, height, width)]
    for source in files:
        try:
            cover = footprints.cover(source, grid)
        except RasterError:
            continue
        side = data.draw(st.sampled_from([(-1.01, 0.0), (0.0, -1.0), (0.99, 1.0), (0.5, 0.5)]))
        row, col = (round(side[0] * cover.height), round(side[1] * cover.width))
        windows.append(Window(cover.row + row, cover.col + col, height, width))
    known = index.of(files, grid)
    for window in windows:
        found = list(index.near(known, grid, window))
        assert len(found) == len(set(found))
        assert needed(files, grid, window) <= set(found)


@pytest.mark.parametrize("crs", ["EPSG:32612", "EPSG:32613"])
def test_of_many_files_few_are_looked_at(crs: str) -> None:
    files = [
        Source("a.tif", 1, "1", "EPSG:32612", (10.0, 0.0, left, 0.0, -10.0, top), (500, 500), None, False, "uint8")
        for top in np.arange(4_000_000.0, 4_150_000.0, 5000.0).tolist()
        for left in np.arange(300_000.0, 450_000.0, 5000.0).tolist()
    ]
    grid = Grid.regular(crs, 10.0)
    known = index.of(files, grid)
    middle = footprints.cover(files[450], grid)
    window = Window(middle.row + 200, middle.col + 200, 100, 100)
    found = set(index.near(known, grid, window))
    assert 450 in found
    assert len(found) == 1
    assert len(list(index.near(known, grid, window.grown(500)))) <= 16
    assert not list(index.near(known, grid, Window(middle.row, middle.col - 100_000, 300, 300)))


# -------------------------------------------------------------------------------- what it is for


@pytest.fixture(scope="module")
def patchwork(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Files in two zones that overlap, with holes; some are turned, one is coarser."""
    folder, random = tmp_path_factory.mktemp("patchwork"), np.random.default_rng(8)
    paths = []
    for number in range(14):
        zone, place = divmod(number, 7)
        left, top = (730_000, 4_400_010) if zone == 0 else (222_000, 4_400_000 if number % 2 else 4_400_007)
        transform = Affine.translation(left + place % 3 * 4500, top - place // 3 * 3900) @ Affine.scale(30, -30)
        transform = transform @ Affine.rotation(20) if number in (3, 11) else transform
        transform = transform @ Affine.scale(3) if number == 9 else transform
        rows, cols = 150 + number * 7, 170 - number * 5
        pixels = coordinates(rows, cols) + np.uint16(number * 1000)
        pixels[:, random.random((rows, cols)) < 0.02] = 0
        pixels[:, 20:60, 30:90] = 0
        crs = ("EPSG:32612", "EPSG:32613")[zone]
        paths.append(Path(write(folder / f"{number:02}.tif", pixels, transform, crs, nodata=0)))
    return tuple(paths)


@pytest.fixture(scope="module", params=["first", "last", "bands of their own"])
def scene(request: pytest.FixtureRequest, patchwork: tuple[Path, ...]) -> Scene:
    paths = tuple(map(str, patchwork))
    if request.param == "bands of their own":
        return imagery.open(layer({"a": paths, "b": paths[5:] + paths[:5], "c": paths}, resampling="nearest"))
    return imagery.open(layer(paths, 2, order=request.param, resampling="cubic"))


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.sampled(9)
def test_what_is_read_and_touched_is_the_same_bit_for_bit_without_an_index(scene: Scene, grid: Grid) -> None:
    around = imagery.extent(scene, grid).grown(40)

    @settings(max_examples=share_of(6), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(windows(around, 300))
    def check(window: Window) -> None:
        found, touched = imagery.read(scene, grid, window), imagery.touches(scene, grid, window)
        with mock.patch.object(index, "near", every):
            assert imagery.touches(scene, grid, window) == touched
            assert imagery.read(scene, grid, window).tobytes() == found.tobytes()

    check()


def test_a_large_window_around_a_pole_holds_what_a_small_one_holds(tmp_path: Path) -> None:
    """Points spread over it may all lie further from the pole than the file does."""
    transform = Affine(0.1117, 0, 164.04, 0, -0.000162, 89.9695)
    path = write(tmp_path / "a.tif", coordinates(96, 96), transform, "EPSG:4326")
    scene, grid = imagery.open(layer(path, 2)), Grid.regular("EPSG:3413", 100.0)
    small, large = imagery.extent(scene, grid), Window(-101, -276, 973, 1234)
    assert imagery.touches(scene, grid, large)
    rows, cols = small.within(large)
    found = imagery.read(scene, grid, large)
    np.testing.assert_array_equal(found[:, rows, cols], imagery.read(scene, grid, small))
    assert np.isfinite(found[0]).sum() == np.isfinite(found[0, rows, cols]).sum() > 10


def test_scenes_that_take_turns_are_not_mixed_up(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{n}.tif", np.full((1, 3, 4), n, np.uint8)) for n in range(1, 21)]
    opened = [imagery.open(layer(path)) for path in paths]
    for n, scene in [*enumerate(opened, 1)] * 2:
        assert (imagery.read(scene, scene.grid, scene.window) == n).all()

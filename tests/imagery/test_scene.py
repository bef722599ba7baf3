"""Scenes: what is read is what was painted, from one file or many, on its own grid; and what is drawn and counted."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from examples import share_of
from hypothesis import given, settings
from pydantic import TypeAdapter
from pyproj import Transformer
from rasterio.warp import transform_bounds
from strategies import NORTH_UP, TRANSFORMS, coordinates, layer, windows, write

from geoseg import imagery
from geoseg.catalog import Band, Imagery
from geoseg.errors import RasterError
from geoseg.grid import Grid, Window
from geoseg.imagery import Scene
from geoseg.rasters import identity

ONE = Window(0, 0, 3, 4)
NAN = np.nan


def read_whole(scene: Scene) -> np.ndarray:
    return imagery.read(scene, scene.grid, scene.window)


def flat(value: int, rows: int = 3, cols: int = 4, bands: int = 1) -> np.ndarray:
    return np.full((bands, rows, cols), value, np.uint8)


# --------------------------------------------------------------------------------- own grid


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (301, 1), (37, 53), (257, 511)])
def test_the_coordinate_image_comes_back_unshifted(tmp_path: Path, transform: Affine, shape: tuple[int, int]) -> None:
    scene = imagery.open(layer(write(tmp_path / "a.tif", coordinates(*shape), transform), 2))
    np.testing.assert_array_equal(read_whole(scene), coordinates(*shape))
    assert scene.window.shape == shape
    assert scene.grid.transform_of(scene.window) == transform
    assert imagery.extent(scene, scene.grid) == scene.window


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_any_window_is_cut_out_and_nan_beyond_the_edge(tmp_path: Path, transform: Affine) -> None:
    pixels = coordinates(61, 47)
    scene = imagery.open(layer(write(tmp_path / "a.tif", pixels, transform), 2))

    @settings(max_examples=share_of(40), deadline=None)
    @given(windows(scene.window.grown(20), 90))
    def check(window: Window) -> None:
        wanted = np.full((2, *window.shape), NAN, np.float32)
        part = window.meet(scene.window)
        assert imagery.touches(scene, scene.grid, window) == (part is not None)
        assert imagery.covers(scene, scene.grid, window) == (part == window)
        if part is not None:
            (rows, cols), (from_rows, from_cols) = part.within(window), part.within(scene.window)
            wanted[:, rows, cols] = pixels[:, from_rows, from_cols]
        np.testing.assert_array_equal(imagery.read(scene, scene.grid, window), wanted)

    check()


def test_a_grid_of_whole_pixels_reads_the_file_as_it_is(tmp_path: Path) -> None:
    transform = Affine(30, 0, 300000, 0, -30, 4200000)
    scene = imagery.open(layer(write(tmp_path / "a.tif", coordinates(61, 47), transform), 2))
    grid = Grid.regular("EPSG:32612", 30.0)
    np.testing.assert_array_equal(imagery.read(scene, grid, imagery.extent(scene, grid)), coordinates(61, 47))


def test_a_scene_travels_as_json_and_as_a_small_pickle(tmp_path: Path) -> None:
    paths = tuple(write(tmp_path / f"{name}.tif", coordinates(61, 47), nodata=7) for name in "ab")
    scene = imagery.open(layer(paths, 2, scale=0.1, attribution="somebody"))
    shape = TypeAdapter(Scene)
    assert shape.validate_json(shape.dump_json(scene)) == scene
    assert pickle.loads(pickle.dumps(scene)) == scene
    assert len(pickle.dumps(scene)) < 4000
    assert imagery.identity(scene) == {path: f"{Path(path).stat().st_size}:{identity.of(path)}" for path in paths}


# ----------------------------------------------------------------------------- many files


@pytest.mark.parametrize(("order", "top"), [("first", 1), ("last", 2)])
def test_the_stated_file_lies_on_top_and_its_gaps_show_the_other(tmp_path: Path, order: str, top: int) -> None:
    below = 3 - top
    pixels = {1: flat(1), 2: flat(2)}
    pixels[top][0, 1, 2] = 0
    files = tuple(
        write(tmp_path / f"{n}.tif", pixels[n], NORTH_UP @ Affine.translation(2 * (n - 1), n - 1), nodata=0)
        for n in (1, 2)
    )
    found = read_whole(imagery.open(layer(files, order=order)))[0]
    wanted = np.full((4, 6), NAN)
    for n in (below, top):
        part = wanted[n - 1 : n + 2, 2 * (n - 1) : 2 * n + 2]
        part[pixels[n][0] > 0] = n
    np.testing.assert_array_equal(found, wanted)


def test_a_stacked_file_fills_a_pixel_in_all_bands_and_single_files_band_by_band(tmp_path: Path) -> None:
    upper, lower = flat(1, bands=2), flat(2, bands=2)
    upper[1, 1, 1] = 0
    stacked = tuple(write(tmp_path / f"{n}.tif", p, nodata=0) for n, p in (("upper", upper), ("lower", lower)))
    assert read_whole(imagery.open(layer(stacked, 2)))[:, 1, 1].tolist() == [2, 2]
    single = {
        f"b{band}": tuple(
            write(tmp_path / f"{n}{band}.tif", p[band : band + 1], nodata=0) for n, p in (("u", upper), ("l", lower))
        )
        for band in (0, 1)
    }
    assert read_whole(imagery.open(layer(single)))[:, 1, 1].tolist() == [1, 2]


def test_bands_keep_their_order_and_their_own_scale(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.stack([np.full((3, 4), n, np.int16) for n in (1, 2, 3)]))
    other = write(tmp_path / "b.tif", np.full((1, 3, 4), 9, np.float32))
    bands = (
        Band("nir", (path,), 3, None, 10.0, 1.0),
        Band("height", (other,), 1, None, 1.0, 0.0),
        Band("red", (path,), 1, None, 1.0, -1.0),
    )
    assert read_whole(imagery.open(Imagery("mixed", bands)))[:, 0, 0].tolist() == [31, 9, 0]


def test_patterns_are_expanded_in_the_stated_order_each_sorted(tmp_path: Path) -> None:
    for name in ("x/b.tif", "x/a.tif", "y/c.tif", "y/deep/d.tif"):
        write(tmp_path / name, flat(1))
    write(tmp_path / "odd[1].tif", flat(1))
    patterns = (str(tmp_path / "y/**/*.tif"), str(tmp_path / "odd[1].tif"), str(tmp_path / "x/?.tif"))
    scene = imagery.open(layer(patterns))
    names = [Path(source.path).name for source in scene.bands[0]]
    assert names == ["c.tif", "d.tif", "odd[1].tif", "a.tif", "b.tif"]
    with pytest.raises(RasterError, match=r"imagery 'scene' wants files like .*\*\.jp2; there is none"):
        imagery.open(layer(str(tmp_path / "*.jp2")))


def test_files_in_two_zones_and_a_wrong_crs_make_one_scene(tmp_path: Path) -> None:
    west = write(tmp_path / "west.tif", flat(1, 60, 60), Affine(30, 0, 760000, 0, -30, 4200000), "EPSG:32612")
    bounds = transform_bounds("EPSG:32612", "EPSG:32613", 761000, 4198500, 763000, 4199500)
    east = write(tmp_path / "east.tif", flat(2, 60, 90), Affine(30, 0, bounds[0], 0, -30, bounds[3]), "EPSG:32613")
    scene = imagery.open(layer((west, east)))
    found = read_whole(scene)[0]
    assert scene.grid.crs == "EPSG:32612"
    assert set(np.unique(found[np.isfinite(found)])) == {1, 2}
    assert (found[:60, :60] == 1).all()
    assert found.shape[1] > 110
    assert {source.crs for source in imagery.open(layer((west, east), crs="EPSG:32613")).bands[0]} == {"EPSG:32613"}


# --------------------------------------------------------------------------------- real data


@pytest.mark.slow
def test_zion_reads_four_files_as_they_are_and_warps_to_the_references_grid(shared_data: Path) -> None:
    files = {f"b{n}": (str(shared_data / f"zion/landsat_b{n}.tif"),) for n in (2, 3, 4, 5)}
    scene = imagery.open(layer(files))
    wanted = []
    for (path,) in files.values():
        with rasterio.open(path) as dataset:
            wanted.append(np.where(dataset.read_masks(1) > 0, dataset.read(1), NAN))
    np.testing.assert_array_equal(read_whole(scene), np.stack(wanted).astype(np.float32))
    with rasterio.open(shared_data / "zion/nlcd2011.tif") as reference:
        grid = Grid(reference.crs.to_wkt(), tuple(reference.transform)[:6])
        shape = reference.shape
    nearest = Scene(layer(files, resampling="nearest"), scene.grid, scene.window, scene.bands)
    found = imagery.read(nearest, grid, Window(0, 0, *shape))
    rows, cols = (each.ravel() for each in np.mgrid[5:1350:7, 5:1060:7])
    x, y = Affine(*grid.transform) @ (cols + 0.5, rows + 0.5)
    x, y = Transformer.from_crs(grid.crs, "EPSG:32612", always_xy=True).transform(x, y)
    col, row = ~Affine(*scene.grid.transform) @ (np.asarray(x), np.asarray(y))
    hit = (row > 0) & (row < 1428) & (col > 0) & (col < 1128)
    hit &= (np.abs(row - np.round(row)) > 1 / 64) & (np.abs(col - np.round(col)) > 1 / 64)
    assert hit.mean() > 0.8
    under = np.stack(wanted)[:, row[hit].astype(int), col[hit].astype(int)]
    np.testing.assert_array_equal(found[:, rows[hit], cols[hit]], under)


def test_untiled_strips_of_two_dates_read_as_they_are(shared_data: Path) -> None:
    path = shared_data / "s2_austria/s2_austria_two_dates.tif"
    scene = imagery.open(layer(str(path), 8))
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(read_whole(scene), dataset.read())


def test_near_infrared_that_is_tagged_as_alpha_does_not_mask_india(shared_data: Path) -> None:
    path = shared_data / "s2_india/images/003.tif"
    scene = imagery.open(layer(str(path), 4))
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(read_whole(scene), dataset.read())


def test_satellites_in_two_crss_make_one_mosaic_on_the_first(shared_data: Path) -> None:
    folder = shared_data / "stac/planet_disaster"
    files = tuple(sorted(map(str, folder.rglob("*RGB*.tif"))) + sorted(map(str, folder.rglob("*Freeport*.tif"))))
    assert len(files) == 2
    files += tuple(sorted(map(str, folder.rglob("Houston*.tif"))))
    scene = imagery.open(layer(files, 3))
    assert {source.crs for source in scene.bands[0]} == {"EPSG:32615", "EPSG:3857"}
    found = read_whole(scene)
    for source in scene.bands[0]:
        rows, cols = source.shape
        x, y = Affine(*source.transform) @ (cols / 2, rows / 2)
        x, y = Transformer.from_crs(source.crs, scene.grid.crs, always_xy=True).transform(x, y)
        col, row = ~scene.grid.affine @ (x, y)
        assert np.isfinite(found[:, int(row) - scene.window.row, int(col) - scene.window.col]).all(), source.path


def test_three_years_on_shifted_grids_lie_over_each_other_on_the_first(shared_data: Path) -> None:
    files = tuple(sorted(map(str, (shared_data / "naip").glob("*.tif"))))
    scenes = [imagery.open(layer(path, 4, nodata=None)) for path in files]
    scene = imagery.open(layer(files, 4))
    assert scene.grid == scenes[0].grid
    found = read_whole(scene)
    first = imagery.read(scenes[0], scene.grid, scene.window)
    valid = np.isfinite(first)
    np.testing.assert_array_equal(found[valid], first[valid])
    # The ground did not move by the grids' shifts: years agree best where they were laid.
    grey = [imagery.read(each, scene.grid, scene.window)[1] for each in scenes[:2]]
    scores = {}
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            a, b = grey[0][10:-10, 10:-10], np.roll(grey[1], (down, right), (0, 1))[10:-10, 10:-10]
            both = np.isfinite(a) & np.isfinite(b)
            scores[down, right] = np.corrcoef(a[both], b[both])[0, 1]
    assert max(scores, key=scores.__getitem__) == (0, 0)

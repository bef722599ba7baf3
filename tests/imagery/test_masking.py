"""Masking: pixels that another raster's values make no data, on the imagery's own grid and on any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from examples import share_of
from hypothesis import given, settings
from strategies import NORTH_UP, layer, windows, write

from geoseg import imagery
from geoseg.catalog import Band, Mask
from geoseg.errors import CatalogError, ImageryChangedError, RasterError
from geoseg.grid import Grid, Window

ROWS, COLS = 64, 80
PIXELS = np.random.default_rng(0).integers(1, 250, (2, ROWS, COLS), np.uint8)


def mask(*files: str, values: tuple[int, ...] = (3, 9), band: int = 1) -> Mask:
    return Mask(Band("mask", files, band, None, 1.0, 0.0), values)


def classes(path: Path, by: int = 1, *, seed: int = 1, dtype: str = "uint8", **how: object) -> tuple[str, np.ndarray]:
    """A mask with pixels `by` times as long as the imagery's; its path, and its values on the imagery's pixels."""
    made = np.random.default_rng(seed).integers(0, 12, (1, ROWS // by, COLS // by)).astype(dtype)
    write(path, made, NORTH_UP @ Affine.scale(by), **how)
    return str(path), made[0].repeat(by, 0).repeat(by, 1)


def read(path: object, *, window: Window | None = None, grid: Grid | None = None, **how: object) -> np.ndarray:
    scene = imagery.open(layer(path, 2, **how))
    grid = grid or scene.grid
    return imagery.read(scene, grid, window or imagery.extent(scene, grid))


@pytest.mark.parametrize("by", [1, 2, 4])
@pytest.mark.parametrize("how", [{}, {"nodata": 3}, {"dtype": "int16"}, {"dtype": "float32", "nodata": np.nan}])
@pytest.mark.sampled(3)
def test_pixels_with_the_values_are_no_data_and_no_others(tmp_path: Path, by: int, how: dict) -> None:
    """Also where the mask's file calls one of them nodata."""
    path = write(tmp_path / "a.tif", PIXELS)
    beside, values = classes(tmp_path / "m.tif", by, **how)
    found = read(path, mask=mask(beside))
    np.testing.assert_array_equal(found, np.where(np.isin(values, (3, 9)), np.nan, PIXELS.astype(np.float32)))
    everything = read(path, mask=mask(beside, values=tuple(range(12))))
    assert np.isnan(everything).all()
    np.testing.assert_array_equal(read(path, mask=mask(beside, values=(77,))), PIXELS)


def test_the_band_may_be_another_of_the_imagerys_own_file(tmp_path: Path) -> None:
    stacked = np.concatenate([PIXELS, PIXELS[:1] % 5])
    path = write(tmp_path / "a.tif", stacked)
    found = read(path, mask=mask(path, values=(2,), band=3))
    np.testing.assert_array_equal(found, np.where(PIXELS[0] % 5 == 2, np.nan, PIXELS.astype(np.float32)))


def test_beyond_the_masks_edge_nothing_is_masked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", PIXELS)
    small = write(tmp_path / "m.tif", np.full((1, 10, 12), 3, np.uint8), NORTH_UP @ Affine.translation(5, 7))
    hidden = np.zeros((ROWS, COLS), bool)
    hidden[7:17, 5:17] = True
    np.testing.assert_array_equal(read(path, mask=mask(small)), np.where(hidden, np.nan, PIXELS.astype(np.float32)))


@settings(max_examples=share_of(20), deadline=None)
@given(window=windows(Window(0, 0, 70, 90), 60))
def test_a_pixel_does_not_depend_on_the_window_when_the_mask_is_warped(
    tmp_path_factory: pytest.TempPathFactory, window: Window
) -> None:
    folder = tmp_path_factory.mktemp("warped")
    path = write(folder / "a.tif", PIXELS)
    beside = write(
        folder / "m.tif", np.random.default_rng(5).integers(0, 12, (1, 40, 40), np.uint8),
        Affine(71, 9, 300_000, 8, -73, 4_200_000), crs="EPSG:32612",
    )  # fmt: skip
    scene = imagery.open(layer(path, 2, mask=mask(beside)))
    grid = Grid("EPSG:26912", (28.0, 0.0, 300_001.0, 0.0, -28.0, 4_199_990.0))
    whole = imagery.read(scene, grid, Window(-60, -60, 260, 260))
    rows, cols = window.within(Window(-60, -60, 260, 260))
    np.testing.assert_array_equal(imagery.read(scene, grid, window), whole[:, rows, cols])


def test_each_file_may_have_a_mask_of_its_own_and_its_gaps_show_the_file_below(tmp_path: Path) -> None:
    upper, lower = write(tmp_path / "a.tif", PIXELS), write(tmp_path / "b.tif", PIXELS[::-1].copy())
    one, ones = classes(tmp_path / "m1.tif", seed=1)
    two, twos = classes(tmp_path / "m2.tif", seed=2)
    first, second = (
        np.where(np.isin(values, (3, 9)), np.nan, pixels.astype(np.float32))
        for values, pixels in ((ones, PIXELS), (twos, PIXELS[::-1]))
    )
    found = read((upper, lower), mask=mask(one, two))
    np.testing.assert_array_equal(found, np.where(np.isnan(first), second, first))
    found = read((upper, lower), mask=mask(one, two), order="last")
    np.testing.assert_array_equal(found, np.where(np.isnan(second), first, second))
    found = read((upper, lower), mask=mask(str(tmp_path / "m1.tif")))  # one for both
    np.testing.assert_array_equal(found, np.where(np.isin(ones, (3, 9)), np.nan, PIXELS.astype(np.float32)))
    with pytest.raises(CatalogError, match=r"mask of imagery 'scene' has 2 files and band 'b1' 3; give one for all"):
        read((upper, lower, lower), mask=mask(one, two))


def test_a_mask_is_part_of_what_the_scene_is(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", PIXELS)
    beside, _ = classes(tmp_path / "m.tif")
    scene = imagery.open(layer(path, 2, mask=mask(beside)))
    assert set(imagery.identity(scene)) == {path, beside}
    imagery.check_unchanged(scene)
    classes(tmp_path / "m.tif", seed=8, compress="deflate")
    with pytest.raises(ImageryChangedError, match=r"m\.tif changed since the job was planned"):
        imagery.check_unchanged(scene)
    imagery.forget(scene)
    with pytest.raises(ImageryChangedError, match=r"m\.tif changed since the job was planned"):
        imagery.read(scene, scene.grid, scene.window)


@pytest.mark.parametrize(
    ("text", "band", "said"),
    [(None, 1, r"m\.tif does not exist"), ("no raster", 1, "cannot be opened as GeoTIFF"), ("", 2, "number 2 of")],
)
def test_a_mask_that_cannot_be_used_is_named(tmp_path: Path, text: str | None, band: int, said: str) -> None:
    path = write(tmp_path / "a.tif", PIXELS)
    if text == "":
        classes(tmp_path / "m.tif")
    elif text is not None:
        (tmp_path / "m.tif").write_text(text)
    with pytest.raises(RasterError, match=said):
        read(path, mask=mask(str(tmp_path / "m.tif"), band=band))

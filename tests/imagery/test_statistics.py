"""Statistics: judged by numpy over all pixels, and by what a sample must not depend on."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from examples import share_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import NORTH_UP, layer, shapes, windows, write

from geoseg import imagery
from geoseg.errors import RasterError
from geoseg.grid import Window
from geoseg.imagery.statistics import measured, sample


def flat(value: float, rows: int = 60, cols: int = 60) -> np.ndarray:
    return np.full((1, rows, cols), value, np.uint8)


@settings(max_examples=share_of(20), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shapes((300, 300)), st.integers(0, 9))
def test_statistics_of_a_small_scene_are_those_of_all_its_valid_pixels(
    tmp_path: Path, shape: tuple[int, int], seed: int
) -> None:
    pixels = np.random.default_rng(seed).normal(1e4, 3, (2, *shape)).astype(np.float32)
    pixels[0, np.random.default_rng(seed).random(shape) < 0.2] = -99999
    pixels[:, 0, 0] = 1e4
    scene = imagery.open(layer(write(tmp_path / "a.tif", pixels), 2, nodata=-99999))
    found = imagery.statistics(scene)
    values = pixels[:, pixels[0] != -99999].astype(np.float64)
    assert found.pixels == values.shape[1]
    np.testing.assert_allclose(found.mean, values.mean(axis=1), rtol=1e-12)
    std = values.std(axis=1)
    np.testing.assert_allclose(found.std, np.where(std == 0, 1, std), rtol=1e-9)


@pytest.mark.parametrize("most", [2**25, 5000])
def test_percentiles_are_numpys_over_the_valid_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    pixels = np.random.default_rng(0).gamma(2, 500, (2, 300, 290)).astype(np.float32)
    pixels[1, 40:90, 50:60] = -99999
    scene = imagery.open(layer(write(tmp_path / "a.tif", pixels), 2, nodata=-99999))
    monkeypatch.setattr(sys.modules[measured.__module__], "_MOST_VALUES", most)
    found = imagery.statistics(scene, (2.0, 50, 99.5))
    valid = pixels[:, pixels[1] != -99999]
    for percentile, numbers in found.percentiles.items():
        wanted = np.percentile(valid.astype(np.float64), percentile, axis=1)
        np.testing.assert_allclose(numbers, wanted, rtol=1e-12 if most > 5000 else 0.15)
    assert sorted(found.percentiles) == [2.0, 50, 99.5]
    plain = imagery.statistics(scene)
    assert (plain.mean, plain.std, plain.percentiles) == (found.mean, found.std, {})
    assert imagery.statistics(scene, (99.5, 2)).percentiles[2] == found.percentiles[2]


def test_a_constant_band_has_standard_deviation_one(tmp_path: Path) -> None:
    pixels = np.full((1, 300, 300), 0.1, np.float32)
    found = imagery.statistics(imagery.open(layer(write(tmp_path / "a.tif", pixels))))
    assert (found.mean, found.std, found.pixels) == ((float(np.float32(0.1)),), (1.0,), 90_000)


def test_statistics_without_a_valid_pixel_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", flat(0), nodata=0)
    with pytest.raises(RasterError, match="imagery 'scene' has no pixel with data in all of its bands"):
        imagery.statistics(imagery.open(layer(path)))


def test_statistics_of_a_large_scene_come_from_64_squares_spread_over_it(tmp_path: Path) -> None:
    rows, cols = 2100, 2601
    pixels = (np.mgrid[0:rows, 0:cols][1:] // 20).astype(np.uint8)
    scene = imagery.open(layer(write(tmp_path / "a.tif", pixels, compress="deflate")))
    found = imagery.statistics(scene)
    assert 40 * 256**2 < found.pixels <= 64 * 256**2
    assert abs(found.mean[0] - pixels.mean()) < 3
    assert abs(found.std[0] - pixels.std()) < 3
    assert imagery.statistics(scene) == found


def test_statistics_find_small_files_far_apart(tmp_path: Path) -> None:
    files = tuple(
        write(tmp_path / f"{n}.tif", flat(n, 50, 50), NORTH_UP @ Affine.translation(7000 * n, 5000 * n))
        for n in (1, 2, 3)
    )
    found = imagery.statistics(imagery.open(layer(files)))
    assert found.pixels == 7500
    assert found.mean == (2.0,)


def test_scale_and_offset_of_the_catalog_move_the_statistics_with_the_values(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 10_000, (1, 211, 173), np.uint16)
    path = write(tmp_path / "a.tif", pixels)
    plain, scaled = (imagery.statistics(imagery.open(layer(path, scale=k, offset=o))) for k, o in ((1, 0), (1e-4, -1)))
    assert scaled.mean[0] == pytest.approx(plain.mean[0] * 1e-4 - 1, abs=1e-6)
    assert scaled.std[0] == pytest.approx(plain.std[0] * 1e-4, rel=1e-5)


def test_bands_with_files_of_their_own_count_only_where_all_have_data(tmp_path: Path) -> None:
    one, other = flat(3), flat(5)
    one[0, :20], other[0, 40:] = 0, 0
    files = {name: (write(tmp_path / f"{name}.tif", each, nodata=0),) for name, each in (("a", one), ("b", other))}
    found = imagery.statistics(imagery.open(layer(files)))
    assert (found.pixels, found.mean, found.std) == (20 * 60, (3.0, 5.0), (1.0, 1.0))


def test_a_large_mean_costs_no_digits_of_a_small_deviation(tmp_path: Path) -> None:
    """The sum of squares alone would lose them: 1e7 squared has more digits than float64 keeps of a variance of 1."""
    pixels = (1e7 + np.tile([-1.0, 1.0], (1, 200, 100))).astype(np.float64)
    found = imagery.statistics(imagery.open(layer(write(tmp_path / "a.tif", pixels))))
    assert found.std[0] == pytest.approx(1, rel=1e-12)


def test_the_sample_does_not_depend_on_how_the_pixels_are_cut_into_files(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(1, 250, (1, 300, 400), np.uint8)
    whole = imagery.open(layer(write(tmp_path / "whole.tif", pixels)))
    east = write(tmp_path / "east.tif", pixels[:, :, 150:], NORTH_UP @ Affine.translation(150, 0))
    parts = imagery.open(layer((write(tmp_path / "west.tif", pixels[:, :, :150]), east)))
    assert imagery.statistics(parts) == imagery.statistics(replace(whole, imagery=parts.imagery))


@settings(max_examples=share_of(20), deadline=None)
@given(windows(Window(-5000, -5000, 10_000, 10_000), 9000))
def test_a_sample_is_parts_of_the_window_that_do_not_overlap(window: Window) -> None:
    parts = sample(window, lambda _: True)
    assert 1 <= len(parts) <= 64
    assert all(window.holds(part) for part in parts)
    assert sum(part.pixels for part in parts) == window.pixels or len(parts) > 32
    assert not any(a.meet(b) for a in parts for b in parts if a is not b)


def test_a_sample_looks_more_densely_where_little_is_there() -> None:
    whole, island = Window(0, 0, 256 * 100, 256 * 100), Window(256 * 40, 256 * 40, 256 * 9, 256 * 9)
    parts = sample(whole, lambda square: square.meet(island) is not None)
    assert len(parts) == 64
    assert all(island.holds(part) for part in parts)


@given(st.integers(0, 9), st.integers(1, 5))
def test_a_sample_measures_the_same_in_one_part_or_several(seed: int, count: int) -> None:
    pixels = np.random.default_rng(seed).normal(100, 3, (2, 20, 10)).astype(np.float32)
    pixels[0, 3] = np.nan
    found, whole = (measured(np.array_split(pixels, parts, axis=1), "it") for parts in (count, 1))
    assert (found.mean, found.std) == (pytest.approx(whole.mean), pytest.approx(whole.std))
    valid = pixels[:, ~np.isnan(pixels[0])].astype(np.float64)
    assert found.mean == pytest.approx(tuple(valid.mean(axis=1)))
    assert found.pixels == valid.shape[1]
    with pytest.raises(RasterError, match="it has no pixel with data in all of its bands where it was sampled"):
        measured([pixels[:, 3:4]], "it")

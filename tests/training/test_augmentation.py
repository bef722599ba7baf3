"""Augmentation: another light, within what was asked for, and nothing where there are no data."""

import numpy as np
import pytest

from geoseg.training import augmentation
from geoseg.training.recipe import AugmentSpec

ZERO = np.array([-2.0, -1.0, -3.0])
KEYS = ("gain", "offset", "gamma", "haze", "drop")


def changed(pixels, spec, zero, random):
    return augmentation.changed(pixels, augmentation.drawn(spec, len(pixels), random), zero)


def chip(seed=0):
    """Three bands above what stands for 0, a corner without data."""
    pixels = np.random.default_rng(seed).gamma(2.0, 0.7, (3, 16, 20)) + ZERO[:, None, None]
    pixels[:, :4, :5] = np.nan
    return pixels.astype(np.float32)


def test_nothing_is_changed_where_nothing_is_asked():
    assert changed(chip(), AugmentSpec(), ZERO, np.random.default_rng(0)) is not None
    np.testing.assert_array_equal(changed(chip(), AugmentSpec(), ZERO, np.random.default_rng(0)), chip())


@pytest.mark.parametrize("key", KEYS)
def test_each_kind_changes_pixels_and_leaves_nodata_and_the_chip_itself(key):
    before, again = chip(), chip()
    found = changed(before, AugmentSpec(**{key: 0.9}), ZERO, np.random.default_rng(3))
    np.testing.assert_array_equal(before, again)
    assert found.dtype == np.float32
    assert (np.isnan(found) == np.isnan(before)).all()
    assert np.nanmax(np.abs(found - before)) > 0.05


@pytest.mark.parametrize("key", KEYS)
def test_the_same_generator_gives_the_same_chip(key):
    found = [changed(chip(), AugmentSpec(**{key: 0.5}), ZERO, np.random.default_rng(5)) for _ in range(2)]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(("key", "size"), [("gain", 0.3), ("gamma", 0.3)])
def test_gain_and_gamma_leave_zero_where_it_is_and_have_the_asked_spread(key, size):
    random, logs = np.random.default_rng(1), []
    pixels = chip()
    pixels[:, 10, 10] = ZERO
    top = np.nanmax(pixels - ZERO[:, None, None], axis=(1, 2))
    for _ in range(400):
        found = changed(pixels, AugmentSpec(**{key: size}), ZERO, random)
        np.testing.assert_allclose(found[:, 10, 10], ZERO, atol=1e-6)
        one, other = (float(each[0, 9, 9] - ZERO[0]) for each in (pixels, found))
        if key == "gain":
            logs.append(np.log(other / one))
        else:
            logs.append(np.log(np.log(other / top[0]) / np.log(one / top[0])))
    assert np.std(logs) == pytest.approx(size, rel=0.15)
    assert abs(np.mean(logs)) < 0.06


def test_haze_takes_contrast_and_gives_brightness_and_no_more_than_asked():
    random = np.random.default_rng(2)
    pixels = chip()
    for _ in range(50):
        found = changed(pixels, AugmentSpec(haze=0.4), ZERO, random)
        share = (found - pixels) / (2.0 - pixels)
        assert np.nanmin(share) > -1e-3
        assert np.nanmax(share) < 0.401
        np.testing.assert_allclose(share[0, 5:, 6:], share[1, 5:, 6:], atol=1e-2)  # one veil for all bands


def test_one_band_at_most_is_dropped_as_often_as_asked_and_never_the_only_one():
    random = np.random.default_rng(4)
    dropped = [
        (np.nan_to_num(changed(chip(), AugmentSpec(drop=0.3), ZERO, random)) == 0).all(axis=(1, 2)).sum()
        for _ in range(600)
    ]
    assert set(dropped) == {0, 1}
    assert np.mean(dropped) == pytest.approx(0.3, abs=0.06)
    for _ in range(20):
        assert (changed(chip()[:1], AugmentSpec(drop=0.9), ZERO[:1], random)[0, 8:] != 0).any()

"""Calibration: counts by level judged by scikit-learn's calibration curve, the same however pixels are read."""

import math

import numpy as np
import pytest
import rasterio
from affine import Affine
from sklearn.calibration import calibration_curve

from geoseg.accuracy import calibration, counting, score
from geoseg.accuracy.calibration import Calibration
from geoseg.catalog import Reference
from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import GridError, RasterError

LEGEND = Legend("three", tuple(LandClass(id, f"class {id}", "#000000") for id in (1, 2, 3)))
SHAPE = (130, 170)
RANDOM = np.random.default_rng(0)
MAPPED, TRUTH = (RANDOM.choice(np.array([1, 2, 3, 255], np.uint8), SHAPE) for _ in range(2))
LEVELS = RANDOM.choice(np.arange(256, dtype=np.uint8), SHAPE)
BOTH = (MAPPED < 255) & (TRUTH < 255) & (LEVELS < 255)


def written(path, values, side=30.0, scale=1.0, nodata=255):
    profile = {"driver": "GTiff", "height": values.shape[0], "width": values.shape[1], "count": 1}
    transform = Affine(side, 0, 301_905, 0, -side, 4_154_085)
    with rasterio.open(
        path, "w", **profile, dtype=values.dtype, crs="EPSG:32612", transform=transform, nodata=nodata
    ) as file:
        file.write(values, 1)
        file.scales = (scale,)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("calibration")
    written(made / "map.tif", MAPPED)
    written(made / "truth.tif", TRUTH)
    written(made / "confidence.tif", LEVELS, scale=1 / 254)
    return made


def scored(folder, confidence="confidence.tif", truth="truth.tif", **how):
    reference = Reference("truth", str(folder / truth), 1, LEGEND, None)
    return score.score(folder / "map.tif", reference, legend=LEGEND, confidence=folder / confidence, **how)


def expected_error(right, confidence):
    """By its definition, pixel by pixel."""
    bins = np.minimum(np.ceil(confidence * calibration.BINS).astype(int), calibration.BINS)
    gaps = [abs((right[bins == at] - confidence[bins == at]).sum()) for at in range(calibration.BINS + 1)]
    return sum(gaps) / len(right)


@pytest.mark.parametrize("step", [64, 100, 1024])
def test_bins_are_those_of_scikit_learn_however_the_map_is_read(folder, monkeypatch, step):
    monkeypatch.setattr(counting, "STEP", step)
    found = scored(folder).calibration
    right, confidence = (MAPPED == TRUTH)[BOTH], LEVELS[BOTH] / 254
    assert found.pixels == BOTH.sum()
    np.testing.assert_array_equal(found.levels.sum(1), np.bincount(LEVELS[BOTH], minlength=255))
    pixels, mean, accuracy = found.bins
    judge = calibration_curve(right, confidence, n_bins=calibration.BINS)
    np.testing.assert_allclose(accuracy[pixels > 0], judge[0], rtol=1e-12)
    np.testing.assert_allclose(mean[pixels > 0], judge[1], rtol=1e-12)
    assert found.error == pytest.approx(expected_error(right, confidence), rel=1e-12)


def test_the_curve_is_accuracy_of_the_most_confident_pixels(folder):
    threshold, share, accuracy = scored(folder).calibration.coverage
    right, confidence = (MAPPED == TRUTH)[BOTH], LEVELS[BOTH] / 254
    assert (np.diff(share) > 0).all()
    assert share[-1] == 1.0
    for each in (0, 1, 100, 254):
        kept = confidence >= threshold[each] - 1e-9
        assert share[each] == pytest.approx(kept.mean(), rel=1e-12)
        assert accuracy[each] == pytest.approx(right[kept].mean(), rel=1e-12)


def test_shares_as_floats_are_the_same_and_not_a_number_is_no_confidence(folder):
    shares = np.where(LEVELS == 255, np.nan, LEVELS / 254).astype(np.float32)
    written(folder / "floats.tif", shares, nodata=None)
    np.testing.assert_array_equal(scored(folder, "floats.tif").calibration.levels, scored(folder).calibration.levels)


def test_what_is_no_confidence_of_this_map_is_one_sentence(folder):
    written(folder / "percent.tif", LEVELS % 101)
    with pytest.raises(
        RasterError, match=r"percent\.tif holds \d+, and confidence is a share of 0 to 1; give the band"
    ):
        scored(folder, "percent.tif")
    written(folder / "other.tif", LEVELS[:40, :40], side=31.0, scale=1 / 254)
    with pytest.raises(GridError, match=r"the pixels of .*other\.tif are not those of .*map\.tif"):
        scored(folder, "other.tif")


def test_on_the_references_grid_it_is_not_judged_and_that_is_said(folder):
    written(folder / "coarse.tif", TRUTH[:40, :40], side=90.0)
    found = scored(folder, truth="coarse.tif")
    assert found.calibration is None
    assert "the map's confidence is not judged on the reference's grid" in found.notes[-1]
    assert scored(folder, truth="coarse.tif", grid="map").calibration is not None


def test_a_map_that_is_as_sure_as_right_has_no_error_and_one_without_pixels_no_number():
    levels = np.zeros((255, 2), np.int64)
    levels[127] = 50, 50
    levels[254] = 0, 10
    assert Calibration(levels).error == 0.0
    levels[254] = 10, 0
    assert Calibration(levels).error == pytest.approx(10 / 110)
    empty = Calibration(np.zeros((255, 2), np.int64))
    assert math.isnan(empty.error)
    held = calibration.plain(empty)
    assert held["expected_calibration_error"] is None
    assert calibration.sentence(held) == "no compared pixel has a confidence"

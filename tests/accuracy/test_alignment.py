"""Alignment: whose grid is chosen, and what is counted there, judged by modes taken by hand and scikit-learn."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from scipy import stats
from sklearn.metrics import confusion_matrix

from geoseg.accuracy import alignment, counting, score
from geoseg.accuracy.references import opened
from geoseg.catalog import Reference
from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import GridError, RasterError
from geoseg.grid import Region

CRS, LEFT, TOP = "EPSG:32612", 300_000.0, 4_200_000.0
LEGEND = Legend("three", tuple(LandClass(id, f"class {id}", "#000000") for id in (1, 2, 3)))


def written(path, ids, side, corner=(LEFT, TOP), crs=CRS):
    profile = {"driver": "GTiff", "height": ids.shape[0], "width": ids.shape[1], "count": 1, "dtype": "uint8"}
    transform = Affine(side, 0, corner[0], 0, -side, corner[1])
    with rasterio.open(path, "w", **profile, crs=crs, transform=transform, nodata=255) as file:
        file.write(ids, 1)
    return Reference("truth", str(path), 1, LEGEND, None)


def randoms(shape, seed):
    return np.random.default_rng(seed).choice(np.array([1, 2, 3, 255], np.uint8), shape)


@pytest.mark.parametrize(
    ("side", "options", "grid", "how", "words"),
    [
        (30.0, {}, "map", "none", "on the map's grid, whose pixels are the reference's too"),
        (30.0, {"grid": "reference"}, "map", "none", "on the map's grid, whose pixels are the reference's too"),
        (10.0, {}, "map", "mode", "the reference by mode: the reference's pixels (10 m) are 3.0 times finer than the"),
        (15.0, {}, "map", "mode", "2.0 times finer"),
        (16.0, {}, "map", "nearest", "the reference by nearest: the reference's pixels (16 m) are not coarser than"),
        (32.0, {}, "map", "nearest", "not coarser than the map's (30 m)"),
        (
            34.0,
            {},
            "reference",
            "mode",
            "the map by mode: the reference's pixels (34 m) are 1.1 times the map's (30 m)",
        ),
        (90.0, {}, "reference", "mode", "3.0 times the map's"),
        (90.0, {"resampling": "nearest"}, "reference", "nearest", "the map by nearest"),
        (90.0, {"grid": "map"}, "map", "nearest", "the reference by nearest: as asked for"),
        (10.0, {"grid": "reference"}, "reference", "mode", "the map by mode: as asked for"),
        (10.0, {"resampling": "nearest"}, "map", "nearest", "the reference by nearest"),
    ],
)
def test_the_coarser_grid_is_taken_unless_another_is_asked_for(tmp_path, side, options, grid, how, words):
    written(tmp_path / "map.tif", randoms((60, 60), 0), 30.0)
    rows = int(1800 / side)
    truth = written(tmp_path / "truth.tif", randoms((rows, rows), 1), side)
    with opened(truth) as reference, opened(Reference("map", str(tmp_path / "map.tif"), 1, LEGEND, None)) as mapped:
        found = alignment.choose(mapped, reference, **{"grid": "auto", "resampling": "auto"} | options)
    assert (found.grid_of, found.how) == (grid, how)
    assert words in found.rule
    assert found.grid == (mapped if grid == "map" else reference).grid


@pytest.mark.parametrize("step", [64, 100])
def test_a_coarser_reference_gets_the_most_frequent_class_of_the_map_however_it_is_read(tmp_path, monkeypatch, step):
    mapped = np.random.default_rng(0).choice(np.array([1, 2, 3], np.uint8), (900, 600), p=(0.5, 0.3, 0.2))
    written(tmp_path / "map.tif", mapped, 10.0)
    coarse = randoms((340, 260), 1)
    # 20 reference pixels beyond the map above and to the left, and some beyond it below and to the right
    truth = written(tmp_path / "truth.tif", coarse, 30.0, (LEFT - 600, TOP + 600))
    found = score.score(tmp_path / "map.tif", truth, legend=LEGEND)
    under = mapped.reshape(300, 3, 200, 3).transpose(0, 2, 1, 3).reshape(300, 200, 9)
    ours, wins = stats.mode(under, axis=2)
    other, certain = coarse[20:320, 20:220], wins >= 5  # where several are as frequent any of them may be taken
    judge = confusion_matrix(other[other < 255], ours[other < 255], labels=LEGEND.ids)
    monkeypatch.setattr(counting, "STEP", step)
    again = score.score(tmp_path / "map.tif", truth, legend=LEGEND)
    np.testing.assert_array_equal(again.confusion.matrix, found.confusion.matrix)
    assert found.confusion.matrix.sum() == judge.sum()
    assert not found.confusion.unlabelled.any()
    assert np.abs(found.confusion.matrix - judge).sum() <= 2 * (~certain).sum()
    assert found.areas_m2.sum() == 2 * 900 * judge.sum()


def test_what_lies_beyond_a_turned_map_is_no_gap_of_it(tmp_path):
    written(tmp_path / "map.tif", np.full((200, 200), 2, np.uint8), 30.0)
    truth = written(tmp_path / "truth.tif", np.full((300, 300), 2, np.uint8), 0.002, (-113.6, 38.2), "EPSG:4326")
    found = score.score(tmp_path / "map.tif", truth, legend=LEGEND)
    assert found.alignment.grid_of == "reference"
    assert found.confusion.matrix[1, 1] > 500
    assert not found.confusion.unlabelled.any()
    west = Region.of_bounds((LEFT, TOP - 6000, LEFT + 3000, TOP), CRS, "west")
    half = score.score(tmp_path / "map.tif", truth, legend=LEGEND, region=west)
    assert half.confusion.matrix[1, 1] == pytest.approx(found.confusion.matrix[1, 1] / 2, rel=0.06)


def test_a_coarser_reference_elsewhere_is_refused_as_any_other(tmp_path):
    written(tmp_path / "map.tif", randoms((60, 60), 0), 30.0)
    truth = written(tmp_path / "truth.tif", randoms((20, 20), 1), 90.0, (LEFT + 1e5, TOP))
    with pytest.raises(RasterError, match="has no labelled pixel on"):
        score.score(tmp_path / "map.tif", truth, legend=LEGEND)


def test_a_map_that_the_references_crs_cannot_hold_is_compared_on_its_own_grid_unless_told_otherwise(tmp_path):
    written(tmp_path / "map.tif", randoms((90, 180), 0), 2.0, (-180.0, 90.0), "EPSG:4326")
    truth = written(tmp_path / "truth.tif", randoms((40, 40), 1), 500_000.0, (-1e7, 1e7), "EPSG:3035")
    with opened(truth) as reference, opened(Reference("map", str(tmp_path / "map.tif"), 1, LEGEND, None)) as mapped:
        assert alignment.choose(mapped, reference, grid="auto", resampling="auto").grid_of == "map"
        with pytest.raises(
            GridError, match=r"as a whole cannot be expressed in the CRS of .*; compare them on the map"
        ):
            alignment.choose(mapped, reference, grid="reference", resampling="auto")

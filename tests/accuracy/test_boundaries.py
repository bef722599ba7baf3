"""Boundaries: judged by scipy's erosion and dilation of each class on the whole map, however the map is read."""

import math

import numpy as np
import pytest
import rasterio
from affine import Affine
from scipy import ndimage
from sklearn.metrics import confusion_matrix

from geoseg.accuracy import boundaries, counting, score
from geoseg.accuracy.boundaries import Boundaries
from geoseg.accuracy.ignore import Ignore
from geoseg.catalog import Reference
from geoseg.catalog.legend import Crosswalk, LandClass, Legend
from geoseg.grid import Region

LEGEND = Legend("three", tuple(LandClass(id, f"class {id}", "#000000") for id in (1, 2, 3)))
SHAPE = (140, 170)
CRS, PLACE = "EPSG:32612", Affine(30, 0, 301_905, 0, -30, 4_154_085)


def patches(seed, gaps=True):
    """Patches of three classes some pixels wide, with gaps."""
    rough = ndimage.gaussian_filter(np.random.default_rng(seed).random(SHAPE), 3)
    ids = 1 + np.digitize(rough, np.quantile(rough, (0.4, 0.8))).astype(np.uint8)
    if gaps:
        ids[ndimage.gaussian_filter(np.random.default_rng(seed + 9).random(SHAPE), 2) > 0.57] = 255
    return ids


MAPPED, TRUTH = patches(0), patches(1)
MAPPED = np.where(np.random.default_rng(5).random(SHAPE) < 0.3, MAPPED, np.where(MAPPED < 255, TRUTH, 255))


def written(path, ids):
    profile = {"driver": "GTiff", "height": ids.shape[0], "width": ids.shape[1], "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile, crs=CRS, transform=PLACE, nodata=255) as file:
        file.write(ids, 1)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("boundaries")
    written(made / "map.tif", MAPPED)
    written(made / "truth.tif", TRUTH)
    return made


def scored(folder, crosswalk=None, legend=LEGEND, **how):
    truth = Reference("truth", str(folder / "truth.tif"), 1, LEGEND, None)
    return score.score(folder / "map.tif", truth, crosswalk, legend=legend, **how)


def borders(ids, distance):
    """Where pixels of each class lie within a distance of another one, by dilation."""
    square = np.ones((2 * distance + 1,) * 2, bool)
    found = np.zeros(ids.shape, bool)
    for each in (1, 2, 3):
        found |= (ids == each) & ndimage.binary_dilation((ids != each) & (ids < 255), square)
    return found


@pytest.mark.parametrize("step", [32, 100, 1024])
@pytest.mark.parametrize("width", [1, 3])
def test_boundary_iou_is_scipys_however_the_map_is_read(folder, monkeypatch, step, width):
    monkeypatch.setattr(counting, "STEP", step)
    found = scored(folder, boundaries=Boundaries(width)).borders
    both = (MAPPED < 255) & (TRUTH < 255)
    ours, other = borders(MAPPED, width) & both, borders(TRUTH, width) & both
    for at, each in enumerate(LEGEND.ids):
        a, b = ours & (each == MAPPED), other & (each == TRUTH)
        assert found.sums[:, at].tolist() == [(a & b).sum(), b.sum(), a.sum()]
        assert found.iou[at] == (a & b).sum() / (a | b).sum()


def test_without_gaps_it_is_the_boundary_iou_of_cheng_et_al(tmp_path):
    ours, other = patches(3, gaps=False), patches(3, gaps=False)
    other[40:90] = patches(4, gaps=False)[40:90]
    written(tmp_path / "map.tif", ours)
    written(tmp_path / "truth.tif", other)
    found = scored(tmp_path, boundaries=Boundaries(2)).borders.iou
    for at, each in enumerate(LEGEND.ids):
        a, b = (
            mask & ~ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=2, border_value=1)
            for mask in (ours == each, other == each)
        )
        assert found[at] == (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("step", [32, 100, 1024])
def test_pixels_near_the_references_borders_can_be_left_out_however_the_map_is_read(folder, monkeypatch, step):
    monkeypatch.setattr(counting, "STEP", step)
    found = scored(folder, boundaries=Boundaries(ignored=2))
    near = borders(TRUTH, 2)
    both = (MAPPED < 255) & (TRUTH < 255) & ~near
    np.testing.assert_array_equal(found.confusion.matrix, confusion_matrix(TRUTH[both], MAPPED[both]))
    assert found.borders.ignored == near.sum()
    note = "labelled pixels within 2 px of a border between classes of the reference are not scored"
    assert found.notes[-1] == f"{near.sum():,} {note}"
    west = Region.of_bounds((301_905, 4_000_000, 301_905 + 30 * 60, 4_154_085), CRS, "west")
    part = scored(folder, boundaries=Boundaries(ignored=2), region=west)
    assert part.confusion.matrix.sum() == both[:, :60].sum()
    assert part.borders.ignored == near[:, :60].sum()


def test_classes_that_are_compared_as_one_or_not_at_all_have_no_border_between_them(folder):
    joined = Legend("two", (LandClass(1, "one", "#000000"), LandClass(3, "other", "#000000")))
    walk = Crosswalk("walk", LEGEND, joined, ((1, 1), (2, 1), (3, 3)))
    written(folder / "two.tif", np.where(MAPPED == 2, 1, MAPPED))
    truth = Reference("truth", str(folder / "truth.tif"), 1, LEGEND, None)
    found = score.score(folder / "two.tif", truth, walk, legend=joined, boundaries=Boundaries(ignored=1))
    assert found.borders.ignored == borders(np.where(TRUTH == 2, 1, TRUTH), 1).sum()
    alone = scored(folder, boundaries=Boundaries(ignored=1), ignore=Ignore(reference=frozenset({3})))
    assert alone.borders.ignored == borders(np.where(TRUTH == 3, 255, TRUTH), 1).sum()


def test_a_class_without_a_border_has_no_value():
    found = boundaries.Found(np.array([[1, 0], [2, 0], [2, 0]]), 0)
    legend = Legend("two", (LandClass(1, "a", "#000000"), LandClass(2, "b", "#000000")))
    held = boundaries.plain(found, Boundaries(2), legend)["boundary"]
    assert held == {"width_pixels": 2, "mean_iou": pytest.approx(1 / 3), "iou": {"a": pytest.approx(1 / 3), "b": None}}
    assert boundaries.sentence(held) == "Boundary IoU within 2 px of borders: mean 0.333: a 0.333"
    none = boundaries.plain(boundaries.Found(np.zeros((3, 2), int), 0), Boundaries(2), legend)["boundary"]
    assert none["mean_iou"] is None
    assert math.isnan(boundaries.Found(np.zeros((3, 1), int), 0).iou[0])
    assert boundaries.plain(found, Boundaries(), legend) == {}

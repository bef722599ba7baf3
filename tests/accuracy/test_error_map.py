"""Error map: opened with plain rasterio, each square judged by scikit-learn on the pixels under it."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.windows import from_bounds
from sklearn.metrics import jaccard_score

from geoseg.accuracy import error_map, score
from geoseg.catalog import Reference
from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import RasterError

LEGEND = Legend("four", tuple(LandClass(id, f"class {id}", "#000000") for id in (1, 2, 3, 9)))
TRANSFORM = Affine(30, 0, 301_905, 0, -30, 4_154_085)  # its first pixel is no first pixel of a block
SHAPE = (150, 210)


def written(path, ids):
    profile = {"driver": "GTiff", "height": ids.shape[0], "width": ids.shape[1], "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile, crs="EPSG:32612", transform=TRANSFORM, nodata=255) as file:
        file.write(ids, 1)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("errors")
    random = np.random.default_rng(0)
    mapped, truth = (random.choice(np.array([1, 2, 3, 255], np.uint8), SHAPE, p=(0.5, 0.3, 0.1, 0.1)) for _ in range(2))
    truth[40:80, 40:110] = 255
    written(folder / "map.tif", mapped)
    reference = Reference("truth", str(written(folder / "truth.tif", truth)), 1, LEGEND, None)
    found = score.score(folder / "map.tif", reference, legend=LEGEND, interval_block="20 px")
    return error_map.write(found, folder / "errors.tif"), mapped, truth


def test_each_square_holds_what_scikit_learn_says_of_its_pixels(made):
    path, mapped, truth = made
    with rasterio.open(path) as file:
        names, bands, transform = file.descriptions, file.read(), file.transform
    assert names == (
        *("share that differs", "mean IoU", "compared pixels"), "IoU of class 1", "IoU of class 2", "IoU of class 3"
    )  # fmt: skip
    empty = 0
    for row, col in np.ndindex(bands.shape[1:]):
        left, top = transform @ (col, row)
        right, bottom = transform @ (col + 1, row + 1)
        window = from_bounds(left, bottom, right, top, TRANSFORM)
        first_row, first_col = round(window.row_off), round(window.col_off)
        assert (window.row_off, window.col_off) == pytest.approx((first_row, first_col), abs=1e-6)
        assert (window.height, window.width) == pytest.approx((20, 20))
        here = np.s_[max(0, first_row) : first_row + 20, max(0, first_col) : first_col + 20]
        ours, other = mapped[here].ravel(), truth[here].ravel()
        both = (ours < 255) & (other < 255)
        if not both.any():
            empty += 1
            assert np.isnan(bands[:, row, col]).all()
            continue
        ours, other = ours[both], other[both]
        met = [id for id in (1, 2, 3) if id in ours or id in other]
        iou = jaccard_score(other, ours, labels=met, average=None)
        np.testing.assert_allclose(bands[:3, row, col], [(ours != other).mean(), iou.mean(), both.sum()], rtol=1e-6)
        wanted = [iou[met.index(id)] if id in met else np.nan for id in (1, 2, 3)]
        np.testing.assert_allclose(bands[3:, row, col], wanted, rtol=1e-6)
    assert empty > 0


def test_the_squares_cover_the_map(made):
    with rasterio.open(made[0]) as file:
        left, bottom, right, top = file.bounds
        assert file.read(3)[np.isfinite(file.read(3))].sum() == ((made[1] < 255) & (made[2] < 255)).sum()
    assert left <= TRANSFORM.c
    assert top >= TRANSFORM.f
    assert right >= TRANSFORM.c + 30 * SHAPE[1]
    assert bottom <= TRANSFORM.f - 30 * SHAPE[0]


def test_other_endings_and_folders_that_are_not_there_are_one_sentence(made, tmp_path):
    reference = Reference("truth", str(made[0].with_name("truth.tif")), 1, LEGEND, None)
    found = score.score(made[0].with_name("map.tif"), reference, legend=LEGEND)
    with pytest.raises(RasterError, match=r"written to \.tif, not to '\.png'"):
        error_map.write(found, tmp_path / "errors.png")
    (tmp_path / "file").touch()
    with pytest.raises(RasterError, match=r"errors\.tif cannot be written"):
        error_map.write(found, tmp_path / "file/errors.tif")

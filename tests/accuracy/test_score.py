"""Score: whole maps scored against whole references, judged by scikit-learn on arrays warped by GDAL."""

import math

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.warp import reproject
from shapely.geometry import Polygon
from sklearn.metrics import confusion_matrix, jaccard_score

from geoseg import catalog
from geoseg.accuracy import counting, score
from geoseg.accuracy.confusion import iou, mean_iou, pixel_accuracy
from geoseg.catalog import Reference
from geoseg.catalog.legend import Crosswalk, LandClass, Legend
from geoseg.errors import CatalogError, RasterError
from geoseg.grid import Region

CRS = "EPSG:32612"
LEFT, TOP = 301_905.0, 4_154_085.0
SHIPPED = catalog.shipped()
COARSE = Legend("coarse", (LandClass(1, "green", "#00ff00"), LandClass(2, "grey", "#888888")))
FINE = Legend("fine", tuple(LandClass(id, f"fine {id}", "#00ff00") for id in (10, 11, 20, 30)))
WALK = Crosswalk("fine-to-coarse", FINE, COARSE, ((10, 1), (11, 1), (20, 2)), ((11, "Half grey."), (30, "No class.")))


def write(path, ids, *, pixel=30.0, corner=(LEFT, TOP), nodata=255, **tags):
    affine = Affine(pixel, 0, corner[0], 0, -pixel, corner[1])
    profile = {"driver": "GTiff", "height": ids.shape[0], "width": ids.shape[1], "count": 1, "dtype": ids.dtype}
    with rasterio.open(path, "w", **profile, crs=CRS, transform=affine, nodata=nodata) as file:
        file.write(ids, 1)
        file.update_tags(**tags)
    return path


def reference(path, legend=COARSE):
    return Reference("truth", str(path), 1, legend, None, attribution="Somebody")


def random(ids, shape=(90, 70), seed=0):
    return np.random.default_rng(seed).choice(np.array(ids, np.uint8), shape)


def test_textbook_case_from_files(tmp_path):
    truth = np.ones((10, 10), np.uint8)
    truth[0] = 2
    write(tmp_path / "map.tif", np.ones((10, 10), np.uint8))
    write(tmp_path / "truth.tif", truth)
    found = score.score(tmp_path / "map.tif", reference(tmp_path / "truth.tif"), legend=COARSE)
    assert pixel_accuracy(found.confusion.matrix) == 0.9
    assert mean_iou(found.confusion.matrix) == 0.45
    assert found.direction == "same legend"
    assert found.alignment.how == "none"


def test_reference_to_map_through_a_crosswalk(tmp_path):
    mapped, truth = random([1, 2, 255]), random([10, 11, 20, 30, 255], seed=1)
    write(tmp_path / "map.tif", mapped)
    write(tmp_path / "truth.tif", truth)
    found = score.score(tmp_path / "map.tif", reference(tmp_path / "truth.tif", FINE), WALK, legend=COARSE)
    moved = np.select([truth <= 11, truth == 20], [1, 2], 0)
    both = (moved > 0) & (mapped < 255)
    assert np.array_equal(found.confusion.matrix, confusion_matrix(moved[both], mapped[both]))
    assert found.confusion.unlabelled.tolist() == [((moved == id) & (mapped == 255)).sum() for id in (1, 2)]
    assert found.confusion.ignored == (moved == 0).sum()
    assert found.direction == "reference to map"
    assert found.lossy == (
        ("fine 11", ((truth == 11) & (mapped < 255)).sum(), "Half grey."),
        ("fine 30", ((truth == 30) & (mapped < 255)).sum(), "No class."),
    )
    assert "labelled pixels" in found.notes[0]
    assert "the map is nodata there" in found.notes[0]


def test_map_to_reference_through_the_same_crosswalk(tmp_path):
    mapped, truth = random([10, 11, 20, 30, 255]), random([1, 2, 255], seed=1)
    write(tmp_path / "map.tif", mapped)
    write(tmp_path / "truth.tif", truth)
    found = score.score(tmp_path / "map.tif", reference(tmp_path / "truth.tif"), WALK, legend=FINE)
    moved = np.select([mapped <= 11, mapped == 20], [1, 2], 0)
    both = (moved > 0) & (truth < 255)
    assert np.array_equal(found.confusion.matrix, confusion_matrix(truth[both], moved[both]))
    assert found.confusion.left_out.tolist() == [((truth == id) & (mapped == 30)).sum() for id in (1, 2)]
    assert found.confusion.unlabelled.tolist() == [((truth == id) & (mapped == 255)).sum() for id in (1, 2)]
    assert found.legend is COARSE or found.legend == COARSE
    assert any("no counterpart in the crosswalk" in note for note in found.notes)


@pytest.mark.slow
def test_zion_on_another_grid_and_crs_equals_scikit_learn_on_gdals_warp(shared_data, tmp_path):
    """A made-up map on the imagery's grid, NLCD 2011 in Albers as the reference."""
    six = SHIPPED.legend("landsat-6class")
    walk = SHIPPED.crosswalk("nlcd-to-landsat-6class")
    with rasterio.open(shared_data / "zion/landsat_b2.tif") as file:
        shape, affine, crs = file.shape, file.transform, file.crs
    with rasterio.open(shared_data / "zion/nlcd2011.tif") as file:
        judge = np.full(shape, 255, np.uint8)
        reproject(
            file.read(1), judge, src_transform=file.transform, src_crs=file.crs, src_nodata=255,
            dst_transform=affine, dst_crs=crs, dst_nodata=255, resampling=Resampling.nearest, tolerance=0,
        )  # fmt: skip
    truth = walk.table()[judge]
    noise = np.random.default_rng(5)
    mapped = np.where(noise.random(shape) < 0.7, np.where(truth > 0, truth, 4), noise.integers(1, 7, shape))
    write(tmp_path / "map.tif", mapped.astype(np.uint8))
    nlcd = Reference("nlcd2011", str(shared_data / "zion/nlcd2011.tif"), 1, walk.source, None)
    found = score.score(tmp_path / "map.tif", nlcd, walk, legend=six)
    both = truth > 0
    assert np.array_equal(found.confusion.matrix, confusion_matrix(truth[both], mapped[both], labels=six.ids))
    np.testing.assert_allclose(
        iou(found.confusion.matrix), jaccard_score(truth[both], mapped[both], average=None, labels=six.ids)
    )
    assert found.alignment.how == "nearest"
    assert found.alignment.pixel_sizes == (30.0, pytest.approx(31.5, abs=0.1))
    assert {name for name, _, _ in found.lossy} >= {"Developed, open space", "Pasture and hay", "Woody wetlands"}


@pytest.mark.parametrize("step", [256, 512, 1024])
def test_the_size_of_what_is_read_at_once_changes_no_count(tmp_path, monkeypatch, step):
    write(tmp_path / "map.tif", random([1, 2, 255], (1300, 900)))
    write(tmp_path / "truth.tif", random([10, 11, 20, 30, 255], (700, 600), 1), pixel=47.0, corner=(LEFT + 11, TOP - 5))
    corners = [(LEFT + 5000, TOP - 3000), (LEFT + 24_000, TOP - 9000), (LEFT + 9000, TOP - 33_000)]
    region = Region.of_shape(Polygon(corners), CRS, "triangle")
    source = reference(tmp_path / "truth.tif", FINE)
    whole = score.score(tmp_path / "map.tif", source, WALK, legend=COARSE, region=region)
    monkeypatch.setattr(counting, "STEP", step)
    parts = score.score(tmp_path / "map.tif", source, WALK, legend=COARSE, region=region)
    assert np.array_equal(whole.confusion.matrix, parts.confusion.matrix)
    assert np.array_equal(whole.confusion.unlabelled, parts.confusion.unlabelled)
    assert whole.confusion.ignored == parts.confusion.ignored


def test_only_pixels_with_their_centre_in_the_region_count(tmp_path):
    mapped, truth = random([1, 2]), random([1, 2], seed=1)
    write(tmp_path / "map.tif", mapped)
    write(tmp_path / "truth.tif", truth)
    east = Region.of_bounds((LEFT + 30 * 35, TOP - 30 * 90, LEFT + 30 * 70, TOP), CRS, "east")
    found = score.score(tmp_path / "map.tif", reference(tmp_path / "truth.tif"), legend=COARSE, region=east)
    assert np.array_equal(found.confusion.matrix, confusion_matrix(truth[:, 35:].ravel(), mapped[:, 35:].ravel()))
    assert found.provenance["region"] == "east"


def test_a_much_finer_reference_is_taken_by_mode_and_to_a_much_coarser_one_the_map_is(tmp_path):
    write(tmp_path / "map.tif", random([1, 2]))
    write(tmp_path / "fine.tif", np.repeat(np.repeat(random([1, 2]), 3, 0), 3, 1), pixel=10.0)
    write(tmp_path / "wide.tif", random([1, 2], (30, 24)), pixel=90.0)
    fine = score.score(tmp_path / "map.tif", reference(tmp_path / "fine.tif"), legend=COARSE)
    assert fine.alignment.how == "mode"
    assert pixel_accuracy(fine.confusion.matrix) == 1.0
    assert fine.notes == ()
    wide = score.score(tmp_path / "map.tif", reference(tmp_path / "wide.tif"), legend=COARSE)
    assert wide.alignment.how == "mode"
    assert wide.alignment.grid_of == "reference"
    assert wide.confusion.matrix.sum() == 30 * 23  # the centres of the last column lie beyond the map
    assert wide.notes == ()
    near = score.score(tmp_path / "map.tif", reference(tmp_path / "wide.tif"), legend=COARSE, grid="map")
    assert near.alignment.how == "nearest"
    assert near.notes == (
        "the reference's pixels are 3.0 times as long as the map's, on whose grid both are compared: detail finer than "
        "the reference counts as error",
    )


@pytest.mark.parametrize(
    ("mapped", "truth", "corner", "walk", "error", "match"),
    [
        ([1], [10], (LEFT + 10**5, TOP), WALK, RasterError, r"reference 'truth' has no labelled pixel on .*map\.tif"),
        ([1], [255], (LEFT, TOP), WALK, RasterError, r"reference 'truth' has no labelled pixel on .*map\.tif"),
        ([255], [10], (LEFT, TOP), WALK, RasterError, r"is nodata wherever reference 'truth' has a label to compare"),
        ([1], [30], (LEFT, TOP), WALK, CatalogError, r"'fine-to-coarse' leaves out every class that map .* in common"),
        ([9], [10], (LEFT, TOP), WALK, CatalogError, r"map .*map\.tif holds id 9, which legend 'coarse' lacks"),
        ([1], [77], (LEFT, TOP), WALK, CatalogError, r"reference 'truth' holds id 77, which legend 'fine' lacks"),
        ([1], [10], (LEFT, TOP), None, CatalogError, r"map's legend is 'coarse' and the reference's 'fine'; name a"),
    ],
)
def test_nothing_to_compare_is_an_error_and_never_a_score(tmp_path, mapped, truth, corner, walk, error, match):
    write(tmp_path / "map.tif", random(mapped))
    write(tmp_path / "truth.tif", random(truth), corner=corner)
    with pytest.raises(error, match=match):
        score.score(tmp_path / "map.tif", reference(tmp_path / "truth.tif", FINE), walk, legend=COARSE)


def test_a_crosswalk_between_other_legends_is_refused(tmp_path):
    write(tmp_path / "map.tif", random([1]))
    other = SHIPPED.crosswalk("nlcd-to-worldcover")
    with pytest.raises(CatalogError, match=r"'nlcd-to-worldcover' leads from legend 'nlcd' to 'worldcover'; the map"):
        score.score(tmp_path / "map.tif", reference(tmp_path / "map.tif", FINE), other, legend=COARSE)


def test_unknown_ids_can_be_ignored_and_are_counted(tmp_path):
    write(tmp_path / "map.tif", np.array([[1, 2, 9]], np.uint8))
    write(tmp_path / "truth.tif", np.array([[1, 77, 1]], np.uint8))
    truth = reference(tmp_path / "truth.tif")
    found = score.score(tmp_path / "map.tif", truth, legend=COARSE, ignore_unknown=True)
    assert found.confusion.matrix.tolist() == [[1, 0], [0, 0]]
    assert found.confusion.unlabelled.tolist() == [1, 0]
    assert found.confusion.ignored == 1
    assert any(note.startswith("2 pixels have ids that the legends lack") for note in found.notes)


def test_a_missing_map_is_named(tmp_path):
    write(tmp_path / "truth.tif", random([1]))
    with pytest.raises(RasterError, match=r"gone\.tif cannot be read"):
        score.score(tmp_path / "gone.tif", reference(tmp_path / "truth.tif"), legend=COARSE)


def test_a_map_damaged_in_the_middle_is_named_not_the_reference(tmp_path):
    write(tmp_path / "truth.tif", random([1, 2], (600, 600)))
    path = write(tmp_path / "map.tif", random([1, 2], (600, 600)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(RasterError, match=r"map\.tif cannot be read"):
        score.score(path, reference(tmp_path / "truth.tif"), legend=COARSE)


def test_a_real_map_agrees_wholly_with_itself(shared_data):
    legend = SHIPPED.legend("worldcover")
    tile = shared_data / "maps/ESA_WorldCover_10m_2021_v200_N00E006_Map.tif"
    truth = reference(tile, legend)
    part = Region.of_bounds((6.60, 0.20, 6.66, 0.26), "EPSG:4326", "São Tomé")
    found = score.score(tile, truth, legend=legend, region=part)
    assert pixel_accuracy(found.confusion.matrix) == 1.0
    absent = np.isnan(iou(found.confusion.matrix))
    assert absent[legend.ids.index(70)]
    assert mean_iou(found.confusion.matrix) == 1.0
    assert not math.isnan(found.alignment.pixel_sizes[1])

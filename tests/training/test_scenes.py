"""Scenes: labels of the reference on the scene's grid, and what is seen of them."""

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.warp
import rasterio.windows
import shapely
from affine import Affine
from labelled_scenes import cropped, loaded
from rasterio import features
from scipy import ndimage

from geoseg import catalog, imagery
from geoseg.catalog.card import Normalisation
from geoseg.errors import JobError
from geoseg.grid import Window
from geoseg.training import scenes
from geoseg.training.division import BEYOND, BUFFER, TEST, TRAIN, VALIDATION, Squares
from geoseg.training.planes import Windowed
from geoseg.training.recipe import SceneSpec


def test_labels_are_indices_in_the_legend_and_only_where_there_are_data(folder):
    scene = loaded(folder)
    with rasterio.open(folder / "truth.tif") as file:
        codes = file.read(1)
    expected = np.full((96, 112), -1)
    for code, index in ((10, 1), (20, 2), (30, 0)):  # water, soil and green stand second, third and first
        expected[:, :100][codes == code] = index
    expected[40:50, 60:70] = -1
    np.testing.assert_array_equal(scene.labels, expected)
    assert np.isnan(scene.pixels[:, 40:50, 60:70]).all()


def test_pixels_are_normalised_as_they_are_when_mapped(folder):
    known = catalog.read(folder / "data_catalog.yaml")
    opened = imagery.open(known.imagery("scene").select(("nir", "red"), "test"))
    found = imagery.statistics(opened)
    values = imagery.read(opened, opened.grid, opened.window)
    mean, std = (np.array(each, np.float32)[:, None, None] for each in (found.mean, found.std))
    np.testing.assert_array_equal(loaded(folder).pixels, (values - mean) / std)
    np.testing.assert_array_equal(loaded(folder, normalisation="none").pixels, values)


@pytest.mark.parametrize(
    ("side", "kept"),
    [("west", np.s_[:, :28]), ("east", np.s_[:, 84:]), ("north", np.s_[:24]), ("south", np.s_[72:])],
)
def test_nothing_beyond_a_part_is_learnt_or_seen(folder, side, kept):
    scene = loaded(folder, {side: 0.25})
    inside = np.zeros((96, 112), bool)
    inside[kept] = True
    assert np.isnan(scene.seen()[:, ~inside]).all()
    np.testing.assert_array_equal(scene.seen()[:, inside], scene.pixels[:, inside])


def test_counts_are_those_of_the_labels(folder):
    scene = loaded(folder, {"west": 0.5})
    for division in (TRAIN, VALIDATION, TEST, BEYOND):
        inside = scene.labels[scene.division == division]
        assert scene.counts(division, 3).tolist() == [int((inside == index).sum()) for index in range(3)]
    assert sum(scene.counts(each, 3).sum() for each in range(4)) == (scene.labels >= 0).sum()


def test_fixed_numbers_are_taken_from_the_pixels(folder):
    plain = loaded(folder, normalisation="none")
    opened = imagery.open(catalog.read(folder / "data_catalog.yaml").imagery("scene").select(("nir", "red"), "test"))
    fixed = scenes.Normalisation(kind="fixed", mean=(1000.0, 50.0), std=(500.0, 10.0))
    assert scenes.centre(opened, fixed) == ((1000.0, 50.0), (500.0, 10.0))
    assert scenes.centre(opened, scenes.Normalisation()) == ((0.0, 0.0), (1.0, 1.0))
    found = imagery.statistics(opened)
    assert scenes.centre(opened, scenes.Normalisation(kind="scene")) == (found.mean, found.std)
    assert plain.pixels.dtype == np.float32


@pytest.mark.parametrize("part", [{}, {"west": 0.6}, {"south": 0.3}])
def test_a_scene_read_by_windows_is_the_one_in_memory(folder, part):
    known = catalog.read(folder / "data_catalog.yaml")
    spec = SceneSpec(imagery="scene", reference="truth", part=part)
    how = ("nir", "red"), known.legend("plain"), Squares(16, 0.15, 0.15, 5, 1), Normalisation(kind="scene")
    (held,), (read,) = (scenes.load_all(known, [spec], *how, memory) for memory in (96 * 112 * 11, 96 * 112 * 11 - 1))
    assert isinstance(held.pixels, np.ndarray)
    assert isinstance(read.pixels, Windowed)
    row, col = held.window.row, held.window.col
    for window in (held.window, Window(row + 7, col + 20, 50, 60), Window(row - 9, col + 90, 40, 40)):
        for name in ("seen", "learnt", "around"):
            np.testing.assert_array_equal(getattr(read, name)(window), getattr(held, name)(window))
    np.testing.assert_array_equal(read.division_in(read.window), held.division)
    assert read.survey().digest == held.survey().digest
    assert read.rectangles() == held.rectangles()


def test_a_buffer_takes_labels_from_training_and_from_nothing_else(folder):
    plain, buffered = loaded(folder), loaded(folder, buffer=3)
    np.testing.assert_array_equal(buffered.labels, plain.labels)
    np.testing.assert_array_equal(buffered.pixels, plain.pixels)
    for division in (VALIDATION, TEST, BEYOND):
        np.testing.assert_array_equal(buffered.counts(division, 3), plain.counts(division, 3))
    left = buffered.counts(TRAIN, 3) + buffered.counts(BUFFER, 3)
    np.testing.assert_array_equal(left, plain.counts(TRAIN, 3))
    assert (buffered.counts(BUFFER, 3) > 0).all()


def with_polygons(folder, **kept):
    """The reference as polygons with the names of its classes, under the name 'fields'."""
    with rasterio.open(folder / "truth.tif") as file:
        codes = file.read(1)
        found = features.shapes(codes, codes > 0, transform=file.transform)
        shapes = [(shapely.geometry.shape(each), int(code)) for each, code in found]
    names = {10: "deep", 20: "bare", 30: "lush", 99: "doubtful"}
    chosen = [(each, names[code]) for each, code in shapes if names[code] in kept.get("only", names.values())]
    cover, outlines = [name for _, name in chosen], [each for each, _ in chosen]
    frame = geopandas.GeoDataFrame({"cover": cover}, geometry=outlines, crs="EPSG:32633")
    frame.to_file(folder / "fields.gpkg")
    text = (folder / "data_catalog.yaml").read_text()
    entry = "  fields: {file: fields.gpkg, column: cover, legend: codes}\n"
    (folder / "data_catalog.yaml").write_text(text.replace("legends:", entry + "legends:", 1))
    known = catalog.read(folder / "data_catalog.yaml")
    return known, Squares(16, 0.15, 0.15, 0, 1)


def test_labels_from_polygons_are_those_of_their_raster(folder):
    known, cut = with_polygons(folder)
    legend = known.legend("plain")
    of_raster, of_polygons = (
        scenes.load(known, SceneSpec(imagery="scene", reference=each), ("nir",), legend, cut, Normalisation())
        for each in ("truth", "fields")
    )
    assert (of_raster.labels >= 0).sum() > 8000
    np.testing.assert_array_equal(of_polygons.labels, of_raster.labels)


def test_of_several_references_the_first_with_a_label_decides(folder):
    known, cut = with_polygons(folder, only=("deep",))
    legend = known.legend("plain")

    def labels(*names):
        spec = SceneSpec(imagery="scene", reference=names)
        return scenes.load(known, spec, ("nir",), legend, cut, Normalisation()).labels

    deep, truth = labels("fields"), labels("truth")
    assert set(np.unique(deep)) == {-1, legend.ids.index(1)}
    np.testing.assert_array_equal(labels("fields", "truth"), truth)
    with rasterio.open(folder / "truth.tif", "r+") as file:
        codes = file.read(1)
        file.write(np.where(codes == 10, np.uint8(20), codes), 1)
    np.testing.assert_array_equal(labels("fields", "truth"), truth)
    assert (labels("truth", "fields") != truth).any()


def test_a_crosswalk_between_other_legends_is_refused(folder):
    known = catalog.read(folder / "data_catalog.yaml")
    spec = SceneSpec(imagery="scene", reference="truth", crosswalk="nlcd-to-landsat-6class")
    said = (
        "crosswalk 'nlcd-to-landsat-6class' leads from 'nlcd' to 'landsat-6class'; reference 'truth' has legend "
        "'codes', and 'plain' is to be learnt"
    )
    with pytest.raises(JobError, match=said):
        scenes.load(known, spec, ("nir",), known.legend("plain"), Squares(16, 0.1, 0.1, 0, 1), scenes.Normalisation())


@pytest.mark.parametrize("corner", [(0, 0), (13, 21), (30, 7)])
def test_no_label_of_a_scene_lies_near_what_is_held_out_in_one_that_overlaps_it(folder, corner):
    cropped(folder, *corner, 60, 70)
    known = catalog.read(folder / "data_catalog.yaml")
    whole, squares = loaded(folder, buffer=5), Squares(16, 0.15, 0.15, 5, 1)
    spec = SceneSpec(imagery="crop", reference="crop")
    crop = scenes.load(known, spec, ("nir", "red"), known.legend("plain"), squares, scenes.Normalisation())
    there = crop.window.within(whole.window)
    np.testing.assert_array_equal(crop.labels, whole.labels[there])
    np.testing.assert_array_equal(crop.division, whole.division[there])
    held = np.isin(whole.division, (VALIDATION, TEST))
    distance = ndimage.distance_transform_cdt(~held, "chessboard")[there]
    assert distance[crop.division == TRAIN].min() > 5


def test_a_reference_in_another_crs_is_brought_to_the_scene_by_its_nearest_label(folder):
    before = loaded(folder).labels
    with rasterio.open(folder / "truth.tif") as file:
        moved = np.zeros((1600, 1200), np.uint8)
        bounds = rasterio.warp.transform_bounds(file.crs, "EPSG:32634", *file.bounds)
        fine = Affine(10, 0, bounds[0] - 500, 0, -10, bounds[3] + 500)
        rasterio.warp.reproject(
            file.read(1), moved, src_transform=file.transform, src_crs=file.crs, src_nodata=0,
            dst_transform=fine, dst_crs="EPSG:32634", dst_nodata=0,
        )  # fmt: skip
    profile = {"dtype": "uint8", "nodata": 0, "crs": "EPSG:32634", "transform": fine}
    with rasterio.open(folder / "truth.tif", "w", "GTiff", 1200, 1600, 1, **profile) as file:
        file.write(moved, 1)
    after = loaded(folder).labels
    both = (before >= 0) & (after >= 0)
    assert both.sum() > 0.97 * (before >= 0).sum()
    assert (before == after)[both].mean() > 0.95  # classes come in squares of 8 pixels; only their edges may move

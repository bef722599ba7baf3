"""Simplified outlines: still a coverage, in every square, at every tolerance; judged by GEOS, GDAL and PROJ."""

import json

import geopandas
import numpy as np
import pyarrow as pa
import pyogrio
import pytest
import shapely
from affine import Affine
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyproj import Geod
from rasterio import features as gdal
from strategies import write

import geoseg
from geoseg.errors import CatalogError, RasterError
from geoseg.vectors import features, polygons, simplify, stream

UTM = Affine(30, 0, 300_000, 0, -30, 4_200_000)


def shapes_of(labels, pixels, square, *, cut=None, workers=1):
    """Simplified polygons in pixels, with their classes and areas; and what is told of classes."""
    heights = [len(labels)] if cut is None else [cut] * (len(labels) // cut + 1)
    ends = np.cumsum(heights)
    strips = [labels[end - height : end] for height, end in zip(heights, ends)]
    found = simplify.kept(strips, labels.shape, pixels, square=square, workers=workers)
    parts, sizes = [], []
    for batch in stream.trace(strips, labels.shape[1], flagged=True, workers=workers, block_cols=cut or 2048):
        thinned, areas = found.outlines(batch)
        parts.append(features.located(thinned, Affine.identity(), 1.0))
        sizes.append(areas)
    one = features.concatenated(parts)
    made = shapely.from_ragged_array(shapely.GeometryType.POLYGON, one.points, (one.ring_starts, one.polygon_starts))
    return made, one.class_ids, np.concatenate([[], *sizes]), found.sizes


def exact(labels):
    """GDAL's polygons and their classes, by their topmost, then leftmost pixel."""
    found = [(shapely.geometry.shape(each), int(id)) for each, id in gdal.shapes(labels, labels >= 0, 4)]
    return [shape for shape, _ in found], np.array([id for _, id in found])


maps = arrays(np.int32, st.tuples(st.integers(1, 30), st.integers(1, 30)), elements=st.integers(-1, 2))


def patches(seed, rows, cols):
    """A map of squares of five pixels."""
    classes = np.random.default_rng(seed).integers(-1, 3, (rows, cols))
    return np.kron(classes, np.ones((5, 5), int)).astype(np.int32)[:, 2:]


smooth = st.builds(patches, st.integers(0, 99), st.integers(1, 7), st.integers(1, 7))


@settings(max_examples=share_of(60), deadline=None)
@given(maps | smooth, st.sampled_from([0.1, 0.8, 1.2, 2.0, 5.0, 50.0]), st.sampled_from([4, 7, 16, 1024]))
def test_a_simplified_map_is_a_coverage_of_valid_polygons_with_the_same_total(labels, pixels, square):
    made, ids, areas, told = shapes_of(labels, pixels, square)
    assert shapely.is_valid(made).all()
    assert shapely.coverage_is_valid(made)
    np.testing.assert_allclose(shapely.area(made), areas, atol=1e-9)
    _, of_was = exact(labels)
    assert sorted(ids.tolist()) == sorted(of_was.tolist())
    for id, (before, after) in told.items():
        assert before == (labels == id).sum()
        assert after == pytest.approx(areas[ids == id].sum(), abs=1e-9)
    if not (labels < 0).any():
        assert areas.sum() == pytest.approx(labels.size)
        assert shapely.union_all(made).equals(shapely.box(0, 0, *labels.shape[::-1]))


@settings(max_examples=share_of(40), deadline=None)
@given(maps, st.sampled_from([0.8, 2.0]), st.integers(1, 9), st.integers(1, 3))
def test_neither_strips_nor_threads_change_anything(labels, pixels, cut, workers):
    one, other = shapes_of(labels, pixels, 8), shapes_of(labels, pixels, 8, cut=cut, workers=workers)
    assert shapely.to_wkb(one[0]).tolist() == shapely.to_wkb(other[0]).tolist()
    np.testing.assert_array_equal(one[2], other[2])
    assert one[3] == other[3]


@settings(max_examples=share_of(60), deadline=None)
@given(maps, st.sampled_from([4, 1024]))
def test_a_tolerance_of_almost_nothing_leaves_every_polygon_as_it_is(labels, square):
    made = shapely.normalize(shapely.simplify(shapes_of(labels, 1e-3, square)[0], 0))
    was = shapely.normalize(exact(labels)[0])
    assert sorted(shapely.to_wkt(made).tolist()) == sorted(shapely.to_wkt(was).tolist())


@settings(max_examples=share_of(60), deadline=None)
@given(maps, st.sampled_from([0.8, 1.5, 4.0]))
def test_within_a_square_it_is_what_geos_makes_of_the_coverage(labels, pixels):
    """Of the regions with a corner at each junction, what has no data among them."""
    filled = np.where(labels < 0, np.int32(9), labels)
    made, *_ = shapes_of(filled, pixels, 1024)
    batches = list(stream.trace([filled], labels.shape[1], flagged=True))
    noded = features.concatenated(
        [features.located(simplify._unflagged(each), Affine.identity(), 1.0) for each in batches]
    )
    shapes = shapely.from_ragged_array(3, noded.points, (noded.ring_starts, noded.polygon_starts))
    expected = shapely.coverage_simplify(shapes, pixels, simplify_boundary=False)
    assert all(one.equals(other) for one, other in zip(made, expected))
    with_void, *_ = shapes_of(labels, pixels, 1024)
    kept = [each for each, id in zip(made, np.concatenate([each.values for each in batches])) if id != 9]
    assert all(one.equals(other) for one, other in zip(with_void, kept))


def test_stairs_become_slopes():
    rows, cols = np.indices((60, 60))
    labels = (cols > rows / 2 + 5).astype(np.int32)
    made, _, _, told = shapes_of(labels, 1.0, 1024)
    assert max(shapely.get_num_coordinates(made)) < 20
    assert told[0][1] == pytest.approx(told[0][0], rel=0.02)


@pytest.fixture
def noisy(tmp_path):
    blobs = np.kron(np.random.default_rng(4).choice([1, 1, 2, 3, 255], (15, 20)), np.ones((6, 5), int))
    blobs[::7, ::11] = 3
    return write(tmp_path / "map.tif", blobs.astype(np.uint8)[None], UTM, nodata=255)


@pytest.mark.parametrize("ending", [".gpkg", ".shp", ".fgb", ".parquet"])
def test_files_hold_a_coverage_and_say_what_it_did(tmp_path, noisy, ending):
    heard = []
    out = tmp_path / f"out{ending}"
    polygons.vectorize(noisy, out, simplify="45m", changed_areas=heard.append)
    frame = geopandas.read_parquet(out) if ending == ".parquet" else pyogrio.read_dataframe(out, layer="out")
    assert frame.is_valid.all()
    assert shapely.coverage_is_valid(frame.geometry.values)
    np.testing.assert_allclose(frame.area, frame.area_m2, rtol=1e-9)
    assert frame.area_m2.sum() == pytest.approx(sum(each.after_m2 for each in heard[0]))
    assert [each.class_id for each in heard[0]] == [1, 2, 3]
    if ending == ".gpkg":
        told = json.loads(pyogrio.read_info(out, layer="out")["layer_metadata"]["GEOSEG_GENERALISED"])
        assert told["simplify"] == "45m"
        assert told["area_m2_before_after"]["2"] == [round(heard[0][1].before_m2, 3), round(heard[0][1].after_m2, 3)]


def test_the_classes_asked_for_have_the_outlines_that_they_have_among_all(tmp_path, noisy):
    polygons.vectorize(noisy, tmp_path / "all.gpkg", simplify="1.5px")
    polygons.vectorize(noisy, tmp_path / "some.gpkg", simplify="1.5px", classes=[2])
    whole, some = (pyogrio.read_dataframe(tmp_path / f"{each}.gpkg") for each in ("all", "some"))
    whole = whole[whole.class_id == 2].reset_index(drop=True)
    assert len(some) > 3
    assert (whole.geometry.values == some.geometry.values).all()


def test_least_areas_come_first(tmp_path, noisy):
    heard = []
    polygons.vectorize(noisy, tmp_path / "a.gpkg", simplify="45m", min_area=["1ha"], changed_areas=heard.append)
    frame = pyogrio.read_dataframe(tmp_path / "a.gpkg")
    exactly = polygons.trace(noisy)
    assert len(frame) < len(exactly)
    assert shapely.coverage_is_valid(frame.geometry.values)
    assert len(heard) == 1
    for each in heard[0]:
        assert each.before_m2 == pytest.approx(exactly.area_m2[exactly.class_id == each.class_id].sum())
        assert each.after_m2 == pytest.approx(frame.area_m2[frame.class_id == each.class_id].sum())


def test_a_frame_and_batches_hold_what_the_file_holds(tmp_path, noisy):
    asked = {"min_area": ["0.5ha"], "simplify": "45m", "crs": "EPSG:3035", "classes": [1, 2]}
    polygons.vectorize(noisy, tmp_path / "a.gpkg", **asked)
    written = pyogrio.read_dataframe(tmp_path / "a.gpkg")
    frame = geoseg.vectorize(noisy, **asked)
    assert frame.crs == written.crs == "EPSG:3035"
    assert (frame.geometry.values == written.geometry.values).all()
    np.testing.assert_array_equal(frame.area_m2, written.area_m2)
    assert json.loads(frame.attrs["GEOSEG_GENERALISED"])["simplify"] == "45m"
    table = pa.Table.from_batches(polygons.batches(noisy, **asked))
    assert table["class_id"].to_pylist() == frame.class_id.tolist()
    assert (shapely.from_wkb(table["geometry"].to_pylist()) == frame.geometry.values).all()


def test_a_class_of_which_nothing_is_left_is_told(tmp_path):
    labels = np.ones((1, 30, 30), np.uint8)
    labels[0, 10, 10] = 2
    path, heard = write(tmp_path / "map.tif", labels, UTM), []
    polygons.vectorize(path, tmp_path / "a.gpkg", simplify="1px", min_area=["1ha"], changed_areas=heard.append)
    assert [(each.class_id, each.before_m2, each.after_m2) for each in heard[0]] == [(1, 809100, 810000), (2, 900, 0)]


@pytest.mark.parametrize(
    "transform", [Affine(30, 0, 3e5, 0, -20, 4.2e6), UTM @ Affine.rotation(25), Affine(30, 0, 3e5, 0, 30, 4.2e6)]
)
def test_any_grid_in_metres_gives_a_coverage(tmp_path, transform):
    labels = np.kron(np.random.default_rng(1).choice([1, 2, 3], (1, 9, 9)), np.ones((1, 7, 7), int)).astype(np.uint8)
    polygons.vectorize(write(tmp_path / "map.tif", labels, transform), tmp_path / "a.gpkg", simplify="2px")
    frame = pyogrio.read_dataframe(tmp_path / "a.gpkg")
    assert frame.is_valid.all()
    assert shapely.coverage_is_valid(frame.geometry.values)
    assert frame.area_m2.sum() == pytest.approx(63 * 63 * abs(transform.determinant), rel=1e-9)
    np.testing.assert_allclose(frame.area, frame.area_m2, rtol=1e-7)
    assert shapely.get_exterior_ring(frame.geometry.values[0]).is_ccw


def test_areas_in_degrees_are_those_of_the_ellipsoid(tmp_path):
    labels = np.kron(np.random.default_rng(1).choice([1, 2, 3], (1, 9, 9)), np.ones((1, 7, 7), int)).astype(np.uint8)
    path = write(tmp_path / "map.tif", labels, Affine(0.001, 0, 10, 0, -0.001, 60), crs="EPSG:4326")
    polygons.vectorize(path, tmp_path / "a.gpkg", simplify="150m")
    frame = pyogrio.read_dataframe(tmp_path / "a.gpkg")
    geod = Geod(ellps="WGS84")
    by_proj = [geod.geometry_area_perimeter(shapely.segmentize(each, 2e-4))[0] for each in frame.geometry]
    np.testing.assert_allclose(frame.area_m2, by_proj, rtol=1e-4)
    assert frame.area_m2.sum() == pytest.approx(polygons.trace(path).area_m2.sum(), rel=1e-9)


@pytest.mark.parametrize("text", ["", "5", "-1m", "0m", "1e3m", "m", "5 feet", "nan m", "inf px"])
def test_what_is_no_tolerance_is_refused_and_nothing_written(tmp_path, noisy, text):
    with pytest.raises(CatalogError, match=r"is no tolerance to simplify by; write 30m, 0\.1km or 1\.5px"):
        polygons.vectorize(noisy, tmp_path / "a.gpkg", simplify=text)
    assert not (tmp_path / "a.gpkg").exists()


def test_a_map_that_is_rotated_and_in_degrees_is_refused(tmp_path):
    labels = np.ones((1, 8, 8), np.uint8)
    turned = Affine(0.001, 0, 10, 0, -0.001, 60) @ Affine.rotation(10)
    path = write(tmp_path / "map.tif", labels, turned, crs="EPSG:4326")
    with pytest.raises(RasterError, match="is rotated and in degrees, and such a map is neither simplified"):
        polygons.vectorize(path, tmp_path / "a.gpkg", simplify="150m")


@pytest.mark.slow
def test_a_real_map_keeps_its_area_and_has_no_gap(shared_data, tmp_path):
    polygons.vectorize(shared_data / "zion" / "nlcd2011.tif", tmp_path / "a.fgb", simplify="60m", workers=2)
    frame = pyogrio.read_dataframe(tmp_path / "a.fgb")
    assert frame.is_valid.all()
    assert shapely.coverage_is_valid(frame.geometry.values)
    assert frame.area_m2.sum() == pytest.approx(polygons.trace(shared_data / "zion" / "nlcd2011.tif").area_m2.sum())

"""Rounded outlines: a coverage still, near the exact one, and the same however the map is cut."""

import json
from functools import partial

import numpy as np
import pyogrio
import pytest
import shapely
from affine import Affine
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from strategies import write

import geoseg
from geoseg.errors import RasterError
from geoseg.vectors import features, polygons, simplify, smooth, stream
from geoseg.vectors.heights import Heights

UTM = Affine(30, 0, 300000, 0, -30, 4200000)
sides = st.tuples(st.integers(1, 24), st.integers(1, 24))
maps = sides.flatmap(lambda side: arrays(np.int32, side, elements=st.integers(-1, 3)))


def blob(seed):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((40, 37)), 1.5)
    return (noise * 40).astype(np.int32) % 4 - 1


blobs = st.integers(0, 10**6).map(blob)


def drawn(labels, pixels=None, square=simplify.SQUARE):
    """How outlines are rounded, after they are simplified or as they are."""
    if pixels is None:
        return smooth.Smooth(labels.shape, Heights(stream.ones, len(labels)))
    return simplify.kept([labels], labels.shape, pixels, rounded=True, square=square)


def shapes_of(labels, how, cut=10**6, workers=1):
    strips = [labels[at : at + cut] for at in range(0, len(labels), cut)]
    parts = []
    for batch in stream.trace(strips, labels.shape[1], block_cols=cut + 3, workers=workers, flagged=True):
        made, sizes = how.outlines(batch)
        parts.append((features.located(made, Affine.identity(), 1.0), sizes))
    if not parts:
        return np.empty(0, object), np.empty(0), np.empty(0)
    one = features.concatenated([part for part, _ in parts])
    shapes = shapely.from_ragged_array(3, one.points, (one.ring_starts, one.polygon_starts))
    return shapes, one.class_ids, np.concatenate([sizes for _, sizes in parts])


@settings(max_examples=share_of(150), deadline=None)
@given(maps | blobs, st.sampled_from([None, 0.3, 0.8, 1.2, 2.0, 5.0]), st.sampled_from([5, 16, 1024]))
def test_rounded_outlines_are_a_coverage_of_valid_polygons(labels, pixels, square):
    made, _, areas = shapes_of(labels, drawn(labels, pixels, square))
    assert shapely.is_valid(made).all()
    assert shapely.coverage_is_valid(made)
    np.testing.assert_allclose(shapely.area(made), areas, atol=1e-9)
    if len(made) and not (labels < 0).any():
        assert shapely.union_all(made).symmetric_difference(shapely.box(0, 0, *labels.shape[::-1])).area < 1e-9
        assert areas.sum() == pytest.approx(labels.size)


@settings(max_examples=share_of(60), deadline=None)
@given(maps | blobs)
def test_no_line_moves_by_more_than_half_a_pixel_and_every_region_stays(labels):
    made, ids, areas = shapes_of(labels, drawn(labels))
    was = list(stream.trace([labels], labels.shape[1]))
    exact = features.concatenated([features.located(each, Affine.identity(), 1.0) for each in was])
    before = shapely.from_ragged_array(3, exact.points, (exact.ring_starts, exact.polygon_starts))
    assert ids.tolist() == exact.class_ids.tolist()
    assert (areas > 0).all()
    assert all(one.boundary.hausdorff_distance(other.boundary) <= 0.5 + 1e-9 for one, other in zip(made, before))


@settings(max_examples=share_of(60), deadline=None)
@given(maps | blobs, st.sampled_from([None, 1.2]), st.integers(1, 9), st.integers(1, 3))
def test_neither_strips_nor_threads_change_anything(labels, pixels, cut, workers):
    how = drawn(labels, pixels, 8)
    one, other = shapes_of(labels, how), shapes_of(labels, how, cut, workers)
    assert shapely.to_wkb(one[0]).tolist() == shapely.to_wkb(other[0]).tolist()
    np.testing.assert_array_equal(one[2], other[2])


@pytest.mark.parametrize(("pixels", "least"), [(None, 0.78), (1.0, 0.87), (1.5, 0.96), (3.0, 0.99)])
def test_a_disk_becomes_rounder(pixels, least):
    """By Polsby and Popper's measure: 4 pi area / perimeter squared, 1 for a circle, 0.62 for the disk's pixels."""
    rows, cols = np.indices((80, 80))
    labels = (np.hypot(rows - 39.5, cols - 39.5) < 30).astype(np.int32)
    made, ids, _ = shapes_of(labels, drawn(labels, pixels))
    (disk,) = made[ids == 1]
    assert 4 * np.pi * disk.area / disk.length**2 > least
    assert disk.area == pytest.approx(np.pi * 30**2, rel=0.02)
    turn = np.diff(np.unwrap(np.arctan2(*np.diff(shapely.get_coordinates(disk), axis=0).T)))
    assert np.abs(np.degrees(turn)).max() < 29  # where most were 90


def test_reaches_keep_off_lines_sides_and_the_edge():
    """In a square of 100 pixels, a triangle whose tip comes near another."""
    frame = [(0, 0), (0, 100), (100, 100), (100, 0), (0, 0)]
    one, other = [(20, 20), (20, 60), (50, 40), (20, 20)], [(52, 10), (52, 80), (90, 40), (52, 10)]
    rings = np.array([0, 5, 9, 13])
    corners, reach = smooth.reaches(rings, np.array(frame + one + other, float), (100, 100))
    found = dict(zip(map(tuple, corners.tolist()), (reach / smooth.STEPS).tolist()))
    assert found[50, 40] == pytest.approx(0.98, abs=0.07)  # half of 2, less 2 %, in steps
    assert found[20, 20] == found[90, 40] == pytest.approx(smooth.MOST, abs=0.2)
    assert found[0, 0] == 0


@pytest.fixture
def noisy(tmp_path):
    rng = np.random.default_rng(4)
    labels = np.kron(rng.choice([1, 1, 2, 3, 255], (15, 20)), np.ones((6, 5), int))
    labels[::7, ::11] = 3
    return write(tmp_path / "map.tif", labels.astype(np.uint8)[None], UTM, nodata=255)


@pytest.mark.parametrize("simplify_by", [None, "45m"])
@pytest.mark.parametrize("ending", [".gpkg", ".shp"])
def test_files_hold_a_coverage_and_say_what_it_did(tmp_path, noisy, ending, simplify_by):
    heard, out = [], tmp_path / f"out{ending}"
    vectorize = partial(polygons.vectorize, noisy, simplify=simplify_by, smooth=True, changed_areas=heard.append)
    vectorize(out, attributes=["pixels"])
    frame = pyogrio.read_dataframe(out, layer="out")
    assert frame.is_valid.all()
    assert shapely.coverage_is_valid(frame.geometry.values)
    np.testing.assert_allclose(frame.area, frame.area_m2, rtol=1e-9)
    of_class = frame.groupby("class_id").area_m2.sum()
    assert [each.class_id for each in heard[0]] == of_class.index.tolist() == [1, 2, 3]
    assert [each.after_m2 for each in heard[0]] == pytest.approx(of_class.tolist(), rel=1e-9)
    assert [each.before_m2 for each in heard[0]] == (frame.groupby("class_id").pixels.sum() * 900.0).tolist()
    if ending == ".gpkg":
        told = json.loads(pyogrio.read_info(out, layer="out")["layer_metadata"]["GEOSEG_GENERALISED"])
        assert told["smooth"] is True
    some = geoseg.vectorize(noisy, simplify=simplify_by, smooth=True, classes=[2])
    assert frame[frame.class_id == 2].geometry.reset_index(drop=True).geom_equals(some.geometry).all()


def test_a_map_that_is_rotated_and_in_degrees_is_refused(tmp_path):
    turned = Affine(0.01, 0, 10, 0, -0.01, 50) @ Affine.rotation(20)
    path = write(tmp_path / "map.tif", np.ones((1, 9, 9), np.uint8), turned, crs="EPSG:4326")
    with pytest.raises(RasterError, match="neither simplified nor smoothed"):
        geoseg.vectorize(path, smooth=True)

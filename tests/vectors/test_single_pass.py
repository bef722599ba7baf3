"""Rings: outlines judged by GDAL's polygonize, by GEOS, and by painting them back."""

from collections.abc import Iterator

import numpy as np
import pytest
import rasterio.features
import shapely
import single_pass as rings
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays


def pixels(most: int = 12) -> st.SearchStrategy[np.ndarray]:
    """Small rasters of few values, -1 (outside) among them: full of corners that touch."""
    shape = st.tuples(st.integers(1, most), st.integers(1, most))
    values = st.integers(0, 3).flatmap(lambda top: st.just(st.integers(-1, top)))
    return values.flatmap(lambda value: shape.flatmap(lambda size: arrays(np.int32, size, elements=value)))


def strips(labels: np.ndarray, heights: list[int]) -> Iterator[np.ndarray]:
    row = 0
    for height in heights:
        yield labels[row : row + height]
        row += height
    yield labels[row:]


def shapes(outlines: rings.Outlines) -> np.ndarray:
    return shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, outlines.corners.astype(float), (outlines.ring_starts, outlines.region_starts)
    )


def by_gdal(labels: np.ndarray) -> list[tuple[int, bytes]]:
    """What GDAL makes of the whole raster at once: (value, normalised polygon)."""
    found = rasterio.features.shapes(labels, mask=labels != rings.OUTSIDE, connectivity=4)
    return sorted((int(value), shapely.normalize(shapely.geometry.shape(shape)).wkb) for shape, value in found)


@given(pixels(), st.lists(st.integers(0, 4), max_size=5))
def test_outlines_of_any_strips_are_those_gdal_finds_in_the_whole(labels, heights):
    outlines = rings.outline(strips(labels, heights), labels.shape[1])
    polygons = shapes(outlines)
    found = sorted((int(value), shapely.normalize(shape).wkb) for value, shape in zip(outlines.values, polygons))
    assert found == by_gdal(labels)


@given(pixels(), st.lists(st.integers(0, 4), max_size=5))
def test_the_height_of_strips_changes_no_bit_and_no_order(labels, heights):
    whole = rings.outline([labels], labels.shape[1])
    cut = rings.outline(strips(labels, heights), labels.shape[1])
    for name in rings.Outlines.__slots__:
        np.testing.assert_array_equal(getattr(cut, name), getattr(whole, name))


@given(pixels())
def test_outlines_are_valid_and_hold_as_much_as_their_pixels(labels):
    outlines = rings.outline([labels], labels.shape[1])
    polygons = shapes(outlines)
    assert shapely.is_valid(polygons).all()
    np.testing.assert_array_equal(shapely.area(polygons), outlines.sizes)
    assert outlines.sizes.sum() == (labels != rings.OUTSIDE).sum()


@given(pixels())
def test_painting_the_outlines_gives_the_pixels_back(labels):
    outlines = rings.outline([labels], labels.shape[1])
    pairs = list(zip(shapes(outlines), outlines.values.tolist()))
    painted = np.full(labels.shape, rings.OUTSIDE, np.int32)
    if pairs:
        rasterio.features.rasterize(pairs, out=painted)
    np.testing.assert_array_equal(painted, labels)


@given(pixels())
def test_shells_run_anticlockwise_as_seen_and_corners_are_only_where_an_outline_turns(labels):
    polygons = shapes(rings.outline([labels], labels.shape[1]))
    outer = shapely.get_exterior_ring(polygons)
    inner = shapely.get_rings(polygons[shapely.get_num_interior_rings(polygons) > 0])
    assert not shapely.is_ccw(outer).any()  # rows grow downwards, so what is seen turns round
    for ring in [*outer, *inner]:
        steps = np.diff(shapely.get_coordinates(ring), axis=0)
        assert ((steps == 0).sum(axis=1) == 1).all()
        assert ((steps == 0).argmax(axis=1) != (np.roll(steps, 1, axis=0) == 0).argmax(axis=1)).all()


def test_regions_come_in_the_order_of_their_topmost_then_leftmost_pixel():
    labels = np.array([[5, 5, 2, 5], [1, 5, 2, 5], [1, 1, 1, 1]])
    assert rings.outline([labels], 4).values.tolist() == [5, 2, 5, 1]


def test_sizes_are_those_of_the_runs_of_pixels():
    labels = np.array([[3, 3, 4], [3, 4, 4]])
    outlines = rings.outline(
        [labels[:1], labels[1:]], 3, lambda row, col, length: length * 10.0 ** (row * 3) * (col + 1)
    )
    assert dict(zip(outlines.values.tolist(), outlines.sizes.tolist())) == {3: 2 + 1000, 4: 3 + 2 * 2000}


@pytest.mark.parametrize("labels", [np.full((3, 4), rings.OUTSIDE), np.empty((0, 4), int), np.empty((0, 0), int)])
def test_nothing_gives_no_outline(labels):
    outlines = rings.outline([labels], labels.shape[1])
    assert len(outlines.values) == len(outlines.corners) == 0
    assert outlines.ring_starts.tolist() == outlines.region_starts.tolist() == [0]


@pytest.mark.slow
@pytest.mark.parametrize("strip", [1, 7, 64, 400])
@pytest.mark.sampled(2)
def test_long_winding_outlines_are_those_gdal_finds(strip):
    noise = np.random.default_rng(5).random((211, 307))
    labels = np.where(noise < 0.62, 4, 9).astype(np.int32)  # near the threshold where one region fills the plane
    outlines = rings.outline((labels[row : row + strip] for row in range(0, 211, strip)), 307)
    found = sorted(
        (int(value), shapely.normalize(shape).wkb) for value, shape in zip(outlines.values, shapes(outlines))
    )
    assert found == by_gdal(labels)

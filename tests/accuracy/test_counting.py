"""Counting: pixels and areas of pairs of classes, the same however the extent is cut, judged by pyproj."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod
from shapely.geometry import Polygon

from geoseg.accuracy import counting
from geoseg.accuracy.counting import Comparison
from geoseg.accuracy.ignore import NOTHING, Ignore
from geoseg.accuracy.references import opened
from geoseg.catalog import Reference
from geoseg.catalog.legend import LandClass, Legend
from geoseg.grid import Region, Window

LEGEND = Legend("three", tuple(LandClass(id, f"class {id}", "#000000") for id in (1, 2, 3)))
DEGREES = ("EPSG:4326", Affine(0.01, 0, 8.0, 0, -0.02, 61.0))
METRES = ("EPSG:32612", Affine(30, 0, 301_905, 0, -30, 4_154_085))
TURNED = ("EPSG:4326", Affine.translation(8, 61) @ Affine.rotation(20) @ Affine.scale(0.01, -0.02))


def written(path, ids, crs, transform):
    profile = {"driver": "GTiff", "height": ids.shape[0], "width": ids.shape[1], "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile, crs=crs, transform=transform, nodata=255) as file:
        file.write(ids, 1)
    return Reference(path.stem, str(path), 1, LEGEND, None)


def counted(folder, pair, place, step=1024, cells=None, **how):
    """What is counted of two arrays at a place, in squares of `step`, and what was asked."""
    files = [written(folder / f"{name}.tif", ids, *place) for name, ids in zip(("map", "truth"), pair)]
    with pytest.MonkeyPatch.context() as patch, opened(files[0]) as mapped, opened(files[1]) as reference:
        patch.setattr(counting, "STEP", step)
        region = how.pop("region", None)
        asked = Comparison(
            legends=(LEGEND, LEGEND),
            grid=mapped.grid,
            extent=mapped.window,
            resampling=("nearest", "nearest"),
            **{"ignore": NOTHING, "trained": None, "edge": 32} | how,
            classes=(np.arange(5), np.arange(5), 3),
            ground=None if region is None else region.on(mapped.grid),
        )
        windows = asked.squares
        found = counting.Counts(asked)
        for part in (windows[::2], windows[1::2]):
            found.add(counting.count(asked, mapped, reference, part))
        return found, asked


@pytest.mark.parametrize("place", [METRES, DEGREES, TURNED], ids=["metres", "degrees", "turned"])
@pytest.mark.parametrize("region", [None, ((5, 3), (120, 20), (60, 88))])
def test_squares_without_a_reference_or_any_data_count_as_they_do_among_others(folder, place, region):
    mapped, truth = randoms((90, 130), 7)
    truth[:64], mapped[:32, 64:] = 255, 255
    mapped[40, 100] = 77
    shape = None if region is None else Polygon([place[1] @ each for each in region])
    how = {} if shape is None else {"region": Region.of_shape(shape, place[0], "triangle")}
    whole, _ = counted(folder, (mapped, truth), place, **how)
    parts, _ = counted(folder, (mapped, truth), place, step=16, **how)
    for each in ("pairs", "sizes"):
        np.testing.assert_array_equal(getattr(whole, each), getattr(parts, each))
    assert whole.unknown == parts.unknown == ({77}, set())
    np.testing.assert_array_equal(whole.blocks.sums, parts.blocks.sums)
    if region is None:
        for at, id in enumerate((1, 2, 3)):
            assert parts.pairs[3, at] == ((mapped == id) & (truth == 255)).sum()


def randoms(shape, seed=0):
    made = np.random.default_rng(seed)
    return [made.choice(np.array([1, 2, 3, 255], np.uint8), shape) for _ in range(2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("counting")


@pytest.mark.parametrize("place", [METRES, DEGREES, TURNED], ids=["metres", "degrees", "turned"])
@given(step=st.sampled_from([32, 64, 100, 128]), bins=st.sampled_from([1, 300, 2**21]), seed=st.integers(0, 99))
@settings(max_examples=share_of(8))
def test_what_is_read_and_counted_at_once_changes_nothing(folder, place, step, bins, seed):
    pair = randoms((90, 130), seed)
    pair[0][5, 7] = 77
    corners = [place[1] @ each for each in ((5, 3), (120, 20), (60, 88))]
    how = {"region": Region.of_shape(Polygon(corners), place[0], "triangle"), "ignore": Ignore(frozenset([3]))}
    whole, _ = counted(folder, pair, place, **how)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "_BINS", bins)
        parts, _ = counted(folder, pair, place, step, **how)
    assert np.array_equal(whole.pairs, parts.pairs)
    assert np.array_equal(whole.sizes, parts.sizes)
    assert (whole.ignored, whole.unknown) == (parts.ignored, parts.unknown)


@pytest.mark.parametrize("place", [METRES, DEGREES, TURNED], ids=["metres", "degrees", "turned"])
def test_areas_are_those_of_the_pixels(folder, place):
    ours, other = randoms((40, 30))
    found, asked = counted(folder, (ours, other), place)
    unit_m2 = counting.area_weights(asked)[1]
    if place is METRES:
        judge = np.full(ours.shape, 900.0)
    else:
        judge = np.zeros(ours.shape)
        for row, col in np.ndindex(*ours.shape):
            corners = [place[1] @ (col + x, row + y) for x, y in ((0, 0), (0, 1), (1, 1), (1, 0))]
            judge[row, col] = abs(Geod(ellps="WGS84").geometry_area_perimeter(Polygon(corners))[0])
    for a in range(3):
        for b in range(3):
            there = (other == a + 1) & (ours == b + 1)
            assert found.pairs[a, b] == there.sum()
            assert found.sizes[a, b] * unit_m2 == pytest.approx(judge[there].sum(), rel=1e-5)


def test_the_squares_are_the_extent_each_pixel_once(folder):
    _, asked = counted(folder, randoms((90, 130)), METRES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "STEP", 32)
        seen = np.zeros(asked.extent.shape, int)
        for window in asked.squares:
            assert isinstance(window, Window)
            seen[window.within(asked.extent)] += 1
    assert (seen == 1).all()

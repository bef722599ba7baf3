"""Rows that other processes read give what threads here give, to the byte, in whatever order they come."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
from affine import Affine
from strategies import write

from geoseg.vectors import polygons, sieve, source
from geoseg.vectors.spread import Spread, in_order

UTM = Affine(30, 0, 300_000, 0, -30, 4_200_000)
DEGREES = Affine(0.001, 0, 10, 0, -0.001, 50)


def elsewhere(function, items):
    """A map whose items and results are pickled, and come in any order."""
    sent = [pickle.dumps((function, item)) for item in items]
    random.Random(3).shuffle(sent)
    for each in sent:
        work, item = pickle.loads(each)
        yield pickle.loads(pickle.dumps(work(item)))


@pytest.fixture
def small_strips(monkeypatch):
    monkeypatch.setattr(source, "_STRIP_PIXELS", 700)


@pytest.fixture
def blobs(tmp_path):
    """A map in patches of any size, with holes in the data."""
    rng = np.random.default_rng(11)
    ids = np.kron(rng.integers(1, 5, (31, 26)), np.ones((3, 3), int))
    ids = np.where(rng.random(ids.shape) < 0.2, rng.integers(0, 5, ids.shape), ids).astype(np.uint8)
    write(tmp_path / "map.tif", ids[None], UTM, nodata=0, tiled=True, blockxsize=16, blockysize=16)
    write(tmp_path / "confidence.tif", rng.integers(0, 255, (1, *ids.shape), np.uint8), UTM)
    return tmp_path / "map.tif"


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"attributes": ["pixels", "perimeter", "confidence"], "classes": [1, 3]},
        {"min_area": ["1ha"], "classes": [2, 4]},
        {"simplify": "1.5px", "min_area": ["4=2ha"]},
        {"smooth": True, "classes": [1]},
        {"smooth": True, "simplify": "1px"},
    ],
    ids=lambda how: "-".join(how) or "exact",
)
def test_files_are_the_same_to_the_byte(blobs, small_strips, how):
    for name, where in (("here", None), ("there", elsewhere)):
        polygons.vectorize(blobs, blobs.with_name(f"{name}.shp"), mapper=where, **how)
    for ending in (".shp", ".shx", ".dbf"):
        assert blobs.with_name(f"here{ending}").read_bytes() == blobs.with_name(f"there{ending}").read_bytes()


def test_a_map_in_degrees_keeps_its_areas(tmp_path, small_strips):
    ids = np.random.default_rng(2).integers(1, 3, (1, 70, 40), np.uint8)
    write(tmp_path / "map.tif", ids, DEGREES, crs="EPSG:4326")
    for name, where in (("here", None), ("there", elsewhere)):
        polygons.vectorize(tmp_path / "map.tif", tmp_path / f"{name}.shp", mapper=where)
    assert (tmp_path / "here.dbf").read_bytes() == (tmp_path / "there.dbf").read_bytes()


def test_rows_of_a_sieved_map_are_those_of_the_whole(blobs, small_strips):
    of_map = source.described(blobs)
    spread = Spread.of(of_map, elsewhere)
    found = sieve.sieve(of_map.strips, {}, 9)
    whole = np.concatenate(list(found.strips()))
    there = Spread(spread.source, elsewhere, spread.strip_rows, sieve.sieve(of_map.strips, {}, 9, parts=spread.parts()))
    for start, end in ((0, 1), (5, 40), (-1, 93), (60, 200)):
        np.testing.assert_array_equal(there.part(start, end).read(), whole[max(0, start) : end])


def test_what_comes_too_early_waits():
    assert list(in_order(elsewhere, str, range(100))) == list(map(str, range(100)))
    assert list(in_order(elsewhere, str, [])) == []

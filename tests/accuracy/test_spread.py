"""Squares that other processes count, in any order, add up to what threads here count."""

from __future__ import annotations

import pickle
import random

import geopandas
import numpy as np
import pytest
import shapely
from strategies import NORTH_UP, write

from geoseg import catalog
from geoseg.accuracy import counting, score, spread, tables
from geoseg.accuracy.boundaries import Boundaries
from geoseg.catalog import Reference

LEGEND = catalog.shipped().legend("landsat-6class")
SHAPE = 150, 130


def elsewhere(function, items):
    """A map whose items and results are pickled, and come in any order."""
    sent = [pickle.dumps((function, item)) for item in items]
    random.Random(1).shuffle(sent)
    for each in sent:
        work, item = pickle.loads(each)
        yield pickle.loads(pickle.dumps(work(item)))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setattr(counting, "STEP", 32)
    monkeypatch.setattr(spread, "_AT_ONCE", 3)
    rng = np.random.default_rng(5)
    for name in ("map", "reference"):
        write(tmp_path / f"{name}.tif", rng.integers(0, 6, (1, *SHAPE), np.uint8), nodata=0)
    write(tmp_path / "confidence.tif", rng.random((1, *SHAPE)).astype(np.float32))
    corners = [(10, 20, 60, 90), (40, 50, 120, 100), (-5, -5, 20, 10)]
    boxes = [shapely.box(*NORTH_UP @ (left, low), *NORTH_UP @ (right, top)) for left, top, right, low in corners]
    frame = geopandas.GeoDataFrame({"what": ["1", "2", "1"]}, geometry=boxes, crs="EPSG:32612")
    frame.to_file(tmp_path / "boxes.gpkg")
    return tmp_path


@pytest.mark.parametrize("column", [None, "what"])
def test_scores_are_those_of_threads(here, column):
    file = "reference.tif" if column is None else "boxes.gpkg"
    reference = Reference(file, str(here / file), 1, LEGEND, None, column=column)
    how = {"legend": LEGEND, "zones": here / "boxes.gpkg", "confidence": here / "confidence.tif"}
    how["boundaries"] = Boundaries(2, 1)
    told = []
    one = score.score(here / "map.tif", reference, **how, workers=2)
    many = score.score(here / "map.tif", reference, **how, mapper=elsewhere, progress=lambda *now: told.append(now))
    assert tables.as_json(one) == tables.as_json(many)
    done = [each for each, _ in told]
    assert done == sorted(done)
    assert told[-1][0] == told[-1][1] > 20


def test_threads_tell_each_square(here):
    told = []
    reference = Reference("reference", str(here / "reference.tif"), 1, LEGEND, None)
    found = score.score(here / "map.tif", reference, legend=LEGEND, workers=3, progress=lambda *now: told.append(now))
    assert [done for done, _ in told] == list(range(1, told[-1][1] + 1))
    assert found.confusion.matrix.any()

"""Reading: however many processes make the chips, they are those of one, and what goes wrong there is a sentence."""

import os
import signal
import sys

import geopandas
import numpy as np
import pytest
import shapely
from labelled_scenes import loaded

from geoseg import catalog
from geoseg.catalog.card import Normalisation
from geoseg.errors import JobError, RasterError
from geoseg.training import fit, reading, recipe, scenes
from geoseg.training.chips import Draw
from geoseg.training.division import Squares
from geoseg.training.planes import Cache, Windowed
from geoseg.training.recipe import AugmentSpec, ChipsSpec, Recipe, SceneSpec

AUGMENT = AugmentSpec(gain=0.2, offset=0.1, gamma=0.1, haze=0.3, drop=0.2)


def windowed(folder):
    known = catalog.read(folder / "data_catalog.yaml")
    spec = SceneSpec(imagery="scene", reference="truth")
    how = known.legend("plain"), Squares(16, 0.15, 0.15, 0, 1), Normalisation(kind="scene")
    return scenes.load(known, spec, ("nir", "red"), *how, cache=Cache(10**6))


@pytest.mark.slow
def test_readers_make_the_chips_of_one_process_in_its_order_and_one_that_dies_is_a_sentence(folder):
    scene = windowed(folder)
    alone = reading.Source(Draw([loaded(folder)], ChipsSpec(size=16), 3, 5, AUGMENT), 4)
    with reading.source(Draw([scene], ChipsSpec(size=16), 3, 5, AUGMENT), 4, 2) as ahead:
        assert scene.pixels.cache.most_bytes == 10**6 // 3
        for _ in range(5):
            assert ahead.state == alone.state
            for ours, theirs in zip(ahead(), alone()):
                np.testing.assert_array_equal(ours, theirs)
        before = ahead.state
        first = ahead()
        ahead.state = before  # as a training does that goes on
        np.testing.assert_array_equal(ahead()[0], first[0])
        os.kill(ahead.readers[1].process.pid, signal.SIGKILL)
        with pytest.raises(JobError, match="one of 2 processes that read chips ended by signal 9, perhaps for lack of"):
            [ahead() for _ in range(5)]
    assert [each.process.poll() is not None for each in ahead.readers] == [True, True]


@pytest.mark.slow
def test_what_goes_wrong_in_a_reader_is_raised_as_it_is_and_readers_load_no_torch(folder):
    scene, message = loaded(folder), "the disk is gone"

    def gone(window):
        raise RasterError(message + " with torch" * ("torch" in sys.modules))

    draw = Draw([scene], ChipsSpec(size=16), 3, 0)
    broken = scenes.LabelledScene("scene", scene.window, Windowed(gone), scene.labels, scene.division, 1.0)
    broken._known["survey"] = scene.survey()
    draw.sources = [broken]
    with reading.source(draw, 2, 1) as ahead, pytest.raises(RasterError, match=r"^the disk is gone$"):
        ahead()


def test_there_are_readers_where_scenes_are_read_by_windows_alone(folder):
    held, read = (Draw([each], ChipsSpec(size=16), 3, 0) for each in (loaded(folder), windowed(folder)))
    assert [reading.readers_of(asked, held, 1) for asked in (None, 0, 3)] == [0, 0, 0]
    assert [reading.readers_of(asked, read, 1) for asked in (0, 3)] == [0, 3]
    assert 0 <= reading.readers_of(None, read, 2) <= reading.readers_of(None, read, 1) <= 4


def test_chips_are_ordered_ahead_as_far_as_memory_allows(folder, monkeypatch):
    draw = Draw([windowed(folder)], ChipsSpec(size=16), 3, 0)
    assert reading._Ahead(draw, 8, [None]).most == 16
    monkeypatch.setattr(reading, "_MOST_BYTES", 5 * 16 * 16 * (2 * 4 + 8))
    assert reading._Ahead(draw, 8, [None]).most == 5
    assert reading._Ahead(draw, 8, [None] * 6).most == 6


class StoppedError(Exception):
    """By the test."""


def stop(done, total, row):
    if done == 9 and row is None:
        raise StoppedError


@pytest.mark.slow
@pytest.mark.parametrize("polygons", [False, True])
def test_weights_are_the_same_with_and_without_readers_and_after_a_stop(folder, polygons):
    change = {"epochs": 2, "memory": 60_000, "augment": AUGMENT.model_dump()}
    if polygons:  # what a division by a layer needs goes to the readers too, and so do drawn labels
        place = shapely.box(500000, 3999000, 501300, 4000000)
        geopandas.GeoDataFrame({"division": ["validation"]}, geometry=[place], crs="EPSG:32633").to_file(
            folder / "held.gpkg"
        )
        shapes = [shapely.box(500000 + 500 * at, 3997500, 500500 + 500 * at, 4000000) for at in range(6)]
        geopandas.GeoDataFrame({"kind": [10, 20, 30] * 2}, geometry=shapes, crs="EPSG:32633").to_file(
            folder / "fields.gpkg"
        )
        text = (folder / "data_catalog.yaml").read_text()
        (folder / "data_catalog.yaml").write_text(
            text.replace("file: truth.tif,", "file: fields.gpkg, column: kind,", 1)
        )
        change |= {"split": {"by": "polygons", "file": str(folder / "held.gpkg")}}
    text = recipe.read(folder / "training.yaml").model_dump(mode="json", exclude_none=True)
    spec = Recipe.model_validate({**text, **change})
    ahead = spec.model_copy(update={"readers": 2})
    found = [fit.train(each, folder / str(each.readers)).card.weights.sha256 for each in (spec, ahead)]
    with pytest.raises(StoppedError):
        fit.train(ahead, folder / "stopped", progress=stop)
    found.append(fit.train(ahead, folder / "stopped").card.weights.sha256)
    assert found[0] == found[1] == found[2]

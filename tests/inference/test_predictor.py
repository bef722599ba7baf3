"""Predictor: the facts of a model that is ready to run, and what is refused at its door."""

import os
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from model_folders import write_model
from noise import pixels_of, tile_of
from pydantic import TypeAdapter

from geoseg import catalog, process
from geoseg.errors import JobError, ModelError, PredictionError
from geoseg.grid import Tile, Window
from geoseg.imagery import Statistics
from geoseg.inference.predictor import Predictor, prepare
from geoseg.models import loading


def test_a_predictor_travels_light_and_keeps_its_facts(crop, tmp_path):
    long = write_model(tmp_path, training={"scenes": ["many words"] * 999}, scores={"mean_iou": 0.5}, bands=4)
    assert len(pickle.dumps(prepare(long))) < 4000
    assert (
        len(pickle.dumps(prepare(catalog.shipped().model("landsat-6class"), Statistics((1,) * 4, (1,) * 4, 9)))) < 4000
    )
    assert pickle.loads(pickle.dumps(crop)) == crop
    adapter = TypeAdapter(Predictor)
    assert adapter.validate_json(adapter.dump_json(crop)) == crop
    assert replace(crop, batch=3, threads=2, device="cuda").facts == crop.facts
    assert replace(crop, stitch="blend").facts != crop.facts


def test_auto_takes_what_the_card_says(model):
    ready = prepare(model)
    card = model.card
    assert (ready.core, ready.halo, ready.margin) == (card.window, card.halo, card.halo)
    assert (ready.precision, ready.stitch, ready.device) == ("float32", "crop", "auto")
    assert prepare(model, core=4, stitch="blend").margin == -(-card.halo // 4) * 4 + card.halo


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"core": 17}, "inference.window is 17; model 'tiny' needs multiples of 2 pixels, for instance 16 or 18"),
        ({"core": 0}, "inference.window is 0; .* for instance 2 or 4"),
        ({"halo": 27}, "inference.halo is 27; .* multiples of 2"),
        ({"batch": -1}, "batch is -1"),
        ({"precision": "float8"}, "inference.precision is 'float8'; choose one of float32"),
        ({"stitch": "vote"}, "inference.stitch is 'vote'; choose one of crop, blend"),
    ],
)
def test_what_does_not_fit_the_network_is_refused(model, asked, said):
    with pytest.raises(JobError, match=said):
        prepare(model, **asked)


@pytest.mark.parametrize("device", ["gpu", "cpu:", "cpu:0x", "cuda:one", "mps"])
def test_an_unknown_device_is_refused(model, device):
    with pytest.raises(ModelError, match=r"choose 'auto', 'cpu', 'cuda' or 'cuda:<number>'"):
        prepare(model, device=device)


def test_a_scene_wide_normalisation_needs_the_scenes_statistics(tmp_path):
    model = write_model(tmp_path, normalisation={"kind": "scene"})
    ready = prepare(model, Statistics((1.0, 2.0), (3.0, 0.0), 10))
    assert (ready.mean, ready.std) == ((1.0, 2.0), (3.0, 1.0))
    with pytest.raises(ModelError, match="was given none"):
        prepare(model)
    with pytest.raises(ModelError, match="give those of its 2 bands"):
        prepare(model, Statistics((1.0,), (3.0,), 10))
    with pytest.raises(ModelError, match="imagery that has data"):
        prepare(model, Statistics((np.nan, 1.0), (np.nan, 1.0), 0))


def test_percentiles_of_the_scene_become_low_and_width(tmp_path):
    model = write_model(tmp_path, normalisation={"kind": "percentile", "percentiles": [2, 98]})
    found = Statistics((9.0, 9.0), (3.0, 3.0), 10, {2: (1.0, 5.0), 50: (7.0, 7.0), 98: (11.0, 5.0)})
    ready = prepare(model, found)
    assert (ready.mean, ready.std) == ((1.0, 5.0), (10.0, 1.0))
    assert ready.facts["normalisation"] == "percentile"
    assert prepare(model, Statistics((9.0, 9.0), (3.0, 3.0), 10, {2: (1.0, 5.0), 98: (12.0, 5.0)})).facts != ready.facts
    with pytest.raises(ModelError, match="was given none"):
        prepare(model)
    with pytest.raises(ModelError, match="give those of its 2 bands"):
        prepare(model, Statistics((9.0, 9.0), (3.0, 3.0), 10))


def test_a_tile_that_does_not_fit_is_refused(crop):
    tile = tile_of(crop, Window(0, 0, 16, 16))
    with pytest.raises(PredictionError, match=r"takes 2 bands of .* and was given an array of shape \(3, 40, 40\)"):
        crop(np.zeros((3, 40, 40), "float32"), tile)
    with pytest.raises(PredictionError, match="was given an array of shape"):
        crop(np.zeros((2, tile.read.height + 1, tile.read.width), "float32"), tile)
    for other in (tile_of(replace(crop, core=14), tile.keep), tile_of(replace(crop, halo=2), tile.keep)):
        with pytest.raises(PredictionError, match=f"give whole cores of 16 pixels and a margin of {crop.margin}"):
            crop(np.zeros((2, *other.read.shape), "float32"), other)


def test_a_wider_margin_than_needed_changes_nothing(crop):
    keep = Window(-16, 32, 32, 48)
    tile = tile_of(crop, keep)
    wide = Tile(tile.read.grown(7), crop.core, keep)
    pixels = pixels_of(wide.read.shape)
    inner = tile.read.within(wide.read)
    wanted = np.stack(crop(pixels[(slice(None), *inner)], tile))
    assert np.array_equal(np.stack(crop(pixels, wide))[(slice(None), *inner)], wanted)


@pytest.mark.slow
def test_preparing_a_predictor_loads_no_torch(model, tmp_path):
    code = (
        "import sys; from geoseg.catalog.card import read_model; from geoseg.inference.predictor import prepare\n"
        f"ready = prepare(read_model({model.folder!r}))\n"
        "assert 'torch' not in sys.modules and ready.core == 16"
    )
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    for _ in range(2):  # tried in a process of its own, then known
        subprocess.run([sys.executable, "-c", code], check=True, env=env)
    assert len(list(tmp_path.rglob("*.json"))) == 1


def test_loading_a_predictor_warms_this_process(crop, monkeypatch):
    process.renew()
    crop.load()
    monkeypatch.setattr(loading, "_load", lambda *_: pytest.fail("it is loaded already"))
    tile = tile_of(crop, Window(0, 0, 16, 16))
    crop(pixels_of(tile.read.shape), tile)

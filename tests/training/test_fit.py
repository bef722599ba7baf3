"""What training promises: it learns, from nothing it should not see, and the same again from the same seed."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import safetensors.numpy
import torch
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from geoseg import catalog, imagery
from geoseg.catalog.card import Normalisation, read_model
from geoseg.errors import CatalogError, JobError, ModelError
from geoseg.grid import Window
from geoseg.models import loading, receptive_field
from geoseg.training import chips, fit, recipe
from geoseg.training.chips import BEYOND, DIVISIONS, TEST, TRAIN, VALIDATION, Draw
from geoseg.training.recipe import ChipsSpec, SceneSpec

CATALOG = """
imagery:
  scene: {files: scene.tif, bands: {red: 1, nir: 2}, attribution: made here}
references:
  truth: {file: truth.tif, legend: codes}
legends:
  codes:
    classes:
      - {id: 10, name: deep, colour: '#0000ff'}
      - {id: 20, name: bare, colour: '#aaaaaa'}
      - {id: 30, name: lush, colour: '#00ff00'}
      - {id: 99, name: doubtful, colour: '#ff00ff'}
  plain:
    classes:
      - {id: 3, name: green, colour: '#00ff00'}
      - {id: 1, name: water, colour: '#0000ff'}
      - {id: 2, name: soil, colour: '#aaaaaa'}
crosswalks:
  codes-to-plain: {from: codes, to: plain, classes: {10: 1, 20: 2, 30: 3, 99: null}}
"""
RECIPE = """
name: tiny
licence: CC0-1.0
imagery: scene
reference: truth
bands: [nir, red]
legend: plain
architecture: {name: compact, width: 4, depth: 1}
chips: {size: 16, square: 16, per_epoch: 64, jitter: 0.05}
epochs: 6
batch: 8
learning_rate: 0.02
seed: 1
"""


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Small tensors are quicker on one thread, above all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(tmp_path):
    """A scene of 96 x 112 pixels in squares of three classes, a narrower reference, and their catalog."""
    random = np.random.default_rng(0)
    kinds = np.kron(random.integers(0, 3, (12, 14)), np.ones((8, 8), int))
    means = np.array([[100, 400, 900], [50, 300, 2000]], float)
    pixels = means[:, kinds] + random.normal(0, 60, (2, 96, 112))
    pixels = np.maximum(pixels, 1)
    pixels[:, 40:50, 60:70] = -1
    where = {"crs": "EPSG:32633", "transform": Affine(30, 0, 500000, 0, -30, 4000000)}
    with rasterio.open(tmp_path / "scene.tif", "w", "GTiff", 112, 96, 2, dtype="int16", nodata=-1, **where) as file:
        file.write(pixels.astype(np.int16))
    codes = np.array([10, 20, 30])[kinds][:, :100]
    codes[:8, :8], codes[8:16, :8] = 99, 0
    with rasterio.open(tmp_path / "truth.tif", "w", "GTiff", 100, 96, 1, dtype="uint8", nodata=0, **where) as file:
        file.write(codes.astype(np.uint8), 1)
    (tmp_path / "data_catalog.yaml").write_text(CATALOG)
    (tmp_path / "training.yaml").write_text(RECIPE)
    return tmp_path


def loaded(folder, part=None, normalisation="scene", **options):
    known = catalog.read(folder / "data_catalog.yaml")
    spec = SceneSpec(imagery="scene", reference="truth", part=part or {})
    cut = ChipsSpec(size=16, square=16, **options)
    bands = ("nir", "red")
    return chips.load(known, spec, bands, known.legend("plain"), cut, Normalisation(kind=normalisation), 1)


def test_labels_are_places_in_the_legend_and_only_where_there_are_data(folder):
    scene = loaded(folder)
    with rasterio.open(folder / "truth.tif") as file:
        codes = file.read(1)
    expected = np.full((96, 112), -1)
    for code, place in ((10, 1), (20, 2), (30, 0)):  # water, soil and green stand second, third and first
        expected[:, :100][codes == code] = place
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


@given(
    row=st.integers(-500, 500), col=st.integers(-500, 500), dy=st.integers(0, 30), dx=st.integers(0, 30),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_the_division_of_a_pixel_depends_on_its_place_alone(row, col, dy, dx, seed):
    cut = ChipsSpec(square=16)
    whole = chips.divide(Window(row, col, 64, 80), {}, cut, seed)
    inner = Window(row + dy, col + dx, 20, 30)
    np.testing.assert_array_equal(chips.divide(inner, {}, cut, seed), whole[inner.within(Window(row, col, 64, 80))])


def test_squares_are_divided_in_the_stated_shares():
    found = chips.divide(Window(0, 0, 4000, 4000), {}, ChipsSpec(square=16, validation=0.2, test=0.1), 0)
    shares = np.bincount(found.ravel(), minlength=4) / found.size
    np.testing.assert_allclose(shares, [0.7, 0.2, 0.1, 0], atol=0.01)


@pytest.mark.parametrize(
    ("side", "kept"),
    [("west", np.s_[:, :28]), ("east", np.s_[:, 84:]), ("north", np.s_[:24]), ("south", np.s_[72:])],
)
def test_nothing_beyond_a_part_is_learnt_or_seen(folder, side, kept):
    scene = loaded(folder, {side: 0.25})
    inside = np.zeros((96, 112), bool)
    inside[kept] = True
    np.testing.assert_array_equal(scene.division == BEYOND, ~inside)
    assert np.isnan(scene.seen()[:, ~inside]).all()
    np.testing.assert_array_equal(scene.seen()[:, inside], scene.pixels[:, inside])


def test_chips_show_training_labels_alone(folder):
    scene = loaded(folder, rarity=1.0, jitter=0.0)
    held = scene.division != TRAIN
    marked = np.where(held, np.int16(2), np.where(scene.labels >= 0, np.int16(0), np.int16(-1)))
    marked = chips.LabelledScene("scene", scene.window, scene.pixels, marked, scene.division, 1.0)
    pixels, labels = Draw([marked], ChipsSpec(size=16, jitter=0.0), 3, 0)(50)
    assert set(np.unique(labels)) == {-1, 0}
    assert pixels.dtype == np.float32
    assert labels.dtype == np.int64
    assert (labels >= 0).any(axis=(1, 2)).all()


def test_chips_keep_pixels_and_labels_together_and_nodata_zero(folder):
    scene = loaded(folder)
    place = np.where(scene.division == TRAIN, scene.labels, -1)
    pixels = np.where(np.isnan(scene.pixels), np.nan, np.stack([scene.labels + 10.0] * 2)).astype(np.float32)
    scene = chips.LabelledScene("scene", scene.window, pixels, place.astype(np.int16), scene.division, 1.0)
    pixels, labels = Draw([scene], ChipsSpec(size=16, jitter=0.0), 3, 0)(50)
    assert (pixels == 0).any()
    np.testing.assert_array_equal(pixels[:, 0][labels >= 0], labels[labels >= 0] + 10.0)
    jittered, labels = Draw([scene], ChipsSpec(size=16, jitter=0.5), 3, 0)(50)
    assert ((jittered == 0) == (jittered[:, :1] == 0)).all()
    assert (jittered == 0).any()


def test_a_chip_larger_than_the_scene_is_filled_with_nodata(folder):
    pixels, labels = Draw([loaded(folder)], ChipsSpec(size=256), 3, 0)(2)
    assert pixels.shape == (2, 2, 256, 256)
    assert (labels >= 0).any(axis=(1, 2)).all()


def test_training_learns_and_writes_a_whole_model_folder(folder):
    told = []
    spec = recipe.read(folder / "training.yaml")
    model = fit.train(spec, progress=lambda done, total, row: told.append((done, total, row)))
    assert Path(model.folder) == folder / "tiny"
    assert told[-1][:2] == (48, 48)
    assert [row["epoch"] for _, _, row in told if row] == [1, 2, 3, 4, 5, 6]

    card = read_model(folder / "tiny").card
    assert card == model.card
    assert hashlib.sha256(model.weights.read_bytes()).hexdigest() == card.weights.sha256
    assert safetensors.numpy.load_file(model.weights)["head.weight"].shape == (3, 4, 1, 1)
    assert (card.stride, card.halo, card.field, card.bands) == (2, 8, "bounded", ("nir", "red"))
    assert (card.normalisation.kind, card.gsd_m, card.licence) == ("scene", 30, "CC0-1.0")
    assert card.legend == catalog.read(folder / "data_catalog.yaml").legend("plain")
    assert card.scores["all unseen"]["mean_iou"] > 0.8
    assert card.training["scenes"][0]["attribution"] == "made here"
    assert card.training["recipe"]["seed"] == 1
    assert "/" not in json.dumps(card.training)  # no path of this machine

    with (folder / "tiny" / "learning_curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["mean_iou"]) > float(rows[0]["mean_iou"])
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert (folder / "tiny" / "learning_curves.png").read_bytes()[:4] == b"\x89PNG"
    assert not list((folder / "tiny").glob(".new-*"))


def test_the_scores_on_the_card_are_those_of_its_weights(folder):
    model = fit.train(recipe.read(folder / "training.yaml"))
    network = loading.load(model, "cpu")
    field = receptive_field.Field(model.card.halo, model.card.stride, model.card.field)
    scene = loaded(folder)
    for division in (VALIDATION, TEST):
        matrix = fit.confusion(network, field, scene, division, 3)
        assert matrix.sum() == (scene.labels[scene.division == division] >= 0).sum()
        said = fit.scores_of(matrix, model.card.legend)
        assert said == model.card.scores["scene"][DIVISIONS[division]]


def test_the_same_seed_gives_the_same_weights_and_another_does_not(folder):
    spec = recipe.read(folder / "training.yaml").model_copy(update={"epochs": 1})
    state = torch.random.get_rng_state()
    hashes = [
        fit.train(spec.model_copy(update={"seed": seed}), folder / f"m{number}").card.weights.sha256
        for number, seed in enumerate((1, 1, 3))
    ]
    assert hashes[0] == hashes[1] != hashes[2]
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_model_is_not_replaced_unasked(folder):
    spec = recipe.read(folder / "training.yaml").model_copy(update={"epochs": 1})
    before = fit.train(spec).card
    with pytest.raises(ModelError, match="holds a model already"):
        fit.train(spec)
    after = fit.train(spec.model_copy(update={"seed": 3}), overwrite=True).card
    assert after.weights.sha256 != before.weights.sha256


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("epochs: 6", "epoch: 6"), "unknown key 'epoch'; did you mean 'epochs'"),
        (("imagery: scene", "scenes: [{imagery: scene, reference: truth}]"), "give either 'imagery' with 'reference'"),
        (("reference: truth", ""), "belong together"),
        (("size: 16", "size: 17"), "chips.size is 17; the network takes multiples of 2 pixels, for instance 18"),
        (("square: 16", "square: 16, test: 0.9"), "leave nothing to train on"),
        (("square: 16", "square: 4000"), "no label of reference 'truth' falls on (train|validation) squares"),
        (("[nir, red]", "[nir, green]"), "training needs band 'green'"),
        (("learning_rate: 0.02", "learning_rate: 1.0e+38"), "make learning_rate smaller"),
        (("reference: truth", "reference: truth\ncrosswalk: nlcd-to-landsat-6class"), "'plain' is to be learnt"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_sentence(folder, change, said):
    (folder / "training.yaml").write_text(RECIPE.replace(*change))
    with pytest.raises((JobError, ModelError, CatalogError), match=said):
        fit.train(recipe.read(folder / "training.yaml"))
    assert not (folder / "tiny" / "card.yaml").exists()


def test_part_of_a_scene_names_one_side():
    with pytest.raises(ValueError, match="one side"):
        SceneSpec(imagery="scene", reference="truth", part={"west": 0.5, "north": 0.5})
    with pytest.raises(ValueError, match="share between 0 and 1"):
        SceneSpec(imagery="scene", reference="truth", part={"west": 1.5})

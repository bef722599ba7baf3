"""What training promises: it learns, from nothing it should not see, and the same again from the same seed."""

import csv
import hashlib
import json
from pathlib import Path

import pytest
import safetensors.numpy
import torch
from labelled_scenes import RECIPE

from geoseg import catalog
from geoseg.catalog.card import read_model
from geoseg.errors import CatalogError, JobError, ModelError
from geoseg.training import fit, recipe


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

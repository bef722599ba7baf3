"""Start: a network that goes on from a model gives what the model gives, and what differs is matched by name."""

import json

import numpy as np
import pytest
import torch
from labelled_scenes import loaded

from geoseg.catalog.card import dump, read_model
from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import GeosegError
from geoseg.models import loading, networks
from geoseg.training import fit, preparation, recipe, start
from geoseg.training.division import TEST, TRAIN, VALIDATION
from geoseg.training.recipe import Recipe, StartSpec


def asked(folder, **changes):
    text = recipe.read(folder / "training.yaml").model_dump(mode="json", exclude_unset=True, exclude={"architecture"})
    return Recipe.model_validate({**text, "start": {"model": "base"}, "epochs": 1, **changes})


def answers(network, pixels):
    network = network.to(memory_format=torch.channels_last)  # as it is mapped with
    with torch.inference_mode():
        return network.eval()(torch.from_numpy(pixels)[None])[0].numpy()


PIXELS = np.random.default_rng(0).normal(0, 1, (2, 32, 32)).astype(np.float32)


def test_before_the_first_step_it_gives_what_the_model_gives(folder, base):
    ready = preparation.prepared(asked(folder))
    np.testing.assert_array_equal(answers(ready.network, PIXELS), answers(loading.load(base, "cpu"), PIXELS))
    assert ready.recipe.start.head == "keep"
    assert ready.recipe.normalisation == base.card.normalisation


def test_the_same_classes_in_another_order_have_the_same_scores(folder, base):
    text = (folder / "data_catalog.yaml").read_text()
    classes = [
        f"{{id: {at}, name: {name}, colour: '#00000{at}'}}" for at, name in enumerate(("soil", "green", "water"))
    ]
    legend = f"  turned: {{classes: [{', '.join(classes)}]}}\n"
    walk = "  codes-to-turned: {from: codes, to: turned, classes: {10: 2, 20: 0, 30: 1, 99: null}}"
    text = text.replace("crosswalks:", f"{legend}crosswalks:\n{walk}")
    (folder / "data_catalog.yaml").write_text(text)
    ready = preparation.prepared(asked(folder, legend="turned"))
    before = answers(loading.load(base, "cpu"), PIXELS)  # green, water, soil
    np.testing.assert_allclose(answers(ready.network, PIXELS), before[[2, 0, 1]], rtol=1e-4, atol=1e-5)


def test_bands_are_matched_by_their_names(folder, base):
    ready = preparation.prepared(asked(folder, bands=["red", "nir"]))
    before = answers(loading.load(base, "cpu"), PIXELS)
    np.testing.assert_allclose(answers(ready.network, PIXELS[::-1].copy()), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "architecture",
    [{"name": "compact", "width": 4, "depth": 1}, {"name": "compact", "width": 4, "depth": 1, "stem": 2},
     pytest.param({"name": "smp", "arch": "Unet", "encoder": "resnet18"}, marks=pytest.mark.slow)],
)  # fmt: skip
def test_another_band_has_the_mean_of_the_known_ones_and_none_of_it_changes_nothing(folder, base, architecture):
    legend = base.card.legend
    torch.manual_seed(0)
    old = networks.build(architecture, 2, 3).eval()
    (folder / "base" / "weights.safetensors").write_bytes(data := loading.safetensors.torch.save(old.state_dict()))
    weights = base.card.weights.model_copy(update={"sha256": fit.folders.hashlib.sha256(data).hexdigest()})
    (folder / "base" / "card.yaml").write_bytes(
        dump(base.card.model_copy(update={"architecture": architecture, "weights": weights, "stride": 32, "halo": 320}))
    )
    model = read_model(folder / "base")
    spec = asked(folder, bands=["nir", "green", "red"]).model_copy(
        update={"architecture": architecture, "start": StartSpec(model="base", head="keep")}
    )
    network = networks.build(architecture, 3, 3)
    start.taken(network, model, spec, legend)
    three = np.stack([PIXELS[0], np.zeros((32, 32), np.float32), PIXELS[1]])
    np.testing.assert_allclose(answers(network, three), answers(old, PIXELS), rtol=1e-4, atol=1e-4)
    first = next(iter(network.state_dict().values()))
    known = next(iter(old.state_dict().values()))
    by_band, before = (each.reshape(each.shape[0], n, -1) for each, n in ((first, 3), (known, 2)))
    torch.testing.assert_close(by_band[:, 1], before.mean(1))
    assert torch.equal(by_band[:, [0, 2]], before)


def test_other_classes_get_a_new_head_and_all_else_is_kept(folder, base):
    legend = Legend("two", tuple(LandClass(at, name, "#000000") for at, name in enumerate(("water", "land"))))
    spec = asked(folder).model_copy(
        update={"architecture": base.card.architecture, "start": StartSpec(model="base", head="new")}
    )
    network = networks.build(base.card.architecture, 2, 2)
    fresh = {name: each.clone() for name, each in network.state_dict().items()}
    start.taken(network, base, spec, legend)
    before = loading.load(base, "cpu").state_dict()
    for name, each in network.state_dict().items():
        assert torch.equal(each, (fresh if name.startswith("head.") else before)[name]), name
    assert network.head.weight.shape[0] == 2


@pytest.mark.parametrize("head", ["keep", "new"])
def test_a_frozen_encoder_stays_as_it_is_and_the_rest_learns(folder, base, head):
    model = fit.train(asked(folder, start={"model": "base", "freeze": "encoder", "head": head}))
    before, after = (loading.load(each, "cpu").state_dict() for each in (base, model))
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoders", "ups", "head"}


def moved(base, model):
    before, after = (loading.load(each, "cpu").state_dict() for each in (base, model))
    return sum(
        float((after[name] - before[name]).abs().sum()) for name in before if "encoders" in name and "weight" in name
    )


@pytest.mark.slow
def test_a_slow_encoder_moves_less(folder, base):
    slow, fast = (
        fit.train(asked(folder, start={"model": "base", "encoder_rate": factor}), folder / f"m{factor}")
        for factor in (0.01, 1.0)
    )
    assert 0 < moved(base, slow) < 0.1 * moved(base, fast)


class StoppedError(Exception):
    """By the test."""


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["none", pytest.param("encoder", marks=pytest.mark.slow)])
def test_it_goes_on_after_a_stop_as_if_there_had_been_none(folder, base, freeze):
    spec = asked(folder, start={"model": "base", "freeze": freeze}, epochs=3)
    whole = fit.train(spec, folder / "whole")

    def progress(done, total, row):
        if done == 12 and row is None:
            raise StoppedError

    with pytest.raises(StoppedError):
        fit.train(spec, folder / "broken", progress=progress)
    heard = []
    broken = fit.train(spec, folder / "broken", progress=lambda done, total, row: heard.append(done))
    assert heard[0] == 8
    assert broken.card.weights == whole.card.weights


@pytest.mark.slow
def test_the_card_says_from_what_it_was_made_and_what_that_has_seen(folder, base):
    card = fit.train(asked(folder, split={"by": "squares", "folds": 3})).card
    assert card.training["start"] == {"model": "tiny", "sha256": base.card.weights.sha256}
    assert card.training["recipe"]["start"]["sha256"] == base.card.weights.sha256
    assert "/" not in json.dumps(card.training)
    assert card.areas[1:] == base.card.areas
    assert card.training["scenes"][1]["model"] == "tiny"
    assert card.architecture == base.card.architecture


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"start": {"model": "bass"}}, "no model is called 'bass'"),
        ({"architecture": {"name": "compact", "width": 8}}, "leave it out, since start.model decides it"),
        ({"start": {"model": "base", "sha256": "0" * 64}}, "start.sha256 is 0000.*fetch the model that was meant"),
        (
            {"start": {"model": "base", "head": "keep"}, "legend": "codes"},
            "start.head is 'keep', but model 'tiny' tells green, water, soil apart and deep, bare.*take head: new",
        ),
    ],
)
def test_what_cannot_be_gone_on_with_is_refused_in_a_sentence(folder, base, change, said):
    with pytest.raises(GeosegError, match=said):
        preparation.prepared(asked(folder, **change))


def test_a_whole_network_of_another_kind_is_refused(folder, base):
    (folder / "base" / "card.yaml").write_bytes(dump(base.card.model_copy(update={"architecture": {"name": "onnx"}})))
    with pytest.raises(GeosegError, match="is onnx, which cannot be trained on; start from a compact or smp model"):
        preparation.prepared(asked(folder))


def test_numbers_of_a_normalisation_do_not_fit_other_bands(folder, base):
    numbers = recipe.Normalisation(kind="fixed", mean=(1.0, 2.0), std=(1.0, 1.0))
    (folder / "base" / "card.yaml").write_bytes(dump(base.card.model_copy(update={"normalisation": numbers})))
    assert preparation.prepared(asked(folder)).recipe.normalisation == numbers
    with pytest.raises(GeosegError, match="has numbers for nir, red, not for red, nir; state 'normalisation'"):
        preparation.prepared(asked(folder, bands=["red", "nir"]))


@pytest.mark.parametrize("kind", ["percentile", "dynamic-world"])
def test_a_normalisation_that_training_does_not_know_is_refused(folder, base, kind):
    numbers = {"mean": (1.0, 1.0), "std": (1.0, 1.0)} if kind == "dynamic-world" else {"percentiles": (2.0, 98.0)}
    other = base.card.model_copy(update={"normalisation": recipe.Normalisation(kind=kind, **numbers)})
    (folder / "base" / "card.yaml").write_bytes(dump(other))
    with pytest.raises(GeosegError, match=f"normalisation is {kind}; training knows scene, fixed and none: state one"):
        preparation.prepared(asked(folder))


def test_a_model_folder_beside_the_spec_is_found_from_anywhere(folder, base, monkeypatch, tmp_path_factory):
    (folder / "training.yaml").write_text(
        (folder / "training.yaml")
        .read_text()
        .replace("architecture: {name: compact, width: 4, depth: 1}", "start: {model: base}")
    )
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    ready = preparation.prepared(recipe.read(folder / "training.yaml"))
    assert ready.model.card == base.card


@pytest.mark.parametrize(("seed", "flattered"), [(1, False), (2, True)])
def test_held_out_labels_that_the_model_was_trained_on_are_noted(folder, base, seed, flattered):
    ready = preparation.prepared(asked(folder, seed=seed))
    notes = [each for each in ready.split.notes if "from which this one starts" in each]
    before, after = loaded(folder, buffer=8), ready.split.scenes[0]
    held = np.isin(after.division, (VALIDATION, TEST)) & (after.labels >= 0)
    known = held & (before.division == TRAIN)
    assert known.any() == flattered
    share = f"{known.sum() / held.sum():.0%}"
    said = f"{share} of the held-out labels lie where model 'tiny', from which this one starts, was trained"
    assert notes == ([f"{said}: scores flatter"] if flattered else [])

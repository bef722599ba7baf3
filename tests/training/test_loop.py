"""Loop: the learning rate, weights of classes, and a training that goes on as if it had never been stopped."""

import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import torch
from labelled_scenes import loaded

from geoseg import catalog
from geoseg.errors import ModelError
from geoseg.training import checkpoint, fit, loop, recipe
from geoseg.training.division import TRAIN
from geoseg.training.recipe import ChipsSpec, Recipe

ALL = {
    "architecture": {"name": "compact", "width": 4, "depth": 1, "dropout": 0.3},
    "augment": {"gain": 0.2, "offset": 0.1, "gamma": 0.1, "haze": 0.3, "drop": 0.2},
    "loss": {"dice": 0.3, "focal": 1.0, "smoothing": 0.05},
    "accumulate": 2,
    "epochs": 4,
}
"""Every part of training that draws by chance or keeps a state."""


def asked(folder, **changes):
    """The recipe of a folder with all of it."""
    text = recipe.read(folder / "training.yaml").model_dump(mode="json", exclude_none=True)
    return Recipe.model_validate({**text, **ALL, **changes})


@pytest.mark.parametrize("power", [0.0, 0.25, 1.0])
def test_class_weights_are_powers_of_rarity_and_1_on_average(folder, power):
    scene = loaded(folder)
    legend = catalog.read(folder / "data_catalog.yaml").legend("plain")
    weights = loop.class_weights([scene, scene], legend, power).numpy().astype(float)
    counts = scene.counts(TRAIN, 3)
    np.testing.assert_allclose(weights / weights[0], (counts / counts[0]) ** -power, rtol=1e-5)
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1, rel=1e-5)


def test_a_class_without_labels_has_no_weight(folder):
    scene = loaded(folder)
    labels = np.where(scene.labels == 1, np.int16(-1), scene.labels)
    legend = catalog.read(folder / "data_catalog.yaml").legend("plain")
    weights = loop.class_weights([replace(scene, labels=labels)], legend, 0.5)
    assert weights[1] == 0
    assert (weights[[0, 2]] > 0).all()


class StoppedError(Exception):
    """By the test."""


def stop_at(step):
    def progress(done, total, row):
        if done == step and row is None:
            raise StoppedError

    return progress


@pytest.mark.parametrize("steps", [(1, 8, 9), *(pytest.param(each, marks=pytest.mark.slow) for each in ((5,), (16,)))])
def test_a_training_that_was_stopped_ends_as_the_uninterrupted_one(folder, steps):
    spec = asked(folder)
    whole = fit.train(spec, folder / "whole")
    for step in steps:
        with pytest.raises(StoppedError):
            fit.train(spec, folder / "broken", progress=stop_at(step))
        assert not (folder / "broken" / "card.yaml").exists()
    heard = []
    model = fit.train(spec, folder / "broken", progress=lambda done, total, row: heard.append(done))
    assert model.card.weights == whole.card.weights
    assert heard[0] == (steps[-1] - 1) // 4 * 4  # whole epochs are not done again
    assert model.card.scores == whole.card.scores
    curves = [(folder / each / "learning_curves.csv").read_text() for each in ("whole", "broken")]
    assert [line.rpartition(",")[0] for line in curves[0].splitlines()] == [
        line.rpartition(",")[0] for line in curves[1].splitlines()
    ]


HOST = """
    import os, random, signal, sys, time
    import torch
    torch.set_num_threads(1)
    from geoseg.training import fit, recipe
    spec, out = recipe.Recipe.model_validate_json(sys.argv[1]), sys.argv[2]
    chance, kills = random.Random(int(sys.argv[3])), 0
    while not os.path.exists(out + "/card.yaml"):
        child = os.fork()
        if not child:
            fit.train(spec, out)
            os._exit(0)
        if kills < 10:
            time.sleep(chance.uniform(0.02, 0.45))
            os.kill(child, signal.SIGKILL)
        kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    print(kills)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_training_that_was_killed_at_random_moments_has_the_same_weights(folder, seed):
    spec = asked(folder, epochs=6)
    fit.train(spec, folder / "whole")
    command = [sys.executable, "-c", textwrap.dedent(HOST), spec.model_dump_json(), str(folder / "killed"), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert int(done.stdout) >= 3
    for name in ("weights.safetensors", "division.geojson"):
        assert (folder / "killed" / name).read_bytes() == (folder / "whole" / name).read_bytes()


@pytest.mark.slow
def test_a_checkpoint_of_another_training_is_not_gone_on_with(folder):
    spec = asked(folder, epochs=2)
    with pytest.raises(StoppedError):
        fit.train(spec, progress=stop_at(6))
    other = spec.model_copy(update={"seed": 7})
    with pytest.raises(ModelError, match="holds the checkpoint of a training with another spec"):
        fit.train(other)
    assert fit.train(other, overwrite=True).card.training["recipe"]["seed"] == 7
    assert not (folder / "tiny" / checkpoint.NAME).exists()


@pytest.mark.slow
def test_training_stops_when_it_gets_no_better_for_so_many_epochs(folder):
    card = fit.train(asked(folder, epochs=40, patience=2, learning_rate=0.05)).card
    assert card.training["epochs"] == card.training["best_epoch"] + 2 < 40


def test_gradients_of_batches_add_up_to_those_of_one(folder):
    """Without batch statistics two halves of a batch give the step of the whole."""
    spec = asked(
        folder, epochs=1, augment={}, loss={}, class_weight=0, chips={"size": 16, "square": 16, "per_epoch": 8}
    )
    scene = loaded(folder, buffer=8)
    scene = replace(scene, labels=np.where(scene.labels >= 0, scene.labels, np.int16(0)))
    legend = catalog.read(folder / "data_catalog.yaml").legend("plain")
    found = []
    for batch, accumulate in ((8, 1), (4, 2)):
        torch.manual_seed(0)
        network = torch.nn.Conv2d(2, 3, 1)
        one = spec.model_copy(update={"batch": batch, "accumulate": accumulate})
        where = folder / f"batch{batch}"
        loop.fit(network, [scene], one, legend, loop.receptive_field.Field(0, 1, "bounded"), loop.Store(str(where)),
                 lambda *_: None)  # fmt: skip
        found.append(torch.cat([each.detach().flatten() for each in network.parameters()]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("warm_up", [0.0, 0.1, 0.5])
def test_the_learning_rate_rises_to_its_highest_and_falls_to_almost_nothing(warm_up):
    spec = Recipe(
        name="a", imagery="a", reference="b", bands=("red",), legend="l", epochs=10, batch=10, warm_up=warm_up,
        chips=ChipsSpec(per_epoch=100), learning_rate=0.01,
    )  # fmt: skip
    rates = np.array([loop.rate(step, spec) for step in range(100)])
    warm = round(100 * warm_up)
    assert rates.max() <= 0.01
    assert rates[max(warm - 1, 0)] == pytest.approx(0.01, rel=1e-3)
    assert (np.diff(rates[:warm]) > 0).all()
    assert (np.diff(rates[warm:]) < 0).all()
    assert 0 < rates[-1] < 1e-4
    if not warm_up:  # torch's own, a step later
        adam = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.01)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 101)
        for rate in rates:
            adam.step()
            cosine.step()
            assert rate == pytest.approx(cosine.get_last_lr()[0], rel=1e-6)


@pytest.mark.slow
def test_arithmetic_in_half_the_digits_learns_too(folder):
    card = fit.train(asked(folder, precision="bfloat16", epochs=6, augment={}, accumulate=1)).card
    assert card.scores["all unseen"]["mean_iou"] > 0.6

"""Processes: two that train together do what one does with twice the batch, also after a stop."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import safetensors.numpy
import torch
from labelled_scenes import RECIPE

from geoseg.catalog.card import read_model
from geoseg.training import fit, processes, recipe
from geoseg.training.processes import Team
from geoseg.training.recipe import Recipe

TRAINING = """
    import os, sys
    import torch
    torch.set_num_threads(1)
    from geoseg.training import fit, recipe
    stop = int(sys.argv[3])
    def progress(done, total, row):
        if done == stop and row is None:
            os._exit(3)
    fit.train(recipe.Recipe.model_validate_json(sys.argv[1]), sys.argv[2], device="cpu", progress=progress)
"""


def together(folder, spec, name, stop=-1):
    """Weights of a training by two processes, or None where it was stopped after a step."""
    (folder / "training.py").write_text(textwrap.dedent(TRAINING))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(folder / "training.py"), spec.model_dump_json(), str(folder / name), str(stop)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert (done.returncode == 0) == (stop < 0), done.stderr
    return None if stop >= 0 else weights_of(folder / name)


def weights_of(path):
    return safetensors.numpy.load_file(path / "weights.safetensors")


def apart(one, other):
    """Distance of all weights."""
    names = [name for name in one if not name.endswith("num_batches_tracked")]
    return float(np.sqrt(sum(np.square(one[name].astype(float) - other[name]).sum() for name in names)))


def asked(folder, **changes):
    text = recipe.read(folder / "training.yaml").model_dump(mode="json", exclude_none=True)
    losses = {"loss": {"dice": 0.3, "focal": 1.0, "smoothing": 0.05}, "accumulate": 2, "epochs": 2}
    return Recipe.model_validate({**text, **losses, **changes})


@pytest.mark.slow
def test_two_processes_do_what_one_does_with_twice_the_batch(folder):
    few = {"epochs": 1, "learning_rate": 0.003, "chips": {"size": 16, "square": 16, "per_epoch": 32}}
    # More steps make more of rounding, as Adam divides by small gradients.
    two = together(folder, asked(folder, batch=4, **few), "two")
    fit.train(asked(folder, batch=8, **few), folder / "one")
    fit.train(asked(folder, batch=4, **few), folder / "half")
    one, half = weights_of(folder / "one"), weights_of(folder / "half")
    assert apart(two, one) < 1e-3 * apart(half, one)
    cards = [read_model(folder / name).card for name in ("two", "one")]
    assert cards[0].training["processes"] == 2
    assert cards[0].training["recipe"]["batch"] == 4
    assert cards[0].scores["all unseen"]["mean_iou"] == pytest.approx(
        cards[1].scores["all unseen"]["mean_iou"], abs=0.01
    )


@pytest.mark.slow
def test_two_processes_that_were_stopped_end_with_the_same_weights(folder):
    spec = asked(folder, batch=4, epochs=3, architecture={"name": "compact", "width": 4, "depth": 1, "dropout": 0.3})
    whole = together(folder, spec, "whole")
    together(folder, spec, "broken", stop=6)
    assert (folder / "broken" / "checkpoint.safetensors").exists()
    assert apart(together(folder, spec, "broken"), whole) == 0


@pytest.mark.slow
def test_torchrun_runs_the_command_and_one_process_tells(folder):
    (folder / "training.yaml").write_text(RECIPE.replace("epochs: 6", "epochs: 1"))
    (folder / "command.py").write_text("from geoseg.cli import main\nmain()\n")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(folder / "command.py"), "train", str(folder / "training.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    assert done.stdout.count("wrote ") == 1
    assert done.stderr.count("epoch 1 of 1") == 1
    assert read_model(folder / "tiny").card.training["processes"] == 2


def test_shares_of_a_batch_are_all_of_it():
    batch = np.arange(24).reshape(8, 3)
    np.testing.assert_array_equal(np.concatenate([Team(rank, 4).own(batch) for rank in range(4)]), batch)


def test_one_process_alone_shares_nothing(monkeypatch):
    alone, network = Team(), torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    alone.share_statistics(network)
    assert type(network[0]) is torch.nn.BatchNorm2d
    scores = torch.ones(2)
    assert alone.gathered(scores) is scores
    assert alone.first
    with processes.joined("cpu") as (team, where):
        assert (team, where) == (Team(0, 1), torch.device("cpu"))
    monkeypatch.setenv("RANK", "3")
    assert processes.rank() == 0
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert processes.rank() == 3

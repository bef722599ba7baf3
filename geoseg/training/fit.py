"""Training: fit a network to labelled scenes and write it as a model folder.

A training spec (YAML) names scenes and references of the catalog, an architecture and a schedule. The folder
gets the card, which states the spec, the weights as safetensors (never a pickle) and the learning curves. On one
machine, with one number of threads, the same spec and seed give the same weights on a CPU.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from geoseg import catalog
from geoseg.catalog.card import Model, read_model
from geoseg.catalog.legend import Legend
from geoseg.errors import JobError, ModelError
from geoseg.models import networks, receptive_field
from geoseg.models.networks import parameters_of
from geoseg.storage.store import Store
from geoseg.training import folder as folders
from geoseg.training import scenes, scoring
from geoseg.training.chips import Draw
from geoseg.training.division import TRAIN, VALIDATION, Squares
from geoseg.training.recipe import Recipe
from geoseg.training.scenes import LabelledScene
from geoseg.training.scoring import Row

_DECAY = 0.99

Progress = Callable[[int, int, Row | None], None]
"""Called with batches done, batches in all, and after each epoch its row of the learning curves."""


def train(
    recipe: Recipe,
    folder: Path | str | None = None,
    *,
    overwrite: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
) -> Model:
    """Fit a network and write its model folder: card, weights and learning curves.

    Pixels without a label, without data in any band, or within the buffer of a held-out square are not learnt from. The
    weights kept are a running mean of the trained ones, from the epoch whose mean IoU over all scenes' validation
    squares is best.

    Parameters
    ----------
    recipe : Recipe
        What to learn from what; see `recipe.read`.
    folder : path, optional
        Model folder; default: the recipe's `out`.
    overwrite : bool
        Replace a model that the folder holds.
    device : str, optional
        A torch device; default: a CUDA device if there is one, else the CPU.
    progress : callable, optional
        Called with the batches done and the batches in all, and after each epoch its scores.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        If the architecture is unknown, the folder holds a model already, or the loss is not finite.
    CatalogError, RasterError, JobError
        If a scene cannot be read, or leaves no labels to train or validate on.
    """
    store = Store(str(Path(folder or recipe.out or recipe.name).absolute()))
    if store.exists("card.yaml") and not overwrite:
        raise ModelError(f"{store.root} holds a model already; name another folder, or replace it with overwrite")
    started = time.monotonic()
    known = catalog.read(recipe.catalog)
    legend = known.legend(recipe.legend)
    legend.check_fits_uint8()
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = networks.build(recipe.architecture, len(recipe.bands), len(legend))
        field = receptive_field.probe(network, len(recipe.bands))
        _check_sizes(recipe, field)
        squares = Squares.of(recipe.chips, recipe.seed, field)
        labelled = [
            scenes.load(known, each, recipe.bands, legend, squares, recipe.normalisation) for each in recipe.all_scenes
        ]
        rows = _fit(network.to(where), labelled, recipe, legend, field, progress or (lambda done, total, row: None))
    how = folders.description(recipe, known, labelled, squares, rows, legend)
    how |= {"seconds": round(time.monotonic() - started), "parameters": parameters_of(network)}
    scores = scoring.scores_by_scene(network, field, labelled, legend)
    data = safetensors.torch.save({name: each.cpu().contiguous() for name, each in network.state_dict().items()})
    folders.write(store, folders.card_of(recipe, known, legend, field, data, how, scores), data, rows)
    return read_model(store.root)


# ----------------------------------------------------------------------------------------- fitting


def _fit(
    network: nn.Module,
    labelled: Sequence[LabelledScene],
    recipe: Recipe,
    legend: Legend,
    field: receptive_field.Field,
    progress: Progress,
) -> list[Row]:
    """Fit in place; the network ends with the best weights. Returns the learning curves."""
    draw = Draw(labelled, recipe.chips, len(legend), recipe.seed)
    where = next(network.parameters()).device
    weights = _class_weights(labelled, legend, recipe.class_weight)
    loss_of = nn.CrossEntropyLoss(weights.to(where), ignore_index=-1)
    steps = -(-recipe.chips.per_epoch // recipe.batch)
    adam = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        adam, recipe.learning_rate, total_steps=recipe.epochs * steps, pct_start=0.15
    )
    mean = copy.deepcopy(network).eval()
    rows: list[Row] = []
    best, kept = -1.0, copy.deepcopy(mean.state_dict())
    for epoch in range(recipe.epochs):
        began, total = time.monotonic(), 0.0
        network.train()
        for step in range(steps):
            pixels, labels = (torch.from_numpy(each).to(where) for each in draw(recipe.batch))
            loss = loss_of(network(pixels.contiguous(memory_format=torch.channels_last)), labels)
            adam.zero_grad()
            loss.backward()
            adam.step()
            schedule.step()
            total += _finite(loss, epoch)
            _blend(mean, network, len(rows) * steps + step)
            progress(epoch * steps + step + 1, recipe.epochs * steps, None)
        first, *others = (scoring.judge(mean, field, each, VALIDATION, weights) for each in labelled)
        rate, seconds = float(schedule.get_last_lr()[0]), time.monotonic() - began
        rows.append(scoring.row_of(epoch, total / steps, sum(others, first), rate, legend, seconds))
        progress((epoch + 1) * steps, recipe.epochs * steps, rows[-1])
        if rows[-1]["mean_iou"] > best:
            best, kept = rows[-1]["mean_iou"], copy.deepcopy(mean.state_dict())
    network.load_state_dict(kept)
    network.eval()
    return rows


def _class_weights(labelled: Sequence[LabelledScene], legend: Legend, power: float) -> Tensor:
    """(class,) rarity ** power, 1 on average over the labels; 0 for a class without labels."""
    counts = np.sum([each.counts(TRAIN, len(legend)) for each in labelled], axis=0).astype(float)
    weights = np.where(counts > 0, (np.maximum(counts, 1) / counts.sum()) ** -power, 0)
    return torch.tensor(weights * counts.sum() / (weights * counts).sum(), dtype=torch.float32)


@torch.no_grad()
def _blend(mean: nn.Module, network: nn.Module, step: int) -> None:
    """Move the running mean of weights and statistics towards the network; at first it follows fast."""
    decay = min(_DECAY, (1 + step) / (10 + step))
    for old, new in zip(mean.state_dict().values(), network.state_dict().values()):
        if old.is_floating_point():
            old.lerp_(new, 1 - decay)
        else:
            old.copy_(new)


def _finite(loss: Tensor, epoch: int) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise ModelError(f"the loss is {value} in epoch {epoch + 1}; make learning_rate smaller")
    return value


def _check_sizes(recipe: Recipe, field: receptive_field.Field) -> None:
    if recipe.chips.size % field.stride:
        raise JobError(
            f"chips.size is {recipe.chips.size}; the network takes multiples of {field.stride} pixels, "
            f"for instance {-(-recipe.chips.size // field.stride) * field.stride}"
        )

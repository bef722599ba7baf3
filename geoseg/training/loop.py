"""Loop: epochs of steps, each epoch judged on the validation areas and kept as a checkpoint.

A training that goes on from a checkpoint does what it would have done without the break, bit for bit on a CPU: weights,
their running mean, the optimiser, and all that is drawn by chance are as they were.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from geoseg.catalog.legend import Legend
from geoseg.errors import ModelError
from geoseg.models import receptive_field
from geoseg.storage.store import Store
from geoseg.training import checkpoint, losses, reading, scoring, start
from geoseg.training.checkpoint import Checkpoint
from geoseg.training.chips import Draw
from geoseg.training.division import TRAIN, VALIDATION
from geoseg.training.processes import Team
from geoseg.training.reading import Source
from geoseg.training.recipe import Recipe
from geoseg.training.scenes import LabelledScene
from geoseg.training.scoring import Judged, Row

Progress = Callable[[int, int, Row | None], None]
"""Called with steps done, steps in all, and after each epoch its row of the learning curves."""


@dataclass(slots=True, eq=False)
class _Training:
    """What changes while a network is fitted."""

    network: nn.Module
    mean: nn.Module
    """Running mean of the network."""
    adam: torch.optim.AdamW
    names: list[str]
    """Of the parameters, in the optimiser's order."""
    source: Source
    """Of chips."""
    kept: dict[str, Tensor]
    """The best of the means so far."""
    rows: list[Row]
    """The learning curves."""
    team: Team

    @property
    def best(self) -> int:
        """Number of rows up to the best one; 0 before the first."""
        return max(range(len(self.rows)), key=lambda at: self.rows[at]["mean_iou"], default=-1) + 1

    def held(self) -> Checkpoint:
        """All of it."""
        state = self.adam.state_dict()["state"]
        optimiser = {f"{self.names[at]}.{key}": each for at, kinds in state.items() for key, each in kinds.items()}
        tensors = {"network": self.network.state_dict(), "mean": self.mean.state_dict(), "kept": self.kept}
        chance = self.team.states(torch.random.get_rng_state())
        facts = {"rows": self.rows, "draw": self.source.state}
        return Checkpoint({**tensors, "adam": optimiser, "chance": chance}, facts)

    def take(self, held: Checkpoint) -> None:
        """Go back to what was held."""
        self.network.load_state_dict(held.tensors["network"])
        self.mean.load_state_dict(held.tensors["mean"])
        self.kept = dict(held.tensors["kept"])
        state = self.adam.state_dict()
        state["state"] = {
            at: {key: held.tensors["adam"][f"{name}.{key}"] for key in ("step", "exp_avg", "exp_avg_sq")}
            for at, name in enumerate(self.names)
        }
        self.adam.load_state_dict(state)
        torch.random.set_rng_state(held.tensors["chance"][self.team.name(self.team.rank)])
        self.source.state = held.facts["draw"]
        self.rows = list(held.facts["rows"])


def fit(
    network: nn.Module,
    labelled: Sequence[LabelledScene],
    recipe: Recipe,
    legend: Legend,
    field: receptive_field.Field,
    store: Store,
    progress: Progress,
    *,
    overwrite: bool = False,
    team: Team | None = None,
) -> list[Row]:
    """Fit a network in place, from a checkpoint of the same training if there is one; it ends with the best weights.

    Parameters
    ----------
    network
        In training mode, on its device.
    labelled
        Scenes, divided.
    recipe, legend, field
        What to learn, and how far the network sees.
    store
        The model folder, where the checkpoint is kept.
    progress
        Told of each step and epoch.
    overwrite
        Start over where the folder holds the checkpoint of another training.
    team
        Processes that train together, each with the recipe's batch; default: this one alone.

    Returns
    -------
    list of Row
        The learning curves.

    Raises
    ------
    ModelError
        If the loss is not finite, or the folder holds the checkpoint of another training.
    JobError
        If a process that reads chips ends.
    """
    team = team or Team()
    recipe = recipe.model_copy(update={"batch": recipe.batch * team.size})
    where = next(network.parameters()).device
    weights = class_weights(labelled, legend, recipe.class_weight)
    loss_of = losses.of(recipe.loss, weights.to(where))
    mean = copy.deepcopy(network).eval()
    team.share_statistics(network)
    groups = start.groups_of(network, recipe.start)
    parameters = dict(network.named_parameters())
    learnt = [{"params": [parameters[name] for name in names], "factor": factor} for factor, names in groups]
    draw = Draw(labelled, recipe.chips, len(legend), recipe.seed, recipe.augment)
    of = checkpoint.identity(recipe, labelled, where.type if team.size == 1 else f"{where.type} x {team.size}")
    with reading.source(draw, recipe.batch, reading.readers_of(recipe.readers, draw, team.size)) as source:
        now = _Training(
            network,
            mean,
            torch.optim.AdamW(learnt, recipe.learning_rate, weight_decay=recipe.weight_decay),
            [name for _, names in groups for name in names],
            source,
            copy.deepcopy(mean.state_dict()),
            [],
            team,
        )
        if held := checkpoint.load(store, of, overwrite=overwrite):
            now.take(held)
        judged = [each for each in labelled if each.counts(VALIDATION, len(legend)).any()]
        steps = steps_of(recipe)
        progress(len(now.rows) * steps, recipe.epochs * steps, None)
        while len(now.rows) < recipe.epochs and not _patient_no_more(now, recipe):
            began, epoch = time.monotonic(), len(now.rows)
            loss = _epoch(now, recipe, loss_of, progress)
            found = _judged(mean, field, judged, weights, team)
            seconds, last = time.monotonic() - began, rate((epoch + 1) * steps - 1, recipe)
            now.rows.append(scoring.row_of(epoch, loss, found, last, legend, seconds))
            if now.best == len(now.rows):
                now.kept = copy.deepcopy(mean.state_dict())
            held = now.held()
            if team.first:
                checkpoint.save(store, held, of)
            progress((epoch + 1) * steps, recipe.epochs * steps, now.rows[-1])
    network.load_state_dict(now.kept)
    network.eval()
    return now.rows


def steps_of(recipe: Recipe) -> int:
    """Steps in an epoch.

    Parameters
    ----------
    recipe
        Its chips, batch and batches in a step.
    """
    return -(-recipe.chips.per_epoch // (recipe.batch * recipe.accumulate))


def rate(step: int, recipe: Recipe) -> float:
    """The learning rate of a step: up in a straight line while it warms up, then down a cosine to almost 0.

    Parameters
    ----------
    step
        From 0.
    recipe
        Its highest learning rate, warm-up, epochs and steps.
    """
    total = recipe.epochs * steps_of(recipe)
    warm = round(recipe.warm_up * total)
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm + 1) / (total - warm + 1)))


def class_weights(labelled: Sequence[LabelledScene], legend: Legend, power: float) -> Tensor:
    """(class,) rarity ** power, 1 on average over the labels; 0 for a class without labels.

    Parameters
    ----------
    labelled
        Scenes, divided.
    legend
        The classes.
    power
        0: all weights are 1; 1: all classes count the same.
    """
    counts = np.sum([each.counts(TRAIN, len(legend)) for each in labelled], axis=0).astype(float)
    weights = np.where(counts > 0, (np.maximum(counts, 1) / counts.sum()) ** -power, 0)
    return torch.tensor(weights * counts.sum() / (weights * counts).sum(), dtype=torch.float32)


def _epoch(now: _Training, recipe: Recipe, loss_of: losses.Loss, progress: Progress) -> float:
    """One round of steps; the mean loss of its batches."""
    steps, epoch, total = steps_of(recipe), len(now.rows), 0.0
    where = next(now.network.parameters()).device
    now.network.train()
    start.hold_frozen(now.network, recipe.start)
    for step in range(steps):
        for group in now.adam.param_groups:
            group["lr"] = group["factor"] * rate(epoch * steps + step, recipe)
        now.adam.zero_grad()
        for _ in range(recipe.accumulate):
            drawn, labels = now.source()
            pixels, truth = (torch.from_numpy(each).to(where) for each in (now.team.own(drawn), labels))
            with torch.autocast(where.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                scores = now.network(pixels.contiguous(memory_format=torch.channels_last))
            loss = loss_of(now.team.gathered(scores), truth) / recipe.accumulate
            loss.backward()
            total += _finite(loss, epoch)
        now.team.mean_gradients(now.network.parameters())
        now.adam.step()
        _blend(now.mean, now.network, epoch * steps + step, recipe.averaging)
        progress(epoch * steps + step + 1, recipe.epochs * steps, None)
    return total / steps


def _judged(
    mean: nn.Module, field: receptive_field.Field, judged: Sequence[LabelledScene], weights: Tensor, team: Team
) -> Judged:
    """All scenes' validation areas, each process judging some of the windows."""
    turn = team.rank, team.size
    first, *others = (scoring.judge(mean, field, each, VALIDATION, weights, turn) for each in judged)
    found = sum(others, first)
    if team.size == 1:
        return found
    flat = np.array([*found.matrix.ravel(), found.loss, found.weight], float)
    *counts, loss, weight = team.summed(flat, next(mean.parameters()).device).tolist()
    return Judged(np.array(counts, np.int64).reshape(found.matrix.shape), loss, weight)


def _patient_no_more(now: _Training, recipe: Recipe) -> bool:
    return recipe.patience is not None and len(now.rows) - now.best >= recipe.patience


@torch.no_grad()
def _blend(mean: nn.Module, network: nn.Module, step: int, most: float) -> None:
    """Move the running mean of weights and statistics towards the network; at first it follows fast."""
    decay = min(most, (1 + step) / (10 + step))
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

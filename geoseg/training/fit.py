"""Training: fit a network to labelled scenes and write it as a model folder.

A training spec (YAML) names scenes and references of the catalog, an architecture and a schedule. The folder
gets the card, which states the spec, the weights as safetensors (never a pickle) and the learning curves. On one
machine, with one number of threads, the same spec and seed give the same weights on a CPU.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from geoseg.catalog.card import Model, read_model
from geoseg.errors import JobError, ModelError
from geoseg.models.networks import parameters_of
from geoseg.storage.store import Store
from geoseg.training import (
    baseline,
    calibration,
    checkpoint,
    evaluation,
    events,
    examples,
    loop,
    preparation,
    processes,
)
from geoseg.training import folder as folders
from geoseg.training.evaluation import Evaluated
from geoseg.training.loop import Progress
from geoseg.training.preparation import Prepared
from geoseg.training.processes import Team
from geoseg.training.recipe import Recipe
from geoseg.training.scoring import Row

_TRIAL = "trial"
"""Written and dropped, to see whether that can be done."""
_COPIES = 8
"""Of the weights that a folder holds while a network is trained: its checkpoint, the old one, and the model."""


def train(
    recipe: Recipe,
    folder: Path | str | None = None,
    *,
    overwrite: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
    tensorboard: bool = False,
) -> Model:
    """Fit a network and write its model folder: card, weights, learning curves, and what was held out.

    Pixels without a label, without data in any band, or within the buffer of what is held out are not learnt from. The
    weights kept are a running mean of the trained ones, from the epoch whose mean IoU over all scenes' validation
    areas is best. Beside its scores are those of a random forest on the same pixels. A training that was stopped goes
    on after its last whole epoch when it is asked for again.

    Parameters
    ----------
    recipe : Recipe
        What to learn from what; see `recipe.read`.
    folder : path, optional
        Model folder; default: the recipe's `out`.
    overwrite : bool
        Replace a model, or the checkpoint of another training, that the folder holds.
    device : str, optional
        A torch device; default: a CUDA device if there is one, else the CPU.
    progress : callable, optional
        Called with the steps done and the steps in all, and after each epoch its scores.
    tensorboard : bool
        Write the learning curves as TensorBoard files too, into `events` of the folder.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        If the architecture is unknown, the folder holds a model or another training already, or the loss is not finite.
    CatalogError, RasterError, JobError
        If a scene cannot be read, or leaves no labels to train or validate on, or the spec cannot work, or TensorBoard
        files are asked for without tensorboard.
    """
    store = Store(str(Path(folder or recipe.out or recipe.name).absolute()))
    if store.exists("card.yaml") and not overwrite:
        raise ModelError(f"{store.root} holds a model already; name another folder, or replace it with overwrite")
    if tensorboard:
        events.check()
    baseline.check(recipe)
    with processes.joined(device) as (team, where):
        if team.first:
            model = _trained(recipe, store, where, progress, team, overwrite=overwrite, tensorboard=tensorboard)
        else:
            _fitted(recipe, store, where, _silent, team, overwrite=overwrite)
        team.wait()
    return model if team.first else read_model(store.root)


def _silent(done: int, total: int, row: Row | None) -> None:
    """Tell nobody."""


def _fitted(
    recipe: Recipe, store: Store, where: torch.device, told: Progress, team: Team, *, overwrite: bool
) -> tuple[Prepared, list[Row]]:
    """A network that was fitted, and its learning curves."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        ready = preparation.prepared(recipe)
        if team.first:
            _check_room(store, ready.network)
        if not team.first:
            torch.manual_seed(recipe.seed + team.rank)
        how = ready.recipe, ready.legend, ready.field, store, told
        return ready, loop.fit(ready.network.to(where), ready.split.scenes, *how, overwrite=overwrite, team=team)


def _trained(
    recipe: Recipe,
    store: Store,
    where: torch.device,
    progress: Progress | None,
    team: Team,
    *,
    overwrite: bool,
    tensorboard: bool,
) -> Model:
    """A network that was fitted, judged and written."""
    started = time.monotonic()
    told = progress or _silent
    if tensorboard:
        told = events.following(Path(store.root), told)
    ready, rows = _fitted(recipe, store, where, told, team, overwrite=overwrite)
    recipe, known, legend, network, field, split = (
        ready.recipe, ready.known, ready.legend, ready.network, ready.field, ready.split
    )  # fmt: skip
    how = folders.description(recipe, known, split, rows, legend)
    if lacking := baseline.notes(recipe):
        how["notes"] = [*how.get("notes", ()), *lacking]
    if ready.model is not None:
        how = folders.continued(how, ready.model.card)
    how |= {"seconds": round(time.monotonic() - started), "parameters": parameters_of(network)}
    how |= {"processes": team.size} if team.size > 1 else {}
    found = evaluation.evaluate(network, field, split.scenes, legend)
    forest = baseline.of(recipe, split.scenes, legend, torch.get_num_threads())
    scores = found.scores if forest is None else {**found.scores, "baselines": {baseline.NAME: forest}}
    temperature, calibrated = _calibrated(found)
    how["calibration"] = calibrated
    data = safetensors.torch.save({name: each.cpu().contiguous() for name, each in network.state_dict().items()})
    card = folders.card_of(recipe, known, legend, field, data, how, scores)
    card = card.model_copy(update={"temperature": temperature})
    windows = examples.chosen(found.windows)
    shown = examples.shown(network, field, split.scenes, legend, recipe.bands, windows)
    store.drop("card.yaml")
    folders.draw(store, legend, found, temperature, shown)
    folders.write(store, card, data, rows, folders.drawn(split.scenes))
    store.drop(checkpoint.NAME)
    return read_model(store.root)


def _calibrated(found: Evaluated) -> tuple[float, dict[str, Any]]:
    """The temperature by the validation areas, and what it does to the confidence there and on what was never seen."""
    chosen_on = found.samples["all validation"]
    temperature = calibration.temperature_of(chosen_on.scores, chosen_on.labels)
    each = {name: calibration.described(of.scores, of.labels, temperature) for name, of in found.samples.items()}
    return temperature, {"what": "before and after the temperature, by validation areas", **each}


def _check_room(store: Store, network: nn.Module) -> None:
    """Refuse a folder that cannot be written, or is on a full disk, before the first epoch."""
    needed = _COPIES * sum(each.nbytes for each in network.state_dict().values()) + 10_000_000
    there = Path(store.root)
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < needed:
        raise JobError(
            f"{store.root} needs {needed / 1e6:.0f} MB on its disk, where {free / 1e6:.0f} MB are free; make room or "
            "name another folder"
        )
    store.put(_TRIAL, b"")
    store.drop(_TRIAL)

"""Training: fit a network to labelled scenes and write it as a model folder.

A training spec (YAML) names scenes and references of the catalog, an architecture and a schedule. The folder
gets the card, which states the spec, the weights as safetensors (never a pickle) and the learning curves. On one
machine, with one number of threads, the same spec and seed give the same weights on a CPU.
"""

from __future__ import annotations

import copy
import csv
import hashlib
import io
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import yaml
from torch import Tensor, nn

import geoseg
from geoseg import catalog, imagery
from geoseg.accuracy.confusion import iou, mean_iou, pixel_accuracy
from geoseg.catalog import Catalog
from geoseg.catalog.card import ClassSpec, Model, ModelCard, Weights, read_model
from geoseg.catalog.legend import Legend
from geoseg.errors import JobError, ModelError
from geoseg.grid import Window, cut
from geoseg.jobs import plan as job_plan
from geoseg.models import networks, receptive_field
from geoseg.models.networks import parameters_of
from geoseg.report import curves
from geoseg.storage.store import Store
from geoseg.training import chips
from geoseg.training.chips import BEYOND, DIVISIONS, TEST, TRAIN, VALIDATION, Draw, LabelledScene
from geoseg.training.recipe import Recipe

_CORE = 256
_DECAY = 0.99

Row = dict[str, float]
"""One line of the learning curves."""
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

    Pixels without a label, or without data in any band, are not learnt from. The weights kept are a running mean
    of the trained ones, from the epoch whose mean IoU over all scenes' validation squares is best.

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
        Told the batches done and the batches in all, and after each epoch its scores.

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
        scenes = [
            chips.load(known, each, recipe.bands, legend, recipe.chips, recipe.normalisation, recipe.seed)
            for each in recipe.all_scenes
        ]
        rows = _fit(network.to(where), scenes, recipe, legend, field, progress or (lambda done, total, row: None))
    how = _description(recipe, known, scenes, rows, len(legend))
    how |= {"seconds": round(time.monotonic() - started), "parameters": parameters_of(network)}
    scores = _scores(network, field, scenes, legend)
    data = safetensors.torch.save({name: each.cpu().contiguous() for name, each in network.state_dict().items()})
    _write(store, _card(recipe, known, legend, field, data, how, scores), data, rows)
    return read_model(store.root)


# ----------------------------------------------------------------------------------------- fitting


def _fit(
    network: nn.Module,
    scenes: Sequence[LabelledScene],
    recipe: Recipe,
    legend: Legend,
    field: receptive_field.Field,
    progress: Progress,
) -> list[Row]:
    """Fit in place; the network ends with the best weights. Returns the learning curves."""
    draw = Draw(scenes, recipe.chips, len(legend), recipe.seed)
    where = next(network.parameters()).device
    loss_of = nn.CrossEntropyLoss(_class_weights(scenes, legend, recipe.class_weight).to(where), ignore_index=-1)
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
        matrix = np.sum([confusion(mean, field, each, VALIDATION, len(legend)) for each in scenes], axis=0)
        rows.append(
            _row(epoch, total / steps, float(schedule.get_last_lr()[0]), matrix, legend, time.monotonic() - began)
        )
        progress((epoch + 1) * steps, recipe.epochs * steps, rows[-1])
        if rows[-1]["mean_iou"] > best:
            best, kept = rows[-1]["mean_iou"], copy.deepcopy(mean.state_dict())
    network.load_state_dict(kept)
    network.eval()
    return rows


def confusion(
    network: nn.Module, field: receptive_field.Field, scene: LabelledScene, division: int, classes: int
) -> np.ndarray:
    """Count a division's reference labels (rows) against the network's (columns), window by window as in a map.

    Validation and test squares are labelled without sight of what lies beyond the scene's part.

    Returns
    -------
    (class, class) int64
    """
    matrix = np.zeros((classes, classes), np.int64)
    pixels = scene.pixels if division == BEYOND else scene.seen()
    wanted = (scene.division == division) & (scene.labels >= 0)
    where = next(network.parameters()).device
    core = -(-_CORE // field.stride) * field.stride
    for window in cut(scene.window, core):
        part = window.meet(scene.window)
        if part is None or not wanted[part.within(scene.window)].any():
            continue
        chip = torch.from_numpy(_around(pixels, scene.window, window.grown(field.halo)))[None].to(where)
        with torch.inference_mode():
            scores = network(chip.contiguous(memory_format=torch.channels_last))[0]
        labels = scores.argmax(0).cpu().numpy()[part.within(window.grown(field.halo))]
        chosen = wanted[part.within(scene.window)]
        reference = scene.labels[part.within(scene.window)][chosen].astype(np.int64)
        counts = np.bincount(reference * classes + labels[chosen], minlength=classes**2)
        matrix += counts.reshape(classes, classes)
    return matrix


def _around(pixels: np.ndarray, extent: Window, window: Window) -> np.ndarray:
    """Pixels of a window, 0 where there are no data."""
    out = np.zeros((len(pixels), *window.shape), np.float32)
    if part := window.meet(extent):
        rows, cols = part.within(extent)
        out[:, *part.within(window)] = np.nan_to_num(pixels[:, rows, cols], nan=0.0)
    return out


def _class_weights(scenes: Sequence[LabelledScene], legend: Legend, power: float) -> Tensor:
    """(class,) rarity ** power, 1 on average over the labels; 0 for a class without labels."""
    counts = np.sum([each.counts(TRAIN, len(legend)) for each in scenes], axis=0).astype(float)
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


# ------------------------------------------------------------------------------------------ the folder


def _row(epoch: int, loss: float, rate: float, matrix: np.ndarray, legend: Legend, seconds: float) -> Row:
    scores = {"mean_iou": mean_iou(matrix), "pixel_accuracy": pixel_accuracy(matrix)}
    classes = {f"iou {name}": float(each) for name, each in zip(legend.names, iou(matrix))}
    return {"epoch": epoch + 1, "loss": loss, **scores, **classes, "learning_rate": rate, "seconds": seconds}


def scores_of(matrix: np.ndarray, legend: Legend) -> dict[str, Any]:
    """What a card says of a confusion matrix; null for a class found in neither map nor reference."""
    each = {name: None if math.isnan(v) else round(float(v), 4) for name, v in zip(legend.names, iou(matrix))}
    return {
        "mean_iou": round(mean_iou(matrix), 4),
        "pixel_accuracy": round(pixel_accuracy(matrix), 4),
        "pixels": int(matrix.sum()),
        "iou": each,
    }


def _scores(
    network: nn.Module, field: receptive_field.Field, scenes: Sequence[LabelledScene], legend: Legend
) -> dict[str, Any]:
    """Scores of each scene's divisions that were not trained on, and of all the unseen ones together."""
    found: dict[str, Any] = {}
    unseen = np.zeros((len(legend), len(legend)), np.int64)
    for scene in scenes:
        for division in (VALIDATION, TEST, BEYOND):
            matrix = confusion(network, field, scene, division, len(legend))
            if matrix.any():
                found.setdefault(scene.name, {})[DIVISIONS[division]] = scores_of(matrix, legend)
                unseen += matrix * (division != VALIDATION)
    if unseen.any():
        found["all unseen"] = scores_of(unseen, legend)
    return found


def _description(
    recipe: Recipe,
    known: Catalog,
    scenes: Sequence[LabelledScene],
    rows: Sequence[Row],
    classes: int,
) -> dict[str, Any]:
    """How the model was made, for its card."""
    best = max(rows, key=lambda row: row["mean_iou"])
    said: list[dict[str, Any]] = []
    for scene, each in zip(scenes, recipe.all_scenes):
        counts = {name: int(scene.counts(kind, classes).sum()) for kind, name in enumerate(DIVISIONS)}
        texts = (known.imagery(each.imagery).attribution, known.reference(each.reference).attribution)
        facts = {"imagery": each.imagery, "reference": each.reference, "part": {**each.part}, "labelled_pixels": counts}
        said.append(facts | {"attribution": "; ".join(dict.fromkeys(text for text in texts if text))})
    return {
        "scenes": said,
        "division": f"squares of {recipe.chips.square} pixels, by a hash of their place and seed {recipe.seed}; the "
        "best epoch is chosen on validation squares, nothing on test squares; what is beyond a part is never seen",
        "epochs": recipe.epochs,
        "best_epoch": int(best["epoch"]),
        "geoseg": geoseg.__version__,
        "torch": torch.__version__.split("+")[0],
        "recipe": recipe.model_dump(mode="json", exclude={"catalog", "out", "architecture"}, exclude_none=True),
    }


def _card(
    recipe: Recipe,
    known: Catalog,
    legend: Legend,
    field: receptive_field.Field,
    weights: bytes,
    training: dict[str, Any],
    scores: dict[str, Any],
) -> ModelCard:
    first = imagery.open(known.imagery(recipe.all_scenes[0].imagery).select(recipe.bands, "training"))
    return ModelCard(
        name=recipe.name,
        title=recipe.title,
        architecture=recipe.architecture,
        weights=Weights(file="weights.safetensors", sha256=hashlib.sha256(weights).hexdigest()),
        bands=recipe.bands,
        normalisation=recipe.normalisation,
        gsd_m=recipe.gsd_m or round(job_plan.ground_resolution(first.grid, first.window), 2),
        stride=field.stride,
        halo=field.halo,
        field=field.kind,
        window=-(-_CORE // field.stride) * field.stride,
        legend_name=legend.name,
        classes=tuple(ClassSpec(id=each.id, name=each.name, colour=each.colour) for each in legend.classes),
        training=training,
        licence=recipe.licence,
        scores=scores,
    )


def _write(store: Store, card: ModelCard, weights: bytes, rows: Sequence[Row]) -> None:
    """The whole folder. Without a card it is no model, so the card goes first and comes last."""
    store.drop("card.yaml")
    store.put(card.weights.file, weights)
    text = io.StringIO(newline="")
    lines = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    lines.writeheader()
    lines.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in rows)
    store.put("learning_curves.csv", text.getvalue().encode())
    curves.learning_curves(rows, store.path("learning_curves.png"))
    store.put("card.yaml", dump(card))


def dump(card: ModelCard) -> bytes:
    """A card as YAML."""
    data = card.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None).encode()

"""Folder: a trained network becomes a model folder: card, weights as safetensors, learning curves."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from typing import Any

import torch
import yaml

import geoseg
from geoseg import imagery
from geoseg.catalog import Catalog
from geoseg.catalog.card import ClassSpec, ModelCard, Weights
from geoseg.catalog.legend import Legend
from geoseg.jobs import plan as job_plan
from geoseg.models import receptive_field
from geoseg.report import curves
from geoseg.storage.store import Store
from geoseg.training import scoring
from geoseg.training.recipe import Recipe
from geoseg.training.scenes import DIVISIONS, LabelledScene
from geoseg.training.scoring import Row


def description(
    recipe: Recipe,
    known: Catalog,
    scenes: Sequence[LabelledScene],
    rows: Sequence[Row],
    classes: int,
) -> dict[str, Any]:
    """How the model was made, for its card.

    Parameters
    ----------
    recipe
        What was asked for.
    known
        Catalog that holds its scenes.
    scenes
        Those of the recipe, as they were loaded.
    rows
        The learning curves.
    classes
        How many the legend has.
    """
    best = max(rows, key=lambda row: row["mean_iou"])
    said: list[dict[str, Any]] = []
    for scene, each in zip(scenes, recipe.all_scenes):
        counts = {name: int(scene.counts(kind, classes).sum()) for kind, name in enumerate(DIVISIONS)}
        texts = (known.imagery(each.imagery).attribution, known.reference(each.reference).attribution)
        facts = {"imagery": each.imagery, "reference": each.reference, "part": {**each.part}, "labelled_pixels": counts}
        said.append(facts | {"attribution": "; ".join(dict.fromkeys(text for text in texts if text))})
    return {
        "scenes": said,
        "division": f"squares of {recipe.chips.square} pixels, by a hash of their position and seed {recipe.seed}; the "
        "best epoch is chosen on validation squares, nothing on test squares; what is beyond a part is never seen",
        "epochs": recipe.epochs,
        "best_epoch": int(best["epoch"]),
        "geoseg": geoseg.__version__,
        "torch": torch.__version__.split("+")[0],
        "recipe": recipe.model_dump(mode="json", exclude={"catalog", "out", "architecture"}, exclude_none=True),
    }


def card_of(
    recipe: Recipe,
    known: Catalog,
    legend: Legend,
    field: receptive_field.Field,
    weights: bytes,
    training: dict[str, Any],
    scores: dict[str, Any],
) -> ModelCard:
    """All that a run needs to know of the model.

    Parameters
    ----------
    recipe
        What was asked for.
    known
        Catalog that holds its scenes.
    legend
        What was learnt.
    field
        The network's receptive field.
    weights
        Bytes of the weights file.
    training
        How it was made; see `description`.
    scores
        On what it did not learn from.
    """
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
        window=-(-scoring.CORE // field.stride) * field.stride,
        legend_name=legend.name,
        classes=tuple(ClassSpec(id=each.id, name=each.name, colour=each.colour) for each in legend.classes),
        training=training,
        licence=recipe.licence,
        scores=scores,
    )


def write(store: Store, card: ModelCard, weights: bytes, rows: Sequence[Row]) -> None:
    """Write the whole folder. Without a card it is no model, so the card goes first and comes last.

    Parameters
    ----------
    store
        The folder.
    card
        What goes into card.yaml.
    weights
        Bytes of the weights file.
    rows
        The learning curves.
    """
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

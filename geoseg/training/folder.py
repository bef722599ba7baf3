"""Folder: a trained network becomes a model folder: card, weights as safetensors, learning curves."""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import torch
from odc.geo.geom import Geometry

import geoseg
from geoseg import imagery
from geoseg.catalog import Catalog
from geoseg.catalog.card import AreasSpec, ClassSpec, ModelCard, Weights, dump
from geoseg.catalog.legend import Legend
from geoseg.grid import Grid, Window, project, read_crs
from geoseg.jobs import plan as job_plan
from geoseg.models import receptive_field
from geoseg.report import curves, trained
from geoseg.storage.store import Store
from geoseg.training import calibration, scoring
from geoseg.training.division import DIVISIONS, TEST, TRAIN, VALIDATION
from geoseg.training.evaluation import Evaluated
from geoseg.training.recipe import Recipe
from geoseg.training.scenes import LabelledScene
from geoseg.training.scoring import Row
from geoseg.training.split import Split

MOST_AREAS = 500
"""Rectangles of a division that a card lists for a scene."""


def description(
    recipe: Recipe,
    known: Catalog,
    split: Split,
    rows: Sequence[Row],
    legend: Legend,
) -> dict[str, Any]:
    """How the model was made and what it has seen, for its card.

    Parameters
    ----------
    recipe
        What was asked for.
    known
        Catalog that holds its scenes.
    split
        Its scenes, divided.
    rows
        The learning curves.
    legend
        What was learnt.
    """
    best = max(rows, key=lambda row: row["mean_iou"])
    said: list[dict[str, Any]] = []
    pixels = np.zeros((len(DIVISIONS), len(legend)), np.int64)
    for scene, each in zip(split.scenes, recipe.all_scenes):
        counts = np.array([scene.counts(kind, len(legend)) for kind in range(len(DIVISIONS))])
        pixels += counts
        labelled = dict(zip(DIVISIONS, counts.sum(axis=1).tolist()))
        texts = [known.imagery(each.imagery).attribution]
        texts += [known.reference(name).attribution for name in each.references]
        facts: dict[str, Any] = {"imagery": each.imagery, "reference": each.reference, "part": {**each.part}}
        facts |= {"labelled_pixels": labelled, "attribution": "; ".join(dict.fromkeys(text for text in texts if text))}
        assert scene.grid is not None
        said.append(facts | {"areas": areas_of(scene, scene.grid).model_dump(mode="json")})
    chips = recipe.chips.model_copy(update={"square": split.squares.edge, "buffer": split.squares.buffer})
    by_file = recipe.split.file and Path(recipe.split.file).name
    stated = recipe.model_copy(update={"chips": chips, "split": recipe.split.model_copy(update={"file": by_file})})
    return {
        "scenes": said,
        "labelled_pixels": {name: dict(zip(DIVISIONS, pixels[:, at].tolist())) for at, name in enumerate(legend.names)},
        "division": split.said,
        **({"notes": list(split.notes)} if split.notes else {}),
        "epochs": len(rows),
        "best_epoch": int(best["epoch"]),
        "geoseg": geoseg.__version__,
        "torch": torch.__version__.split("+")[0],
        "recipe": stated.model_dump(
            mode="json", exclude={"catalog", "out", "architecture", "memory", "readers"}, exclude_none=True
        ),
    }


def continued(training: dict[str, Any], card: ModelCard) -> dict[str, Any]:
    """The description of a training that went on from a model: what that one has seen was seen by this one too.

    Parameters
    ----------
    training
        From `description`.
    card
        Of the model.
    """
    before = card.training.get("scenes", ())
    seen = [{**each, "model": card.name} for each in before if isinstance(each, dict)]
    start = {"model": card.name, "sha256": card.weights.sha256}
    return {"start": start, **training, "scenes": [*training["scenes"], *seen]}


def areas_of(scene: LabelledScene, grid: Grid) -> AreasSpec:
    """The ground that a scene's labels were learnt from, chosen on, or held out on.

    A division that takes more than `MOST_AREAS` rectangles is given by its bounds alone, which hold more than it.

    Parameters
    ----------
    scene
        Divided.
    grid
        Its own.
    """
    digits = max(0, 3 - math.floor(math.log10(min(grid.resolution))))  # a thousandth of a pixel
    found = {}
    for kind in (TRAIN, VALIDATION, TEST):
        windows = scene.rectangles()[kind]
        if len(windows) > MOST_AREAS:
            windows = [functools.reduce(Window.join, windows)]
        edges = [grid.footprint(each).boundingbox.bbox for each in windows]
        found[DIVISIONS[kind]] = tuple(tuple(round(edge, digits) for edge in each) for each in edges)
    return AreasSpec.model_validate({"crs": grid.crs, **found})


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
        window=scoring.core_of(field),
        legend_name=legend.name,
        classes=tuple(ClassSpec(id=each.id, name=each.name, colour=each.colour) for each in legend.classes),
        training=training,
        licence=recipe.licence,
        scores=scores,
    )


def drawn(scenes: Sequence[LabelledScene]) -> bytes:
    """The divisions of all scenes as GeoJSON, in longitude and latitude, as RFC 7946 has it.

    Parameters
    ----------
    scenes
        Divided; each pixel lies in one of its scene's features, and its division is the feature's.
    """
    features = []
    for scene in scenes:
        assert scene.grid is not None
        for kind, name in enumerate(DIVISIONS):
            windows = scene.rectangles()[kind]
            if not windows:
                continue
            whole = shapely.union_all([scene.grid.footprint(each).geom for each in windows])
            left, bottom, right, top = whole.bounds
            ground = Geometry(whole, read_crs(scene.grid.crs, scene.name))
            placed = project(ground, "EPSG:4326", max(right - left, top - bottom) / 100).geom
            facts = {"imagery": scene.name, "division": name}
            outline = shapely.geometry.mapping(shapely.set_precision(placed, 1e-7))
            features.append({"type": "Feature", "properties": facts, "geometry": outline})
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def draw(store: Store, legend: Legend, found: Evaluated, temperature: float, shown: Sequence[trained.Example]) -> None:
    """The pictures of a finished network: confusion, reliability and examples, of what was never seen where it can be.

    Parameters
    ----------
    store
        The folder.
    legend
        What was learnt.
    found
        Of the network.
    temperature
        By the validation areas.
    shown
        Windows to draw.
    """
    group = "all unseen" if found.matrices["all unseen"].any() else "all validation"
    trained.confusion(found.matrices[group], legend, store.path("confusion.png"))
    sample = found.samples[group]
    pairs = []
    for name, each in (("as it is", 1.0), (f"divided by {temperature:g}", temperature)):
        bins = calibration.reliability(sample.scores, sample.labels, each)
        pairs.append((name, bins.confidence, bins.accuracy, bins.pixels, bins.error))
    trained.reliability(pairs, store.path("reliability.png"))
    if shown:
        trained.examples(shown, legend, store.path("examples.png"))


def write(store: Store, card: ModelCard, weights: bytes, rows: Sequence[Row], divisions: bytes | None = None) -> None:
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
    divisions
        From `drawn`.
    """
    store.drop("card.yaml")
    store.put(card.weights.file, weights)
    text = io.StringIO(newline="")
    lines = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    lines.writeheader()
    lines.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in rows)
    store.put("learning_curves.csv", text.getvalue().encode())
    curves.learning_curves(rows, store.path("learning_curves.png"), legend=card.legend)
    if divisions is not None:
        store.put("division.geojson", divisions)
    store.put("card.yaml", dump(card))

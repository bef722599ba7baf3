"""Scoring: what a network in training gets right on the squares of its scenes that it does not learn from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from geoseg.accuracy.confusion import iou, mean_iou, pixel_accuracy
from geoseg.catalog.legend import Legend
from geoseg.grid import Window, cut
from geoseg.models import receptive_field
from geoseg.training.scenes import BEYOND, DIVISIONS, TEST, VALIDATION, LabelledScene

CORE = 256
"""Core of the windows that are scored, and the one that a card suggests, pixels; rounded up to the stride."""

Row = dict[str, float]
"""One line of the learning curves."""


def confusion(
    network: nn.Module, field: receptive_field.Field, scene: LabelledScene, division: int, classes: int
) -> np.ndarray:
    """Count a division's reference labels (rows) against the network's (columns), window by window as in a map.

    Validation and test squares are labelled without sight of what lies beyond the scene's part.

    Parameters
    ----------
    network
        In evaluation mode, on its device.
    field
        Its receptive field.
    scene
        What it is scored on.
    division
        VALIDATION, TEST or BEYOND.
    classes
        How many the legend has.

    Returns
    -------
    (class, class) int64
    """
    matrix = np.zeros((classes, classes), np.int64)
    pixels = scene.pixels if division == BEYOND else scene.seen()
    wanted = (scene.division == division) & (scene.labels >= 0)
    where = next(network.parameters()).device
    core = -(-CORE // field.stride) * field.stride
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


def scores_of(matrix: np.ndarray, legend: Legend) -> dict[str, Any]:
    """What a card says of a confusion matrix; null for a class found in neither map nor reference.

    Parameters
    ----------
    matrix
        (class, class) pixel counts, rows are the reference.
    legend
        Names of the classes.
    """
    each = {name: None if math.isnan(v) else round(float(v), 4) for name, v in zip(legend.names, iou(matrix))}
    return {
        "mean_iou": round(mean_iou(matrix), 4),
        "pixel_accuracy": round(pixel_accuracy(matrix), 4),
        "pixels": int(matrix.sum()),
        "iou": each,
    }


def scores_by_scene(
    network: nn.Module, field: receptive_field.Field, scenes: Sequence[LabelledScene], legend: Legend
) -> dict[str, Any]:
    """Scores of each scene's divisions that were not trained on, and of all the unseen ones together.

    Parameters
    ----------
    network, field
        As for `confusion`.
    scenes
        All that were trained on, each under its name.
    legend
        Names of the classes.
    """
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


def row_of(epoch: int, loss: float, rate: float, matrix: np.ndarray, legend: Legend, seconds: float) -> Row:
    """One line of the learning curves.

    Parameters
    ----------
    epoch
        From 0.
    loss, rate
        Mean loss of its batches, and the learning rate at its end.
    matrix
        (class, class) pixel counts of all scenes' validation squares, rows are the reference.
    legend
        Names of the classes.
    seconds
        How long it took.
    """
    scores = {"mean_iou": mean_iou(matrix), "pixel_accuracy": pixel_accuracy(matrix)}
    classes = {f"iou {name}": float(each) for name, each in zip(legend.names, iou(matrix))}
    return {"epoch": epoch + 1, "loss": loss, **scores, **classes, "learning_rate": rate, "seconds": seconds}


def _around(pixels: np.ndarray, extent: Window, window: Window) -> np.ndarray:
    """Pixels of a window, 0 where there are no data."""
    out = np.zeros((len(pixels), *window.shape), np.float32)
    if part := window.meet(extent):
        rows, cols = part.within(extent)
        out[:, *part.within(window)] = np.nan_to_num(pixels[:, rows, cols], nan=0.0)
    return out

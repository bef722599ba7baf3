"""Baseline: a random forest on single pixels, the honest measure of what a network gains by looking around.

It gets the same normalised bands, labels and divisions as the network. Pixels are taken block by block, so that a scene
need not fit memory; pixels are (pixel, band) float32, labels (pixel,) int64.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg.accuracy.confusion import mean_iou
from geoseg.catalog.legend import Legend
from geoseg.errors import JobError
from geoseg.training import scoring
from geoseg.training.division import BEYOND, DIVISIONS, TEST, TRAIN, VALIDATION
from geoseg.training.recipe import Recipe
from geoseg.training.scenes import LabelledScene

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

NAME = "random forest"
"""On a card, under scores.baselines."""
_MOST_LEARNT = 200_000
"""Training pixels that a forest is given, drawn from all of them."""
_MOST_JUDGED = 1_000_000
"""Pixels of the validation areas, and as many unseen ones, that it is scored on."""
_TREES, _TRIED, _EACH = 100, 25, 50_000
"""Trees, those of a forest that is tried, and the most pixels that each gets: 200 MB in all at the worst."""
_CHOICES = [(leaf, weights) for leaf in (5, 20) for weights in (None, "balanced_subsample")]
"""Pixels in a leaf and class weights to choose from, on the validation areas."""
_BATCH = 100_000


def check(recipe: Recipe) -> None:
    """Refuse a forest that cannot be had.

    Parameters
    ----------
    recipe
        Its `baseline`.

    Raises
    ------
    JobError
        If the spec names it and scikit-learn is not installed.
    """
    if recipe.baseline == "random_forest" and not _installed():
        raise JobError(
            "baseline is 'random_forest', which needs scikit-learn; install geoseg[forest], or leave 'baseline' out"
        )


def notes(recipe: Recipe) -> list[str]:
    """Why there is no baseline although nobody said that there should be none.

    Parameters
    ----------
    recipe
        Its `baseline`.
    """
    if recipe.baseline is None and not _installed():
        return ["there is no random forest to compare with, since scikit-learn is not installed: geoseg[forest] has it"]
    return []


def of(
    recipe: Recipe, scenes: Sequence[LabelledScene], legend: Legend, threads: int | None = None
) -> dict[str, Any] | None:
    """Fit a random forest as the network was, and score it as the network is scored; None where it is not wanted.

    Its leaf size and class weights are chosen on the validation areas by mean IoU, as the network's epoch was.

    Parameters
    ----------
    recipe
        Its `baseline` and seed.
    scenes
        Divided.
    legend
        What is learnt.
    threads
        That fit and predict; no score depends on it. Default: one for each core.

    Returns
    -------
    dict
        `what`, a sentence; scores of each scene's divisions, of "all validation" and "all unseen", as on a card.
    """
    if recipe.baseline == "none" or not _installed():
        return None
    classes = len(legend)
    pixels, labels = learnt(scenes, classes, recipe.seed)
    held, every = _drawn(scenes, classes, (VALIDATION,))
    found = []
    for each in _CHOICES:
        tried = _fitted(pixels, labels, _TRIED, *each, recipe.seed, threads)
        matrices = [_matrix(tried, part, classes) for part in held]
        found.append(mean_iou(sum(matrices, np.zeros((classes, classes), np.int64))))
    leaf, weights = _CHOICES[int(np.nanargmax(found))]
    forest = _fitted(pixels, labels, _TREES, leaf, weights, recipe.seed, threads)
    said = (
        f"scikit-learn, {_TREES} trees on {len(labels)} pixels, at least {leaf} in a leaf, class weights "
        f"{weights or 'none'}; chosen of {len(_CHOICES)} on validation areas"
    )
    scores: dict[str, Any] = {}
    together: dict[str, Any] = {}
    unseen, step = _drawn(scenes, classes, (TEST, BEYOND))
    steps = max(every, step)
    for group, parts in (("all validation", held), ("all unseen", unseen)):
        matrices = [_matrix(forest, part, classes) for part in parts]
        for part, matrix in zip(parts, matrices):
            scores.setdefault(scenes[part.scene].name, {})[DIVISIONS[part.division]] = scoring.scores_of(matrix, legend)
        if matrices:
            together[group] = scoring.scores_of(np.sum(matrices, axis=0), legend)
    said += f"; scored on one in {steps} pixels" if steps > 1 else ""
    return {"what": said, **scores, **together}


def learnt(scenes: Sequence[LabelledScene], classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training pixels of all scenes with their labels, each as likely as any other; few enough for a forest.

    Parameters
    ----------
    scenes
        Divided.
    classes
        How many the legend has.
    seed
        Of the draw, where there are too many.
    """
    total = sum(int(each.counts(TRAIN, classes).sum()) for each in scenes)
    number = min(total, _MOST_LEARNT)
    wanted = np.sort(np.random.default_rng(seed).choice(total, number, replace=False, shuffle=False))
    parts, before = [], 0
    for scene in scenes:
        for pixels, labels in _labelled(scene, TRAIN):
            first, end = np.searchsorted(wanted, (before, before + len(labels)))
            chosen = wanted[first:end] - before
            parts.append((pixels[chosen], labels[chosen]))
            before += len(labels)
    values, truth = zip(*parts)
    return np.concatenate(values), np.concatenate(truth)


def _installed() -> bool:
    return importlib.util.find_spec("sklearn") is not None


def _fitted(
    pixels: np.ndarray,
    labels: np.ndarray,
    trees: int,
    leaf: int,
    weights: str | None,
    seed: int,
    threads: int | None,
) -> RandomForestClassifier:
    from sklearn.ensemble import RandomForestClassifier  # takes a second, which few commands need

    share = min(1.0, _EACH / len(labels)) if len(labels) > 1 else None
    forest = RandomForestClassifier(
        trees, min_samples_leaf=leaf, class_weight=weights, max_samples=share, n_jobs=threads or -1, random_state=seed
    )
    return forest.fit(pixels, labels)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """What a forest is judged on of one division of one scene."""

    scene: int
    division: int
    pixels: np.ndarray
    labels: np.ndarray


def _drawn(scenes: Sequence[LabelledScene], classes: int, divisions: Sequence[int]) -> tuple[list[_Part], int]:
    """Every so manieth pixel of some divisions, read once for all forests; and that step."""
    total = sum(int(each.counts(kind, classes).sum()) for each in scenes for kind in divisions)
    step, at = max(1, -(-total // _MOST_JUDGED)), 0
    found = []
    for number, scene in enumerate(scenes):
        for division in divisions:
            parts = []
            for pixels, labels in _labelled(scene, division):
                parts.append((pixels[at::step].copy(), labels[at::step].copy()))
                at = (at - len(labels)) % step
            if sum(len(labels) for _, labels in parts):
                values, truth = zip(*parts)
                found.append(_Part(number, division, np.concatenate(values), np.concatenate(truth)))
    return found, step


def _matrix(forest: RandomForestClassifier, part: _Part, classes: int) -> np.ndarray:
    """(class, class) pixels, rows are the reference."""
    matrix = np.zeros((classes, classes), np.int64)
    for first in range(0, len(part.labels), _BATCH):
        some = slice(first, first + _BATCH)
        flat = part.labels[some] * classes + forest.predict(part.pixels[some])
        matrix += np.bincount(flat, minlength=classes**2).reshape(classes, classes)
    return matrix


def _labelled(scene: LabelledScene, division: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pixels and labels of a division, block by block."""
    for block in scene.blocks():
        inside = scene.division_in(block) == division
        if not inside.any():
            continue
        labels = scene.labels_in(block)
        wanted = inside & (labels >= 0)
        if wanted.any():
            yield scene.pixels_in(block)[:, wanted].T, labels[wanted].astype(np.int64)

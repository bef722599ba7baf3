"""Calibration: one number that scores are divided by, so that a network's confidence is how often it is right.

Guo et al. 2017, On Calibration of Modern Neural Networks. Scores are (pixel, class) before softmax, labels (pixel,). A
positive temperature moves no score past another, so no label changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 15
"""Of confidence, equally wide."""
_LOWEST, _HIGHEST = 0.05, 20.0
_GOLDEN = (math.sqrt(5) - 1) / 2
_CLOSE = 1e-5  # of the temperature's logarithm


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """How often a network is right, by how sure it is; arrays are (bin,)."""

    confidence: np.ndarray
    """Mean highest probability of the pixels in a bin; NaN in an empty one."""
    accuracy: np.ndarray
    """Share of them that are labelled rightly."""
    pixels: np.ndarray
    """How many they are."""

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of confidence and accuracy over all pixels."""
        known = self.pixels > 0
        off = np.abs(self.confidence - self.accuracy)[known]
        return float((off * self.pixels[known]).sum() / self.pixels.sum())


def temperature_of(scores: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the least negative log-likelihood, between 0.05 and 20, by golden sections.

    The likelihood has one peak in the temperature's inverse (it is convex there), hence in its logarithm.

    Parameters
    ----------
    scores
        (pixel, class) float.
    labels
        (pixel,) index of a class.
    """
    low, high = math.log(_LOWEST), math.log(_HIGHEST)
    inner = [high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)]
    values = [likelihood(scores, labels, math.exp(each)) for each in inner]
    while high - low > _CLOSE:
        if values[0] <= values[1]:
            high, inner[1], values[1] = inner[1], inner[0], values[0]
            inner[0] = high - _GOLDEN * (high - low)
            values[0] = likelihood(scores, labels, math.exp(inner[0]))
        else:
            low, inner[0], values[0] = inner[0], inner[1], values[1]
            inner[1] = low + _GOLDEN * (high - low)
            values[1] = likelihood(scores, labels, math.exp(inner[1]))
    return float(f"{math.exp((low + high) / 2):.4g}")


def likelihood(scores: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """Negative log-likelihood of labels, a mean over pixels.

    Parameters
    ----------
    scores, labels
        As for `temperature_of`.
    temperature
        What the scores are divided by.
    """
    scaled = (scores - scores.max(axis=1, keepdims=True)) / temperature
    whole = np.log(np.exp(scaled).sum(axis=1, dtype=np.float64))
    return float((whole - scaled[np.arange(len(labels)), labels]).mean())


def reliability(scores: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> Reliability:
    """Confidence and accuracy in bins of confidence.

    Parameters
    ----------
    scores, labels
        As for `temperature_of`.
    temperature
        What the scores are divided by.
    """
    scaled = np.exp((scores - scores.max(axis=1, keepdims=True)) / temperature)
    sure = 1 / scaled.sum(axis=1, dtype=np.float64)
    right = scores.argmax(axis=1) == labels
    at = np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)
    pixels = np.bincount(at, minlength=BINS)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(at, each, BINS) / pixels for each in (sure, right)]
    return Reliability(means[0], means[1], pixels)


def described(scores: np.ndarray, labels: np.ndarray, temperature: float) -> dict[str, Any]:
    """What a card says of some pixels: expected calibration error and likelihood, before and after.

    Parameters
    ----------
    scores, labels, temperature
        As for `reliability`.
    """
    pairs = [(reliability(scores, labels, each).error, likelihood(scores, labels, each)) for each in (1.0, temperature)]
    return {
        "pixels": len(labels),
        "ece": [round(error, 4) for error, _ in pairs],
        "nll": [round(nll, 4) for _, nll in pairs],
    }

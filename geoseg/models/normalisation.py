"""Normalisation: physical values become what a network was trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from geoseg.errors import ModelError

LINEAR = ("none", "fixed", "scene")
"""Kinds that are (x - mean) / std."""


def normalised(kind: str, values: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Values as a network takes them; what is not finite counts as the mean, or as the low percentile.

    Parameters
    ----------
    kind
        Of the card's normalisation. 'dynamic-world' is y = (ln(1 + x / 200) - mean) / std, then 1 / (1 + exp(1 - 5 y))
        of digital numbers x (reflectance x 10,000), negative ones as 0. Source: the notebook
        single_image_runner of github.com/google/dynamicworld.
    values : (band, row, col) float32
        Physical values.
    mean, std : (band, 1, 1) float32
        Of each band; for 'dynamic-world', of its logarithm; for 'percentile', the low percentile and how far above it
        the high one lies.

    Raises
    ------
    ModelError
        If no formula has that name.
    """
    if kind in LINEAR:
        return torch.where(values.isfinite(), (values - mean) / std, 0.0)
    if kind == "dynamic-world":
        steps = (torch.log1p(values.clamp(min=0) * 0.005) - mean) / std
        return torch.sigmoid(5.0 * torch.where(values.isfinite(), steps, 0.0) - 1.0)
    if kind == "percentile":
        return torch.where(values.isfinite(), ((values - mean) / std).clamp(0, 1), 0.0)
    raise ModelError(f"no normalisation is called {kind!r}; this is a newer card, so update geoseg")

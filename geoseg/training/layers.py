"""Layers: those of a network whose shape follows the number of bands or of classes, and weights for other bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from geoseg.errors import ModelError
from geoseg.models import networks
from geoseg.quantities import counted


def of_bands(architecture: Mapping[str, object], bands: int, classes: int) -> list[str]:
    """Names of the tensors whose shape is another one with another number of bands.

    Parameters
    ----------
    architecture
        As a card states it.
    bands, classes
        Channels in and out.
    """
    return _following(architecture, (bands, classes), (bands + 1, classes))


def of_classes(architecture: Mapping[str, object], bands: int, classes: int) -> list[str]:
    """Names of the tensors whose shape is another one with another number of classes.

    Parameters
    ----------
    architecture, bands, classes
        As for `of_bands`.
    """
    return _following(architecture, (bands, classes), (bands, classes + 1))


def other_bands(name: str, weight: Tensor, known: Sequence[str], bands: Sequence[str]) -> Tensor:
    """An input layer for other bands: each known one keeps its weights, another gets the mean of all known ones.

    Parameters
    ----------
    name
        What messages call it.
    weight
        (channel, band x pixels of a stem, row, col).
    known
        Bands that it is for.
    bands
        Those that are wanted.

    Raises
    ------
    ModelError
        If it has no weights by band.
    """
    if weight.dim() < 2 or weight.shape[1] % len(known):
        raise ModelError(
            f"these weights cannot be given other bands: {name} is {tuple(weight.shape)} for "
            f"{counted(len(known), 'band')}; train with bands: [{', '.join(known)}]"
        )
    by_band = weight.reshape(weight.shape[0], len(known), -1, *weight.shape[2:])
    mean = by_band.mean(1)
    chosen = [by_band[:, list(known).index(each)] if each in known else mean for each in bands]
    return torch.stack(chosen, 1).reshape(weight.shape[0], -1, *weight.shape[2:])


def _following(architecture: Mapping[str, object], one: tuple[int, int], other: tuple[int, int]) -> list[str]:
    with torch.random.fork_rng(devices=[]):
        shapes = [
            {name: each.shape for name, each in networks.build(architecture, *numbers).state_dict().items()}
            for numbers in (one, other)
        ]
    return [name for name, shape in shapes[0].items() if shapes[1].get(name) != shape]

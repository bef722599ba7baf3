"""Member: one model of a predictor with the numbers that its pixels are normalised by; several make an ensemble.

Members of an ensemble see the same bands and tell the same classes apart; the share of a class is the mean of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoseg.catalog.card import Model, Output
from geoseg.catalog.legend import Legend
from geoseg.errors import JobError, ModelError
from geoseg.imagery import Statistics

MOST = 8
"""Members of an ensemble: a process keeps so many networks."""


@dataclass(frozen=True, slots=True)
class Member:
    """A model and what it needs to run."""

    model: Model
    mean: tuple[float, ...]
    """Subtracted from each band, physical units."""
    std: tuple[float, ...]
    """What each band is then divided by."""
    temperature: float = 1.0
    """What logits are divided by before they become shares."""

    @property
    def facts(self) -> dict[str, Any]:
        """All of it that can change a pixel, as plain data, but for the temperature."""
        card = self.model.card
        said: dict[str, Any] = {} if card.output == Output() else {"output": card.output.model_dump()}
        if card.normalisation.kind in ("percentile", "dynamic-world"):
            said["normalisation"] = card.normalisation.kind
        return {
            **said,
            "name": card.name,
            "sha256": card.weights.sha256.lower(),
            "architecture": card.architecture,
            "bands": list(card.bands),
            "classes": list(card.legend.ids),
            "mean": list(self.mean),
            "std": list(self.std),
        }


def check_alike(models: Sequence[Model]) -> None:
    """Refuse models that cannot be members of one ensemble.

    Raises
    ------
    JobError
        If they are too many, one comes twice, or they differ in bands or classes.
    """
    if len(models) > MOST:
        raise JobError(f"an ensemble has at most {MOST} models, and the job names {len(models)}; leave some out")
    first, *others = (model.card for model in models)
    hashes = [model.card.weights.sha256 for model in models]
    for card in others:
        if card.bands != first.bands:
            raise JobError(
                f"model {card.name!r} takes the bands {', '.join(card.bands)} and model {first.name!r} "
                f"{', '.join(first.bands)}; models of an ensemble take the same ones in the same order"
            )
        if (card.legend.ids, card.legend.names) != (first.legend.ids, first.legend.names):
            raise JobError(
                f"model {card.name!r} tells {_classes(card.legend)} apart and model {first.name!r} "
                f"{_classes(first.legend)}; models of an ensemble have the same classes in the same order"
            )
    for at, card in enumerate(others, 1):
        if hashes[at] in hashes[:at]:
            raise JobError(f"model {card.name!r} has the weights of another model of the ensemble; name each once")


def numbers_of(model: Model, statistics: Statistics | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of each band, whatever kind of normalisation the card asks for.

    Parameters
    ----------
    model : Model
        Its card says which.
    statistics : Statistics, optional
        Of the imagery; needed where the kind is 'scene' or 'percentile'.

    Raises
    ------
    ModelError
        If they are needed and missing, or are not numbers to divide by.
    """
    card = model.card
    kind, bands = card.normalisation.kind, len(card.bands)
    if kind == "none":
        return (0.0,) * bands, (1.0,) * bands
    if kind in ("fixed", "dynamic-world"):
        return card.normalisation.mean or (), card.normalisation.std or ()
    if statistics is None:
        raise ModelError(f"model {card.name!r} normalises by the scene's statistics and was given none; pass them")
    mean, std = tuple(map(float, statistics.mean)), tuple(map(float, statistics.std))
    if card.normalisation.percentiles is not None:
        low, high = (statistics.percentiles.get(each, ()) for each in card.normalisation.percentiles)
        mean, std = tuple(map(float, low)), tuple(float(above - below) for below, above in zip(low, high))
    if len(mean) != bands or len(std) != bands or not np.isfinite([*mean, *std]).all() or min(std) < 0:
        raise ModelError(
            f"the statistics for model {card.name!r} are mean {mean} and std {std}; "
            f"give those of its {bands} bands over imagery that has data"
        )
    return mean, tuple(each or 1.0 for each in std)


def _classes(legend: Legend) -> str:
    named = [f"{each.id} {each.name}" for each in legend.classes]
    return ", ".join(named[:6]) + (", ..." if len(named) > 6 else "")

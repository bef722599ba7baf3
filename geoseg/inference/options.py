"""Options: how the scores of a model become labels, where a user asks for more than the best class of one pass.

Plain values, settled when a predictor is prepared; all of them can change a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from geoseg.catalog import choice
from geoseg.catalog.card import ModelCard
from geoseg.catalog.legend import Legend
from geoseg.errors import CatalogError, JobError

Tta = Literal["none", "d4"]
LAYERS = ("probabilities", "entropy", "margin")
"""What can be made of the shares beside the label and its confidence."""


@dataclass(frozen=True, slots=True)
class Options:
    """How scores become labels."""

    tta: Tta = "none"
    """Test-time augmentation. d4: scores are the mean of those of the eight symmetries of the square."""
    classes: tuple[int, ...] = ()
    """Ids of the classes that may be predicted, in the legend's order; (): all."""
    thresholds: tuple[tuple[int, float], ...] = ()
    """(id, least share) of classes; a pixel whose class has less gets none."""

    def names(self, legend: Legend) -> tuple[str, ...]:
        """Names of the classes that may be predicted, in the legend's order."""
        return tuple(each.name for each in legend.classes if not self.classes or each.id in self.classes)

    @property
    def facts(self) -> dict[str, Any]:
        """What was asked for, as plain data; {} where nothing was."""
        said: dict[str, Any] = {} if self.tta == "none" else {"tta": self.tta}
        if self.classes:
            said["classes"] = list(self.classes)
        if self.thresholds:
            said["thresholds"] = {str(id): least for id, least in self.thresholds}
        return said


PLAIN = Options()
"""The best class of one pass."""


def of(
    legend: Legend,
    tta: str = "none",
    classes: Sequence[object] = (),
    thresholds: Mapping[str, float] | float | None = None,
) -> Options:
    """The options that a user asked for.

    Parameters
    ----------
    legend : Legend
        Of the model.
    tta : str
        'none' or 'd4'.
    classes : sequence
        Names or ids of the classes that may be predicted; none: all.
    thresholds : mapping or float, optional
        Least share by name or id of class, or one for all that may be predicted.

    Raises
    ------
    JobError
        If a class is unknown, or a threshold is no share.
    """
    if tta not in ("none", "d4"):
        raise JobError(f"inference.tta is {tta!r}; choose 'd4' or 'none'")
    wanted = {_id(legend, each, "classes") for each in classes}
    kept = tuple(id for id in legend.ids if not wanted or id in wanted)
    given = dict.fromkeys(kept, thresholds) if isinstance(thresholds, int | float) else {}
    if isinstance(thresholds, Mapping):
        given = {_id(legend, each, "thresholds"): least for each, least in thresholds.items()}
    for id, least in given.items():
        name = legend.names[legend.ids.index(id)]
        if not 0 <= least <= 1:
            raise JobError(f"inference.thresholds gives class {name!r} {least:g}; give a share from 0 to 1")
        if id not in kept:
            raise JobError(
                f"inference.thresholds names class {name!r}, which inference.classes leaves out; take one of them away"
            )
    return Options(
        tta,  # type: ignore[arg-type]  # checked above
        kept if wanted else (),
        tuple((id, float(given[id])) for id in kept if given.get(id)),
    )


def temperature_of(card: ModelCard, asked: float | Literal["auto"]) -> float:
    """What a model's logits are divided by.

    Parameters
    ----------
    card : ModelCard
        Says which, where the user does not.
    asked : float or 'auto'
        By the user.

    Raises
    ------
    JobError
        If it is no positive number, or the model gives no logits.
    """
    found = (card.temperature or 1.0) if asked == "auto" else float(asked)
    if not (math.isfinite(found) and found > 0):
        raise JobError(f"inference.temperature is {found:g}; give a number above 0, and 1 changes nothing")
    if found != 1 and card.output.kind not in ("logits", "sigmoid"):
        raise JobError(
            f"inference.temperature divides logits, and model {card.name!r} gives {card.output.kind}; leave it out"
        )
    return found


def told(legend: Legend, options: Options, temperatures: Sequence[float]) -> str:
    """What was asked for, for people; '' where nothing was.

    Parameters
    ----------
    legend : Legend
        Of the model.
    options : Options
        How its scores become labels.
    temperatures : sequence of float
        What logits are divided by, of each model.
    """
    names = dict(zip(legend.ids, legend.names))
    parts = [] if options.tta == "none" else ["mean scores over the eight symmetries of the square"]
    if set(temperatures) != {1}:
        apart = temperatures if len(set(temperatures)) > 1 else temperatures[:1]
        parts.append("logits divided by " + ", ".join(f"{each:g}" for each in apart))
    if options.classes:
        parts.append("only " + ", ".join(names[each] for each in options.classes))
    if options.thresholds:
        least = ", ".join(f"{names[each]} below {share:g}" for each, share in options.thresholds)
        parts.append(f"no class where the share is too small: {least}")
    return "; ".join(parts)


def _id(legend: Legend, given: object, key: str) -> int:
    try:
        found = choice.label_of(given, legend)
    except CatalogError as error:
        raise JobError(f"inference.{key}: {error}") from None
    if found is None:
        raise JobError(f"inference.{key} names a class without a name; give a name or an id of {legend.name!r}")
    return found

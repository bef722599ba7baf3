"""Radiometry: whether the values of imagery are like those that a model was trained on.

Types are those of the numbers in files; values are in physical units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from geoseg import imagery
from geoseg.catalog.card import ModelCard, Radiometry
from geoseg.grid import Window
from geoseg.imagery.statistics import sample
from geoseg.quantities import plain

_SQUARES = 16
"""Parts of the imagery that are looked at."""
_MOST_BEYOND = 0.05
_BASELINE_4 = 1000.0
"""Added to Sentinel-2's digital numbers since processing baseline 04.00 of January 2022."""
_DARKEST_WITH_OFFSET = 0.8 * _BASELINE_4
"""Reflectance is hardly ever below -0.02, which is 800 then."""


@dataclass(frozen=True, slots=True)
class Cures:
    """What a user can do about values, each the end of a sentence."""

    reflectance: str
    unit: str
    baseline_4: str
    offset: str
    beyond: str


IN_CATALOG = Cures(
    "give 'scale: 10000' in the catalog",
    "give 'scale' in the catalog",
    "give 'offset: -1000' in the catalog",
    "look at the imagery, and give 'offset' in the catalog",
    "give 'scale' or 'nodata' in the catalog",
)
IN_ARRAY = Cures(
    "multiply it by 10000",
    "bring it to the model's unit",
    "subtract 1000",
    "look at the imagery, and subtract the offset",
    "bring it to the model's unit, or make NaN of what is no data",
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is looked at of some imagery."""

    name: str
    """What sentences call it."""
    numbers: tuple[tuple[str, str, str], ...]
    """Of each band whose numbers are as they were stored: its name, their type, and where they are stored."""
    values: Callable[[], np.ndarray]
    """Makes (band, pixel) float32, finite, of a sample."""
    cures: Cures


def of_scene(scene: imagery.Scene) -> Seen:
    """What is looked at of a scene.

    Parameters
    ----------
    scene : Scene
        With the bands of a card, in its order.
    """
    numbers = tuple(
        (band.name, source.dtype, source.path)
        for band, sources in zip(scene.imagery.bands, scene.bands)
        for source in sources
        if (band.scale, band.offset, source.scale, source.offset) == (1, 0, 1, 0)
    )

    def values() -> np.ndarray:
        squares = spread(scene.window, lambda square: imagery.touches(scene, scene.grid, square))
        return whole([imagery.read(scene, scene.grid, square) for square in squares], len(scene.imagery.bands))

    return Seen(f"imagery {scene.imagery.name!r}", numbers, values, IN_CATALOG)


def trouble(card: ModelCard, seen: Seen) -> str:
    """Why a model should not be run on some imagery, and what to do, as one sentence; '' where all is as expected.

    Parameters
    ----------
    card : ModelCard
        Its `radiometry` says what it expects.
    seen : Seen
        Of the imagery, with the bands of the card, in its order.
    """
    expected = card.radiometry
    if expected is None:
        return ""
    return _of_types(card, expected, seen) or _of_values(card, expected, seen)


def spread(window: Window, touches: Callable[[Window], bool]) -> list[Window]:
    """The few parts of a window that are looked at.

    Parameters
    ----------
    window, touches
        As for `statistics.sample`.
    """
    squares = sample(window, touches)
    return squares[:: -(-len(squares) // _SQUARES) or 1]


def whole(parts: list[np.ndarray], bands: int) -> np.ndarray:
    """(band, pixel) of the pixels of a sample that have data in all bands.

    Parameters
    ----------
    parts : list of (band, row, col) float32
        The sample, NaN where there is no data.
    bands : int
        How many there are.
    """
    found = [part[:, np.isfinite(part).all(axis=0)] for part in parts]
    return np.concatenate(found, axis=1) if found else np.empty((bands, 0))


def _of_types(card: ModelCard, expected: Radiometry, seen: Seen) -> str:
    for band, dtype, where in seen.numbers if expected.dtype is not None else ():
        if dtype != expected.dtype:
            return (
                f"model {card.name!r} expects files of {expected.dtype}, but the numbers of band {band!r} are {dtype} "
                f"in {where}; use the imagery as the model was trained on it, or {seen.cures.unit}"
            )
    return ""


def _of_values(card: ModelCard, expected: Radiometry, seen: Seen) -> str:
    if expected.limits is None:
        return ""
    values, cures, (low, high) = seen.values(), seen.cures, expected.limits
    if not values.size:
        return ""
    dark, middle, bright = np.percentile(values, (1, 50, 99), axis=1)  # of each band
    found = f"the values of {seen.name} are about {plain(float(np.median(middle)), 3)}"
    asked = f"model {card.name!r} expects {expected.what}"
    if expected.bright is not None and bright.max() < expected.bright:
        how = f"another unit; {cures.unit}"
        if bright.max() <= 2:
            how = f"reflectance of 0 to 1; {cures.reflectance}"
        return f"{asked}, but {found}, at most {plain(float(bright.max()), 3)}, which looks like {how}"
    if expected.dark is not None and dark.min() > expected.dark:
        why = f"as in clouds or snow, or with an offset; {cures.offset}"
        if dark.min() < _DARKEST_WITH_OFFSET and middle.max() > high:
            why = f"which looks like another unit; {cures.unit}"
        elif expected.dark < _BASELINE_4 and dark.min() < 2 * _BASELINE_4:
            why = (
                "as if the offset of 1000 that Sentinel-2 products have since January 2022 were still in them; "
                f"{cures.baseline_4}"
            )
        return f"{asked}, but {found}, and nowhere below {plain(float(dark.min()), 3)} in any band, {why}"
    beyond = float(((values < low) | (values > high)).mean())
    if beyond > _MOST_BEYOND:
        limits = f"{plain(low, 6)} to {plain(high, 6)}"
        share = f"{100 * beyond:.0f} % of the values of {seen.name}"
        return f"{asked}, {limits}, but {share} lie beyond; {cures.beyond}"
    return ""

"""Radiometry: whether the values of imagery are like those that a model was trained on."""

from __future__ import annotations

import numpy as np

from geoseg import imagery
from geoseg.catalog.card import ModelCard
from geoseg.imagery.statistics import sample
from geoseg.quantities import plain

_SQUARES = 16
"""Parts of the imagery that are looked at."""
_MOST_BEYOND = 0.05
_BASELINE_4 = 1000.0
"""Added to Sentinel-2's digital numbers since processing baseline 04.00 of January 2022."""
_DARKEST_WITH_OFFSET = 0.8 * _BASELINE_4
"""Reflectance is hardly ever below -0.02, which is 800 then."""


def trouble(card: ModelCard, scene: imagery.Scene) -> str:
    """Why a model should not be run on some imagery, and what to do, as one sentence; '' where all is as expected.

    Parameters
    ----------
    card : ModelCard
        Its `radiometry` says what it expects.
    scene : Scene
        With the bands of the card, in its order.
    """
    expected = card.radiometry
    if expected is None:
        return ""
    values = _values(scene)
    if not values.size:
        return ""
    dark, middle, bright = np.percentile(values, (1, 50, 99), axis=1)  # of each band
    found = f"the values of imagery {scene.imagery.name!r} are about {plain(float(np.median(middle)), 3)}"
    asked = f"model {card.name!r} expects {expected.what}"
    if expected.bright is not None and bright.max() < expected.bright:
        how = "another unit; give 'scale' in the catalog"
        if bright.max() <= 2:
            how = "reflectance of 0 to 1; give 'scale: 10000' in the catalog"
        return f"{asked}, but {found}, at most {plain(float(bright.max()), 3)}, which looks like {how}"
    if expected.dark is not None and dark.min() > expected.dark:
        why = "as in clouds or snow, or with an offset; look at the imagery, and give 'offset' in the catalog"
        if dark.min() < _DARKEST_WITH_OFFSET and middle.max() > expected.high:
            why = "which looks like another unit; give 'scale' in the catalog"
        elif expected.dark < _BASELINE_4 and dark.min() < 2 * _BASELINE_4:
            why = (
                "as if the offset of 1000 that Sentinel-2 products have since January 2022 were still in them; give "
                "'offset: -1000' in the catalog"
            )
        return f"{asked}, but {found}, and nowhere below {plain(float(dark.min()), 3)} in any band, {why}"
    beyond = float(((values < expected.low) | (values > expected.high)).mean())
    if beyond > _MOST_BEYOND:
        limits = f"{plain(expected.low, 6)} to {plain(expected.high, 6)}"
        share = f"{100 * beyond:.0f} % of the values of imagery {scene.imagery.name!r}"
        return f"{asked}, {limits}, but {share} lie beyond; give 'scale' or 'nodata' in the catalog"
    return ""


def _values(scene: imagery.Scene) -> np.ndarray:
    """(band, pixel) float32 of the sample's pixels that have data in all bands."""
    squares = sample(scene.window, lambda square: imagery.touches(scene, scene.grid, square))
    squares = squares[:: -(-len(squares) // _SQUARES) or 1]
    parts = [imagery.read(scene, scene.grid, square) for square in squares]
    whole = [part[:, np.isfinite(part).all(axis=0)] for part in parts]
    return np.concatenate(whole, axis=1) if whole else np.empty((len(scene.imagery.bands), 0))

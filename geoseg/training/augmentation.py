"""Augmentation: chips as another sun, another air or another sensor would have shown them.

Chips are (band, row, col) float32, normalised, NaN where there are no data. All that is random comes from the
generator that is given, before a pixel is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoseg.training.recipe import AugmentSpec

_VEIL = 2.0
"""How bright a veil of haze is: standard deviations above the mean of what a network is used to."""
_PATCHES = 4  # along each side of a chip, for haze that is uneven


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What chance makes of a chip's light; None: that is left as it is."""

    power: float | None = None
    """Gamma."""
    line: tuple[float, float] | None = None
    """Gain and offset."""
    haze: tuple[np.ndarray, float] | None = None
    """(knot, knot) float32 of a veil, and the most that it hides."""
    dropped: int | None = None
    """Number of a band."""


def drawn(spec: AugmentSpec, bands: int, random: np.random.Generator) -> Change:
    """What is to be done to a chip.

    Parameters
    ----------
    spec
        How much of each.
    bands
        How many a chip has.
    random
        Where chance comes from.
    """
    power = line = haze = dropped = None
    if spec.gamma:
        power = float(np.exp(random.normal(0, spec.gamma)))
    if spec.gain or spec.offset:
        line = (float(np.exp(random.normal(0, spec.gain))), float(random.normal(0, spec.offset)))
    if spec.haze:
        knots = random.random((_PATCHES + 1, _PATCHES + 1)).astype(np.float32)
        haze = (knots, float(random.uniform(0, spec.haze)))
    if spec.drop and bands > 1 and random.random() < spec.drop:
        dropped = int(random.integers(bands))
    return Change(power, line, haze, dropped)


def changed(pixels: np.ndarray, change: Change, zero: np.ndarray) -> np.ndarray:
    """A chip in another light: gamma, gain and offset of all bands, haze, and sometimes a band that is missing.

    Pixels without data stay without.

    Parameters
    ----------
    pixels
        A chip; it is left as it is.
    change
        What is done to it.
    zero
        (band,) what a physical value of 0 is as a normalised one: gain and gamma leave it where it is.
    """
    base = zero.astype(np.float32)[:, None, None]
    if change.power is not None:
        pixels = _curved(pixels, base, change.power)
    if change.line is not None:
        gain, offset = change.line
        pixels = (pixels - base) * np.float32(gain) + base + np.float32(offset)
    if change.haze is not None:
        knots, most = change.haze
        pixels = pixels + _uneven(pixels.shape[1:], knots) * np.float32(most) * (np.float32(_VEIL) - pixels)
    if change.dropped is not None:
        pixels = pixels.copy()
        pixels[change.dropped] = np.where(np.isnan(pixels[change.dropped]), np.float32(np.nan), np.float32(0))
    return pixels


def _curved(pixels: np.ndarray, base: np.ndarray, power: float) -> np.ndarray:
    """Values above a base to a power, such that the brightest of each band stays where it is."""
    above = np.maximum(pixels - base, 0)
    with np.errstate(invalid="ignore"):
        top = np.fmax.reduce(above, axis=(1, 2), keepdims=True)
    top = np.where(top > 0, top, np.float32(1))
    curved = top * (above / top) ** np.float32(power)
    return np.where(pixels > base, curved + base, pixels)


def _uneven(shape: tuple[int, int], knots: np.ndarray) -> np.ndarray:
    """(row, col) float32 in [0, 1], smooth: straight lines between numbers at a few knots."""
    down, across = (np.linspace(0, _PATCHES, length, dtype=np.float32) for length in shape)
    rows, cols = np.minimum(down.astype(int), _PATCHES - 1), np.minimum(across.astype(int), _PATCHES - 1)
    part, share = (down - rows).astype(np.float32)[:, None], (across - cols).astype(np.float32)[None]
    left = knots[rows][:, cols] * (1 - part) + knots[rows + 1][:, cols] * part
    right = knots[rows][:, cols + 1] * (1 - part) + knots[rows + 1][:, cols + 1] * part
    found: np.ndarray = left * (1 - share) + right * share
    return found

"""Augmentation: chips as another sun, another air or another sensor would have shown them.

Chips are (band, row, col) float32, normalised, NaN where there are no data. All that is random comes from the
generator that is given.
"""

from __future__ import annotations

import numpy as np

from geoseg.training.recipe import AugmentSpec

_VEIL = 2.0
"""How bright a veil of haze is: standard deviations above the mean of what a network is used to."""
_PATCHES = 4  # along each side of a chip, for haze that is uneven


def changed(pixels: np.ndarray, spec: AugmentSpec, zero: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A chip in another light: gamma, gain and offset of all bands, haze, and sometimes a band that is missing.

    Pixels without data stay without.

    Parameters
    ----------
    pixels
        A chip; it is left as it is.
    spec
        How much of each.
    zero
        (band,) what a physical value of 0 is as a normalised one: gain and gamma leave it where it is.
    random
        Where chance comes from.
    """
    base = zero.astype(np.float32)[:, None, None]
    if spec.gamma:
        pixels = _curved(pixels, base, np.exp(random.normal(0, spec.gamma)))
    if spec.gain or spec.offset:
        gain, offset = np.exp(random.normal(0, spec.gain)), random.normal(0, spec.offset)
        pixels = (pixels - base) * np.float32(gain) + base + np.float32(offset)
    if spec.haze:
        veil = _uneven(pixels.shape[1:], random) * np.float32(random.uniform(0, spec.haze))
        pixels = pixels + veil * (np.float32(_VEIL) - pixels)
    if spec.drop and len(pixels) > 1 and random.random() < spec.drop:
        band = int(random.integers(len(pixels)))
        pixels = pixels.copy()
        pixels[band] = np.where(np.isnan(pixels[band]), np.float32(np.nan), np.float32(0))
    return pixels


def _curved(pixels: np.ndarray, base: np.ndarray, power: float) -> np.ndarray:
    """Values above a base to a power, such that the brightest of each band stays where it is."""
    above = np.maximum(pixels - base, 0)
    with np.errstate(invalid="ignore"):
        top = np.fmax.reduce(above, axis=(1, 2), keepdims=True)
    top = np.where(top > 0, top, np.float32(1))
    curved = top * (above / top) ** np.float32(power)
    return np.where(pixels > base, curved + base, pixels)


def _uneven(shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """(row, col) float32 in [0, 1], smooth: random numbers at a few knots, and straight lines between them."""
    knots = random.random((_PATCHES + 1, _PATCHES + 1)).astype(np.float32)
    down, across = (np.linspace(0, _PATCHES, length, dtype=np.float32) for length in shape)
    rows, cols = np.minimum(down.astype(int), _PATCHES - 1), np.minimum(across.astype(int), _PATCHES - 1)
    part, share = (down - rows).astype(np.float32)[:, None], (across - cols).astype(np.float32)[None]
    left = knots[rows][:, cols] * (1 - part) + knots[rows + 1][:, cols] * part
    right = knots[rows][:, cols + 1] * (1 - part) + knots[rows + 1][:, cols + 1] * part
    found: np.ndarray = left * (1 - share) + right * share
    return found

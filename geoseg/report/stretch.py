"""Stretch: bands of imagery as an image that a person can read. Arrays only; no files, no drawing."""

from __future__ import annotations

import numpy as np


def stretched(pixels: np.ndarray) -> np.ndarray:
    """Three bands as an image: each from its 2nd to its 98th percentile, nodata transparent.

    Parameters
    ----------
    pixels : (3, row, col) float
        Red, green, blue; NaN means no data.

    Returns
    -------
    (row, col, 4) uint8
        Red, green, blue, opacity.
    """
    valid = np.isfinite(pixels).all(axis=0)
    image = np.zeros((*valid.shape, 4), np.uint8)
    if valid.any():
        for band, values in enumerate(pixels):
            step = max(1, valid.sum() // 1_000_000)
            low, high = np.percentile(values[valid][::step], (2, 98))
            shown = (values[valid] - low) / max(high - low, 1e-12)
            image[valid, band] = np.clip(shown * 255, 0, 255).astype(np.uint8)
    image[valid, 3] = 255
    return image

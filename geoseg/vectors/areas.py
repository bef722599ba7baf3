"""Areas: how much ground pixels cover, in m². Integers of pixels in, metres out; no files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from affine import Affine


def area_of(crs: Any, transform: Affine) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """A function from the (row, first col, length) of runs of pixels to the area of each in m².

    Parameters
    ----------
    crs : pyproj CRS
        A projected one, whose plane is taken as it is; or a geographic one, whose ellipsoid is.
    transform : Affine
        From (col, row) to coordinates.
    """
    unit = crs.axis_info[0].unit_conversion_factor
    pixel = abs(transform.determinant) * unit**2
    if not crs.is_geographic:
        return lambda row, col, length: pixel * length
    a, b = crs.ellipsoid.semi_major_metre, crs.ellipsoid.semi_minor_metre
    squashed = 1 - (b / a) ** 2

    def on_ellipsoid(row: np.ndarray, col: np.ndarray, length: np.ndarray) -> np.ndarray:
        # Area per squared radian, the product of the two radii of curvature and the cosine (Snyder 1987, eq. 4-18 ff),
        # at the middle of the run; for pixels of a degree it is right to 1e-5, for smaller ones far better.
        latitude = unit * (transform.d * (col + length / 2) + transform.e * (row + 0.5) + transform.f)
        per_radian = b**2 * np.cos(latitude) / (1 - squashed * np.sin(latitude) ** 2) ** 2
        return pixel * per_radian * length

    return on_ellipsoid

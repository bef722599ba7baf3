"""Areas: how much ground pixels cover, in m². Integers of pixels in, metres out; no files.

Sums that are to be the same however a map is cut are taken in integers: `weights` are such, one for each pixel.
"""

from __future__ import annotations

import math
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


def weights(crs: Any, transform: Affine, shape: tuple[int, int]) -> tuple[Callable[[int, int], np.ndarray], float]:
    """Integers that stand for the areas of pixels, and the m² of which they count how many.

    Where all pixels are alike each counts as one. Else the unit is a power of two, so small that the sum over the map
    still fits 63 bits: for any map it is smaller than 1e-9 of the mean pixel.

    Parameters
    ----------
    crs, transform
        As in `area_of`.
    shape : (rows, cols)
        Of the map.

    Returns
    -------
    callable
        From the first row and the number of rows to (row, col) or (row, 1) int64.
    float
        The unit in m².
    """
    of_runs = area_of(crs, transform)
    one = np.ones(1)
    if not crs.is_geographic:
        area = float(of_runs(0 * one, 0 * one, one)[0])
        return lambda row, rows: np.ones((rows, 1), np.int64), area
    across = 1 if transform.d == 0 else shape[1]

    def in_m2(row: int, rows: int) -> np.ndarray:
        down, right = np.mgrid[row : row + rows, 0:across]
        return of_runs(down, right, np.ones(down.shape))

    steps = shape[0] if across == 1 else 1
    largest = max(float(in_m2(row, steps).max()) for row in range(0, shape[0], steps))
    shift = 61 - math.ceil(math.log2(largest * shape[0] * shape[1]))
    scale = 2.0**shift
    return lambda row, rows: np.rint(in_m2(row, rows) * scale).astype(np.int64), 1 / scale

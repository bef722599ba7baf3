"""Heights: areas of outlines whose corners need not be corners of pixels, where each row's pixels are of one size."""

from __future__ import annotations

import numpy as np

from geoseg.vectors.compiled import compiled
from geoseg.vectors.rings import Batch
from geoseg.vectors.strips import Weights

_ROWS = 1024
"""Rows whose weights are asked for at a time."""


class Heights:
    """Area of polygons in pixels (col, row), exact where each row's pixels are of one size."""

    def __init__(self, weights: Weights, rows: int) -> None:
        """Sum up the sizes of pixels.

        Parameters
        ----------
        weights : callable
            Size of the pixels of some rows, (row, 1).
        rows : int
            Of the map.
        """
        parts = [weights(at, min(_ROWS, rows - at))[:, 0] for at in range(0, rows, _ROWS)]
        sizes = np.concatenate(parts).astype(np.float64)
        self.above = np.append(0.0, np.cumsum(sizes))
        """(row + 1,) size of one column of the map down to a row."""
        self.moments = np.append(0.0, np.cumsum((self.above[1:] + self.above[:-1]) / 2))
        """(row + 1,) its integral."""

    def sizes(self, batch: Batch) -> np.ndarray:
        """(region,) float64: area by Green's theorem, in the unit of the weights.

        Parameters
        ----------
        batch : Batch
            Without flags; corners may lie anywhere on the map.
        """
        return self.of_rings(batch.region_starts, batch.ring_starts, batch.corners)

    def of_rings(self, region_starts: np.ndarray, ring_starts: np.ndarray, corners: np.ndarray) -> np.ndarray:
        """The same; shells that run anticlockwise as seen with row 0 at the top count as positive.

        Parameters
        ----------
        region_starts, ring_starts, corners
            As in `Batch`; rings may be closed or not.
        """
        return _sizes(region_starts, ring_starts, corners.astype(np.float64), self.above, self.moments)


@compiled
def _sizes(
    region_starts: np.ndarray, ring_starts: np.ndarray, corners: np.ndarray, above: np.ndarray, moments: np.ndarray
) -> np.ndarray:
    sizes = np.zeros(len(region_starts) - 1, np.float64)
    for region in range(len(sizes)):
        for ring in range(region_starts[region], region_starts[region + 1]):
            start, end = ring_starts[ring], ring_starts[ring + 1]
            for at in range(start, end):
                col, row = corners[at]
                to_col, to_row = corners[at + 1 if at + 1 < end else start]
                if row == to_row:
                    sizes[region] += (to_col - col) * _above(row, above)
                else:
                    slope = (to_col - col) / (to_row - row)
                    sizes[region] += slope * (_moment(to_row, above, moments) - _moment(row, above, moments))
    return sizes


@compiled
def _above(row: float, above: np.ndarray) -> float:
    whole = min(int(row), len(above) - 2)
    return above[whole] + (row - whole) * (above[whole + 1] - above[whole])


@compiled
def _moment(row: float, above: np.ndarray, moments: np.ndarray) -> float:
    whole = min(int(row), len(above) - 2)
    part = row - whole
    if part == 1.0:
        return moments[whole + 1]
    return moments[whole] + part * above[whole] + part * part / 2 * (above[whole + 1] - above[whole])

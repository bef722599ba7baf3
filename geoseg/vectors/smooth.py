"""Smooth: outlines whose corners are rounded off, each border the same from both of its sides, so that none cross.

Each corner becomes a piece of a quadratic B-spline, the curve that Chaikin's cutting of corners tends to (Chaikin 1974;
Riesenfeld 1975): a parabola between two points on the sides next to it. How far these lie from the corner, its reach,
is at most half of the shorter side, and less than half of the distance to any other line. So the curve stays in a
circle around the corner that no other line and no other curve's circle meets. Where three regions meet, and on the
frame of the map, corners stay. Coordinates are (col, row) of the map.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import shapely

from geoseg.vectors.compiled import compiled
from geoseg.vectors.heights import Heights
from geoseg.vectors.pieces import FLAG_BITS, JUNCTION
from geoseg.vectors.rings import Batch

STEPS = 16
"""Reaches are in whole parts of a pixel, so many for each."""
MOST = 4.0
"""Longest reach, pixels."""
_OF_EXACT = np.full((1, 1), STEPS // 2, np.uint8)
"""Of the corners of pixels, whose sides are at least 1 long and whose next line is at least 1 away."""
_SEGMENTS = 4
"""Straight pieces in place of a corner."""


@dataclass(frozen=True, slots=True)
class Smooth:
    """Rounds exact outlines."""

    shape: tuple[int, int]
    """(rows, cols) of the map."""
    height: Heights

    def outlines(self, batch: Batch) -> tuple[Batch, np.ndarray]:
        """Regions with rounded corners, and (region,) float64 areas in the unit of the weights.

        Parameters
        ----------
        batch : Batch
            With flags, of all classes.
        """
        fixed = (batch.corners[:, 0] & JUNCTION) != 0
        corners = batch.corners.copy()
        corners[:, 0] >>= FLAG_BITS
        made = rounded(replace(batch, corners=corners), fixed, _OF_EXACT, self.shape)
        return made, self.height.sizes(made)


def rounded(batch: Batch, fixed: np.ndarray, reach: np.ndarray, shape: tuple[int, int]) -> Batch:
    """Regions with rounded corners.

    Parameters
    ----------
    batch : Batch
        Without flags.
    fixed : (corner,) bool
        Which corners stay as they are.
    reach : (row + 1, col + 1) or (1, 1) uint8
        Reach of each corner of the pixel lattice, or of all, in 1 / STEPS of a pixel.
    shape : (rows, cols)
        Of the map, whose frame stays as it is.

    Returns
    -------
    Batch
        With float64 corners.
    """
    ring_starts, corners = _rounded(batch.ring_starts, batch.corners, fixed, reach, *shape)
    return replace(batch, ring_starts=ring_starts, corners=corners)


def reaches(rings: np.ndarray, points: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """How far corners may be rounded without meeting another line.

    Parameters
    ----------
    rings : (ring + 1,) int64
        Where each closed ring begins in `points`.
    points : (point, 2) float64
        Whole numbers; a coverage of the rectangle, each junction being a point of all its rings.
    shape : (rows, cols)
        Of the rectangle; what is beyond its edge may be anywhere.

    Returns
    -------
    corners : (corner, 2) int64
        Each point once, (col, row).
    reach : (corner,) uint8
        In 1 / STEPS of a pixel.
    """
    follows = np.ones(len(points) - 1, bool)
    follows[rings[1:-1] - 1] = False
    corners, at = np.unique(points.astype(np.int64), axis=0, return_inverse=True)
    ends = np.sort(np.column_stack([at.ravel()[:-1], at.ravel()[1:]])[follows], axis=1)
    ends = np.unique(ends, axis=0)
    sides = np.hypot(*(corners[ends[:, 1]] - corners[ends[:, 0]]).T)
    free = np.full(len(corners), 2 * MOST)
    for end in ends.T:
        np.minimum.at(free, end, sides)
    edge = np.min(np.column_stack([corners, np.array(shape[::-1]) - corners]), axis=1)
    free = np.minimum(free, edge * 0.98)
    tree = shapely.STRtree(shapely.linestrings(corners[ends]))
    near, line = tree.query(shapely.points(corners), predicate="dwithin", distance=free)
    other = (ends[line] != near[:, None]).all(axis=1)
    near, line = near[other], line[other]
    np.minimum.at(free, near, 0.98 * _distances(corners[near], corners[ends[line, 0]], corners[ends[line, 1]]))
    return corners, np.floor(free / 2 * STEPS).astype(np.uint8)


def _distances(points: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """From each point to a segment."""
    along, to = ends - starts, points - starts
    share = np.clip((to * along).sum(axis=1) / (along * along).sum(axis=1), 0, 1)
    return np.hypot(*(to - share[:, None] * along).T)


@compiled
def _rounded(
    ring_starts: np.ndarray, corners: np.ndarray, fixed: np.ndarray, reach: np.ndarray, rows: int, cols: int
) -> tuple[np.ndarray, np.ndarray]:
    rings = len(ring_starts) - 1
    starts = np.zeros(rings + 1, np.int64)
    out = np.empty(((_SEGMENTS + 1) * len(corners), 2), np.float64)
    alike = len(reach) == 1
    used = 0
    for ring in range(rings):
        start, end = ring_starts[ring], ring_starts[ring + 1]
        begin = used
        for at in range(start, end):
            col, row = np.int64(corners[at, 0]), np.int64(corners[at, 1])
            framed = col == 0 or row == 0 or col == cols or row == rows
            far = 0 if fixed[at] or framed else reach[0, 0] if alike else reach[row, col]
            if far == 0:
                out[used, 0], out[used, 1] = col, row
                used += 1
                continue
            before = at - 1 if at > start else end - 1
            after = at + 1 if at + 1 < end else start
            # From the lesser neighbour to the greater, so that both sides of a border find the same numbers.
            turned = corners[before, 0] > corners[after, 0] or (
                corners[before, 0] == corners[after, 0] and corners[before, 1] > corners[after, 1]
            )
            one, other = (after, before) if turned else (before, after)
            one_x, one_y = _along(corners[at], corners[one], far / STEPS)
            other_x, other_y = _along(corners[at], corners[other], far / STEPS)
            for step in range(_SEGMENTS + 1):
                share = (_SEGMENTS - step if turned else step) / _SEGMENTS
                first, middle, last = (1 - share) * (1 - share), 2 * share * (1 - share), share * share
                x, y = first * one_x + middle * col + last * other_x, first * one_y + middle * row + last * other_y
                if used == begin or out[used - 1, 0] != x or out[used - 1, 1] != y:
                    out[used, 0], out[used, 1] = x, y
                    used += 1
        if out[used - 1, 0] == out[begin, 0] and out[used - 1, 1] == out[begin, 1]:
            used -= 1
        starts[ring + 1] = used
    return starts, out[:used].copy()


@compiled
def _along(corner: np.ndarray, to: np.ndarray, far: float) -> tuple[float, float]:
    """A point on the way from a corner to the next, at most in the middle."""
    col, row, to_col, to_row = float(corner[0]), float(corner[1]), float(to[0]), float(to[1])
    share = min(far / np.hypot(to_col - col, to_row - row), 0.5)
    if share == 0.5:
        return (col + to_col) / 2, (row + to_row) / 2
    return col + share * (to_col - col), row + share * (to_row - row)

"""Pieces: the outlines of a block's regions as closed rings, and as arcs that go on in other blocks.

Rings run on the lines between pixels with the region on the left hand, seen with row 0 at the top. A directed edge of
one pixel is numbered 4 * (row * (cols + 1) + col) + direction by where it starts in the map of `cols` columns;
directions are down 0, right 1, up 2, left 3. Integers only; no coordinates, no files.
"""

from __future__ import annotations

import numpy as np

from geoseg.vectors.compiled import compiled
from geoseg.vectors.regions import components

JUNCTION, BORDER, BORDER_PASSED = 1, 2, 4
"""Flags of a corner: three or more lines meet there; what follows it has pixels without data on its other side, and so
it has if the region turns out to meet itself there (see PINCHED)."""
FLAG_BITS = 3
CLOSED, PINCHED = 1, 2
"""Kinds of a piece: it is a ring; it ends where a region may meet itself across a corner (see `rings`)."""
PIECE = np.dtype([
    ("region", np.int64), ("start", np.int64), ("end", np.int64), ("least", np.int64), ("offset", np.int64),
    ("length", np.int64), ("kind", np.int64), ("chunk", np.int64),
])  # fmt: skip
"""Region, first edge, the edge that follows the last, least corner of a ring (row * 2**32 + col), its corners
[offset, offset + length) of chunk `chunk`, kind."""

NAMES = ("region", "start", "end", "least", "offset", "length", "kind")
"""What the columns of pieces are, as they come from a block."""
_DOWN = np.array([1, 0, -1, 0])
_RIGHT = np.array([0, 1, 0, -1])
_START_ROW = np.array([0, 1, 1, 0])
_START_COL = np.array([0, 0, 1, 1])
REGION, START, END, LEAST, OFFSET, LENGTH, KIND = range(7)


@compiled
def trace(
    values: np.ndarray, row: int, col: int, cols: int, weights: np.ndarray, junctions: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Regions and pieces of one block.

    Parameters
    ----------
    values : (row + 2, col + 2) int32
        The block and one pixel around it; below 0 outside of the map.
    row, col : int
        Where its first pixel lies in the map.
    cols : int
        Columns of the map.
    weights : (row, col) or (row, 1) int64
        Size of each pixel.
    junctions : bool
        Whether corners stand at junctions too, and carry flags: a column is then 8 * col + flags.

    Returns
    -------
    labels : (row, col) int32
        Region of each pixel; they are numbered in the order of their first pixels.
    of_region : (region,) int32
        Value.
    sizes, firsts : (region,) int64
        Summed weights; the first pixel, row * cols + col.
    touching : (region,) bool
        Whether it goes on in another block.
    pieces : (piece, 7) int64
        The fields of PIECE, but for the chunk.
    corners : (corner, 2) int32
        (col, row) in the map, where an outline turns. A ring starts at its least corner and is not closed.
    """
    height, width = values.shape[0] - 2, values.shape[1] - 2
    labels, count = components(values[1:-1, 1:-1].copy())
    of_region = np.empty(count, np.int32)
    sizes = np.zeros(count, np.int64)
    firsts = np.full(count, -1, np.int64)
    touching = np.zeros(count, np.bool_)
    sides = np.zeros((height, width), np.uint8)
    edges = 0
    across = weights.shape[1] > 1
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if label < 0:
                continue
            value = values[y + 1, x + 1]
            if firsts[label] < 0:
                firsts[label] = (row + y) * cols + col + x
                of_region[label] = value
            sizes[label] += weights[y, x if across else 0]
            side = 0
            if values[y + 1, x] != value:
                side |= 1
            elif x == 0:
                touching[label] = True
            if values[y + 2, x + 1] != value:
                side |= 2
            elif y == height - 1:
                touching[label] = True
            if values[y + 1, x + 2] != value:
                side |= 4
            elif x == width - 1:
                touching[label] = True
            if values[y, x + 1] != value:
                side |= 8
            elif y == 0:
                touching[label] = True
            sides[y, x] = side
            edges += (side & 1) + (side >> 1 & 1) + (side >> 2 & 1) + (side >> 3)
    corners = np.empty((edges, 2), np.int32)
    pieces = np.empty((edges // 4 + 64, 7), np.int64)
    made, used = 0, 0
    for y in range(height):
        for x in range(width):
            if sides[y, x] == 0:
                continue
            for direction in range(4):
                if not sides[y, x] >> direction & 1:
                    continue
                if made == len(pieces):
                    larger = np.empty((2 * made, 7), np.int64)
                    larger[:made] = pieces
                    pieces = larger
                end, kind, least, till = _walk(
                    values, labels, sides, touching, y, x, direction, row, col, cols, junctions, corners, used
                )
                piece = pieces[made]
                piece[REGION], piece[KIND] = labels[y, x], kind
                piece[START], piece[END] = _edge(row + y, col + x, direction, cols), end
                piece[OFFSET], piece[LENGTH] = used, till - used
                piece[LEAST] = -1
                if kind & CLOSED:
                    at = corners[least]
                    piece[LEAST] = (np.int64(at[1]) << 32) + (at[0] >> FLAG_BITS if junctions else at[0])
                    rotate(corners, used, till, least)
                made += 1
                used = till
    return labels, of_region, sizes, firsts, touching, pieces[:made], corners[:used]


@compiled
def _edge(row: int, col: int, direction: int, cols: int) -> int:
    """Number of the edge along one side of a pixel."""
    return ((row + _START_ROW[direction]) * np.int64(cols + 1) + col + _START_COL[direction]) * 4 + direction


@compiled
def _walk(
    values: np.ndarray,
    labels: np.ndarray,
    sides: np.ndarray,
    touching: np.ndarray,
    y: int,
    x: int,
    direction: int,
    row: int,
    col: int,
    cols: int,
    junctions: bool,
    corners: np.ndarray,
    used: int,
) -> tuple[int, int, int, int]:
    """From an edge along the outline until it closes, or leaves the block: what follows, kind, least corner, end."""
    height, width = labels.shape
    first_y, first_x, first_direction = y, x, direction
    label, value = labels[y, x], values[y + 1, x + 1]
    least, least_row, least_col = used, np.int64(2**62), np.int64(0)
    while True:
        sides[y, x] &= ~np.uint8(1 << direction)
        right = (direction + 3) & 3
        ahead_y, ahead_x = y + _DOWN[direction], x + _RIGHT[direction]
        beside_y, beside_x = ahead_y + _DOWN[right], ahead_x + _RIGHT[right]
        ahead, beside = values[ahead_y + 1, ahead_x + 1], values[beside_y + 1, beside_x + 1]
        inside = 0 <= beside_y < height and 0 <= beside_x < width
        next_y, next_x, turn = y, x, (direction + 1) & 3
        pinched = False
        if ahead == value:
            next_y, next_x, turn = (beside_y, beside_x, right) if beside == value else (ahead_y, ahead_x, direction)
        elif beside == value:
            # Two pixels of one value meet in a corner. If they are of one region, it is passed from one to the other.
            if inside and labels[beside_y, beside_x] == label:
                next_y, next_x, turn = beside_y, beside_x, right
            elif touching[label] and (not inside or touching[labels[beside_y, beside_x]]):
                pinched = True
        point_row = row + next_y + _START_ROW[turn]
        point_col = col + next_x + _START_COL[turn]
        flags = 0
        if junctions:
            behind = values[y + _DOWN[right] + 1, x + _RIGHT[right] + 1]
            if 1 + (value != ahead) + (behind != beside) + (ahead != beside) > 2:
                flags = JUNCTION
        if turn != direction or flags:
            if junctions:
                side = (turn + 3) & 3
                if values[next_y + _DOWN[side] + 1, next_x + _RIGHT[side] + 1] < 0:
                    flags |= BORDER
                if pinched and behind < 0:
                    flags |= BORDER_PASSED
            corners[used, 0] = point_col * 8 + flags if junctions else point_col
            corners[used, 1] = point_row
            if point_row < least_row or (point_row == least_row and point_col < least_col):
                least, least_row, least_col = used, point_row, point_col
            used += 1
        if pinched:
            return _edge(row + next_y, col + next_x, turn, cols), PINCHED, least, used
        if next_y == first_y and next_x == first_x and turn == first_direction:
            return -1, CLOSED, least, used
        if not (0 <= next_y < height and 0 <= next_x < width) or not sides[next_y, next_x] >> turn & 1:
            return _edge(row + next_y, col + next_x, turn, cols), 0, least, used
        y, x, direction = next_y, next_x, turn


@compiled
def rotate(corners: np.ndarray, start: int, end: int, first: int) -> None:
    """Let a ring begin at another of its corners.

    Parameters
    ----------
    corners : (corner, 2)
        Changed.
    start, end, first : int
        The ring is [start, end); `first` comes first.
    """
    if first > start:
        head = corners[start:first].copy()
        corners[start : start + end - first] = corners[first:end].copy()
        corners[start + end - first : end] = head

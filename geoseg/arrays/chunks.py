"""Chunks: lazy Dask arrays over an extent of a grid, cut into whole squares of the lattice.

What all chunks need (a plan, a scene) stands in the graph once, and each chunk's task refers to it. A chunk that is
made of another array is given the pieces of that array which its reading window meets: chunks are not glued together
and pixels travel once to each that needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from operator import getitem
from typing import Any

import dask.array
import numpy as np
from dask.highlevelgraph import HighLevelGraph

from geoseg.grid import Window

EDGE = 1024
"""Edge of a chunk in pixels, about."""
Key = tuple[str | int, ...]


def sizes(extent: Window, step: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Rows and columns of the chunks into which lattice lines at multiples of `step` cut an extent.

    Parameters
    ----------
    extent : Window
        What is cut.
    step : int
        Pixels.

    Examples
    --------
    >>> sizes(Window(-3, 5, 10, 4), 4)
    ((3, 4, 3), (3, 1))
    """
    rows, cols = _edges(extent.row, extent.row_end, step), _edges(extent.col, extent.col_end, step)
    return tuple(b - a for a, b in pairwise(rows)), tuple(b - a for a, b in pairwise(cols))


def lazy(
    make: Callable[[Any, Window], np.ndarray],
    shared: object,
    extent: Window,
    step: int,
    like: np.ndarray,
    name: str,
) -> dask.array.Array:
    """An array whose chunks are made when they are computed, each by itself.

    Parameters
    ----------
    make : callable
        `shared` and a chunk's window to its (layer, row, col) pixels.
    shared : object
        Picklable, no tuple; sent once to each worker.
    extent : Window
        What the array covers.
    step : int
        Edge of the chunks in pixels.
    like : (layer, 0, 0) array
        How many layers there are and of which type.
    name : str
        Of the array in Dask; arrays of one name have the same pixels.
    """
    graph: dict[Key, Any] = {(name, 0, *at): (make, _shared(name), window) for at, window in _windows(extent, step)}
    return _array(graph, shared, extent, step, like, name, [])


def lazy_from(
    pixels: dask.array.Array,
    reading: Callable[[Window], Window],
    make: Callable[[Any, Window, list[np.ndarray], list[Window]], np.ndarray],
    shared: object,
    extent: Window,
    step: int,
    like: np.ndarray,
    name: str,
) -> dask.array.Array:
    """The same, made of another array.

    Parameters
    ----------
    pixels : (band, row, col) Dask array
        Covers `extent`; all bands in one chunk.
    reading : callable
        A chunk's window to the window of the pixels that it needs, which may go beyond the extent.
    make : callable
        `shared`, a chunk's window, and pieces of `pixels` with the windows that they cover, to (layer, row, col).
    shared, extent, step, like, name
        As in `lazy`.
    """
    rows, cols = (np.cumsum([0, *each]) for each in pixels.chunks[1:])
    graph: dict[Key, Any] = {}
    for at, window in _windows(extent, step):
        keys: list[Key] = []
        places: list[Window] = []
        for block, held in _blocks(rows, cols, extent, reading(window)):
            wanted = held.meet(reading(window))
            assert wanted is not None
            source = (pixels.name, 0, *block)
            key = (f"{name}-piece", *at, *block)
            if wanted == held:
                keys.append(source)
            else:
                keys.append(key)
                graph[key] = (getitem, source, (slice(None), *wanted.within(held)))
            places.append(wanted)
        graph[name, 0, *at] = (make, _shared(name), window, keys, places)
    return _array(graph, shared, extent, step, like, name, [pixels])


def _array(
    graph: dict[Key, Any],
    shared: object,
    extent: Window,
    step: int,
    like: np.ndarray,
    name: str,
    needed: list[dask.array.Array],
) -> dask.array.Array:
    layers: dict[str, Any] = {_shared(name): {_shared(name): shared}, name: graph}
    needs: dict[str, set[str]] = {_shared(name): set(), name: {_shared(name), *(each.name for each in needed)}}
    for each in needed:
        layers |= each.dask.layers
        needs |= each.dask.dependencies
    chunks = ((len(like),), *sizes(extent, step))
    return dask.array.Array(HighLevelGraph(layers, needs), name, chunks, meta=like[:0])


def _shared(name: str) -> str:
    return f"{name}-shared"


def _edges(first: int, end: int, step: int) -> list[int]:
    return [first, *range((first // step + 1) * step, end, step), end]


def _windows(extent: Window, step: int) -> Iterator[tuple[tuple[int, int], Window]]:
    """Number (row, col) and window of each chunk."""
    rows, cols = _edges(extent.row, extent.row_end, step), _edges(extent.col, extent.col_end, step)
    for down, (top, bottom) in enumerate(pairwise(rows)):
        for across, (left, right) in enumerate(pairwise(cols)):
            yield (down, across), Window(top, left, bottom - top, right - left)


def _blocks(
    rows: np.ndarray, cols: np.ndarray, extent: Window, wanted: Window
) -> Iterator[tuple[tuple[int, int], Window]]:
    """Number and window of each block of an array, given by its edges, that meets a window."""
    for down in _meeting(rows, wanted.row - extent.row, wanted.row_end - extent.row):
        for across in _meeting(cols, wanted.col - extent.col, wanted.col_end - extent.col):
            top, left = int(rows[down]), int(cols[across])
            size = int(rows[down + 1]) - top, int(cols[across + 1]) - left
            yield (down, across), Window(extent.row + top, extent.col + left, *size)


def _meeting(edges: np.ndarray, first: int, end: int) -> list[int]:
    """Numbers of the intervals between edges that meet [first, end) and are not empty."""
    low = max(0, int(np.searchsorted(edges, first, "right")) - 1)
    high = min(len(edges) - 1, int(np.searchsorted(edges, end, "left")))
    return [number for number in range(low, high) if edges[number] < edges[number + 1]]

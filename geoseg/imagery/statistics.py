"""Statistics: mean, deviation and percentiles of a scene's bands, from a fixed sample of it.

They belong to the imagery: no job, region or block changes them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from geoseg.errors import RasterError
from geoseg.grid import Window, count, cut
from geoseg.imagery.scene import Scene, read, touches
from geoseg.rasters.footprints import SQUARE

_SAMPLES = 64  # squares
_MOST_VALUES = 2**25
"""Values that percentiles are taken of, in all bands; of a larger sample every nth pixel of each square."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a normalisation needs to know of a scene."""

    mean: tuple[float, ...]
    """Of each band, in physical units."""
    std: tuple[float, ...]
    """Of each band; 1 for a band that is constant."""
    pixels: int
    """How many pixels were looked at."""
    percentiles: Mapping[float, tuple[float, ...]] = field(default_factory=dict)
    """Those that were asked for, of each band."""


def statistics(scene: Scene, percentiles: Collection[float] = ()) -> Statistics:
    """Mean and standard deviation of each band over a fixed sample of the scene, on its own grid.

    The sample is up to 64 squares of 256 pixels, spread evenly; all of a smaller scene. Only pixels where all
    bands have data count. The deviation is that of the sample's pixels as a population (divided by their number).
    Percentiles lie between two values as NumPy's do.

    Parameters
    ----------
    scene : Scene
        What is sampled.
    percentiles : collection of float
        0 to 100; wanted as well.

    Raises
    ------
    RasterError
        If the sample has no such pixel, or a file cannot be read.
    """
    squares = sample(scene.window, lambda square: touches(scene, scene.grid, square))
    parts = (read(scene, scene.grid, square) for square in squares)
    return measured(parts, f"imagery {scene.imagery.name!r}", percentiles, sum(each.pixels for each in squares))


def sample(window: Window, touches: Callable[[Window], bool]) -> list[Window]:
    """Up to 64 parts of a window spread evenly, looked for more densely while most of them hold no imagery.

    Parameters
    ----------
    window : Window
        What to sample.
    touches : callable
        Whether a square of the lattice may hold imagery.
    """
    edge = 8
    while True:
        found = [square for square in _spread(window, edge) if touches(square)]
        if len(found) >= _SAMPLES or edge * edge >= count(window, SQUARE) or edge >= 128:
            break
        edge *= 2
    if len(found) > _SAMPLES:
        found = [found[number * len(found) // _SAMPLES] for number in range(_SAMPLES)]
    return [part for square in found if (part := square.meet(window))]


def measured(
    parts: Iterable[np.ndarray], what: str, percentiles: Collection[float] = (), sampled: int = 0
) -> Statistics:
    """Statistics of the pixels of a sample.

    Parameters
    ----------
    parts : iterable of (band, row, col) float32
        The sample, NaN where there is no data; all parts have the same bands.
    what : str
        What messages call the imagery.
    percentiles : collection of float
        As for `statistics`.
    sampled : int
        Pixels of all parts.

    Raises
    ------
    RasterError
        If no pixel has data in all bands.
    """
    pixels = 0
    shift, first, second = np.zeros((1, 1)), np.zeros(1), np.zeros(1)
    kept: list[np.ndarray] = []
    for found in parts:
        if percentiles:
            step = -(-sampled * len(found) // _MOST_VALUES) or 1
            kept.append(found[:, np.isfinite(found).all(axis=0)][:, ::step])
        values = found[:, np.isfinite(found).all(axis=0)].astype(np.float64)
        if values.shape[1] and not pixels:
            shift = values[:, :1].copy()  # sums of small differences keep their digits, and a constant gives exactly 0
        values -= shift
        pixels += values.shape[1]
        first = first + values.sum(axis=1)
        second = second + np.square(values).sum(axis=1)
    if not pixels:
        raise RasterError(
            f"{what} has no pixel with data in all of its bands where it was sampled; "
            "check 'nodata' and that the bands cover the same ground"
        )
    std = np.sqrt(np.maximum(second / pixels - np.square(first / pixels), 0))
    std[std == 0] = 1.0
    mean = tuple((shift[:, 0] + first / pixels).tolist())
    return Statistics(mean, tuple(std.tolist()), pixels, _percentiles(kept, sorted(percentiles)))


def _percentiles(kept: list[np.ndarray], wanted: list[float]) -> dict[float, tuple[float, ...]]:
    if not wanted:
        return {}
    bands = [np.concatenate([part[band] for part in kept]).astype(np.float64) for band in range(len(kept[0]))]
    found = [np.percentile(values, wanted).tolist() for values in bands]  # (band, percentile)
    return dict(zip(wanted, zip(*found)))


def _spread(window: Window, edge: int) -> list[Window]:
    """About edge x edge lattice squares at even distances; all of them where there are no more than that."""
    whole = window.snapped(SQUARE)
    rows, cols = whole.height // SQUARE, whole.width // SQUARE
    if rows * cols <= edge * edge:
        return list(cut(window, SQUARE))
    down = min(rows, max(edge, edge * edge // cols))
    across = min(cols, max(edge, edge * edge // rows))
    return [
        Window(
            whole.row + (2 * row + 1) * rows // (2 * down) * SQUARE,
            whole.col + (2 * col + 1) * cols // (2 * across) * SQUARE,
            SQUARE,
            SQUARE,
        )
        for row in range(down)
        for col in range(across)
    ]

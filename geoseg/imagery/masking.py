"""Masking: pixels of imagery that are no data because another raster says so by its values, such as a layer of clouds.

Values are taken as they are stored, by the nearest pixel; beyond the mask's edge nothing is masked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoseg.catalog import Mask
from geoseg.grid import Grid, Window
from geoseg.rasters import files as raster_files
from geoseg.rasters import warping
from geoseg.rasters.files import Source


@dataclass(frozen=True, slots=True)
class Stencil:
    """A mask's file: a `warping.Raster` of one band, 1 where there are no data and 0 elsewhere."""

    source: Source
    """What is known of it."""
    mask: Mask
    """What the catalog says."""

    @property
    def count(self) -> int:
        """One band."""
        return 1

    @property
    def void(self) -> float:
        """Beyond the edge."""
        return -1

    def read(self, window: Window) -> np.ndarray:
        """(1, row, col) int32 of a window of the file, counted from its first pixel."""
        values = raster_files.stored(self.source, self.mask.band, window)
        return np.isin(values, self.mask.values).astype(np.int32)[None]


def hidden(stencil: Stencil, grid: Grid, window: Window) -> np.ndarray:
    """Which pixels a mask makes no data.

    Parameters
    ----------
    stencil : Stencil
        The mask.
    grid, window : Grid, Window
        The pixels asked about.

    Returns
    -------
    (row, col) bool
    """
    out = np.zeros(window.shape, bool)
    for part, found in warping.parts(stencil, grid, window, "nearest"):
        out[part.within(window)] = found[0] == 1
    return out

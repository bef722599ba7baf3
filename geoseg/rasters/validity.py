"""Validity: which pixels of a raster of class ids hold data, by one rule for maps and references.

A pixel holds data unless something says that it does not: its value is nodata, a mask in the file or beside it is 0
there, or the file's alpha band is. GDAL's own mask heeds the first of these that it finds and forgets the rest.
"""

from __future__ import annotations

import math

import numpy as np
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window as FileWindow

from geoseg.rasters.datasets import Dataset


def valid(
    dataset: Dataset, band: int, window: FileWindow, values: np.ndarray, nodata: float | None = None
) -> np.ndarray:
    """Which pixels hold data.

    Parameters
    ----------
    dataset : Dataset
        The open file; its mask is read only where it has one.
    band : int
        Band of the class ids, from 1.
    window : rasterio Window
        The pixels, whole ones inside the file.
    values : (row, col)
        What the band holds there, of any type.
    nodata : float, optional
        In place of what the file declares for the band; NaN is a value like any other.

    Returns
    -------
    (row, col) bool
    """
    if nodata is None:
        nodata = dataset.nodatavals[band - 1]
    known = np.ones(values.shape, bool) if nodata is None else ~equal(values, nodata)
    flags = dataset.mask_flag_enums[band - 1]
    if not {MaskFlags.all_valid, MaskFlags.nodata, MaskFlags.alpha} & set(flags):
        known &= dataset.read_masks(band, window=window) != 0
    for index, kind in zip(dataset.indexes, dataset.colorinterp):
        if kind == ColorInterp.alpha and index != band:
            known &= dataset.read(index, window=window) != 0
    return known


def equal(values: np.ndarray, nodata: float) -> np.ndarray:
    """Where values are nodata, which may be NaN or out of their type's range.

    Parameters
    ----------
    values : (row, col)
        Of any type.
    nodata : float
        As a file or catalog states it; compared as float32 where the values are.

    Returns
    -------
    (row, col) bool

    Examples
    --------
    >>> equal(np.array([241, 255], np.uint8), -15).tolist()
    [False, False]
    """
    if values.dtype.kind != "f":
        whole = math.isfinite(nodata) and nodata == int(nodata)
        return values == int(nodata) if whole else np.zeros(values.shape, bool)  # a float would cast each pixel
    return np.isnan(values) if math.isnan(nodata) else values == values.dtype.type(nodata)

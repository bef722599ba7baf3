"""Maps: what `segment` gave, or what xarray made of it, as a picture and as a file that says its classes.

The legend is read from the array's CF flag attributes, which netCDF and zarr keep.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import xarray

from geoseg.arrays import chunks, cube
from geoseg.catalog.legend import NODATA, LandClass, Legend
from geoseg.errors import CatalogError, GridError, RasterError
from geoseg.grid import Window
from geoseg.maps import cog
from geoseg.maps.blocks import BlockFile
from geoseg.maps.files import writing
from geoseg.storage import block_file

_TAGS = {"model": "GEOSEG_MODEL", "model_sha256": "GEOSEG_MODEL_SHA256", "attribution": "TIFFTAG_COPYRIGHT"}
_MOST_DRAWN = 2000
"""Rows and columns of a picture; of larger maps every nth is drawn."""


def plot(labels: xarray.DataArray, ax: Any = None) -> Any:
    """Draw a map in its legend's colours, with a key of the classes present; computes it.

    Parameters
    ----------
    labels : (row, col) DataArray
        From `segment`, whole, sliced or loaded.
    ax : matplotlib Axes, optional
        Where to draw; default: a new figure of pyplot.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    CatalogError, GridError
        If the array does not say its classes or where it lies.
    """
    from geoseg.report import labels as drawn  # loads matplotlib

    legend = legend_of(labels)
    dims = cube.georeference(labels).dims
    step = max(1, -(-max(labels.sizes[dim] for dim in dims) // _MOST_DRAWN))
    pixels = labels.transpose(*dims)[::step, ::step].values
    box = cube.geobox(labels)
    if not box.axis_aligned:
        return drawn.draw(pixels, legend, ax, names=("column", "row"))
    left, top = box.affine @ (0, 0)
    right, bottom = box.affine @ (box.shape[1], box.shape[0])
    return drawn.draw(pixels, legend, ax, extent=(left, right, bottom, top), names=(str(dims[1]), str(dims[0])))


def write(labels: xarray.DataArray, path: str | os.PathLike[str]) -> None:
    """Write a map as a Cloud Optimized GeoTIFF as a run writes its `map.tif`: palette, class names, nodata, overviews.

    Chunks are computed row by row of chunks, so that the map need not fit into memory. The file appears whole or not
    at all; names for QGIS and GDAL stand in `<path>.aux.xml` too.

    Parameters
    ----------
    labels : (row, col) uint8 DataArray
        From `segment`, whole, sliced or loaded.
    path : path
        The .tif to write; its folder must exist.

    Raises
    ------
    CatalogError, GridError
        If the array does not say its classes or where it lies, or holds other numbers than uint8.
    RasterError
        If the file cannot be written.
    """
    out = Path(path).absolute()
    legend, place = legend_of(labels), cube.georeference(labels)
    if labels.dtype != np.uint8:
        raise GridError(
            f"a map holds uint8, and this array {labels.dtype}; give what segment returned, or .astype('uint8')"
        )
    if not out.parent.is_dir():
        raise RasterError(f"{out} cannot be written, since its folder does not exist; make it first")
    pixels: Any = labels.transpose(*place.dims).data
    if not isinstance(pixels, dask.array.Array):
        pixels = dask.array.from_array(pixels, chunks.sizes(place.window, chunks.EDGE))
    rows = np.cumsum([0, *pixels.chunks[0]]).tolist()
    blocks, counts = [], np.zeros(256, np.int64)
    with writing(out):
        unfinished = tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent)
    with unfinished as folder:
        for number, (first, end) in enumerate(pairwise(rows)):
            strip = pixels[first:end].compute()
            if not strip.size:
                continue
            counts += np.bincount(strip.ravel(), minlength=256)
            window = Window(place.window.row + first, place.window.col, end - first, place.window.width)
            data = block_file.encode(strip, place.grid, window)
            file = Path(folder) / f"{number}.tif"
            with writing(out):
                file.write_bytes(data)
            blocks.append(BlockFile(window, file, hashlib.sha256(data).hexdigest()))
        tags = {tag: str(labels.attrs[key]) for key, tag in _TAGS.items() if labels.attrs.get(key)}
        if forced := labels.attrs.get("forced"):
            tags["GEOSEG_FORCED"] = json.dumps(np.atleast_1d(forced).tolist(), ensure_ascii=False)
        found = {int(value): int(counts[value]) for value in np.flatnonzero(counts) if value != NODATA}
        cog.assemble(blocks, place.grid, place.window, legend, out, tags=tags, counts=found)


def legend_of(labels: xarray.DataArray) -> Legend:
    """The legend that an array's flag attributes say.

    Raises
    ------
    CatalogError
        If they are missing or contradict each other.
    """
    try:
        ids = [int(each) for each in np.atleast_1d(labels.attrs["flag_values"])]
        colours = labels.attrs["flag_colors"].split()
        written = labels.attrs.get("class_names", labels.attrs["flag_meanings"].split())
    except (KeyError, AttributeError, ValueError, TypeError):
        raise CatalogError(
            "the array does not say its classes (attributes flag_values, flag_meanings and flag_colors); xarray drops "
            "attributes in some operations, so copy them with .assign_attrs(labels.attrs)"
        ) from None
    names = [str(each) for each in np.atleast_1d(written)]
    if not len(ids) == len(names) == len(colours):
        raise CatalogError(
            f"the array names {len(ids)} values, {len(names)} classes and {len(colours)} colours; give one of each"
        )
    return Legend(str(labels.attrs.get("legend", "map")), tuple(LandClass(*each) for each in zip(ids, names, colours)))

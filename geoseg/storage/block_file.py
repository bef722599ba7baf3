"""Block files: the pixels of one block as the bytes of a small GeoTIFF, and back. Bytes and arrays only; no paths."""

from __future__ import annotations

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rasterio.session import DummySession

from geoseg.catalog.legend import NODATA
from geoseg.errors import LedgerError
from geoseg.grid import Grid, Window


def encode(pixels: np.ndarray, grid: Grid, window: Window) -> bytes:
    """A block as the bytes of a small tiled GeoTIFF.

    Parameters
    ----------
    pixels : (row, col) or (band, row, col) uint8
        Class ids, confidence, or shares of classes; nodata is 255.
    grid : Grid
        Gives the CRS and the position.
    window : Window
        The block's pixels in the grid.

    Returns
    -------
    bytes
        The same for the same pixels and the same GDAL.
    """
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 1 if pixels.ndim == 2 else len(pixels),
        "height": window.height,
        "width": window.width,
        "crs": grid.crs,
        "transform": grid.transform_of(window),
        "nodata": NODATA,
        "compress": "zstd",
        "zstd_level": 1,
    }
    if pixels.ndim == 3:
        profile["interleave"] = "band"  # bands are read one by one
    if min(window.shape) >= 256:
        profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256}
    with _plain(), MemoryFile() as memory:
        with memory.open(**profile) as target:
            target.write(pixels.reshape(-1, *window.shape))
        return bytes(memory.getbuffer())


def decode(data: bytes) -> np.ndarray:
    """The uint8 pixels of an encoded block: (row, col), or (band, row, col) where it has several bands.

    Raises
    ------
    LedgerError
        If the bytes are none that GDAL can read.
    """
    try:
        with _plain(), MemoryFile(data) as memory, memory.open() as source:
            return source.read(1) if source.count == 1 else source.read()
    except (RasterioError, ValueError) as error:
        raise LedgerError(
            f"the file of a block is damaged ({error}); run the same command again to make it anew"
        ) from error


def _plain() -> rasterio.Env:
    """GDAL without credentials; rasterio would ask boto3 for some, where that is installed, for 20 ms each time."""
    return rasterio.Env(session=DummySession())

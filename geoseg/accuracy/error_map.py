"""Error map: where map and reference differ, square by square of the comparison's grid, as a GeoTIFF.

Bands: the share of compared pixels that differ, the mean IoU of the classes that occur, the number of compared pixels,
and the IoU of each class found anywhere. NaN where nothing was compared, or a class occurs in neither.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.io import MemoryFile

from geoseg.accuracy import blocks
from geoseg.accuracy.score import Accuracy
from geoseg.errors import LedgerError, RasterError
from geoseg.maps.files import NO_SIDECARS
from geoseg.storage import files


def write(accuracy: Accuracy, out: Path) -> Path:
    """Write the map, whole or not at all; an older one is replaced.

    Parameters
    ----------
    accuracy : Accuracy
        From `score.score`; the squares are its blocks.
    out : Path
        A .tif.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    RasterError
        If it is no .tif or cannot be written.
    """
    check_ending(out)
    bands = _bands(accuracy)
    held, grid = accuracy.blocks, accuracy.alignment.grid
    corner = Affine.translation(held.window.col * held.edge, held.window.row * held.edge)
    transform = grid.affine @ corner @ Affine.scale(held.edge)
    rows, cols = held.window.shape
    profile = {"driver": "GTiff", "dtype": "float32", "nodata": np.nan, "compress": "deflate", "interleave": "band"}
    profile |= {"height": rows, "width": cols, "count": len(bands), "transform": transform}
    with MemoryFile() as memory:  # GDAL does not say that a disk is full when it closes a file; `put` does
        with rasterio.Env(**NO_SIDECARS), memory.open(**profile) as file:
            # Before the pixels: else the file's order depends on when GDAL empties its cache.
            file.update_tags(BLOCK_PIXELS=str(held.edge), RULE=accuracy.alignment.rule)
            file.descriptions = tuple(bands)
            file.write(np.stack([values.astype(np.float32) for values in bands.values()]))
        data = bytes(memory.getbuffer())
    try:
        files.put(out, data)
    except LedgerError as error:
        raise RasterError(f"{out} cannot be written ({error}); check its folder and the space left") from error
    return out


def check_ending(out: Path) -> None:
    """Refuse a name that is no GeoTIFF's."""
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise RasterError(f"{out}: a map of errors is written to .tif, not to {out.suffix!r}; use that")


def _bands(accuracy: Accuracy) -> dict[str, np.ndarray]:
    """(row, col) float64 by the bands' names."""
    held = accuracy.blocks
    iou, mean = blocks.measures(held)
    compared = held.compared
    differing = np.divide(held.wrong, compared, out=np.full(compared.shape, np.nan), where=compared > 0)
    of_class = {
        f"IoU of {name}": iou[:, :, at]
        for at, name in enumerate(accuracy.legend.names)
        if np.isfinite(iou[:, :, at]).any()
    }
    known = np.where(compared > 0, compared, np.nan)
    return {"share that differs": differing, "mean IoU": mean, "compared pixels": known, **of_class}

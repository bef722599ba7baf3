"""Tiles: images cut into a small pyramid of data URLs, so that a page can zoom without a network.

Images are (row, col, 4) uint8, labels (row, col) uint8. Sizes are pixels; nothing is opened here.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from geoseg.catalog.legend import NODATA, Legend
from geoseg.report.key import coloured

EDGE = 256
"""Pixels on each side of a tile."""


def pictured(image: np.ndarray) -> str:
    """A picture of imagery as a WebP data URL; what is transparent stays so.

    Parameters
    ----------
    image : (row, col, 4) uint8
        Red, green, blue, opacity.
    """
    return _url(Image.fromarray(image), "webp", quality=72, method=2)


def mapped(labels: np.ndarray, legend: Legend) -> str:
    """A picture of labels as a PNG data URL in exactly the legend's colours; no data is transparent.

    Parameters
    ----------
    labels : (row, col) uint8
        Class ids; 255 is no data, a value that the legend lacks magenta.
    legend : Legend
        Its classes.
    """
    rows, cols = labels.shape
    picture = Image.frombytes("P", (cols, rows), labels.astype(np.uint8).tobytes())
    picture.putpalette(coloured(np.arange(256)[None], legend, NODATA)[0, :, :3].tobytes())
    return _url(picture, "png", transparency=NODATA)


def level(array: np.ndarray, legend: Legend | None, scale: tuple[float, float]) -> dict[str, Any]:
    """One level of a pyramid as plain data.

    Parameters
    ----------
    array : (row, col) or (row, col, 4) uint8
        Labels, or an image.
    legend : Legend or None
        Of labels; None: an image.
    scale : (float, float)
        Pixels of the map that one pixel of the level is high and wide.

    Returns
    -------
    mapping
        'scale' and 'size' as (rows, cols), and 'tiles' in row-major order, each 256 pixels on an edge or what is left.
    """
    rows, cols = array.shape[:2]
    parts = [array[r : r + EDGE, c : c + EDGE] for r in range(0, rows, EDGE) for c in range(0, cols, EDGE)]
    urls = [pictured(part) if legend is None else mapped(part, legend) for part in parts]
    return {"scale": list(scale), "size": [rows, cols], "tiles": urls}


def halved(image: np.ndarray) -> np.ndarray:
    """An image half as large, each pixel the mean of four.

    Parameters
    ----------
    image : (row, col, 4) uint8
        Red, green, blue, opacity.
    """
    return np.asarray(Image.fromarray(image).reduce(2))


def _url(picture: Image.Image, kind: str, **how: Any) -> str:
    data = io.BytesIO()
    picture.save(data, kind, **how)
    return f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode()}"

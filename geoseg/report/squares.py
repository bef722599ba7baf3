"""Squares: where a map differs from its reference, a pixel for each square block, as small pictures.

Arrays are (row, col) float, NaN where nothing was compared. The scale is cividis, of lightness alone, for any eye.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from PIL import Image

from geoseg.quantities import length

SCALE = "cividis"
_LEAST = 320
"""Pixels of a picture's longer side at least."""
_MEASURES = {"differing": "share of compared pixels that differ", "mean_iou": "mean IoU of the classes that occur"}


def arrays(scores: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What accuracy.json says of blocks, by title: the share that differs and the mean IoU; none where it is silent.

    Parameters
    ----------
    scores : mapping
        What accuracy.json holds.
    """
    held = scores.get("blocks")
    if not held or not any(held["compared"]):
        return {}
    compared, wrong, mean = (_floats(held[key]) for key in ("compared", "differing", "mean_iou"))
    shape = held["rows"], held["columns"]
    share = np.divide(wrong, compared, out=np.full(compared.shape, np.nan), where=compared > 0)
    found = {_MEASURES["differing"]: share.reshape(shape), _MEASURES["mean_iou"]: mean.reshape(shape)}
    rows, cols = (np.flatnonzero((compared.reshape(shape) > 0).any(axis)) for axis in (1, 0))
    return {name: each[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] for name, each in found.items()}


def pictured(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Pictures for the page: a title, a PNG as data URL, a text for who cannot see it, and the ends of the scale.

    Parameters
    ----------
    scores : mapping
        What accuracy.json holds.
    """
    found = []
    for title, values in arrays(scores).items():
        most = 1.0 if "IoU" in title else max(float(np.nanmax(values)), 1e-9)
        low, middle, high = np.nanquantile(values, (0, 0.5, 1))
        text = f"{title}, by blocks of {edge(scores)}: {low:.3f} to {high:.3f}, half of the blocks below {middle:.3f}"
        found.append({"title": title, "url": _url(values / most), "text": text, "low": "0", "high": f"{most:.3g}"})
    return found


def edge(scores: Mapping[str, Any]) -> str:
    """Edge of a block in words."""
    held = scores["blocks"]
    return f"{held['edge_pixels']:,} × {held['edge_pixels']:,} px ({length(held['edge_m'])})"


def gradient() -> str:
    """The scale as a CSS gradient, from low to high."""
    return ", ".join(matplotlib.colors.to_hex(matplotlib.colormaps[SCALE](at)) for at in np.linspace(0, 1, 6))


def _url(shares: np.ndarray) -> str:
    """A PNG in which each block is as many pixels as make it large enough; what is NaN is transparent."""
    known = np.isfinite(shares)
    image = matplotlib.colormaps[SCALE](np.where(known, shares, 0.0), bytes=True)
    image[~known] = 0
    times = max(1, round(_LEAST / max(shares.shape)))
    data = io.BytesIO()
    Image.fromarray(image.repeat(times, 0).repeat(times, 1)).save(data, "png")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


def _floats(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if each is None else each for each in values], np.float64)

"""View: what a finished map shows of itself: a small picture of it, its size on the ground, its legend.

Maps are opened here and never changed. Arrays are (row, col); lengths are metres.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from rasterio.enums import Resampling

from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import RasterError
from geoseg.maps.files import opened, sidecar_of
from geoseg.rasters import legend_tag, sidecars
from geoseg.rasters.vrt import class_names


def overview(path: Path, longest_side: int = 1600) -> np.ndarray:
    """A small view of a map for pictures: (row, col) in the file's dtype, at most `longest_side` on an edge.

    Pixels are picked, from the map's own overviews where it has them, so no value appears that the map lacks.

    Parameters
    ----------
    path : Path
        The map, or any raster whose first band is one.
    longest_side : int
        Pixels; a smaller map is shown as it is.

    Raises
    ------
    RasterError
        If the map cannot be read.
    """
    with opened(path) as source:
        step = max(1.0, max(source.shape) / longest_side)
        shape = tuple(max(1, round(side / step)) for side in source.shape)
        return source.read(1, out_shape=shape, resampling=Resampling.nearest)


def ground_size(path: Path) -> tuple[float, float]:
    """(height, width) of a map on the ground in metres, along its middle row and column.

    Raises
    ------
    RasterError
        If the map cannot be read.
    """
    with opened(path) as source:
        a, b, _, d, e, f = tuple(source.transform)[:6]
        rows, cols = source.shape
        crs = source.crs
    down, across = math.hypot(b, e) * rows, math.hypot(a, d) * cols
    if crs is None or not crs.is_geographic:
        factor = crs.linear_units_factor[1] if crs is not None else 1.0
        return down * factor, across * factor
    degree_m = 111_195.0  # of a sphere of the earth's volume; a scale bar needs no more
    latitude = f + d * cols / 2 + e * rows / 2
    return down * degree_m, across * degree_m * math.cos(math.radians(latitude))


def crs_of(path: Path) -> str:
    """The CRS of a map, as 'EPSG:n' or WKT.

    Raises
    ------
    RasterError
        If the map cannot be read or has none.
    """
    with opened(path) as source:
        if source.crs is None:
            raise RasterError(f"{path} has no CRS; georeference the map first")
        return source.crs.to_string()


def legend_of(path: Path) -> Legend | None:
    """The legend that a map carries, or None where it carries none.

    geoseg's own tag is read first, then the attribute table or category names in `<path>.aux.xml`.

    Raises
    ------
    RasterError
        If the map or its legend cannot be read.
    """
    with opened(path) as source:
        legend = legend_tag.carried(source.tags(), path)
        colours = source.colormap(1) if source.colorinterp[0].name == "palette" else {}
    if legend is not None or not sidecar_of(path).is_file():
        return legend
    try:
        root = sidecars.xml(sidecar_of(path))
        names = {} if root is None else class_names(root)
        colour = {id: "#{:02x}{:02x}{:02x}".format(*colours.get(id, (128, 128, 128))) for id in sorted(names)}
        return Legend(path.stem, tuple(LandClass(id, names[id], colour[id]) for id in colour)) if names else None
    except (ValueError, IndexError, RasterError) as error:
        raise RasterError(
            f"{sidecar_of(path)} holds a legend that cannot be read ({error}); name one of the catalog's"
        ) from error

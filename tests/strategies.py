"""Hypothesis strategies shared by the tests, and the rasters that tests write for themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from hypothesis import strategies as st

from geoseg.catalog import Band, Imagery
from geoseg.grid import Window

NORTH_UP = Affine(30, 0, 300015, 0, -30, 4199985)
OBLONG = Affine(20, 0, 300007, 0, -35, 4200011)
ROTATED = Affine.translation(300015, 4199985) @ Affine.rotation(31) @ Affine.scale(30, -30)
SOUTH_UP = Affine(30, 0, 300015, 0, 30, 4100025)
TRANSFORMS = {"north up": NORTH_UP, "oblong": OBLONG, "rotated": ROTATED, "south up": SOUTH_UP}


def windows(inside: Window, largest: int = 400) -> st.SearchStrategy[Window]:
    """Windows that meet `inside`, at most `largest` pixels high and wide, edges beyond it included."""

    def at(size: tuple[int, int]) -> st.SearchStrategy[Window]:
        rows = st.integers(inside.row - size[0] + 1, inside.row_end - 1)
        cols = st.integers(inside.col - size[1] + 1, inside.col_end - 1)
        return st.builds(Window, rows, cols, st.just(size[0]), st.just(size[1]))

    return st.tuples(st.integers(1, largest), st.integers(1, largest)).flatmap(at)


def shapes(size: tuple[int, int] = (60, 60)) -> st.SearchStrategy[tuple[int, int]]:
    """Shapes (rows, cols) up to `size`."""
    return st.tuples(st.integers(1, size[0]), st.integers(1, size[1]))


def stars(centre: tuple[float, float], radius: float) -> st.SearchStrategy[shapely.Polygon]:
    """Polygons with reentrant corners and sometimes a hole, around `centre` (x, y), `radius` across at most."""

    def star(radii: list[float], turn: float, hole: bool) -> shapely.Polygon:
        angles = turn + np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
        spokes = radius * np.array(radii)[:, None] * np.c_[np.cos(angles), np.sin(angles)] + centre
        middle = spokes.mean(axis=0)
        holes = [middle + 0.1 * (spokes - middle)] if hole else []
        return shapely.Polygon(spokes, holes)

    radii = st.lists(st.floats(0.2, 1), min_size=3, max_size=12)
    return st.builds(star, radii, st.floats(0, 6), st.booleans()).filter(lambda shape: shape.is_valid)


def coordinates(rows: int, cols: int) -> np.ndarray:
    """The coordinate image: (2, row, col) uint16, each pixel painted with its own row and column, from 1."""
    return np.stack(np.mgrid[1 : rows + 1, 1 : cols + 1]).astype(np.uint16)


def write(
    path: Path, pixels: np.ndarray, transform: Affine = NORTH_UP, crs: str | None = "EPSG:32612", **how: Any
) -> str:
    """Write (band, row, col) as a GeoTIFF; returns the path as text. `mask` becomes an internal mask band."""
    mask = how.pop("mask", None)
    bands, rows, cols = pixels.shape
    profile = {"driver": "GTiff", "count": bands, "height": rows, "width": cols, "dtype": pixels.dtype.name}
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", **(profile | how), transform=transform, crs=crs) as out,
    ):
        out.write(pixels)
        if mask is not None:
            out.write_mask(mask)
    return str(path)


def layer(files: str | tuple[str, ...] | Mapping[str, tuple[str, ...]], bands: int = 1, **how: Any) -> Imagery:
    """Imagery of stacked files, or of bands with files of their own (a mapping)."""
    nodata, scale, offset = how.pop("nodata", None), how.pop("scale", 1.0), how.pop("offset", 0.0)
    if isinstance(files, Mapping):
        listed = [(name, paths, 1) for name, paths in files.items()]
    else:
        paths = (files,) if isinstance(files, str) else files
        listed = [(f"b{index}", paths, index) for index in range(1, bands + 1)]
    found = tuple(Band(name, paths, index, nodata, scale, offset) for name, paths, index in listed)
    return Imagery(how.pop("name", "scene"), found, **how)

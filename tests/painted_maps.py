"""Small maps for tests: blocks painted by rule, and GDAL's own view of a finished map."""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geoseg.catalog.legend import NODATA, LandClass, Legend
from geoseg.grid import Grid, Window, cut
from geoseg.maps.blocks import BlockFile

GRID = Grid("EPSG:32612", (28.5, 0.0, 300000.1, 0.0, -28.5, 4199985.7))
LEGEND = Legend(
    "six & more",
    (
        LandClass(0, "water", "#0064c8"),
        LandClass(3, 'forêt "dense" <&>', "#006400"),
        LandClass(1, "built-up", "#fa0000"),
        LandClass(7, "bare", "#b4b4b4"),
    ),
)
TAGS = {"GEOSEG_MODEL": "größte <&>", "TIFFTAG_COPYRIGHT": "somebody"}


def painted(window: Window) -> np.ndarray:
    """Each pixel holds a number made of its position, 0..254."""
    rows, cols = np.mgrid[window.row : window.row_end, window.col : window.col_end]
    return ((rows * 7 + cols * 13) % 255).astype(np.uint8)


def classes(window: Window) -> np.ndarray:
    """Patches of the legend's classes, some pixels nodata."""
    rows, cols = np.mgrid[window.row : window.row_end, window.col : window.col_end]
    labels = np.array([0, 1, 3, 7], np.uint8)[(rows // 5 + cols // 9 + (rows * 31 + cols * 17) % 11 // 9) % 4]
    labels[(rows + cols) % 97 < 9] = NODATA
    return labels


def write(path: Path, pixels: np.ndarray, window: Window, grid: Grid = GRID, compress: str | None = "zstd") -> Path:
    rows, cols = pixels.shape
    facts = {"crs": grid.crs, "transform": grid.transform_of(window), "nodata": 255, "dtype": pixels.dtype}
    with rasterio.open(path, "w", driver="GTiff", count=1, height=rows, width=cols, compress=compress, **facts) as out:
        out.write(pixels, 1)
    return path


def blocks_of(folder: Path, windows: Iterable[Window], paint: object = classes, grid: Grid = GRID) -> list[BlockFile]:
    """Files of blocks, with their hashes."""
    assert callable(paint)
    return [block_of(write(folder / f"r{w.row}_c{w.col}.tif", paint(w), w, grid), w) for w in windows]


def block_of(path: Path, window: Window) -> BlockFile:
    return BlockFile(window, path, hashlib.sha256(path.read_bytes()).hexdigest())


def square(extent: Window, step: int) -> list[Window]:
    return list(cut(extent, step))


def leftovers(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir() if each.name.startswith(".new") or "ovr" in each.name)


class Gdal:
    """GDAL's own C interface, which a GIS reads names and tables by; rasterio has none for them."""

    def __init__(self, path: Path) -> None:
        libraries = sorted(Path(rasterio.__file__).parents[1].glob("rasterio.libs/libgdal-*"))
        name = str(libraries[0]) if libraries else ctypes.util.find_library("gdal")
        if name is None:
            pytest.skip("no libgdal that ctypes can load")
        self.lib = ctypes.CDLL(name)
        for function in ("GDALOpen", "GDALGetRasterBand", "GDALGetRasterCategoryNames", "GDALGetDefaultRAT"):
            getattr(self.lib, function).restype = ctypes.c_void_p
        for function in ("GDALRATGetValueAsString", "GDALRATGetNameOfCol"):
            getattr(self.lib, function).restype = ctypes.c_char_p
        with rasterio.Env():  # registers the drivers
            self.dataset = ctypes.c_void_p(self.lib.GDALOpen(str(path).encode(), 0))
        # GTiff reads its .aux.xml with the georeferencing, for which every GIS asks first.
        self.lib.GDALGetGeoTransform(self.dataset, (ctypes.c_double * 6)())
        self.band = ctypes.c_void_p(self.lib.GDALGetRasterBand(self.dataset, 1))

    def categories(self) -> list[str]:
        names = self.lib.GDALGetRasterCategoryNames(self.band)
        if not names:
            return []
        each, out = ctypes.cast(names, ctypes.POINTER(ctypes.c_char_p)), []
        while (text := each[len(out)]) is not None:
            out.append(text.decode())
        return out

    def table(self) -> list[dict[str, str]]:
        rat = ctypes.c_void_p(self.lib.GDALGetDefaultRAT(self.band))
        if not rat:
            return []
        columns = range(self.lib.GDALRATGetColumnCount(rat))
        usages = [self.lib.GDALRATGetUsageOfCol(rat, column) for column in columns]
        assert usages[:5] == [5, 2, 6, 7, 8]  # GFU_MinMax, GFU_Name, GFU_Red, GFU_Green, GFU_Blue
        titles = [self.lib.GDALRATGetNameOfCol(rat, column).decode() for column in columns]
        rows = range(self.lib.GDALRATGetRowCount(rat))
        return [
            {t: self.lib.GDALRATGetValueAsString(rat, row, c).decode() for c, t in zip(columns, titles)} for row in rows
        ]

    def close(self) -> None:
        self.lib.GDALClose(self.dataset)

"""Mosaic: finished blocks become one georeferenced map, or sheets of it under a virtual mosaic.

A map is a cloud-optimised GeoTIFF of one uint8 band, nodata 255; a pixel that no block holds is nodata.
GDAL streams it from block files to the map, so it is never in memory as a whole. The legend goes in as colour
table, category names, attribute table and a tag. Windows are (row, col, height, width) on the grid's lattice.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from odc.geo.crs import CRS
from rasterio._err import CPLE_BaseError
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window as Part

from geoseg.catalog.legend import NODATA, LandClass, Legend
from geoseg.errors import GeosegError, RasterError
from geoseg.grid import Grid, Window, cut
from geoseg.rasters import checks
from geoseg.rasters.vrt import LEGEND_TAG, MapBand, Sources, class_names, compose, nested
from geoseg.storage.store import UNFINISHED, Store, sync_folder

CONFIDENCE_SCALE = 1 / 254
"""Scale of a confidence map: 0..254 in the file, 0..1 in a GIS."""
_AGAIN = "run the same command again, which makes that block anew"
_TILE = 512
_CACHE_MB = 256
"""GDAL's cache is else 5 % of the machine; it heeds this only if nothing was read in the process before."""
_BIG_PIXELS = 2_000_000_000
_GDAL_ERRORS = (RasterioError, CPLE_BaseError, SystemError, OSError)


def assemble(
    blocks: Sources,
    grid: Grid,
    extent: Window,
    legend: Legend | None,
    out: Path,
    *,
    tags: Mapping[str, str],
    band_name: str = "land cover",
    scale: float = 1.0,
    counts: Mapping[int, int] | None = None,
) -> None:
    """Put blocks together into one map, written whole or not at all.

    The map is checked before it takes its name; an older map stays until then. Parts of blocks beyond the extent
    are left out. With a legend GDAL keeps the names in `<out>.aux.xml`, which belongs to the map and moves with it.

    Parameters
    ----------
    blocks : sequence of (Window, Path)
        GeoTIFFs of one uint8 band, nodata 255, each of its window's size; no two may overlap.
    grid, extent : Grid, Window
        Where the map lies. Its transform is exactly `grid.transform_of(extent)`.
    legend : Legend or None
        Land classes; overviews then keep the commonest class. None for a map of values, whose overviews are means.
    out : Path
        The .tif to write; its folder must exist.
    tags : mapping
        Provenance, written as TIFF metadata.
    band_name : str
        Band description.
    scale : float
        Factor from stored to shown values, such as CONFIDENCE_SCALE.
    counts : mapping, optional
        Pixels that each value must have in the map, nodata left out; they also enter the attribute table.

    Raises
    ------
    RasterError
        If a block file is missing, unreadable or of another size, the file cannot be written, or the finished map
        differs from what was asked. Nothing is left behind.
    CatalogError
        If a legend id exceeds 254.
    """
    band = MapBand(legend, band_name, scale, counts)
    inside = [(window, path) for window, path in blocks if window.meet(extent)]
    with _folder_beside(out) as folder, rasterio.Env(GDAL_PAM_ENABLED=True, GDAL_CACHEMAX=_CACHE_MB):
        for window, path in inside:
            _check_block(window, path)
        whole = [(window, path.resolve()) for window, path in inside]
        for name, text in nested(whole, grid, extent, band, tags, folder).items():
            (folder / name).write_bytes(text)
        made = folder / "map.tif"
        try:
            rasterio.shutil.copy(folder / "map.vrt", made, driver="COG", **_options(extent, band))
        except _GDAL_ERRORS as error:
            for _, path in inside:
                _count(path, f"the block file {path}")
            raise RasterError(
                f"{out} cannot be written ({error}); check its folder and the space left, and run the command again"
            ) from error
        _check_map(made, out, grid, extent)
        _check_sidecar(made, out, legend)
        if counts is not None:
            _check_counts(_count(made), counts, out)
        _publish(made, out)


def sheets(extent: Window, sheet_pixels: int) -> list[Window]:
    """Sheets of at most `sheet_pixels` on an edge, cut on the lattice so that overlapping jobs cut alike.

    >>> sheets(Window(90, 0, 20, 50), 100)
    [Window(row=90, col=0, height=10, width=50), Window(row=100, col=0, height=10, width=50)]
    """
    return [part for square in cut(extent, sheet_pixels) if (part := square.meet(extent))]


def assemble_sheets(
    blocks: Sources,
    grid: Grid,
    extent: Window,
    legend: Legend | None,
    out: Path,
    *,
    sheet_pixels: int,
    tags: Mapping[str, str],
    band_name: str = "land cover",
    scale: float = 1.0,
    counts: Mapping[int, int] | None = None,
) -> list[Path]:
    """Put blocks together into several maps and a virtual mosaic `out` (.vrt) over them.

    Sheets are `maps/<stem>_<row>_<col>.tif` beside `out`, counted from 0; a sheet without blocks is not written and
    reads as nodata. `out` refers to them by relative paths, is absent while sheets change, and is written last.
    Sheets of an earlier run that are none of these are removed. The other parameters are those of `assemble`.

    Returns
    -------
    list of Path
        The sheets written.

    Raises
    ------
    RasterError
        As `assemble`; sheets already finished stay, `out` does not.
    CatalogError
        If a legend id exceeds 254.
    """
    band = MapBand(legend, band_name, scale, counts)
    folder = Store.at(out.parent).folder("maps")
    with _writing(out):
        out.unlink(missing_ok=True)
    made: list[tuple[Window, Path]] = []
    total = np.zeros(256, np.int64)
    for name, sheet in _named(extent, sheet_pixels, out.stem):
        if not any(window.meet(sheet) for window, _ in blocks):
            continue
        path = folder / name
        assemble(blocks, grid, sheet, legend, path, tags=tags, band_name=band_name, scale=scale)
        made.append((sheet, path))
        if counts is not None:
            total += _count(path)
    if counts is not None:
        _check_counts(total, counts, out)
    Store(str(out.parent.absolute())).put(out.name, compose(made, grid, extent, band, tags, relative_to=out.parent))
    kept = {path.name for _, path in made}
    for old in folder.glob(f"{out.stem}_*_*.tif"):
        if old.name not in kept:
            old.unlink()
            _sidecar(old).unlink(missing_ok=True)
    return [path for _, path in made]


def overview(path: Path, longest_side: int = 1600) -> np.ndarray:
    """A small view of a map for pictures: (row, col) in the file's dtype, at most `longest_side` on an edge.

    Pixels are picked, from the map's own overviews where it has them, so no value appears that the map lacks.

    Raises
    ------
    RasterError
        If the map cannot be read.
    """
    with _reading(path) as source:
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
    with _reading(path) as source:
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


def legend_of(path: Path) -> Legend | None:
    """The legend that a map carries, or None where it carries none.

    geoseg's own tag is read first, then the attribute table or category names in `<path>.aux.xml`.

    Raises
    ------
    RasterError
        If the map or its legend cannot be read.
    """
    with _reading(path) as source:
        text = source.tags().get(LEGEND_TAG)
        colours = source.colormap(1) if source.colorinterp[0].name == "palette" else {}
    try:
        if text is not None:
            held = json.loads(text)
            return Legend(held["name"], tuple(LandClass(**each) for each in held["classes"]))
        names = class_names(_sidecar(path).read_bytes()) if _sidecar(path).is_file() else {}
        colour = {id: "#{:02x}{:02x}{:02x}".format(*colours.get(id, (128, 128, 128))) for id in sorted(names)}
        return Legend(path.stem, tuple(LandClass(id, names[id], colour[id]) for id in colour)) if names else None
    except (ValueError, KeyError, TypeError, ET.ParseError) as error:
        raise RasterError(
            f"{path} carries a legend that cannot be read ({error}); name one of the catalog's"
        ) from error


def _named(extent: Window, sheet_pixels: int, stem: str) -> Iterator[tuple[str, Window]]:
    parts = sheets(extent, sheet_pixels)
    row0, col0 = parts[0].row // sheet_pixels, parts[0].col // sheet_pixels
    row1, col1 = parts[-1].row // sheet_pixels - row0, parts[-1].col // sheet_pixels - col0
    for part in parts:
        row, col = part.row // sheet_pixels - row0, part.col // sheet_pixels - col0
        yield f"{stem}_{row:0{len(str(row1))}}_{col:0{len(str(col1))}}.tif", part


# ------------------------------------------------------------------------------------------- the file


def _options(extent: Window, band: MapBand) -> dict[str, str]:
    return {
        "COMPRESS": "DEFLATE",
        "LEVEL": "6",
        "PREDICTOR": "NO",
        "BLOCKSIZE": str(_TILE),
        # GDAL's own choice would be cubic where there is no colour table.
        "OVERVIEW_RESAMPLING": "MODE" if band.legend else "AVERAGE",
        "NUM_THREADS": "ALL_CPUS",
        "BIGTIFF": "YES" if extent.pixels > _BIG_PIXELS else "IF_SAFER",
        "STATISTICS": "NO",
    }


@contextmanager
def _folder_beside(out: Path) -> Iterator[Path]:
    """A folder for what is not finished, on the file system of `out`; what a crash left there goes first."""
    folder = out.parent.resolve() / f"{UNFINISHED}{out.name}"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with _writing(out):
            folder.mkdir()
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except GeosegError:
        raise
    except OSError as error:
        why = error.strerror or error
        raise RasterError(f"{out} cannot be written ({why}); check its folder and the space left") from error


def _check_block(window: Window, path: Path) -> None:
    if not path.is_file():
        raise RasterError(f"the block file {path} is missing; {_AGAIN}")
    with _reading(path, f"the block file {path}", driver="GTiff") as source:
        found = (source.shape, source.dtypes)
    wanted = (window.shape, ("uint8",))
    if found != wanted:
        raise RasterError(f"the block file {path} has shape and bands {found}, not {wanted}; {_AGAIN}")


def _check_map(made: Path, out: Path, grid: Grid, extent: Window) -> None:
    with _reading(made) as source:
        facts = {
            "shape": (source.shape, extent.shape),
            "transform": (tuple(source.transform), tuple(grid.transform_of(extent))),
            "bands": (source.dtypes, ("uint8",)),
            "nodata": (source.nodata, float(NODATA)),
        }
        crs = source.crs
    for what, (found, wanted) in facts.items():
        if found != wanted:
            raise RasterError(
                f"{out}: the finished map has {what} {found}, not {wanted}; it was not kept, please report this"
            )
    if crs is None or (crs != rasterio.CRS.from_user_input(grid.crs) and CRS(crs.to_wkt()) != CRS(grid.crs)):
        raise RasterError(f"{out}: GeoTIFF cannot keep the CRS {grid.crs}; choose a grid with an EPSG code")


def _check_sidecar(made: Path, out: Path, legend: Legend | None) -> None:
    """A disk that fills up cuts this file short, and GDAL only warns of it."""
    try:
        whole = legend is None or bool(class_names(_sidecar(made).read_bytes()))
    except (OSError, ET.ParseError):
        whole = False
    if not whole:
        raise RasterError(f"{_sidecar(out)} cannot be written; check its folder and the space left")


def _count(path: Path, what: str = "") -> np.ndarray:
    """Pixels of each value, (256,) int64."""
    total = np.zeros(256, np.int64)
    with _reading(path, what) as source:
        rows, cols = source.shape
        for row in range(0, rows, _TILE):
            for col in range(0, cols, 16 * _TILE):
                part = Part(col, row, min(16 * _TILE, cols - col), min(_TILE, rows - row))
                flat = source.read(1, window=part).ravel()
                # Two pixels are counted at once, as one uint16, which halves the time; byte order does not matter.
                pairs = np.bincount(flat[: flat.size // 2 * 2].view(np.uint16), minlength=65536).reshape(256, 256)
                total += pairs.sum(axis=0) + pairs.sum(axis=1)
                if flat.size % 2:
                    total[flat[-1]] += 1
    return total


def _check_counts(found: np.ndarray, counts: Mapping[int, int], out: Path) -> None:
    for value in range(NODATA):
        if found[value] != counts.get(value, 0):
            raise RasterError(
                f"{out}: the finished map has {found[value]} pixels of {value}, its blocks {counts.get(value, 0)}; "
                "it was not kept, so run the same command again"
            )


@contextmanager
def _reading(path: Path, what: str = "", driver: str | None = None) -> Iterator[rasterio.DatasetReader]:
    """An open raster; what goes wrong with it meanwhile is a RasterError about `what`, a block, or about a map."""
    try:
        with rasterio.open(path, driver=driver or checks.driver_of(path)) as source:
            checks.check_layout(source, path, source.indexes)
            yield source
    except (RasterioError, CPLE_BaseError) as error:
        if what:
            raise RasterError(f"{what} cannot be read ({error}); {_AGAIN}") from error
        raise RasterError(f"{path} cannot be read as a map ({error}); check the path and the file") from error


def _publish(made: Path, out: Path) -> None:
    """Give a map its name. Its names file never stands beside another map: at worst a map is without for a moment."""
    new, old = _sidecar(made), _sidecar(out)
    for path in (made, new):
        if path.exists():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    old.unlink(missing_ok=True)
    made.replace(out)
    if new.exists():
        new.replace(old)
    sync_folder(out.parent)


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".aux.xml")

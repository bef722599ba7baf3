"""COG: finished blocks become one georeferenced map, a cloud-optimised GeoTIFF.

One uint8 band, nodata 255, or several of values; a pixel that no block holds is nodata. GDAL streams it from block
files to the map, so it is never in memory as a whole. The legend goes in as colour table, category names, attribute
table and a tag. Windows are (row, col, height, width) on the grid's lattice.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from odc.geo.crs import CRS
from rasterio.windows import Window as Part

from geoseg.catalog.legend import NODATA, Legend
from geoseg.errors import RasterError
from geoseg.grid import Grid, Window
from geoseg.maps import blocks as block_files
from geoseg.maps.blocks import BlockFile
from geoseg.maps.files import GDAL_ERRORS, NO_SIDECARS, folder_beside, opened, publish, sidecar_of
from geoseg.rasters import attribute_table
from geoseg.rasters.vrt import MapBand, class_names, nested

CONFIDENCE_SCALE = 1 / 254
"""Scale of a confidence map: 0..254 in the file, 0..1 in a GIS."""
_TILE = 512
_CACHE_MB = 256
"""GDAL's cache is else 5 % of the machine; it heeds this only if nothing was read in the process before."""
_BIG_PIXELS = 2_000_000_000


def assemble(
    blocks: Sequence[BlockFile],
    grid: Grid,
    extent: Window,
    legend: Legend | None,
    out: Path,
    *,
    tags: Mapping[str, str],
    band_names: Sequence[str] = ("land cover",),
    scale: float = 1.0,
    counts: Mapping[int, int] | None = None,
) -> None:
    """Put blocks together into one map, written whole or not at all.

    The map is checked before it takes its name; an older map stays until then. Parts of blocks beyond the extent
    are left out. With a legend GDAL keeps the names in `<out>.aux.xml`, which belongs to the map and moves with it.

    Parameters
    ----------
    blocks : sequence of BlockFile
        GeoTIFFs of as many uint8 bands, nodata 255, each of its window's size; no two may overlap. Where their hashes
        are known, the finished map's pixels are compared with those of the hashed bytes.
    grid, extent : Grid, Window
        Where the map lies. Its transform is exactly `grid.transform_of(extent)`.
    legend : Legend or None
        Land classes; overviews then keep the commonest class. None for a map of values, whose overviews are means.
    out : Path
        The .tif to write; its folder must exist.
    tags : mapping
        Provenance, written as TIFF metadata.
    band_names : sequence of str
        Description of each band; a map with a legend has one.
    scale : float
        Factor from stored to shown values, such as CONFIDENCE_SCALE.
    counts : mapping, optional
        Pixels that each value must have in the map, nodata left out; they also enter the attribute table.

    Raises
    ------
    DamagedBlocksError
        If block files are missing, unreadable, of another size or do not have their hash, before GDAL read them or
        after; its `windows` say which. A RasterError.
    RasterError
        If the file cannot be written, or the finished map differs from what was asked. Nothing is left behind.
    CatalogError
        If a legend id exceeds 254.
    """
    band = MapBand(legend, tuple(band_names), scale, counts)
    inside = [block for block in blocks if block.window.meet(extent)]
    options = {"GDAL_PAM_ENABLED": True, "GDAL_CACHEMAX": _CACHE_MB}
    with folder_beside(out) as folder, rasterio.Env(**options, **NO_SIDECARS):
        whole = [(block.window, block.path.resolve()) for block in inside]
        room = attribute_table.reserved(legend, counts) if legend else {}
        for name, text in nested(whole, grid, extent, band, {**tags, **room}, folder).items():
            (folder / name).write_bytes(text)
        made = folder / "map.tif"
        _copy(folder / "map.vrt", made, inside, extent, band, out)
        if legend:
            attribute_table.embed(made, legend, counts)
        _check_map(made, out, grid, extent, len(band.names))
        _check_sidecar(made, out, legend)
        if counts is not None:
            check_counts(count(made), counts, out)
        publish(made, out)


def count(path: Path) -> np.ndarray:
    """Pixels of each value of a map, (256,) int64.

    Raises
    ------
    RasterError
        If the map cannot be read.
    """
    total = np.zeros(256, np.int64)
    with opened(path) as source:
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


def check_counts(found: np.ndarray, counts: Mapping[int, int], out: Path) -> None:
    """Refuse a map that does not have the pixels of its blocks.

    Parameters
    ----------
    found : (256,) int64
        Pixels of each value in the map.
    counts : mapping
        Pixels of each value in the blocks; 0 where it names none. Nodata is not looked at.
    out : Path
        What to call the map.

    Raises
    ------
    RasterError
        If they differ.
    """
    for value in range(NODATA):
        if found[value] != counts.get(value, 0):
            raise RasterError(
                f"{out}: the finished map has {found[value]} pixels of {value}, its blocks {counts.get(value, 0)}; "
                "it was not kept, so run the same command again"
            )


def _copy(mosaic: Path, made: Path, blocks: Sequence[BlockFile], extent: Window, band: MapBand, out: Path) -> None:
    """Write the map, and see that GDAL read the bytes whose hashes were checked.

    GDAL reads a block once for the overviews and once for the map. The map's pixels are compared; that the overviews
    saw the same file is known from its identity. So where a file was touched meanwhile, all is written once more.
    """
    for attempt in (1, 2):
        before = block_files.identities(blocks)
        block_files.check(blocks)
        block_files.check_layout(blocks, len(band.names))
        for old in (made, sidecar_of(made)):
            old.unlink(missing_ok=True)
        try:
            rasterio.shutil.copy(mosaic, made, driver="COG", **_options(extent, band))
        except GDAL_ERRORS as error:
            block_files.check(blocks)
            block_files.check_pixels(blocks)
            raise RasterError(
                f"{out} cannot be written ({error}); check its folder and the space left, and run the command again"
            ) from error
        with opened(made) as source:
            wrong = block_files.differing(blocks, source, extent)
        if not wrong and (attempt == 2 or block_files.identities(blocks) == before):
            return
    raise RasterError(
        f"{out}: the finished map differs from its blocks, though these are as they were written, first at "
        f"row {wrong[0].row}, column {wrong[0].col}; it was not kept, so run the same command again"
    )


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


def _check_map(made: Path, out: Path, grid: Grid, extent: Window, bands: int) -> None:
    with opened(made) as source:
        facts = {
            "shape": (source.shape, extent.shape),
            "transform": (tuple(source.transform), tuple(grid.transform_of(extent))),
            "bands": (source.dtypes, ("uint8",) * bands),
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
        whole = legend is None or bool(class_names(ET.fromstring(sidecar_of(made).read_bytes())))
    except (OSError, ET.ParseError):
        whole = False
    if not whole:
        raise RasterError(f"{sidecar_of(out)} cannot be written; check its folder and the space left")

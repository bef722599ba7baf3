"""Checks: what a raster file must be before its pixels are read.

Each check refuses with a sentence; what GDAL might follow, run or allocate is refused before GDAL sees it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from odc.geo.crs import CRS, CRSError
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError
from rasterio.enums import Interleaving
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window as FileWindow

from geoseg.catalog import Band
from geoseg.errors import RasterError
from geoseg.grid import read_crs
from geoseg.rasters import vrt

FOREIGN = (RasterioError, CPLE_BaseError, OSError, ValueError, MemoryError)
"""What rasterio and GDAL raise."""
_DRIVERS = {".vrt": "VRT", ".jp2": "JP2OpenJPEG"}  # anything else must be a GeoTIFF
_SIDE_LIMIT = 100_000_000  # pixels
_BAND_LIMIT = 10_000
_BLOCK_LIMIT = 256_000_000  # bytes that one pixel can cost
_CHECKED_BLOCKS = 1024
_VSI_KINDS = ("s3", "gs", "az", "adls", "oss", "swift", "curl", "hdfs", "webhdfs", "zip", "tar", "gzip")


def is_local(path: str) -> bool:
    """Whether a path names a plain file."""
    return not path.startswith("/vsi") and "://" not in path


def gdal_message(error: BaseException) -> str:
    """GDAL's own words rather than rasterio's 'Read failed. See previous exception for details.'"""
    cause = error.__cause__ or error.__context__
    text = str(cause if "previous exception" in str(error) and cause is not None else error)
    return " ".join(text.split()).rstrip(".") or type(error).__name__


def driver_of(path: str | Path, *, trust_vrt: bool = False) -> str:
    """The one GDAL driver by which a raster may be opened, by its ending; a VRT is looked through first.

    Parameters
    ----------
    path : path
        Local path, URL or GDAL's /vsi path.
    trust_vrt : bool
        Whether a VRT may name files elsewhere.

    Raises
    ------
    RasterError
        If it is a VRT that is refused: see `vrt.check`; or a path of GDAL's that reads no file.
    """
    path = str(path)
    if is_local(path) and Path(path).exists() and not Path(path).is_file():
        raise RasterError(f"{path} is no plain file, but a folder, pipe or device; name a GeoTIFF")
    driver, system = driver_by_ending(path), path.partition("/vsi")[2].partition("/")[0]
    if path.startswith("/vsi") and system not in _VSI_KINDS:
        raise RasterError(f"{path} is read by GDAL's /vsi{system}/, which is refused; known: {', '.join(_VSI_KINDS)}")
    if driver == "VRT" and not trust_vrt and not is_local(path):
        raise RasterError(
            f"{path} is a VRT elsewhere, which may name any file; if you know where it comes from, allow it by "
            "'trust_vrt: true' under its entry in data_catalog.yaml"
        )
    if driver == "VRT" and is_local(path):
        vrt.check(Path(path), trusted=trust_vrt)
    return driver


def check_layout(dataset: DatasetReader, path: str | Path, indexes: Sequence[int]) -> None:
    """Refuse a raster that is absurdly large or laid out so that one pixel costs too much memory.

    Parameters
    ----------
    dataset : DatasetReader
        The open raster.
    path : path
        What messages call it.
    indexes : sequence of int
        Numbers of the bands that will be read, from 1.

    Raises
    ------
    RasterError
        If a side is too long, or the blocks of one of the bands `indexes` are too large.
    """
    rows, cols = dataset.shape
    if max(rows, cols) > _SIDE_LIMIT:
        raise RasterError(f"{path} claims {rows} x {cols} pixels; a side may have {_SIDE_LIMIT} at most, so split it")
    if dataset.count > _BAND_LIMIT:
        raise RasterError(f"{path} has {dataset.count} bands; a file may have {_BAND_LIMIT} at most, so split it")
    for index in indexes:
        height, width = dataset.block_shapes[index - 1]
        together = dataset.count if dataset.interleaving == Interleaving.pixel else 1
        block = height * width * together * np.dtype(dataset.dtypes[index - 1]).itemsize
        if block > _BLOCK_LIMIT:
            raise RasterError(
                f"{path} is stored in blocks of {height} x {width} pixels, {block / 1e6:.0f} MB each; "
                "rewrite it with tiles, for instance 'rio cogeo create'"
            )


def driver_by_ending(path: str) -> str:
    """The one driver that a file's ending promises; a VRT under another name is none."""
    return _DRIVERS.get(Path(path.partition("?")[0]).suffix.lower(), "GTiff")


def check_bands(dataset: DatasetReader, path: str, bands: Sequence[Band]) -> None:
    """Refuse a file that lacks one of the bands.

    Parameters
    ----------
    dataset, path
        As for `check_layout`.
    bands : sequence of Band
        What the catalog says of them.

    Raises
    ------
    RasterError
        Naming the first that is missing.
    """
    for band in bands:
        if band.index > dataset.count:
            raise RasterError(
                f"band {band.name!r} is number {band.index} of {path}, which has {dataset.count}; "
                "correct 'bands' in data_catalog.yaml"
            )


def check_whole(dataset: DatasetReader, path: str, size: int, bands: Sequence[Band]) -> None:
    """Refuse a truncated file: no block may end beyond the file's end, and each corner must be readable.

    Parameters
    ----------
    dataset, path
        As for `check_layout`.
    size : int
        Bytes of the file; 0 where they are not known, and only corners are looked at.
    bands : sequence of Band
        Those that will be read; up to 1,024 blocks of each are looked up, spread evenly, the last one among them.

    Raises
    ------
    RasterError
        If a block ends beyond `size`, or a corner cannot be decoded.
    """
    rows, cols = dataset.shape
    looked = bands[:1] if dataset.interleaving == Interleaving.pixel else bands  # they share their blocks
    for band in looked if dataset.driver == "GTiff" and size else ():
        height, width = dataset.block_shapes[band.index - 1]
        across, blocks = -(-cols // width), -(-cols // width) * -(-rows // height)
        for number in {*range(0, blocks, -(-blocks // _CHECKED_BLOCKS)), blocks - 1}:
            block = f"{number % across}_{number // across}"
            start = dataset.get_tag_item(f"BLOCK_OFFSET_{block}", "TIFF", band.index)
            length = dataset.get_tag_item(f"BLOCK_SIZE_{block}", "TIFF", band.index)
            if start and length and int(start) + int(length) > size:
                raise RasterError(
                    f"{path} is truncated: it has {size} bytes, but pixels are stored up to byte "
                    f"{int(start) + int(length)}; copy it again"
                )
    indexes = sorted({band.index for band in bands})
    for row, col in sorted({(0, 0), (0, cols - 1), (rows - 1, 0), (rows - 1, cols - 1)}):
        try:
            for index in indexes:
                dataset.read(index, window=FileWindow(col, row, 1, 1))
        except FOREIGN as error:
            raise RasterError(
                f"{path} cannot be read at row {row}, column {col} ({gdal_message(error)}); "
                "it may be truncated, copy it again"
            ) from error


def geobox_of(dataset: DatasetReader, path: str, crs: str | None) -> GeoBox:
    """The file's pixels on the ground; refused where it does not say where they lie.

    Parameters
    ----------
    dataset, path
        As for `check_layout`.
    crs : str or None
        The catalog's, which goes before the file's own.

    Raises
    ------
    RasterError
        If the file has no affine georeference that can be inverted, or no CRS that PROJ can use.
    """
    if dataset.transform.is_identity:
        kind = "ground control points or RPCs only" if dataset.gcps[0] or dataset.rpcs else "no georeference"
        raise RasterError(f"{path} has {kind}; give it an affine one, for instance with gdalwarp")
    if dataset.transform.is_degenerate:
        raise RasterError(f"the transform {tuple(dataset.transform)[:6]} of {path} cannot be inverted; correct it")
    if crs is None and not dataset.crs:
        raise RasterError(f"{path} has no CRS; state it as 'crs' under its entry in data_catalog.yaml")
    if crs is not None:
        return GeoBox(dataset.shape, dataset.transform, read_crs(crs, "imagery crs"))
    try:
        return GeoBox(dataset.shape, dataset.transform, CRS(dataset.crs.to_wkt()))
    except (CRSError, *FOREIGN) as error:
        raise RasterError(
            f"{path} has a CRS that PROJ cannot use ({gdal_message(error)}); state it as 'crs' in data_catalog.yaml"
        ) from error

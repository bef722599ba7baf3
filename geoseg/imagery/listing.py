"""Listing: the raster files that the paths and patterns of a catalog's entry stand for, in their order."""

from __future__ import annotations

import glob
import os.path
from dataclasses import replace

from geoseg.catalog import Band, Imagery, products
from geoseg.errors import CatalogError, RasterError
from geoseg.imagery import sentinel2
from geoseg.imagery.sentinel2 import Stored
from geoseg.quantities import counted
from geoseg.rasters import checks


def files(band: Band, imagery: Imagery) -> tuple[Stored, ...]:
    """The files of a band, patterns expanded in the stated order, each sorted by name.

    Parameters
    ----------
    band : Band
        One of the imagery's, or that of its mask.
    imagery : Imagery
        For messages.

    Raises
    ------
    RasterError
        If there is none, or a product cannot be understood or lacks the band.
    """
    paths = (path for pattern in band.files for path in _expand(pattern, imagery))
    return tuple(sentinel2.file_of(path, band.code) if band.code else Stored(path) for path in paths)


def masks(imagery: Imagery) -> tuple[Stored, ...]:
    """The files of the imagery's mask: none, one for all files of each band, or one for each of them.

    Raises
    ------
    CatalogError
        If there are several, but not as many as files.
    RasterError
        As `files`.
    """
    if imagery.mask is None:
        return ()
    found = files(imagery.mask.band, imagery)
    for band in imagery.bands if len(found) > 1 else ():
        count = len(files(band, imagery))
        if count != len(found):
            raise CatalogError(
                f"the mask of imagery {imagery.name!r} has {counted(len(found), 'file')} and band {band.name!r} "
                f"{count}; give one for all, or one for each in the same order"
            )
    return found


def known(band: Band) -> Band:
    """A band with what products say of it where the catalog does not: 0 means no data."""
    return replace(band, nodata=0.0) if band.code in products.BANDS and band.nodata is None else band


def _expand(pattern: str, imagery: Imagery) -> list[str]:
    if not checks.is_local(pattern) or not glob.has_magic(pattern) or os.path.lexists(pattern):
        return [pattern]
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207, pathlib takes no absolute pattern
    if not found:
        raise RasterError(
            f"imagery {imagery.name!r} wants files like {pattern}; there is none. Check the path in data_catalog.yaml"
        )
    return found

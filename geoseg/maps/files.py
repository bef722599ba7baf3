"""Files of a map: the GeoTIFF or virtual mosaic, and the `.aux.xml` beside it in which GDAL keeps names.

They are opened checked, written beside their target, and given their names when they are whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from geoseg.errors import GeosegError, RasterError
from geoseg.rasters import checks
from geoseg.storage.files import UNFINISHED, sync_folder

GDAL_ERRORS = (RasterioError, CPLE_BaseError, SystemError, OSError)
"""What rasterio and GDAL raise when a file cannot be written."""
NO_SIDECARS = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
"""GDAL neither lists a file's folder nor opens masks, overviews or XML that lie beside the file."""


@contextmanager
def opened(path: Path) -> Iterator[rasterio.DatasetReader]:
    """A map, open for reading; what lies beside it is not looked at.

    Raises
    ------
    RasterError
        If it cannot be opened, or its pixels cannot be read inside the `with`.
    """
    try:
        driver = checks.driver_of(path)
        with rasterio.Env(**NO_SIDECARS), rasterio.open(path, driver=driver) as source:
            checks.check_layout(source, path, source.indexes)
            yield source
    except (RasterioError, CPLE_BaseError) as error:
        raise RasterError(f"{path} cannot be read as a map ({error}); check the path and the file") from error


@contextmanager
def folder_beside(out: Path) -> Iterator[Path]:
    """A folder for what is not finished, on the file system of `out`; what a crash left there goes first.

    Raises
    ------
    RasterError
        If it cannot be made.
    """
    folder = out.parent.resolve() / f"{UNFINISHED}{out.name}"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with writing(out):
            folder.mkdir()
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Make a RasterError about `out` of an OSError inside the `with`."""
    try:
        yield
    except GeosegError:
        raise
    except OSError as error:
        why = error.strerror or error
        raise RasterError(f"{out} cannot be written ({why}); check its folder and the space left") from error


def publish(made: Path, out: Path) -> None:
    """Give a finished map its name, in place of an older one, and let both survive a power cut.

    A map's names file never stands beside another map: at worst a map is without for a moment.

    Parameters
    ----------
    made : Path
        The map under a temporary name on the file system of `out`; its `.aux.xml`, if any, moves along.
    out : Path
        Its name.
    """
    new, old = sidecar_of(made), sidecar_of(out)
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


def sidecar_of(path: Path) -> Path:
    """The file beside a raster in which GDAL keeps what the raster's own format cannot hold."""
    return path.with_name(path.name + ".aux.xml")

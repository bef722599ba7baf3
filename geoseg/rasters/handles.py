"""Handles: open datasets of raster files, a few for each thread, so that a file is not opened for each window.

No dataset leaves the thread that opened it, and none outlives a fork of its process.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from rasterio.io import DatasetReader

from geoseg.errors import LedgerError, RasterError
from geoseg.process import kept
from geoseg.rasters import checks
from geoseg.rasters.checks import FOREIGN, gdal_message, is_local
from geoseg.rasters.environment import environment, open_raster
from geoseg.storage import s3

_MOST = 32
"""Datasets that a thread holds open."""


class _Handles(threading.local):
    """Of one thread."""

    def __init__(self) -> None:
        self.datasets: OrderedDict[tuple[str, int, str], DatasetReader] = OrderedDict()
        """By path, size and last change, the one used last at the end."""
        self.stale: set[str] = set()
        """Paths to be opened anew without what GDAL cached of them."""


class _OpenedLast(dict[str, tuple[int, str]]):
    """What `stamp` said of each path when this process opened it last."""


def stamp(path: str) -> tuple[int, str]:
    """Size in bytes and a word for the last change: nanoseconds of a local file, the ETag of an s3:// object.

    What is neither has (0, ''): whether it changed cannot be seen.

    Raises
    ------
    RasterError
        If there is no such file or object, or its store cannot be reached.
    """
    missing = f"{path} does not exist or cannot be reached; check the path in data_catalog.yaml"
    if path.startswith("s3://"):
        try:
            found = s3.stamp(path)
        except LedgerError as error:
            raise RasterError(str(error)) from error
        if found is None:
            raise RasterError(missing)
        return int(found[0]), str(found[1])
    if not is_local(path):
        return 0, ""
    try:
        facts = Path(path).stat()
    except OSError as error:
        raise RasterError(missing) from error
    return facts.st_size, str(facts.st_mtime_ns)


def handle(path: str, size: int, modified: str) -> DatasetReader:
    """The dataset of a file for the calling thread, opened if it is not yet; `environment(path)` should be in force.

    Parameters
    ----------
    path : str
        Local path, URL or GDAL's /vsi path.
    size, modified
        What `stamp` said of it when the job was planned.

    Raises
    ------
    RasterError
        If the file is another one by now, or cannot be opened.
    """
    handles, key = kept(_Handles), (path, size, modified)
    if key in handles.datasets:
        handles.datasets.move_to_end(key)
        return handles.datasets[key]
    now = stamp(path)
    if now != (size, modified):
        raise RasterError(
            f"{path} changed since the job was planned (it had {size} bytes, now {now[0]}); "
            "bring the old file back or plan the job again"
        )
    with environment(path, fresh=path in handles.stale):
        last = kept(_OpenedLast)
        if last.setdefault(path, now) != now:
            opened(path).close()  # another thread may still hold the older object; GDAL forgets its bytes
            last[path] = now
        handles.datasets[key] = opened(path)
    handles.stale.discard(path)
    while len(handles.datasets) > _MOST:
        handles.datasets.popitem(last=False)[1].close()
    return handles.datasets[key]


def opened(path: str) -> DatasetReader:
    """A dataset of its own for the caller, by the one driver that the file's ending promises.

    Raises
    ------
    RasterError
        If that driver cannot open it, as where a VRT goes by another name.
    """
    driver = checks.driver_by_ending(path)
    try:
        return open_raster(path, driver)
    except FOREIGN as error:
        raise RasterError(
            f"{path} cannot be opened as {'GeoTIFF' if driver == 'GTiff' else driver} ({gdal_message(error)}); copy it "
            "again if it is incomplete, and see that its ending says what it is: .tif, .jp2 or .vrt"
        ) from error


def forget(paths: Iterable[str]) -> None:
    """Close this thread's datasets of some files, so that the next read opens them anew, uncached."""
    wanted, handles = set(paths), kept(_Handles)
    for key in [key for key in handles.datasets if key[0] in wanted]:
        handles.datasets.pop(key).close()
    handles.stale |= wanted

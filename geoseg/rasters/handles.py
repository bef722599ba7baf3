"""Handles: open datasets of raster files, a few for each thread, so that a file is not opened for each window.

No dataset leaves the thread that opened it, and none outlives a fork of its process.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

from geoseg.errors import ImageryChangedError, RasterError
from geoseg.process import kept
from geoseg.rasters import checks, datasets, identity
from geoseg.rasters.checks import FOREIGN, gdal_message
from geoseg.rasters.datasets import Dataset
from geoseg.rasters.environment import environment

_MOST = 32
"""Datasets that a thread holds open."""


class _Handles(threading.local):
    """Of one thread."""

    def __init__(self) -> None:
        self.datasets: OrderedDict[tuple[str, int, str], Dataset] = OrderedDict()
        """By path, size and last change, the one used last at the end."""
        self.stale: set[str] = set()
        """Paths to be opened anew without what GDAL cached of them."""


class _OpenedLast(dict[str, tuple[int, str]]):
    """What `identity.stamp` said of each path when this process opened it last."""


def check_unchanged(path: str, size: int, modified: str) -> None:
    """Refuse a file that is another one by now; one whose change cannot be seen, or that is gone, passes.

    Parameters
    ----------
    path : str
        Local path, URL or GDAL's /vsi path.
    size, modified
        What `identity.stamp` said of it when the job was planned.

    Raises
    ------
    ImageryChangedError
        If its size or its word for the last change differ, or those of a sidecar or of a VRT's source.
    """
    try:
        now = identity.stamp(path)
    except RasterError:
        return
    _compare(path, (size, modified), now)


def handle(path: str, size: int, modified: str) -> Dataset:
    """The dataset of a file for the calling thread, opened if it is not yet; `environment(path)` should be in force.

    Parameters
    ----------
    path : str
        Local path, URL or GDAL's /vsi path.
    size, modified
        What `identity.stamp` said of it when the job was planned.

    Raises
    ------
    ImageryChangedError
        If the file is another one by now.
    RasterError
        If it cannot be opened.
    """
    handles, key = kept(_Handles), (path, size, modified)
    if key in handles.datasets:
        handles.datasets.move_to_end(key)
        return handles.datasets[key]
    _compare(path, (size, modified), identity.stamp(path))  # which refuses a file that is gone
    with environment(path, fresh=path in handles.stale):
        last, now = kept(_OpenedLast), (size, modified)
        if last.setdefault(path, now) != now:
            opened(path).close()  # another thread may still hold the older object; GDAL forgets its bytes
            last[path] = now
        handles.datasets[key] = opened(path)
    handles.stale.discard(path)
    while len(handles.datasets) > _MOST:
        handles.datasets.popitem(last=False)[1].close()
    return handles.datasets[key]


def opened(path: str) -> Dataset:
    """A dataset of its own for the caller, by the one driver that the file's ending promises.

    Raises
    ------
    RasterError
        If that driver cannot open it, as where a VRT goes by another name.
    """
    driver = checks.driver_by_ending(path)
    try:
        return datasets.opened(path, driver)
    except RasterError:  # of what lies beside it
        raise
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


def _compare(path: str, planned: tuple[int, str], now: tuple[int, str]) -> None:
    size = planned[0]
    if now != planned and planned != (0, ""):
        what = f"it had {size} bytes, now {now[0]}" if now[0] != size else "it, a file beside it or a source of it"
        raise ImageryChangedError(
            f"{path} changed since the job was planned ({what}); what was made of the old file is kept, so bring it "
            "back and run the same command again, or start over with --overwrite"
        )

"""Environment: GDAL's settings for reading rasters, and the one way in which a raster is opened.

Settings hold within a `with` and in one thread. Nothing here decides whether a file may be opened; `checks` does.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetReader
from rasterio.session import DummySession

from geoseg.process import kept
from geoseg.rasters.checks import is_local
from geoseg.storage import s3

_VSI = {"s3": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/", "http": "/vsicurl/http://", "https": "/vsicurl/https://"}
_GDAL = {
    "GDAL_CACHEMAX": 256,  # MB; the default is 5 % of the machine for each process, rioxarray#486
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no folder is listed and no sidecar opened, see `sidecars`
}
_GDAL_CLOUD = {
    "VSI_CACHE": "TRUE",
    "VSI_CACHE_SIZE": 5_000_000,
    "GDAL_INGESTED_BYTES_AT_OPEN": 32768,
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_HTTP_VERSION": "2",
    "GDAL_HTTP_MAX_RETRY": 5,
    "GDAL_HTTP_RETRY_DELAY": 1,
    "GDAL_HTTP_TIMEOUT": 60,
}


def environment(path: str = "", *, fresh: bool = False) -> rasterio.Env:
    """GDAL's settings for reading one raster, or local ones if none is named.

    Parameters
    ----------
    path : str
        Local path, URL or GDAL's /vsi path.
    fresh : bool
        Make GDAL forget what it cached of a remote file; of one in s3:// it always does.
    """
    options: dict[str, object] = _GDAL | ({} if is_local(path) else _GDAL_CLOUD)
    if path.startswith(("s3://", "/vsis3/")) and (endpoint := s3.endpoint()):
        scheme, _, host = endpoint.partition("://")
        options |= {"AWS_S3_ENDPOINT": host, "AWS_HTTPS": "NO" if scheme == "http" else "YES"}
        options["AWS_VIRTUAL_HOSTING"] = os.environ.get("AWS_VIRTUAL_HOSTING", "FALSE")
    if path.startswith("s3://") or (fresh and not is_local(path)):  # an s3:// object may be another next time
        scheme, _, rest = path.partition("://")
        options["CPL_VSIL_CURL_NON_CACHED"] = _VSI[scheme] + rest if scheme in _VSI else path
    return rasterio.Env(session=DummySession(), **options)  # else each one asks boto3, if that is there: 20 ms


def open_raster(path: str, driver: str) -> DatasetReader:
    """Open with one driver of GDAL's and no other; without rasterio's warning where the file has no georeference.

    Parameters
    ----------
    path : str
        Local path, URL or GDAL's /vsi path; `environment(path)` should be in force.
    driver : str
        Such as 'GTiff'.

    Raises
    ------
    RasterioError, CPLE_BaseError
        If the driver cannot open it.
    """
    with _unwarned():
        return rasterio.open(path, driver=driver)


class _Quiet:
    """How many threads are opening a raster, and the process's warning filters of before the first of them."""

    def __init__(self) -> None:
        self.lock, self.threads = threading.Lock(), 0
        self.before: warnings.catch_warnings[None] | None = None


@contextmanager
def _unwarned() -> Iterator[None]:
    """Filters belong to the process, not to a thread: the first thread in sets them, the last one out resets them."""
    quiet = kept(_Quiet)
    with quiet.lock:
        if quiet.threads == 0:
            quiet.before = warnings.catch_warnings()
            quiet.before.__enter__()
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
        quiet.threads += 1
    try:
        yield
    finally:
        with quiet.lock:
            quiet.threads -= 1
            if quiet.threads == 0 and quiet.before is not None:
                quiet.before.__exit__(None, None, None)

"""Sources: single raster files of imagery; let in once, held open, their pixels as stored.

Pixels are (band, row, col) float32, NaN where there is no data; windows count from the file's own first
pixel. Nothing is warped here, and no dataset leaves the thread that opened it.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetReader
from rasterio.session import DummySession
from rasterio.windows import Window as FileWindow

from geoseg.catalog import Band
from geoseg.errors import CatalogError, GridError, LedgerError, RasterError
from geoseg.grid import Grid, Window
from geoseg.rasters import checks
from geoseg.rasters.checks import FOREIGN, is_local, told
from geoseg.storage import s3

_HANDLES = 32
_AT_THE_DOOR = 8  # files examined at once
_VSI = {"s3": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/", "http": "/vsicurl/http://", "https": "/vsicurl/https://"}
_GDAL = {
    "GDAL_CACHEMAX": 256,  # MB; the default is 5 % of the machine for each process, rioxarray#486
    "GDAL_VRT_ENABLE_PYTHON": "NO",
}
_GDAL_CLOUD = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
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
_local = threading.local()
_read_last: dict[str, str] = {}  # identity of each path that this process opened last


@dataclass(frozen=True, slots=True)
class Source:
    """One band of one raster file: plain facts, all that a worker needs to read it."""

    path: str
    """Local path, URL or GDAL's /vsi path."""
    size: int
    """Bytes; 0 for what is neither a local file nor an s3:// object."""
    modified: str
    """Time of the last change, ns, of a local file; ETag of an s3:// object; '' for others."""
    crs: str
    """EPSG code or WKT, the catalog's word before the file's."""
    transform: tuple[float, float, float, float, float, float]
    """Affine coefficients a, b, c, d, e, f."""
    shape: tuple[int, int]
    """(rows, cols)."""
    nodata: float | None
    """Stored value that means no data; not-a-number always does."""
    masked: bool
    """Whether the file's mask or alpha band says where there are data."""
    dtype: str
    """Type of the stored values."""

    @property
    def geobox(self) -> GeoBox:
        """The file's own pixels as an odc-geo GeoBox."""
        return GeoBox(self.shape, Affine(*self.transform), self.crs)

    @property
    def identity(self) -> str:
        """'size:modified'; another identity means another file."""
        return f"{self.size}:{self.modified}"


def environment(path: str = "", *, fresh: bool = False) -> rasterio.Env:
    """GDAL's settings for reading `path`; `fresh` makes GDAL forget what it cached of a remote file."""
    options: dict[str, object] = _GDAL | ({} if is_local(path) else _GDAL_CLOUD)
    if path.startswith(("s3://", "/vsis3/")) and (place := s3.endpoint()):
        scheme, _, host = place.partition("://")
        options |= {"AWS_S3_ENDPOINT": host, "AWS_HTTPS": "NO" if scheme == "http" else "YES"}
        options["AWS_VIRTUAL_HOSTING"] = os.environ.get("AWS_VIRTUAL_HOSTING", "FALSE")
    if path.startswith("s3://") or (fresh and not is_local(path)):  # an s3:// object may be another next time
        scheme, _, rest = path.partition("://")
        options["CPL_VSIL_CURL_NON_CACHED"] = _VSI.get(scheme, "") + rest if rest else path
    return rasterio.Env(session=DummySession(), **options)  # else each one asks boto3, if that is there: 20 ms


def examine(path: str, bands: Sequence[Band], crs: str | None, *, trust_vrt: bool = False) -> tuple[Source, ...]:
    """Check a file at the door; one Source for each of `bands`, all of which this file is to give.

    What is read: the header, where the file's blocks lie, and one pixel in each corner.

    Raises
    ------
    RasterError
        If the file is missing, unreadable, truncated, of a kind that is refused, absurdly laid out,
        not georeferenced, or lacks a band.
    CatalogError
        If the catalog's nodata cannot be a value of the file, or its CRS is unknown.
    """
    size, modified = _stat(path)
    checks.driver_of(path, trust_vrt=trust_vrt)
    with environment(path), _open(path) as dataset:
        checks.check_layout(dataset, path, [band.index for band in bands if band.index <= dataset.count])
        checks.check_bands(dataset, path, bands)
        checks.check_whole(dataset, path, size, bands)
        geobox = checks.geobox_of(dataset, path, crs)
        used = {band.index for band in bands}
        alphas = {i for i, kind in enumerate(dataset.colorinterp, 1) if kind == ColorInterp.alpha}
        own = _grid(geobox, path)
        dtypes, kinds, nodatas = dataset.dtypes, dataset.mask_flag_enums, dataset.nodatavals  # rasterio asks GDAL anew
        found = []
        for band in bands:
            dtype, flags = dtypes[band.index - 1], set(kinds[band.index - 1])
            if np.dtype(dtype).kind == "c":
                raise RasterError(f"band {band.index} of {path} holds complex numbers; give imagery of real numbers")
            declared = nodatas[band.index - 1] if band.nodata is None else band.nodata
            nodata = _storable(declared, dtype)
            if nodata is None and band.nodata is not None and np.isfinite(band.nodata):
                raise CatalogError(
                    f"nodata {band.nodata:g} of band {band.name!r} cannot occur in {path}, whose values are {dtype}; "
                    "correct 'nodata' in data_catalog.yaml"
                )
            # Near infrared as fourth band is often tagged as alpha; a band that is asked for is no mask.
            shown = MaskFlags.alpha in flags and alphas & used
            masked = band.nodata is None and not shown and not flags & {MaskFlags.all_valid, MaskFlags.nodata}
            found.append(
                Source(path, size, modified, own.crs, own.transform, dataset.shape, nodata, masked, str(dtype))
            )
        return tuple(found)


def examine_all(
    wanted: Mapping[str, Sequence[Band]], crs: str | None, *, trust_vrt: bool = False
) -> dict[str, tuple[Source, ...]]:
    """`examine` for many files and the bands that each is to give; several at once, since opening is mostly waiting.

    Raises
    ------
    RasterError, CatalogError
        What `examine` says of the first file, in the given order, that it refuses.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor(_AT_THE_DOOR) as pool:
        # Filters belong to the process and not to a thread; under this one those of `_open` may come and go.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        found = pool.map(lambda path: examine(path, wanted[path], crs, trust_vrt=trust_vrt), wanted)
        return dict(zip(wanted, found))


def pixels(sources: Sequence[Source], bands: Sequence[Band], window: Window) -> np.ndarray:
    """Physical values of bands that share one file, inside the file; no data in one band is no data in all.

    Scale and offset are applied in float64 and the result rounded once to float32; integers of up to 24 bits
    without scale come through exactly.

    Parameters
    ----------
    sources, bands
        The same bands, as found in the file and as the catalog has them.
    window
        Rows and columns of the file.

    Returns
    -------
    (band, row, col) float32
        NaN where there is no data.

    Raises
    ------
    RasterError
        If the file changed since it was examined, or cannot be read.
    """
    path, indexes = sources[0].path, [band.index for band in bands]
    box = FileWindow(window.col, window.row, window.width, window.height)
    masked = [band.index for source, band in zip(sources, bands) if source.masked]
    with environment(path):
        dataset = _handle(sources[0])
        try:
            if len({source.dtype for source in sources}) == 1:
                stored: Iterable[np.ndarray] = dataset.read(indexes, window=box)
            else:
                stored = [dataset.read(index, window=box) for index in indexes]
            valid = dataset.read_masks(masked, window=box).all(axis=0) if masked else np.ones(window.shape, bool)
        except FOREIGN as error:
            raise RasterError(
                f"{path} cannot be read at rows {window.row}..{window.row_end}, columns {window.col}..{window.col_end} "
                f"({told(error)}); check that the file is whole, copy it again if not"
            ) from error
    found = np.empty((len(bands), *window.shape), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for target, values, source, band in zip(found, stored, sources, bands):
            _scale(values, band, target)
            if source.nodata is not None:
                valid &= values != values.dtype.type(source.nodata)
            if values.dtype.kind == "f":
                valid &= np.isfinite(target)
    if not valid.all():
        found[:, ~valid] = np.nan
    return found


def forget(paths: Iterable[str]) -> None:
    """Close this thread's handles of some files, so that the next read opens them anew, uncached."""
    wanted = set(paths)
    handles = _handles()
    for key in [key for key in handles if key[0] in wanted]:
        handles.pop(key).close()
    _local.stale |= wanted


# ----------------------------------------------------------------------------------------- handles


def _handles() -> OrderedDict[tuple[str, str], DatasetReader]:
    """Open datasets of this thread, the one used last at the end. A forked process starts with none."""
    if getattr(_local, "pid", None) != os.getpid():
        _local.pid, _local.handles, _local.stale = os.getpid(), OrderedDict(), set()
    handles: OrderedDict[tuple[str, str], DatasetReader] = _local.handles
    return handles


def _handle(source: Source) -> DatasetReader:
    handles, key = _handles(), (source.path, source.identity)
    if key in handles:
        handles.move_to_end(key)
        return handles[key]
    size, modified = _stat(source.path)
    if (size, modified) != (source.size, source.modified):
        raise RasterError(
            f"{source.path} changed since the job was planned (it had {source.size} bytes, now {size}); "
            "bring the old file back or plan the job again"
        )
    with environment(source.path, fresh=source.path in _local.stale):
        if _read_last.setdefault(source.path, source.identity) != source.identity:
            _open(source.path).close()  # another thread may still hold the older object; GDAL forgets its bytes
            _read_last[source.path] = source.identity
        handles[key] = _open(source.path)
    _local.stale.discard(source.path)
    while len(handles) > _HANDLES:
        handles.popitem(last=False)[1].close()
    return handles[key]


def _open(path: str) -> DatasetReader:
    """Open with the one driver that the file's ending promises; a VRT under another name is refused."""
    driver = checks.driver_by_ending(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # told as an error by inspection
            return rasterio.open(path, driver=driver)
    except FOREIGN as error:
        raise RasterError(
            f"{path} cannot be opened as {'GeoTIFF' if driver == 'GTiff' else driver} ({told(error)}); copy it again "
            "if it is incomplete, and see that its ending says what it is: .tif, .jp2 or .vrt"
        ) from error


def _stat(path: str) -> tuple[int, str]:
    missing = f"{path} does not exist or cannot be reached; check the path in data_catalog.yaml"
    if path.startswith("s3://"):
        try:
            stamp = s3.stamp(path)
        except LedgerError as error:
            raise RasterError(str(error)) from error
        if stamp is None:
            raise RasterError(missing)
        return int(stamp[0]), str(stamp[1])
    if not is_local(path):
        return 0, ""
    try:
        found = Path(path).stat()
    except OSError as error:
        raise RasterError(missing) from error
    return found.st_size, str(found.st_mtime_ns)


def _grid(geobox: GeoBox, path: str) -> Grid:
    try:
        return Grid.of(geobox)
    except GridError as error:
        raise RasterError(f"{path}: {error}") from error


def _storable(value: float | None, dtype: str) -> float | None:
    """`value` as stored in a band of type `dtype`; None where no pixel can have it or it is not finite."""
    if value is None or not np.isfinite(value):
        return None
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        return float(value) if value == int(value) and limits.min <= value <= limits.max else None
    with np.errstate(over="ignore"):
        stored = float(np.asarray(value, np.float64).astype(kind))
    return stored if np.isfinite(stored) else None


def _scale(stored: np.ndarray, band: Band, out: np.ndarray) -> None:
    if (band.scale, band.offset) == (1.0, 0.0):
        out[...] = stored
        return
    for row in range(0, len(stored), 256):  # strips, so that float64 is never held for a whole block
        strip = stored[row : row + 256].astype(np.float64)
        strip *= band.scale
        strip += band.offset
        out[row : row + 256] = strip

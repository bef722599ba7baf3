"""Files: single raster files of imagery; checked once, then read by windows, their pixels as stored.

Pixels are (band, row, col) float32, NaN where there is no data; windows count from the file's own first
pixel. Nothing is warped here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window as FileWindow

from geoseg.catalog import Band
from geoseg.errors import CatalogError, GridError, RasterError
from geoseg.grid import Grid, Window
from geoseg.rasters import checks, handles, identity
from geoseg.rasters.checks import FOREIGN, gdal_message, is_local
from geoseg.rasters.environment import environment

_AT_ONCE = 8  # files examined at once


@dataclass(frozen=True, slots=True)
class Source:
    """One band of one raster file: plain facts, all that a worker needs to read it."""

    path: str
    """Local path, URL or GDAL's /vsi path."""
    size: int
    """Bytes; 0 where it cannot be seen whether the file changed."""
    modified: str
    """Word for the last change of any of its files, as `identity.stamp` gives it; '' where that cannot be seen."""
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
    scale: float = 1.0
    """What the product that the file is of says of its numbers, before the catalog does: number x scale + offset."""
    offset: float = 0.0

    @property
    def geobox(self) -> GeoBox:
        """The file's own pixels as an odc-geo GeoBox."""
        return GeoBox(self.shape, Affine(*self.transform), self.crs)

    @property
    def identity(self) -> str:
        """'size:modified', and scale and offset where a product has them; another identity means another file."""
        meaning = "" if (self.scale, self.offset) == (1.0, 0.0) else f":{self.scale:.17g}:{self.offset:.17g}"
        return f"{self.size}:{self.modified}{meaning}"


def examine(path: str, bands: Sequence[Band], crs: str | None, *, trust_vrt: bool = False) -> tuple[Source, ...]:
    """Check a file before it is used; one Source for each of `bands`, all of which this file is to give.

    What is read: the header, where the file's blocks lie, and one pixel in each corner.

    Parameters
    ----------
    path : str
        Local path, URL or GDAL's /vsi path.
    bands : sequence of Band
        What the catalog says of them.
    crs : str or None
        The catalog's CRS for the file; default: the file's own.
    trust_vrt : bool
        Whether a VRT may name files elsewhere.

    Raises
    ------
    RasterError
        If the file is missing, unreadable, truncated, of a kind that is refused, absurdly laid out,
        not georeferenced, or lacks a band.
    CatalogError
        If the catalog's nodata cannot be a value of the file, or its CRS is unknown.
    """
    size, modified = identity.stamp(path)
    checks.driver_of(path, trust_vrt=trust_vrt)
    with environment(path), handles.opened(path) as dataset:
        checks.check_layout(dataset, path, [band.index for band in bands if band.index <= dataset.count])
        checks.check_bands(dataset, path, bands)
        checks.check_whole(dataset, path, size, bands)
        dataset.check_mask()
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

    Parameters
    ----------
    wanted : mapping of str to sequence of Band
        For each path the bands that it is to give.
    crs, trust_vrt
        As for `examine`, the same for all.

    Raises
    ------
    RasterError, CatalogError
        What `examine` says of the first file, in the given order, that it refuses.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
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
    ImageryChangedError
        If the file changed since it was examined.
    RasterError
        If it cannot be read.
    """
    stored_bands, valid = _read(sources, bands, window)
    found = np.empty((len(bands), *window.shape), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for target, values, source, band in zip(found, stored_bands, sources, bands):
            _scale(values, source, band, target)
            if source.nodata is not None:
                valid &= values != values.dtype.type(source.nodata)
            if values.dtype.kind == "f":
                valid &= np.isfinite(target)
    if not valid.all():
        found[:, ~valid] = np.nan
    return found


def stored(source: Source, band: Band, window: Window) -> np.ndarray:
    """Values of one band as they are stored, whatever means no data among them.

    Parameters
    ----------
    source, band
        The band, as found in the file and as the catalog has it.
    window
        Rows and columns of the file.

    Returns
    -------
    (row, col)
        Of the file's type.

    Raises
    ------
    ImageryChangedError, RasterError
        As `pixels`.
    """
    (values,), _ = _read([replace(source, masked=False)], [band], window)
    return np.asarray(values)


def _read(sources: Sequence[Source], bands: Sequence[Band], window: Window) -> tuple[Iterable[np.ndarray], np.ndarray]:
    """Stored values of each band, and (row, col) bool where the file's masks let pixels hold data."""
    path, indexes = sources[0].path, [band.index for band in bands]
    box = FileWindow(window.col, window.row, window.width, window.height)
    masked = [band.index for source, band in zip(sources, bands) if source.masked]
    with environment(path):
        dataset = handles.handle(path, sources[0].size, sources[0].modified)
        try:
            if len({source.dtype for source in sources}) == 1:
                found: Iterable[np.ndarray] = dataset.read(indexes, window=box)
            else:
                found = [dataset.read(index, window=box) for index in indexes]
            valid = np.ones(window.shape, bool)
            if masked:
                valid &= dataset.read_masks(masked, window=box).all(axis=0)
        except FOREIGN as error:
            raise RasterError(
                f"{path} cannot be read at rows {window.row}..{window.row_end}, columns {window.col}..{window.col_end} "
                f"({gdal_message(error)}); check that the file is whole, copy it again if not"
            ) from error
    if is_local(path):  # asked after the reading, so that nothing can change between the two
        handles.check_unchanged(path, sources[0].size, sources[0].modified)
    return found, valid


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


def _scale(stored: np.ndarray, source: Source, band: Band, out: np.ndarray) -> None:
    scale, offset = source.scale * band.scale, source.offset * band.scale + band.offset
    if (scale, offset) == (1.0, 0.0):
        out[...] = stored
        return
    for row in range(0, len(stored), 256):  # strips, so that float64 is never held for a whole block
        strip = stored[row : row + 256].astype(np.float64)
        strip *= scale
        strip += offset
        out[row : row + 256] = strip

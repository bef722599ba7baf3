"""References: rasters of class ids, and polygons and points with a class, read onto any grid.

Arrays are (row, col) int32 of class ids in the raster's own legend, -1 where there is no label. Ids are taken, never
interpolated, and a pixel's id depends on the raster and the grid alone, not on the window asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.windows import Window as FileWindow

from geoseg.accuracy import drawn
from geoseg.accuracy.confusion import UNLABELLED, positions, unknown_ids
from geoseg.catalog import Reference
from geoseg.errors import CatalogError, RasterError
from geoseg.grid import Grid, Window, cut, read_crs
from geoseg.quantities import counted
from geoseg.rasters import checks, datasets, footprints, identity, validity, warping
from geoseg.rasters.datasets import Dataset
from geoseg.rasters.environment import environment
from geoseg.rasters.files import Source
from geoseg.rasters.footprints import SQUARE

_BESIDE = {".shp": (".dbf", ".shx", ".prj", ".cpg")}
"""What else is read of a vector file."""

Resampling = Literal["auto", "nearest", "mode"]


def on_grid(
    reference: Reference,
    grid: Grid,
    window: Window,
    *,
    resampling: Resampling = "auto",
    ignore_unknown: bool = False,
) -> np.ndarray:
    """Class ids of a reference on the pixels of a grid, still in the reference's own legend.

    Pixels that are nodata in the reference or lie beyond its edge are -1. Where the reference's pixels are the
    grid's they are read as they are; otherwise each lattice square of 256 x 256 is warped as a whole, so the value
    of a pixel never depends on `window`. No id is ever interpolated, and overviews are never used.

    Parameters
    ----------
    reference : Reference
        From the catalog.
    grid : Grid
        The grid wanted.
    window : Window
        The pixels wanted.
    resampling : {'auto', 'nearest', 'mode'}
        auto: the most frequent labelled id of a pixel where the reference is at least twice finer than the grid
        (by pixel side, decided for each lattice square), else the nearest.
    ignore_unknown : bool
        Make ids that the reference's legend lacks -1 instead of refusing them.

    Returns
    -------
    (row, col) int32

    Raises
    ------
    RasterError
        If the file cannot be read, has no CRS, or does not hold whole numbers.
    GridError
        If a file of polygons or points lacks what is asked for.
    CatalogError
        If the window holds ids that the reference's legend lacks, or nodata is a class.
    """
    with drawn.as_raster(reference, grid, window) as raster, opened(raster) as source:
        return _known(reference, source.labels(grid, window, resampling), ignore_unknown=ignore_unknown)


class Kept:
    """A reference that is a raster, open from its first window to `close`; in another process it opens anew.

    It is for one thread.
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self._raster: LabelRaster | None = None

    def __reduce__(self) -> tuple[type[Kept], tuple[Reference]]:
        """Without what is open."""
        return Kept, (self.reference,)

    def on_grid(self, grid: Grid, window: Window) -> np.ndarray:
        """As `on_grid` does, (row, col) int32.

        Parameters
        ----------
        grid, window : Grid, Window
            The pixels wanted.
        """
        with environment(self.reference.file):
            if self._raster is None:
                self._raster = _raster(self.reference)
            return _known(self.reference, self._raster.labels(grid, window, "auto"))

    def close(self) -> None:
        """Close the file; the next window opens it again."""
        if self._raster is not None:
            self._raster.file.close()
            self._raster = None


def _known(reference: Reference, labels: np.ndarray, *, ignore_unknown: bool = False) -> np.ndarray:
    """Labels of the reference's legend alone; others are refused or none."""
    table = positions(reference.legend)
    unknown = np.unique(labels[table[labels] > len(reference.legend)])
    if unknown.size and not ignore_unknown:
        raise unknown_ids(f"reference {reference.name!r}", unknown.tolist(), reference.legend)
    labels[np.isin(labels, unknown)] = UNLABELLED
    return labels


def check(reference: Reference) -> None:
    """Refuse a reference that cannot be used: no such file, band or CRS, or a class as nodata; pixels are not read."""
    if reference.column is not None:
        drawn.check(reference)
        return
    with opened(reference):
        pass


def identity_of(reference: Reference) -> str:
    """A word for what a reference's local files are now; another one once any of them has changed.

    Parameters
    ----------
    reference : Reference
        From the catalog.
    """
    return identity_of_file(Path(reference.file), beside=reference.column is not None)


def identity_of_file(path: Path, *, beside: bool) -> str:
    """A word for what a file is now.

    Parameters
    ----------
    path : Path
        Of a raster or a vector file.
    beside : bool
        With what else is read of a vector file.
    """
    others = [path.with_suffix(each) for each in _BESIDE.get(path.suffix.lower(), ())] if beside else []
    others += [path.with_name(f"{path.name}-wal")] if beside else []  # what SQLite has not yet taken in
    return " ".join(identity.of(str(each)) for each in (path, *others))


@dataclass(frozen=True, slots=True)
class LabelRaster:
    """An open raster of class ids: a `warping.Raster` of one band."""

    file: Dataset
    source: Source
    """Where it lies."""
    band: int
    """Number of the band of ids, from 1."""

    @property
    def grid(self) -> Grid:
        """Its own grid."""
        return Grid.of(self.source.geobox)

    @property
    def window(self) -> Window:
        """The pixels of its own grid that it fills."""
        grid = self.grid
        return Window(grid.row0, grid.col0, *self.source.shape)

    @property
    def count(self) -> int:
        """One band."""
        return 1

    @property
    def void(self) -> float:
        """UNLABELLED."""
        return UNLABELLED

    def labels(self, grid: Grid, window: Window, resampling: Resampling) -> np.ndarray:
        """Class ids on a grid, UNLABELLED beyond the edge.

        Parameters
        ----------
        grid, window : Grid, Window
            The pixels wanted.
        resampling : {'auto', 'nearest', 'mode'}
            As for `on_grid`; of no effect where the raster's pixels are the grid's.

        Returns
        -------
        (row, col) int32

        Raises
        ------
        RasterError
            If the window crosses the antimeridian of a raster in degrees: the mode there would be that of the world.
        """
        if any(footprints.straddles_antimeridian(self.source, grid, square) for square in cut(window, SQUARE)):
            raise RasterError(
                f"the map crosses the antimeridian of {self.source.path}, whose coordinates are degrees; "
                "bring the reference to the map's CRS first, with gdalwarp for instance"
            )
        out = None
        for part, found in warping.parts(self, grid, window, resampling):
            if part == window:
                whole: np.ndarray = found[0]
                return whole
            if out is None:
                out = np.full(window.shape, UNLABELLED, np.int32)
            out[part.within(window)] = found[0]
        return np.full(window.shape, UNLABELLED, np.int32) if out is None else out

    def read(self, window: Window) -> np.ndarray:
        """(1, row, col) int32 of a window of the file, counted from its first pixel."""
        values, known = self.raw(window)
        if values.dtype not in (np.uint8, np.uint16):
            self._check(values[known])
            values = np.where(known, values, 0)
        labels = values.astype(np.int32)
        np.copyto(labels, UNLABELLED, where=~known)
        return labels[None]

    def raw(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """What a window of the file holds, in its own type, and (row, col) bool where that is data."""
        with _faults(self.source.path):
            box = FileWindow(window.col, window.row, window.width, window.height)
            values = self.file.read(self.band, window=box)
            return values, validity.valid(self.file, self.band, box, values, self.source.nodata)

    def _check(self, values: np.ndarray) -> None:
        """Refuse what cannot be class ids."""
        if not np.isfinite(values).all() or (values % 1).any():
            raise RasterError(
                f"{self.source.path} holds fractions or NaN, not class ids; give the band of classes, or its 'nodata'"
            )
        beyond = values[(values < 0) | (values > 65535)]
        if beyond.size:
            raise CatalogError(
                f"{self.source.path} holds id {beyond[0]:g}; ids run from 0 to 65535, so if it means not labelled, "
                "state it as 'nodata' under the file's entry in data_catalog.yaml"
            )


@contextmanager
def opened(reference: Reference, *, any_nodata: bool = False) -> Iterator[LabelRaster]:
    """Open a raster of class ids: a reference, or a map that is described as one.

    Parameters
    ----------
    reference : Reference
        What the file is said to be.
    any_nodata : bool
        Take the nodata that the file declares even where it is a class of the legend.

    Raises
    ------
    RasterError
        If the file cannot be read, is refused as a VRT or for its layout, lacks the band or has no CRS.
    CatalogError
        If the nodata that the file declares is a class of the legend.
    """
    with environment(reference.file):
        raster = _raster(reference, any_nodata=any_nodata)
        with raster.file:
            yield raster


def _raster(reference: Reference, *, any_nodata: bool = False) -> LabelRaster:
    """A raster of class ids, open; `environment` should be in force."""
    path = reference.file
    driver = checks.driver_of(path, trust_vrt=reference.trust_vrt)
    with _faults(path):
        file = datasets.opened(path, driver)
    try:
        return LabelRaster(file, _examined(file, reference, any_nodata=any_nodata), reference.band)
    except BaseException:
        file.close()
        raise


def _examined(file: Dataset, reference: Reference, *, any_nodata: bool) -> Source:
    path, band, legend, crs = reference.file, reference.band, reference.legend, reference.crs
    if not 1 <= band <= file.count:
        raise RasterError(f"{path} has {counted(file.count, 'band')}, band {band} was asked for; correct 'band'")
    checks.check_layout(file, path, [band])
    where = file.crs if crs is None else read_crs(crs, path)
    if where is None:
        raise RasterError(f"{path} has no CRS; state it as 'crs' under its entry in data_catalog.yaml")
    nodata: float | None = reference.nodata
    if nodata is None:
        nodata = file.nodatavals[band - 1]
        taken = next((each.name for each in legend.classes if each.id == nodata), None)
        if taken is not None and not any_nodata:
            raise CatalogError(
                f"{path} declares nodata {nodata:g}, which is class {taken!r} of legend {legend.name!r}; "
                "correct the legend, or state the true 'nodata' under the file's entry in data_catalog.yaml"
            )
    grid = Grid.of(GeoBox(file.shape, file.transform, where if crs else where.to_wkt()))
    return Source(path, 0, "", grid.crs, grid.transform, file.shape, nodata, False, file.dtypes[band - 1])


@contextmanager
def _faults(path: str) -> Iterator[None]:
    """Whatever GDAL finds wrong with a file becomes a RasterError."""
    try:
        yield
    except (RasterioError, CPLE_BaseError) as error:
        raise RasterError(f"{path} cannot be read: {' '.join(str(error.__cause__ or error).split())}") from error

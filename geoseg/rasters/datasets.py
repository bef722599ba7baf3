"""Datasets: open rasters, together with the mask, world file and `.aux.xml` that lie beside them.

What GDAL would read of these is the same, but for masks that are no TIFF or do not say what they mask: they are
refused. A raster that is not on a local disk, and a VRT's source, has nothing beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import MaskFlags
from rasterio.errors import CRSError
from rasterio.io import DatasetReader
from rasterio.windows import Window as FileWindow

from geoseg.catalog import Band
from geoseg.errors import RasterError
from geoseg.rasters import checks, sidecars
from geoseg.rasters.checks import FOREIGN, gdal_message, is_local
from geoseg.rasters.environment import open_raster
from geoseg.rasters.sidecars import Stated


class Dataset:
    """An open raster as rasterio has it, but for what its sidecars say; all else is the file's own."""

    def __init__(self, file: DatasetReader, path: str) -> None:
        """Take over an open dataset.

        Parameters
        ----------
        file : DatasetReader
            Closed with this one.
        path : str
            What it was opened by.
        """
        self.file, self.path = file, path
        self.mask: DatasetReader | None = None
        self._masks: dict[int, int] = {}
        """Number of the mask's band by that of the file's."""
        self._world: Affine | None = None
        self._stated = Stated()
        if not is_local(path):
            return
        if file.driver != "VRT":
            self._stated = sidecars.stated(Path(path))
            if self._stated.transform is None and file.transform.is_identity:
                self._world = sidecars.world(Path(path))
        if (beside := sidecars.mask(Path(path))) is not None:
            self._take_mask(str(beside))

    def __getattr__(self, name: str) -> Any:
        """What is not said here is the file's."""
        return getattr(self.file, name)

    def __enter__(self) -> Dataset:
        """Closed at the end of the `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the file and its mask."""
        if self.mask is not None:
            self.mask.close()
        self.file.close()

    @property
    def transform(self) -> Affine:
        """From columns and rows to coordinates; the identity where nothing says it."""
        own: Affine = self.file.transform
        return self._stated.transform or self._world or own

    @property
    def crs(self) -> CRS | None:
        """None where nothing says it."""
        if not self._stated.crs:
            return self.file.crs
        try:
            return CRS.from_user_input(self._stated.crs)
        except CRSError as error:
            raise RasterError(
                f"{sidecars.xml_of(Path(self.path))} has a CRS that PROJ cannot use; correct it, or take it away"
            ) from error

    @property
    def nodatavals(self) -> tuple[float | None, ...]:
        """Declared nodata of each band."""
        return tuple(self._stated.nodata.get(i, own) for i, own in enumerate(self.file.nodatavals, 1))

    @property
    def nodata(self) -> float | None:
        """Declared nodata of the first band."""
        return self.nodatavals[0]

    @property
    def mask_flag_enums(self) -> tuple[list[MaskFlags], ...]:
        """What says which pixels hold data, for each band; [] is a mask of the band's own."""
        found = []
        for index, own in enumerate(self.file.mask_flag_enums, 1):
            flags = own
            if index in self._masks:
                flags = [MaskFlags.per_dataset] if self._per_dataset(index) else []
            elif index in self._stated.nodata and own == [MaskFlags.all_valid]:
                flags = [MaskFlags.nodata]
            found.append(flags)
        return tuple(found)

    def read_masks(self, indexes: int | Sequence[int], window: FileWindow) -> np.ndarray:
        """0 where there is no data, by the mask of the file or beside it.

        Parameters
        ----------
        indexes : int or sequence of int
            Bands, from 1.
        window : rasterio Window
            The pixels.

        Returns
        -------
        (row, col) or (band, row, col)
        """
        if isinstance(indexes, int):
            if self.mask is None or indexes not in self._masks:
                return np.asarray(self.file.read_masks(indexes, window=window))
            return np.asarray(self.mask.read(self._masks[indexes], window=window))
        return np.stack([self.read_masks(index, window).astype(bool) for index in indexes])

    def check_mask(self) -> None:
        """Refuse a truncated mask beside the file, as `checks.check_whole` does a file."""
        if self.mask is not None and self._masks:
            path = sidecars.mask_of(Path(self.path))
            used = [Band("mask", (), number, None, 1.0, 0.0) for number in sorted(set(self._masks.values()))]
            checks.check_whole(self.mask, str(path), path.stat().st_size, used)

    def _per_dataset(self, index: int) -> bool:
        assert self.mask is not None
        return bool(int(self.mask.tags()[f"INTERNAL_MASK_FLAGS_{index}"]) & MaskFlags.per_dataset.value)

    def _take_mask(self, path: str) -> None:
        """Open the mask, and see for which bands it is, as GDAL's items in it say."""
        try:
            self.mask = open_raster(path, "GTiff")
        except FOREIGN as error:
            raise RasterError(f"{path} cannot be opened ({gdal_message(error)}); copy it again") from error
        checks.check_layout(self.mask, path, self.mask.indexes)
        if self.mask.shape != self.file.shape:
            raise RasterError(
                f"{path} has {self.mask.height} x {self.mask.width} pixels, the raster beside it "
                f"{self.file.height} x {self.file.width}; make the mask anew, or take it away"
            )
        tags = self.mask.tags()
        if not any(f"INTERNAL_MASK_FLAGS_{index}" in tags for index in self.file.indexes):  # GDAL would heed it nowhere
            raise RasterError(
                f"{path} does not say of which bands it is the mask (INTERNAL_MASK_FLAGS_1=2: of all); "
                "make the mask anew, or take it away"
            )
        for index, flags in enumerate(self.file.mask_flag_enums, 1):
            if MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags:
                continue  # a mask inside the file goes before one beside it
            with suppress(KeyError, ValueError):
                per_dataset = int(tags[f"INTERNAL_MASK_FLAGS_{index}"]) & MaskFlags.per_dataset.value
                if per_dataset or index <= self.mask.count:
                    self._masks[index] = 1 if per_dataset else index


def opened(path: str, driver: str) -> Dataset:
    """A raster and what lies beside it, by one driver of GDAL's; `environment(path)` should be in force.

    Parameters
    ----------
    path : str
        Local path, URL or GDAL's /vsi path.
    driver : str
        Such as 'GTiff', see `checks.driver_of`.

    Raises
    ------
    RasterioError, CPLE_BaseError
        If the driver cannot open it.
    RasterError
        If what lies beside it is refused.
    """
    file = open_raster(path, driver)
    try:
        return Dataset(file, path)
    except BaseException:
        file.close()
        raise

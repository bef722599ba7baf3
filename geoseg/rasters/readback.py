"""Readback: what GDAL wrote is read again, since it does not always say that a disk was full when it closes a file."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.windows import Window as FileWindow

from geoseg.errors import RasterError

_EDGE = 2048


class Written:
    """Checksums of windows of a file's first band, as they were written."""

    def __init__(self) -> None:
        self.sums: list[tuple[FileWindow, int]] = []

    def note(self, window: FileWindow, values: np.ndarray) -> None:
        """Keep what was written.

        Parameters
        ----------
        window : rasterio Window
            Whole pixels of the file.
        values : (row, col)
            Of the file's type.
        """
        self.sums.append((window, _sum(values)))

    def check(self, path: Path, shown: Path) -> None:
        """Read all windows again.

        Parameters
        ----------
        path : Path
            The file, closed.
        shown : Path
            What it is called in messages.

        Raises
        ------
        RasterError
            If it holds something else.
        """
        try:
            with rasterio.open(path) as file:
                whole = all(_sum(file.read(1, window=window)) == wanted for window, wanted in self.sums)
        except (RasterioError, CPLE_BaseError) as error:
            raise _lost(shown) from error
        if not whole:
            raise _lost(shown)


def check_copy(plain: Path, made: Path, shown: Path) -> None:
    """Compare all pixels, and what masks them, of a file and its copy.

    Parameters
    ----------
    plain, made : Path
        Both closed, of one shape and as many bands.
    shown : Path
        What the copy is called in messages.

    Raises
    ------
    RasterError
        If they differ, or one cannot be read.
    """
    try:
        with rasterio.open(plain) as one, rasterio.open(made) as other:
            same = one.shape == other.shape
            for row in range(0, one.height if same else 0, _EDGE):
                for col in range(0, one.width, _EDGE):
                    window = FileWindow(col, row, min(_EDGE, one.width - col), min(_EDGE, one.height - row))
                    for read in ("read", "read_masks"):
                        pair = (getattr(each, read)(window=window) for each in (one, other))
                        same = same and np.array_equal(*pair)
    except (RasterioError, CPLE_BaseError) as error:
        raise _lost(shown) from error
    if not same:
        raise _lost(shown)


def _sum(values: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(values).data)


def _lost(shown: Path) -> RasterError:
    return RasterError(f"{shown} cannot be written: what is read of it is not what was written; check the space left")

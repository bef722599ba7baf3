"""Block files of a map: what it is put together from, and the proof that it holds what was written to them.

A block file is known by the sha256 of its bytes. GDAL opens it by its path, so it may change between the moment its
hash is checked and the moment GDAL reads it. Therefore the finished map is compared, pixel by pixel, with pixels
decoded from the very bytes whose hash was checked. Pixels are (row, col) uint8, of several bands (band, row, col).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window as Part

from geoseg.errors import DamagedBlocksError, RasterError
from geoseg.grid import Window
from geoseg.rasters import checks
from geoseg.storage import block_file

Identity = tuple[int, int, int, int, int]
"""Device, inode, size, and times of the last change of content and of anything, in nanoseconds."""


@dataclass(frozen=True, slots=True)
class BlockFile:
    """The file of one finished block."""

    window: Window
    """Pixels that it holds."""
    path: Path
    """A GeoTIFF of uint8 bands, nodata 255, of the window's size."""
    sha256: str | None = None
    """Of the file's bytes, as hexadecimal digits; None where it is not known, and then nothing is compared."""


def check(blocks: Sequence[BlockFile]) -> None:
    """Refuse block files that are missing or whose bytes do not have the hash that was noted for them.

    Raises
    ------
    DamagedBlocksError
        With the windows of all of them.
    """
    _each(blocks, lambda block: _read(block) if block.sha256 else _find(block))


def check_layout(blocks: Sequence[BlockFile], bands: int = 1) -> None:
    """Refuse block files that are no GeoTIFF of so many uint8 bands of their window's size.

    Parameters
    ----------
    blocks : sequence of BlockFile
        All of one map.
    bands : int
        That each must have.

    Raises
    ------
    DamagedBlocksError
        With the windows of all of them.
    """
    _each(blocks, lambda block: _check_layout(block, bands))


def check_pixels(blocks: Sequence[BlockFile]) -> None:
    """Read all pixels of blocks without a hash, after GDAL failed, since a damaged block may be the cause.

    Raises
    ------
    DamagedBlocksError
        With the windows of the blocks that cannot be read.
    """
    _each([block for block in blocks if block.sha256 is None], _check_pixels)


def identities(blocks: Sequence[BlockFile]) -> list[Identity | None]:
    """What changes when somebody touches a file with a known hash, even if its bytes are the old ones again."""
    return [_identity(block.path) for block in blocks if block.sha256]


def differing(blocks: Sequence[BlockFile], made: DatasetReader, extent: Window) -> list[Window]:
    """Windows of blocks whose pixels are not those of the finished map.

    Each file with a known hash is read once; the bytes whose hash is right are decoded and compared.

    Parameters
    ----------
    blocks : sequence of BlockFile
        Those without a hash are passed over.
    made : DatasetReader
        The map.
    extent : Window
        Pixels of the map; what a block holds beyond it is left out.

    Raises
    ------
    DamagedBlocksError
        With the windows of all files that do not have their hash, or are missing.
    """
    found: list[Window] = []

    def compare(block: BlockFile) -> None:
        part = block.window.meet(extent)
        if part is None:
            return
        pixels = _decoded(_read(block), block)[(..., *part.within(block.window))]
        bands = pixels if pixels.ndim == 3 else pixels[None]
        if not np.array_equal(bands, made.read(window=_slices(part, extent))):
            found.append(block.window)

    _each([block for block in blocks if block.sha256], compare)
    return found


def _each(blocks: Sequence[BlockFile], look: Callable[[BlockFile], object]) -> None:
    """Look at each block; say what is wrong with the first damaged one, and name all."""
    damaged: list[tuple[Window, str]] = []
    for block in blocks:
        try:
            look(block)
        except DamagedBlocksError as error:
            damaged.append((block.window, str(error)))
    if damaged:
        others = f", and {len(damaged) - 1} more are damaged" if len(damaged) > 1 else ""
        which = "those blocks" if others else "that block"
        raise DamagedBlocksError(
            f"{damaged[0][1]}{others}; run the same command again, which makes {which} anew",
            [window for window, _ in damaged],
        )


def _find(block: BlockFile) -> None:
    if not block.path.is_file():
        raise DamagedBlocksError(f"the block file {block.path} is missing")


def _read(block: BlockFile) -> bytes:
    """The bytes of a file, which have its hash."""
    _find(block)
    try:
        data = block.path.read_bytes()
    except FileNotFoundError:
        raise DamagedBlocksError(f"the block file {block.path} is missing") from None
    except OSError as error:
        raise DamagedBlocksError(f"the block file {block.path} cannot be read ({error.strerror or error})") from error
    if hashlib.sha256(data).hexdigest() != block.sha256:
        raise DamagedBlocksError(f"the block file {block.path} has changed since it was written")
    return data


def _decoded(data: bytes, block: BlockFile) -> np.ndarray:
    try:
        return block_file.decode(data)
    except (RasterioError, CPLE_BaseError) as error:
        raise DamagedBlocksError(f"the block file {block.path} cannot be read ({error})") from error


def _check_layout(block: BlockFile, bands: int) -> None:
    _find(block)
    try:
        with rasterio.open(block.path, driver="GTiff") as source:
            checks.check_layout(source, block.path, source.indexes)
            found = (source.shape, source.dtypes)
    except (RasterioError, CPLE_BaseError, RasterError) as error:
        raise DamagedBlocksError(f"the block file {block.path} cannot be read ({error})") from error
    wanted = (block.window.shape, ("uint8",) * bands)
    if found != wanted:
        raise DamagedBlocksError(f"the block file {block.path} has shape and bands {found}, not {wanted}")


def _check_pixels(block: BlockFile) -> None:
    _find(block)
    try:
        with rasterio.open(block.path, driver="GTiff") as source:
            for _, part in source.block_windows(1):
                source.read(window=part)
    except (RasterioError, CPLE_BaseError) as error:
        raise DamagedBlocksError(f"the block file {block.path} cannot be read ({error})") from error


def _identity(path: Path) -> Identity | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _slices(part: Window, extent: Window) -> Part:
    rows, cols = part.within(extent)
    return Part.from_slices(rows, cols)

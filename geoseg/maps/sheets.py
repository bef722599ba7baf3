"""Sheets: a map in several files of at most so many pixels on an edge, under a virtual mosaic.

Sheets are cut on the grid's lattice, so that overlapping jobs cut alike. Windows are (row, col, height, width).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoseg import process
from geoseg.catalog.legend import Legend
from geoseg.grid import Grid, Window, cut
from geoseg.maps import blocks as block_files
from geoseg.maps.blocks import BlockFile
from geoseg.maps.cog import assemble, check_counts, count
from geoseg.maps.files import sidecar_of, writing
from geoseg.rasters.vrt import MapBand, compose
from geoseg.storage.store import Store


@dataclass(frozen=True, slots=True)
class Sheet:
    """One sheet that is to be made."""

    window: Window
    """Its pixels."""
    path: Path
    """The .tif to write; its folder exists."""
    blocks: Sequence[BlockFile]
    """Those that hold a part of it, at least one."""


Make = Callable[[Sequence[Sheet]], np.ndarray]
"""Makes sheets, and gives (256,) int64, the pixels of each value in all of them."""


def sheets(extent: Window, sheet_pixels: int) -> list[Window]:
    """Sheets of at most `sheet_pixels` on an edge, row by row.

    Parameters
    ----------
    extent : Window
        The map.
    sheet_pixels : int
        Sheets end where rows or columns of the lattice are a multiple of it, and at the map's edge.

    Examples
    --------
    >>> sheets(Window(90, 0, 20, 50), 100)
    [Window(row=90, col=0, height=10, width=50), Window(row=100, col=0, height=10, width=50)]
    """
    return [part for square in cut(extent, sheet_pixels) if (part := square.meet(extent))]


def assemble_sheets(
    blocks: Sequence[BlockFile],
    grid: Grid,
    extent: Window,
    legend: Legend | None,
    out: Path,
    *,
    sheet_pixels: int,
    tags: Mapping[str, str],
    band_names: Sequence[str] = ("land cover",),
    scale: float = 1.0,
    counts: Mapping[int, int] | None = None,
    make: Make | None = None,
) -> list[Path]:
    """Put blocks together into several maps and a virtual mosaic `out` (.vrt) over them.

    Sheets are `maps/<stem>_<row>_<col>.tif` beside `out`, counted from 0; a sheet without blocks is not written and
    reads as nodata. `out` refers to them by relative paths, is absent while sheets change, and is written last.
    Sheets of an earlier run that are none of these are removed.

    Parameters
    ----------
    blocks, grid, extent, legend, tags, band_names, scale, counts
        As in `cog.assemble`; `counts` are those of the whole map.
    out : Path
        The .vrt to write; its folder must exist.
    sheet_pixels : int
        Longest edge of a sheet.
    make : callable, optional
        Makes the sheets, elsewhere perhaps; default: `in_threads` of this process.

    Returns
    -------
    list of Path
        The sheets written.

    Raises
    ------
    DamagedBlocksError, RasterError
        As `cog.assemble`; sheets already finished stay, `out` does not.
    CatalogError
        If a legend id exceeds 254.
    """
    band = MapBand(legend, tuple(band_names), scale, counts)
    folder = Store.at(out.parent).folder("maps")
    with writing(out):
        out.unlink(missing_ok=True)
    held = held_by(blocks, extent, sheet_pixels)
    named = _named(extent, sheet_pixels, out.stem)
    todo = [
        Sheet(window, folder / name, held[position])
        for name, window in named
        if (position := _position(window, sheet_pixels)) in held
    ]
    if make is None:
        block_files.check([block for block in blocks if block.window.meet(extent)])
        make = in_threads(grid, legend, tags=tags, band_names=band_names, scale=scale)
    total = make(todo)
    if counts is not None:
        check_counts(total, counts, out)
    made = [(sheet.window, sheet.path) for sheet in todo]
    Store(str(out.parent.absolute())).put(out.name, compose(made, grid, extent, band, tags, relative_to=out.parent))
    kept = {sheet.path.name for sheet in todo}
    for old in folder.glob(f"{out.stem}_*_*.tif"):
        if old.name not in kept:
            old.unlink()
            sidecar_of(old).unlink(missing_ok=True)
    return [sheet.path for sheet in todo]


def in_threads(
    grid: Grid,
    legend: Legend | None,
    *,
    tags: Mapping[str, str],
    band_names: Sequence[str] = ("land cover",),
    scale: float = 1.0,
    threads: int | None = None,
) -> Make:
    """Makes sheets in threads of this process.

    Parameters
    ----------
    grid, legend, tags, band_names, scale
        As in `cog.assemble`.
    threads : int, optional
        Sheets made at once; by default as many as there are cores. GDAL decodes blocks and reduces overviews of one
        file in one thread.
    """

    def make(todo: Sequence[Sheet]) -> np.ndarray:
        pool = ThreadPoolExecutor(threads or process.cores())
        try:
            counted = pool.map(
                lambda each: make_sheet(each, grid, legend, tags=tags, band_names=band_names, scale=scale), todo
            )
            return sum(counted, start=np.zeros(256, np.int64))
        finally:
            pool.shutdown(cancel_futures=True)

    return make


def make_sheet(
    sheet: Sheet,
    grid: Grid,
    legend: Legend | None,
    *,
    tags: Mapping[str, str],
    band_names: Sequence[str] = ("land cover",),
    scale: float = 1.0,
) -> np.ndarray:
    """Make one sheet, whole or not at all; the pixels of each of its values, (256,) int64, 0 for a map of values.

    Parameters
    ----------
    sheet : Sheet
        What to make of which blocks.
    grid, legend, tags, band_names, scale
        As in `cog.assemble`, which also says what is raised.
    """
    blocks, window, path = sheet.blocks, sheet.window, sheet.path
    assemble(blocks, grid, window, legend, path, tags=tags, band_names=band_names, scale=scale)
    return count(sheet.path) if legend is not None else np.zeros(256, np.int64)


def held_by(blocks: Sequence[BlockFile], extent: Window, sheet_pixels: int) -> dict[tuple[int, int], list[BlockFile]]:
    """Which blocks each sheet holds a part of, found from the blocks' own positions, not by trying all pairs.

    Parameters
    ----------
    blocks : sequence of BlockFile
        In any order, which each list keeps; those beyond the extent are in none.
    extent : Window
        The map.
    sheet_pixels : int
        Longest edge of a sheet.

    Returns
    -------
    dict of (row, col) to list
        By the sheet's position on the lattice of sheets; a sheet without blocks is absent.
    """
    found: dict[tuple[int, int], list[BlockFile]] = defaultdict(list)
    for block in blocks:
        part = block.window.meet(extent)
        if part is None:
            continue
        for row in range(part.row // sheet_pixels, (part.row_end - 1) // sheet_pixels + 1):
            for col in range(part.col // sheet_pixels, (part.col_end - 1) // sheet_pixels + 1):
                found[row, col].append(block)
    return dict(found)


def _position(sheet: Window, sheet_pixels: int) -> tuple[int, int]:
    return sheet.row // sheet_pixels, sheet.col // sheet_pixels


def _named(extent: Window, sheet_pixels: int, stem: str) -> Iterator[tuple[str, Window]]:
    parts = sheets(extent, sheet_pixels)
    (row0, col0), (row1, col1) = (_position(part, sheet_pixels) for part in (parts[0], parts[-1]))
    for part in parts:
        row, col = _position(part, sheet_pixels)
        row_digits, col_digits = len(str(row1 - row0)), len(str(col1 - col0))
        yield f"{stem}_{row - row0:0{row_digits}}_{col - col0:0{col_digits}}.tif", part

"""Imagery: the pixels of a layer, as one or many files, over any window of any grid.

Pixels are (band, row, col) float32 in physical units, NaN where there is no data for whatever cause. Files
whose pixels are the grid's own are read as they are; others are warped in squares of the lattice, each by
itself, so that a pixel's value never depends on the window in which it was asked for.

Where files overlap, the upper one (`Imagery.order`) wins wherever it has data. Bands that lie in the same
files are taken together: a pixel which lacks one of them is filled in all of them from the file below. Bands
with files of their own are filled one by one.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from geoseg.catalog import Imagery
from geoseg.grid import Grid, Window
from geoseg.imagery import listing, masking
from geoseg.imagery.masking import Stencil
from geoseg.process import remembered
from geoseg.rasters import files as raster_files
from geoseg.rasters import footprints, handles, index, warping
from geoseg.rasters.environment import environment
from geoseg.rasters.files import Source
from geoseg.rasters.index import Index
from geoseg.rasters.warping import Stack

_AT_ONCE = 16  # files that are asked for their last change at once


@dataclass(frozen=True, slots=True)
class Scene:
    """Imagery whose files were found and checked; plain facts, small enough to send to workers."""

    imagery: Imagery
    """What the catalog says."""
    grid: Grid
    """Own grid: that of the first band's first file."""
    window: Window
    """What all files together cover on that grid."""
    bands: tuple[tuple[Source, ...], ...]
    """For each band its files, in the stated order."""
    masks: tuple[Source, ...] = ()
    """Files of the mask: none, one for all files of each band, or one for each of them."""

    @property
    def sources(self) -> dict[str, Source]:
        """Every file, those of the mask included, by its path."""
        return {source.path: source for files in (*self.bands, self.masks) for source in files}


# ------------------------------------------------------------------------------------------ verbs


def open(imagery: Imagery) -> Scene:
    """Find and check all files of a layer, its mask among them.

    Raises
    ------
    RasterError
        If a file is missing, unreadable, truncated, not georeferenced, or lacks a band.
    CatalogError
        If what the catalog says of the files cannot be.
    """
    wanted, files = list(imagery.bands), [listing.files(band, imagery) for band in imagery.bands]
    if imagery.mask is not None:
        wanted.append(imagery.mask.band)
        files.append(listing.masks(imagery))
    givers: dict[str, list[int]] = {}
    for number, stored in enumerate(files):
        for path in dict.fromkeys(each.path for each in stored):
            givers.setdefault(path, []).append(number)
    checked = raster_files.examine_all(
        {path: [listing.known(wanted[number]) for number in numbers] for path, numbers in givers.items()},
        imagery.crs,
        trust_vrt=imagery.trust_vrt,
    )
    found = {(path, n): source for path, numbers in givers.items() for n, source in zip(numbers, checked[path])}
    sources = [
        tuple(replace(found[each.path, number], scale=each.scale, offset=each.offset) for each in stored)
        for number, stored in enumerate(files)
    ]
    bands, masks = tuple(sources[: len(imagery.bands)]), sources[len(imagery.bands) :]
    grid = Grid.of(bands[0][0].geobox)
    return Scene(imagery, grid, _hull(bands, grid), bands, *masks)


def read(scene: Scene, grid: Grid, window: Window) -> np.ndarray:
    """Physical values over a window; NaN wherever there are no data, also beyond the imagery's edge.

    A file whose pixels are not the grid's is warped by `Imagery.resampling`, its coordinates true to 1/64 of a
    pixel; where the grid's pixels are more than twice as long as the file's, bilinear and cubic give way to the
    average of all valid pixels underneath.

    Parameters
    ----------
    scene : Scene
        From `open`.
    grid, window : Grid, Window
        The pixels wanted; any grid, any CRS.

    Returns
    -------
    (band, row, col) float32

    Raises
    ------
    RasterError
        If a file cannot be read or changed since `open`; `forget` before trying again.
    """
    out = np.full((len(scene.bands), *window.shape), np.nan, np.float32)
    with environment():
        for layer in _layers(_Same(scene), grid):
            _fill(layer, grid, window, scene.imagery.resampling, out)
    return out


def touches(scene: Scene, grid: Grid, window: Window) -> bool:
    """Whether any file's footprint meets a window; a file that is warped may touch by its bounding box alone.

    Parameters
    ----------
    scene : Scene
        From `open`.
    grid, window : Grid, Window
        The pixels asked about.
    """
    return any(
        footprints.needed(layer.stacks[number].sources[0], grid, window) is not None
        for layer in _layers(_Same(scene), grid)
        for number in index.near(layer.index, grid, window)
    )


def covers(scene: Scene, grid: Grid, window: Window) -> bool:
    """Whether one file has all of a window, so that it `touches` every part of it; False where that takes warping.

    Parameters
    ----------
    scene : Scene
        From `open`.
    grid, window : Grid, Window
        The pixels asked about.
    """
    return any(index.holds(layer.index, window) for layer in _layers(_Same(scene), grid))


def extent(scene: Scene, grid: Grid) -> Window:
    """The window of a grid that covers all files.

    Parameters
    ----------
    scene : Scene
        From `open`.
    grid : Grid
        The scene's own or any other.

    Raises
    ------
    RasterError
        If a file as a whole cannot be expressed on the grid.
    """
    return scene.window if grid == scene.grid else _hull(scene.bands, grid)


def identity(scene: Scene) -> dict[str, str]:
    """What tells the scene's files from others of the same name: path to 'size:modified'.

    It covers sidecars, and a VRT's sources to the bottom; see `rasters.identity`. For files of which nobody says when
    they changed it is '0:'.
    """
    return {path: source.identity for path, source in scene.sources.items()}


def check_unchanged(scene: Scene) -> None:
    """Refuse a scene of which a file is another one than when it was opened.

    Raises
    ------
    ImageryChangedError
        For the first such file.
    """
    files = scene.sources
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # asking a server takes its time
        list(pool.map(lambda each: handles.check_unchanged(each.path, each.size, each.modified), files.values()))


def unseen(scene: Scene) -> list[str]:
    """Paths of the files of which nobody says when they changed."""
    return sorted(path for path, word in identity(scene).items() if word == "0:")


def forget(scene: Scene) -> None:
    """Close this thread's handles of the scene's files, so that the next read opens them anew."""
    handles.forget(identity(scene))


# ------------------------------------------------------------------------------ files on the grid


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """Bands that share their files."""

    members: tuple[int, ...]
    """Numbers of the bands."""
    stacks: tuple[Stack, ...]
    """The files, from the upper to the lower."""
    index: Index
    """Where they lie on a grid."""
    stencils: tuple[Stencil, ...]
    """The mask of each file, or none."""


class _Same:
    """A scene as a key, equal to itself alone: to compare thousands of files takes longer than to lay them out."""

    __slots__ = ("scene",)

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.scene is other.scene

    def __hash__(self) -> int:
        return id(self.scene)


@remembered(8)
def _layers(same: _Same, grid: Grid) -> tuple[_Layer, ...]:
    scene = same.scene
    together: dict[tuple[str, ...], list[int]] = {}
    for number, files in enumerate(scene.bands):
        together.setdefault(tuple(source.path for source in files), []).append(number)
    found = []
    for members in together.values():
        bands = tuple(scene.imagery.bands[member] for member in members)
        stacks = [Stack(stacked, bands) for stacked in zip(*(scene.bands[member] for member in members))]
        stencils = [] if scene.imagery.mask is None else [Stencil(each, scene.imagery.mask) for each in scene.masks]
        if len(stencils) == 1:
            stencils *= len(stacks)
        if scene.imagery.order == "last":
            stacks.reverse()
            stencils.reverse()
        where = index.of([s.sources[0] for s in stacks], grid)
        found.append(_Layer(tuple(members), tuple(stacks), where, tuple(stencils)))
    return tuple(found)


def _fill(layer: _Layer, grid: Grid, window: Window, resampling: str, out: np.ndarray) -> None:
    """Lay the files of some bands over each other, from the upper to the lower, until no hole is left."""
    holes = np.ones(window.shape, bool)
    for number in sorted(index.near(layer.index, grid, window)):
        for part, found in warping.parts(layer.stacks[number], grid, window, resampling, holes):
            at = part.within(window)
            if layer.stencils:
                found[:, masking.hidden(layer.stencils[number], grid, part)] = np.nan
            for member, values in zip(layer.members, found):
                np.copyto(out[member][at], values, where=holes[at])
            holes[at] &= np.isnan(found[0])
        if not holes.any():
            return


def _hull(bands: tuple[tuple[Source, ...], ...], grid: Grid) -> Window:
    places: dict[object, Source] = {}
    for source in (source for files in bands for source in files):
        places.setdefault((source.crs, source.transform, source.shape), source)
    hull: Window | None = None
    for source in places.values():
        own = footprints.cover(source, grid)
        hull = own if hull is None else hull.join(own)
    assert hull is not None
    return hull

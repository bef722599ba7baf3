"""Scenes: labelled imagery, and the parts of it that are kept away from training.

Each scene lies on its own grid: pixels (band, row, col) float32, normalised, NaN where there are no data; labels
(row, col) int16, the index of a class in the legend, -1 where there is no label to learn from or to score. No label of
a held-out square is ever learnt from, nor any within the buffer around it, though a training chip may show pixels of
one as its surroundings; beyond the scene's `part` neither pixels nor labels are seen. Scenes that memory does not hold
are read by windows; what a window holds is the same either way.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from geoseg import imagery
from geoseg.accuracy import drawn
from geoseg.accuracy.references import Kept
from geoseg.catalog import Catalog, Reference
from geoseg.catalog.card import Normalisation
from geoseg.catalog.legend import Legend
from geoseg.errors import JobError
from geoseg.grid import Grid, Window
from geoseg.training import planes
from geoseg.training.division import BEYOND, DIVISIONS, TRAIN, Rectangles, Squares, divide
from geoseg.training.planes import Cache, Plane, Windowed
from geoseg.training.recipe import SceneSpec
from geoseg.training.survey import Survey, Surveyor

_STRIP = 1024
_BLOCK = (256, 4096)
"""Rows and columns of what is looked at at once, multiples of which blocks begin at."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledScene:
    """A scene, in memory or read by windows."""

    name: str
    """Imagery's name in the catalog."""
    window: Window
    """Where it lies on its own lattice."""
    pixels: Plane
    """(band, row, col) float32, normalised; NaN where there are no data."""
    labels: Plane
    """(row, col) int16: index of a class in the legend, -1 for none."""
    division: Plane
    """(row, col) uint8: TRAIN, VALIDATION, TEST, BEYOND or BUFFER."""
    weight: float
    """How often chips come from it, relative to other scenes."""
    grid: Grid | None = None
    """Its own; None where it lies nowhere."""
    centred: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Mean and std that its pixels were normalised with; None: 0 and 1."""
    reference: str = ""
    """Reference's name in the catalog."""
    _known: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    """What was found out about it."""

    @property
    def zero(self) -> np.ndarray | float:
        """What a physical value of 0 is as a normalised one, (band,) float64."""
        if self.centred is None:
            return 0.0
        mean, std = self.centred
        return -np.array(mean) / np.array(std)

    def pixels_in(self, window: Window) -> np.ndarray:
        """Pixels of a window inside of the scene."""
        return planes.taken(self.pixels, self.window, window)

    def labels_in(self, window: Window) -> np.ndarray:
        """Labels of a window inside of the scene."""
        return planes.taken(self.labels, self.window, window)

    def division_in(self, window: Window) -> np.ndarray:
        """The division of a window inside of the scene."""
        return planes.taken(self.division, self.window, window)

    def seen(self, window: Window | None = None) -> np.ndarray:
        """Pixels with all that lies beyond the scene and its part taken away, as training sees them.

        Parameters
        ----------
        window
            Any; default: the scene's.
        """
        return self._around(window, self._shown)

    def _shown(self, window: Window) -> np.ndarray:
        pixels, beyond = self.pixels_in(window), self.division_in(window) == BEYOND
        return np.where(beyond, np.float32(np.nan), pixels) if beyond.any() else pixels

    def around(self, window: Window) -> np.ndarray:
        """Pixels of any window, NaN beyond the scene."""
        return self._around(window, self.pixels_in)

    def learnt(self, window: Window) -> np.ndarray:
        """Labels of any window that are learnt from, -1 for none."""
        return self._around(
            window, lambda at: np.where(self.division_in(at) == TRAIN, self.labels_in(at), np.int16(-1))
        )

    def _around(self, window: Window | None, of: Callable[[Window], np.ndarray]) -> np.ndarray:
        """A window of something, filled up with NaN or -1 beyond the scene."""
        window = window or self.window
        if self.window.holds(window):
            return of(window)
        part = window.meet(self.window) or Window(self.window.row, self.window.col, 1, 1)
        found = of(part)
        fill = np.nan if found.dtype.kind == "f" else -1
        out = np.full((*found.shape[:-2], *window.shape), fill, found.dtype)
        if part.meet(window):
            out[..., *part.within(window)] = found
        return out

    def blocks(self) -> Iterator[Window]:
        """The scene in pieces that memory holds, the same ones however it is read."""
        height, width = _BLOCK
        rows = self.window.snapped(height)
        cols = self.window.snapped(width)
        for row in range(rows.row, rows.row_end, height):
            for col in range(cols.col, cols.col_end, width):
                part = Window(row, col, height, width).meet(self.window)
                if part is not None:
                    yield part

    def divided(self, of: Callable[[Window], np.ndarray]) -> LabelledScene:
        """The scene with another division.

        Parameters
        ----------
        of
            The division of a window inside of the scene; the same for a pixel, whichever window it is asked with.
        """
        return replace(self, division=self._plane(of, np.uint8))

    def relabelled(self, of: Callable[[Window], np.ndarray]) -> LabelledScene:
        """The scene with other labels.

        Parameters
        ----------
        of
            The labels of a window inside of the scene.
        """
        return replace(self, labels=self._plane(of, np.int16))

    def _plane(self, of: Callable[[Window], np.ndarray], dtype: type) -> Plane:
        """Made at once where the scene is in memory, else when it is asked for."""
        if isinstance(self.pixels, Windowed):
            return Windowed(lambda window: of(window).astype(dtype, copy=False))
        return of(self.window).astype(dtype, copy=False)

    def has(self, division: int) -> bool:
        """Whether any pixel belongs to a division."""
        return any((self.division_in(block) == division).any() for block in self.blocks())

    def survey(self) -> Survey:
        """Labels counted and placed, in one pass which is made once."""
        if "survey" not in self._known:
            surveyor = Surveyor(self.window)
            for block in self.blocks():
                surveyor.take(block, self.pixels_in(block), self.labels_in(block), self.division_in(block))
            self._known["survey"] = surveyor.found()
        found: Survey = self._known["survey"]
        return found

    def rectangles(self) -> list[list[Window]]:
        """Of each division, rectangles that cover each of its pixels once; found once."""
        if "rectangles" not in self._known:
            made = [Rectangles() for _ in DIVISIONS]
            for row in range(self.window.row, self.window.row_end, _BLOCK[0]):
                height = min(_BLOCK[0], self.window.row_end - row)
                strip = Window(row, self.window.col, height, self.window.width)
                division = self.division_in(strip)
                for kind, each in enumerate(made):
                    each.take(strip, division == kind)
            self._known["rectangles"] = [each.found() for each in made]
        found: list[list[Window]] = self._known["rectangles"]
        return found

    def counts(self, division: int, classes: int) -> np.ndarray:
        """Labelled pixels of each class in a division, (class,) int64.

        Parameters
        ----------
        division
            TRAIN, VALIDATION, TEST, BEYOND or BUFFER.
        classes
            How many the legend has.
        """
        return self.survey().of(division, classes)


def load_all(
    known: Catalog,
    specs: Sequence[SceneSpec],
    bands: tuple[str, ...],
    legend: Legend,
    squares: Squares,
    normalisation: Normalisation,
    memory: int,
) -> list[LabelledScene]:
    """Scenes of a training: in memory where all of them together fit, else read by windows.

    Parameters
    ----------
    known, bands, legend, squares, normalisation
        As for `load`.
    specs
        The scenes.
    memory
        Bytes that they may take; what is read by windows is kept up to that.

    Raises
    ------
    CatalogError, RasterError, JobError
        As for `load`.
    """
    opened = [imagery.open(known.imagery(each.imagery).select(bands, "training")) for each in specs]
    needed = sum(each.window.pixels * (4 * len(bands) + 3) for each in opened)
    cache = Cache(memory) if needed > memory else None
    return [
        load(known, each, bands, legend, squares, normalisation, cache=cache, number=at)
        for at, each in enumerate(specs)
    ]


def load(
    known: Catalog,
    spec: SceneSpec,
    bands: tuple[str, ...],
    legend: Legend,
    squares: Squares,
    normalisation: Normalisation,
    *,
    cache: Cache | None = None,
    number: int = 0,
) -> LabelledScene:
    """Read a scene and its reference, the reference warped to the scene's grid by the nearest label.

    A pixel without data in any of the bands has no label.

    Parameters
    ----------
    known
        Catalog that the names are looked up in.
    spec
        Imagery, reference, crosswalk and part.
    bands
        Common names, in the network's order.
    legend
        What is learnt; the reference's labels are brought to it.
    squares
        How the scene is divided.
    normalisation
        Taken from the pixels; see `centre`.
    cache
        Read by windows, and keep here what was read last; default: read all of it now.
    number
        Of the scene in the cache.

    Raises
    ------
    CatalogError, RasterError
        If something is not in the catalog or cannot be read.
    JobError
        If the crosswalk is one between other legends.
    """
    scene = imagery.open(known.imagery(spec.imagery).select(bands, "training"))
    brought = [_brought(known, name, spec.crosswalk, legend) for name in spec.references]
    mean, std = centre(scene, normalisation)
    files = ExitStack()
    rasters = []
    for reference, table in brought:
        raster = Kept(files.enter_context(drawn.as_raster(reference, scene.grid, scene.window)))
        files.callback(raster.close)
        rasters.append((raster, table))
    read = partial(_read, scene, rasters, (mean, std))
    division = partial(divide, scene.window, spec.part, squares)
    made: tuple[Plane, Plane, Plane]
    if cache is None:
        with files:
            pixels, labels = zip(*(read(part) for part in _strips(scene.window)))
        made = np.concatenate(pixels, axis=1), np.concatenate(labels), division()
    else:
        parts = planes.Squares(read, scene.window, cache, number)
        weakref.finalize(parts, files.close)
        made = Windowed(parts.pixels, cache), Windowed(parts.labels, cache), Windowed(division)
    pixels_of, labels_of, division_of = made
    return LabelledScene(
        spec.imagery,
        scene.window,
        pixels_of,
        labels_of,
        division_of,
        spec.weight,
        scene.grid,
        (mean, std),
        brought[0][0].name,
    )


def _read(
    scene: imagery.Scene,
    references: Sequence[tuple[Kept, np.ndarray]],
    centred: tuple[tuple[float, ...], tuple[float, ...]],
    window: Window,
) -> tuple[np.ndarray, np.ndarray]:
    """Normalised pixels and labels of a window."""
    pixels = imagery.read(scene, scene.grid, window)
    void = np.isnan(pixels).any(axis=0)
    labels = np.full(void.shape, -1, np.int16)
    for reference, indices in references:
        found = indices[reference.on_grid(scene.grid, window)]
        labels = np.where(labels < 0, found, labels)
    labels[void] = -1
    for values, of in zip((np.subtract, np.divide), centred):
        values(pixels, np.array(of, np.float32)[:, None, None], out=pixels)
    return pixels, labels


def centre(scene: imagery.Scene, normalisation: Normalisation) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std that pixels of a scene are normalised with, just as they will be when it is mapped.

    Parameters
    ----------
    scene
        Its bands in the network's order.
    normalisation
        scene: by its statistics; fixed: as stated; none: 0 and 1.
    """
    if normalisation.kind == "scene":
        found = imagery.statistics(scene)
        return found.mean, found.std
    bands = len(scene.bands)
    return normalisation.mean or (0.0,) * bands, normalisation.std or (1.0,) * bands


def _brought(known: Catalog, name: str, crosswalk: str | None, legend: Legend) -> tuple[Reference, np.ndarray]:
    """A reference, and what its ids are in the legend to learn: see `_indices`."""
    reference = known.reference(name)
    walk = known.crosswalk(crosswalk) if crosswalk else known.crosswalk_between(reference.legend, legend)
    if (walk.source.ids, walk.target.ids) != (reference.legend.ids, legend.ids):
        raise JobError(
            f"crosswalk {walk.name!r} leads from {walk.source.name!r} to {walk.target.name!r}; "
            f"reference {reference.name!r} has legend {reference.legend.name!r}, and {legend.name!r} is to be learnt"
        )
    return reference, _indices(walk.table(), legend)


def _indices(table: np.ndarray, legend: Legend) -> np.ndarray:
    """Lookup from a reference's id to a class's index in the legend, -1 for none; the last entry is that of id -1."""
    indices = np.full(len(table) + 1, -1, np.int16)
    for index, identity in enumerate(legend.ids):
        indices[:-1][table == identity] = index
    return indices


def _strips(window: Window) -> list[Window]:
    rows = range(window.row, window.row_end, _STRIP)
    return [Window(row, window.col, min(_STRIP, window.row_end - row), window.width) for row in rows]

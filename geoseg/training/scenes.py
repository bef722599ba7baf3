"""Scenes: labelled imagery in memory, and the parts of it that are kept away from training.

Each scene is held on its own grid: pixels (band, row, col) float32, normalised, NaN where there are no data; labels
(row, col) int16, the index of a class in the legend, -1 where there is no label to learn from or to score. No label of
a held-out square is ever learnt from, nor any within the buffer around it, though a training chip may show pixels of
one as its surroundings; beyond the scene's `part` neither pixels nor labels are seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoseg import imagery
from geoseg.accuracy import drawn
from geoseg.accuracy.references import on_grid
from geoseg.catalog import Catalog, Reference
from geoseg.catalog.card import Normalisation
from geoseg.catalog.legend import Legend
from geoseg.errors import JobError
from geoseg.grid import Grid, Window
from geoseg.training.division import BEYOND, Squares, divide
from geoseg.training.recipe import SceneSpec

_MOST_BYTES = 12_000_000_000
_STRIP = 1024


@dataclass(frozen=True, slots=True, eq=False)
class LabelledScene:
    """A scene in memory."""

    name: str
    """Imagery's name in the catalog."""
    window: Window
    """Where it lies on its own lattice."""
    pixels: np.ndarray
    """(band, row, col) float32, normalised; NaN where there are no data."""
    labels: np.ndarray
    """(row, col) int16: index of a class in the legend, -1 for none."""
    division: np.ndarray
    """(row, col) uint8: TRAIN, VALIDATION, TEST, BEYOND or BUFFER."""
    weight: float
    """How often chips come from it, relative to other scenes."""
    grid: Grid | None = None
    """Its own; None where it lies nowhere."""
    centred: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Mean and std that its pixels were normalised with; None: 0 and 1."""
    reference: str = ""
    """Reference's name in the catalog."""

    @property
    def zero(self) -> np.ndarray:
        """What a physical value of 0 is as a normalised one, (band,) float64."""
        if self.centred is None:
            return np.zeros(len(self.pixels))
        mean, std = self.centred
        return -np.array(mean) / np.array(std)

    def seen(self) -> np.ndarray:
        """The pixels with all that lies beyond the scene's part taken away, as training sees them."""
        return np.where(self.division == BEYOND, np.float32(np.nan), self.pixels)

    def counts(self, division: int, classes: int) -> np.ndarray:
        """Labelled pixels of each class in a division, (class,) int64.

        Parameters
        ----------
        division
            TRAIN, VALIDATION, TEST, BEYOND or BUFFER.
        classes
            How many the legend has.
        """
        chosen = self.labels[(self.division == division) & (self.labels >= 0)]
        return np.bincount(chosen, minlength=classes)


def load(
    known: Catalog,
    spec: SceneSpec,
    bands: tuple[str, ...],
    legend: Legend,
    squares: Squares,
    normalisation: Normalisation,
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

    Raises
    ------
    CatalogError, RasterError
        If something is not in the catalog or cannot be read.
    JobError
        If the scene is too large for memory, or the crosswalk is one between other legends.
    """
    scene = imagery.open(known.imagery(spec.imagery).select(bands, "training"))
    references = [_brought(known, name, spec.crosswalk, legend) for name in spec.references]
    needed = scene.window.pixels * (4 * len(bands) + 3)
    if needed > _MOST_BYTES:
        raise JobError(
            f"imagery {spec.imagery!r} takes {needed / 1e9:.0f} GB in memory, more than the {_MOST_BYTES / 1e9:.0f} GB "
            "that training uses; cut out a smaller scene to train on"
        )
    pixels = np.concatenate([imagery.read(scene, scene.grid, part) for part in _strips(scene.window)], axis=1)
    void = np.isnan(pixels).any(axis=0)
    labels = np.full(void.shape, -1, np.int16)
    for reference, indices in references:
        found = indices[_ids(reference, scene)]
        labels = np.where(labels < 0, found, labels)
    labels[void] = -1
    mean, std = centre(scene, normalisation)
    pixels -= np.array(mean, np.float32)[:, None, None]
    pixels /= np.array(std, np.float32)[:, None, None]
    division = divide(scene.window, spec.part, squares)
    return LabelledScene(
        spec.imagery,
        scene.window,
        pixels,
        labels,
        division,
        spec.weight,
        scene.grid,
        (mean, std),
        references[0][0].name,
    )


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


def _ids(reference: Reference, scene: imagery.Scene) -> np.ndarray:
    """(row, col) int32: a reference's ids on a scene's own pixels, -1 for none."""
    with drawn.as_raster(reference, scene.grid, scene.window) as raster:
        return np.concatenate([on_grid(raster, scene.grid, part) for part in _strips(scene.window)])


def _indices(table: np.ndarray, legend: Legend) -> np.ndarray:
    """Lookup from a reference's id to a class's index in the legend, -1 for none; the last entry is that of id -1."""
    indices = np.full(len(table) + 1, -1, np.int16)
    for index, identity in enumerate(legend.ids):
        indices[:-1][table == identity] = index
    return indices


def _strips(window: Window) -> list[Window]:
    rows = range(window.row, window.row_end, _STRIP)
    return [Window(row, window.col, min(_STRIP, window.row_end - row), window.width) for row in rows]

"""Drawn: polygons and points with a class as a raster of ids on a grid.

A pixel has the class of the polygons that its centre lies in and of the points that lie in it, and none where these
have several. It is drawn in squares of the lattice, so that a pixel's id does not depend on the window asked for.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyproj
import rasterio
import shapely
from rasterio import features
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.windows import Window as FileWindow

from geoseg.accuracy.confusion import UNLABELLED
from geoseg.catalog import Reference, choice
from geoseg.catalog.regions import read_labels
from geoseg.errors import CatalogError, RasterError
from geoseg.grid import Grid, Window, cut, read_crs
from geoseg.rasters.readback import Written

_SHEET = 4096
_PIECES = 100
"""Pieces that the longer side of a polygon is cut into, so that its edges stay where they were in another CRS."""


@contextmanager
def as_raster(reference: Reference, grid: Grid, window: Window) -> Iterator[Reference]:
    """A reference as a raster: itself if it is one, else its polygons and points in a file that is gone afterwards.

    Parameters
    ----------
    reference : Reference
        From the catalog.
    grid, window : Grid, Window
        Pixels to draw on.

    Raises
    ------
    RasterError, GridError
        If the file cannot be read, or lacks the column, layer or a CRS.
    CatalogError
        If what the column holds is no class of the reference's legend.
    """
    if reference.column is None:
        yield reference
        return
    with tempfile.TemporaryDirectory(prefix="geoseg-") as folder:
        path = Path(folder) / "reference.tif"
        _write(path, _Shapes.of(reference, grid), grid, window)
        yield replace(reference, file=str(path), band=1, nodata=UNLABELLED, crs=None, column=None)


def check(reference: Reference) -> None:
    """Refuse polygons and points that cannot be used.

    Parameters
    ----------
    reference : Reference
        With a column.
    """
    _read(reference)


class _Shapes:
    """Polygons and points on a grid, with ids."""

    def __init__(self, shapes: np.ndarray, ids: np.ndarray) -> None:
        points = np.isin(shapely.get_type_id(shapes), (0, 4))
        self.polygons, self.ids = shapes[~points], ids[~points]
        self.tree = shapely.STRtree(self.polygons)
        self.where, at = shapely.get_coordinates(shapes[points], return_index=True)
        self.of_points = ids[points][at]

    @classmethod
    def of(cls, reference: Reference, grid: Grid) -> _Shapes:
        """Those of a reference, in the CRS of a grid."""
        shapes, ids, crs = _read(reference)
        there, here = (read_crs(each, reference.file).proj for each in (crs, grid.crs))
        if there != here:
            left, bottom, right, top = shapely.bounds(shapes).T
            step = np.maximum(right - left, top - bottom) / _PIECES
            dense = shapely.segmentize(shapes, np.where(step > 0, step, 1.0))
            move = pyproj.Transformer.from_crs(there, here, always_xy=True).transform
            shapes = shapely.transform(dense, move, interleaved=False)
        known = np.isfinite(shapely.bounds(shapes)).all(axis=1)  # what its CRS cannot hold is not on the grid
        return cls(shapes[known], ids[known])

    def ids_on(self, grid: Grid, square: Window) -> np.ndarray:
        """(row, col) int32 of a square of the lattice."""
        found = np.full(square.shape, UNLABELLED, np.int32)
        transform = grid.transform_of(square)
        outline = grid.footprint(square).geom
        near = np.sort(self.tree.query(outline, "intersects"))
        cols, rows = np.floor(~transform @ (self.where[:, 0], self.where[:, 1])).astype(np.int64)
        within = (rows >= 0) & (rows < square.height) & (cols >= 0) & (cols < square.width)
        several = np.zeros(square.shape, bool)
        for kind in sorted({*self.ids[near].tolist(), *self.of_points[within].tolist()}):
            drawn = np.zeros(square.shape, np.uint8)
            chosen = self.polygons[near[self.ids[near] == kind]]
            if len(chosen):
                clipped = shapely.clip_by_rect(chosen, *grid.footprint(square.grown(1)).boundingbox.bbox)
                burnt = [(each, 1) for each in clipped if not each.is_empty]
                if burnt:
                    features.rasterize(burnt, out=drawn, transform=transform)
            here = within & (self.of_points == kind)
            drawn[rows[here], cols[here]] = 1
            mask = drawn.view(bool)
            several |= mask & (found != UNLABELLED)
            found[mask] = kind
        found[several] = UNLABELLED
        return found


def _read(reference: Reference) -> tuple[np.ndarray, np.ndarray, str]:
    """Shapes with a class, their ids, and their CRS; features whose column is empty are left out."""
    assert reference.column is not None
    shapes, values, crs = read_labels(
        reference.file, reference.column, reference.layer, reference.where, crs=reference.crs
    )
    try:
        of_text = {each: choice.label_of(each, reference.legend) for each in {*values.tolist()}}
    except CatalogError as error:
        raise CatalogError(f"{reference.file}: {error}") from None
    ids = [of_text.get(value) for value in values.tolist()]
    known = np.array([each is not None for each in ids], bool)
    if not known.any():
        raise CatalogError(
            f"{reference.file}: {reference.column!r} is empty in each feature; write ids or names of classes"
        )
    return shapes[known], np.array([each for each in ids if each is not None], np.int32), crs


def _write(path: Path, shapes: _Shapes, grid: Grid, window: Window) -> None:
    profile = {"driver": "GTiff", "dtype": "int32", "count": 1, "nodata": UNLABELLED, "crs": grid.crs}
    profile |= {"height": window.height, "width": window.width, "transform": grid.transform_of(window)}
    tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "sparse_ok": True}
    written = Written()
    try:
        with rasterio.open(path, "w", **profile, **tiles, bigtiff="if_safer") as file:
            for square in cut(window, _SHEET):
                part = square.meet(window)
                assert part is not None
                ids = shapes.ids_on(grid, square)[part.within(square)]
                place = FileWindow(part.col - window.col, part.row - window.row, part.width, part.height)
                file.write(ids, 1, window=place)
                written.note(place, ids)
    except (RasterioError, CPLE_BaseError) as error:
        raise RasterError(
            f"{path} cannot be written ({error}); check the space left, or name another folder by TMPDIR"
        ) from error
    written.check(path, path)

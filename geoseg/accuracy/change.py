"""Change: two maps of one place and one legend, pixel by pixel: what became what, and how much of it.

The pixels are the first map's. The second may be cut otherwise, but its pixels must lie on the first's: nothing is
resampled, since that alone makes changes along every border. Areas are those of `vectors.areas`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.windows import Window as FileWindow

from geoseg.accuracy.confusion import UNLABELLED, positions, unknown_ids
from geoseg.accuracy.references import LabelRaster, opened
from geoseg.catalog import Reference
from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import CatalogError, GridError, RasterError
from geoseg.grid import Window, cut, read_crs
from geoseg.maps.files import GDAL_ERRORS, NO_SIDECARS, folder_beside, publish
from geoseg.quantities import counted
from geoseg.rasters import attribute_table, footprints, legend_tag, readback
from geoseg.rasters.readback import Written
from geoseg.vectors import areas

CAVEAT = (
    "two maps that are right in 90 % of their pixels each may disagree in up to 20 % where nothing changed; for areas "
    "that can be published, write the change with --out, then geoseg sample and geoseg assess it"
)
NO_CHANGE, NODATA = 0, 65535
"""Of a raster of change."""
_STEP = 1024
_GREY = "#d9d9d9"

Table = tuple[tuple[str, ...], list[tuple[str | float | int | None, ...]], list[str]]


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What became what between two maps."""

    legend: Legend
    pixels: np.ndarray
    """(class before, class after) int64"""
    areas_m2: np.ndarray
    """(class before, class after) float64"""
    only_before: int
    """Pixels that hold data in the first map alone."""
    only_after: int
    """Pixels of the first map that hold data in the second alone."""

    @property
    def gained_m2(self) -> np.ndarray:
        """(class,) float64: what another class became it."""
        return self.areas_m2.sum(0) - np.diag(self.areas_m2)

    @property
    def lost_m2(self) -> np.ndarray:
        """(class,) float64: what of it became another."""
        return self.areas_m2.sum(1) - np.diag(self.areas_m2)


def codes(legend: Legend) -> np.ndarray:
    """Value of a raster of change for each pair of classes: 0 where they are the same, else from 1 on.

    Parameters
    ----------
    legend : Legend
        At most 255 classes.

    Returns
    -------
    (class before, class after) int64
    """
    n = len(legend)
    if n > 255:
        classes = counted(n, "class", "classes")
        raise CatalogError(f"legend {legend.name!r} has {classes}, too many for a raster of change; it takes 255")
    found = 1 + np.arange(n * n).reshape(n, n)
    np.fill_diagonal(found, NO_CHANGE)
    return found


def legend_of_change(legend: Legend, present: np.ndarray) -> Legend:
    """The classes of a raster of change: 'no change', then 'forest to crop' in the colour of what it became.

    Parameters
    ----------
    legend : Legend
        Of the two maps.
    present : (class before, class after) bool
        The changes there are.
    """
    numbers = codes(legend)
    changes = [
        LandClass(int(numbers[a, b]), f"{legend.classes[a].name} to {legend.classes[b].name}", legend.classes[b].colour)
        for a, b in np.argwhere(present).tolist()
        if a != b
    ]
    return Legend(f"change of {legend.name}", (LandClass(NO_CHANGE, "no change", _GREY), *changes))


def compare(
    before: str | Path, after: str | Path, *, legend: Legend, after_legend: Legend, out: Path | None = None
) -> Change:
    """Compare two maps of one legend, pixel by pixel.

    A pixel without data in either is no change; it is counted apart.

    Parameters
    ----------
    before, after : path
        Rasters of class ids; their first bands are read.
    legend, after_legend : Legend
        Theirs, which must have the same ids and names.
    out : Path, optional
        A .tif to write: the values of `codes`, 65535 where either map holds no data, names in geoseg's own tag.
        Written whole or not at all; an older one is replaced.

    Raises
    ------
    CatalogError
        If the legends differ, or a map holds ids that they lack.
    GridError
        If CRS or pixels differ.
    RasterError
        If a file cannot be read or written, or the maps have no pixel with data in common.
    """
    if (legend.ids, legend.names) != (after_legend.ids, after_legend.names):
        raise CatalogError(
            f"{before} has legend {legend.name!r} and {after} {after_legend.name!r}, which differ in ids or names; "
            "bring both to one legend first"
        )
    if out is not None and out.suffix.lower() not in (".tif", ".tiff"):
        raise RasterError(f"{out}: a raster of change is written to .tif, not to {out.suffix!r}; use that")
    with (
        opened(Reference("before", str(before), 1, legend, None)) as first,
        opened(Reference("after", str(after), 1, after_legend, None)) as second,
    ):
        _check_grids(first, second)
        with nullcontext() if out is None else folder_beside(out) as folder:
            made = None if folder is None else folder / "change.tif"
            written = Written()
            try:
                found = _counted(first, second, legend, made, written)
            except GDAL_ERRORS as error:  # what cannot be read is a RasterError
                raise RasterError(f"{out} cannot be written ({error}); check its folder and the space left") from error
            if made is not None and out is not None:
                _publish(made, out, legend_of_change(legend, found.pixels > 0), written)
    return found


def _check_grids(first: LabelRaster, second: LabelRaster) -> None:
    """Refuse maps whose pixels are not the same, or that lie apart."""
    a, b = first.source, second.source
    if read_crs(a.crs, a.path).proj != read_crs(b.crs, b.path).proj:
        raise GridError(
            f"{a.path} and {b.path} have different CRSs; bring the second to the first's grid, with gdalwarp -r near "
            "for instance, and mind that this alone changes pixels along borders"
        )
    where = footprints.own(b, first.grid)
    if where is None:
        raise GridError(
            f"the pixels of {a.path} and {b.path} differ in size or position; bring the second to the first's grid, "
            "with gdalwarp -r near for instance, and mind that this alone changes pixels along borders"
        )
    if where.meet(first.window) is None:
        raise GridError(f"{a.path} and {b.path} have no pixel in common; compare maps of one place")


def _counted(first: LabelRaster, second: LabelRaster, legend: Legend, made: Path | None, written: Written) -> Change:
    """Counts and areas of each pair of classes; the values of `codes` go to a file if one is named."""
    n, extent = len(legend), first.window
    pixels, areas_m2 = np.zeros((n + 1, n + 1), np.int64), np.zeros((n + 1, n + 1))
    index, sizes = positions(legend), _sizes(first)
    table = np.full((n + 1, n + 1), NODATA)
    if made is not None:
        table[:n, :n] = codes(legend)
    with nullcontext() if made is None else _new(made, first) as file:
        for square in cut(extent, _STEP):
            window = square.meet(extent)
            assert window is not None
            pair = [each.labels(first.grid, window, "nearest") for each in (first, second)]
            ours, theirs = (_positions(each, index, of, legend) for each, of in zip(pair, (first, second)))
            keys = (ours * (n + 1) + theirs).ravel()
            pixels += np.bincount(keys, minlength=(n + 1) ** 2).reshape(n + 1, n + 1)
            here = Window(window.row - extent.row, window.col - extent.col, *window.shape)
            weights = np.broadcast_to(sizes(here), window.shape).ravel()
            areas_m2 += np.bincount(keys, weights, minlength=(n + 1) ** 2).reshape(n + 1, n + 1)
            if file is not None:
                box = FileWindow(here.col, here.row, here.width, here.height)
                values = table[ours, theirs].astype(np.uint16)
                file.write(values, 1, window=box)
                written.note(box, values)
    if not pixels[:n, :n].any():
        raise RasterError(
            f"{first.source.path} and {second.source.path} have no pixel that holds data in both; "
            "compare maps of one place"
        )
    alone = int(pixels[:n, n].sum()), int(pixels[n, :n].sum())
    return Change(legend, pixels[:n, :n], areas_m2[:n, :n], *alone)


def _positions(ids: np.ndarray, index: np.ndarray, of: LabelRaster, legend: Legend) -> np.ndarray:
    """Place of each pixel's class in the legend, the number of classes where there is none."""
    found = index[ids]
    strange = (found >= len(legend)) & (ids != UNLABELLED)
    if strange.any():
        raise unknown_ids(of.source.path, np.unique(ids[strange]).tolist(), legend)
    return np.minimum(found, len(legend))


def _sizes(of: LabelRaster) -> Callable[[Window], np.ndarray]:
    """A function from a window of the file to the areas of its pixels in m², (row, col) or what broadcasts to it."""
    measure = areas.area_of(read_crs(of.source.crs, of.source.path).proj, Affine(*of.source.transform))

    def sizes(window: Window) -> np.ndarray:
        rows, cols = np.ogrid[window.row : window.row_end, window.col : window.col_end]
        return np.asarray(measure(rows, cols, np.ones((1, 1))))

    return sizes


def _new(made: Path, like: LabelRaster) -> Any:
    rows, cols = like.source.shape
    how = {"count": 1, "dtype": "uint16", "nodata": NODATA, "crs": like.source.crs}
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "zstd", "BIGTIFF": "IF_SAFER"}
    transform = Affine(*like.source.transform)
    return rasterio.open(made, "w", driver="GTiff", height=rows, width=cols, transform=transform, **how, **layout)


def _publish(plain: Path, out: Path, legend: Legend, written: Written) -> None:
    """Make a cloud-optimised GeoTIFF of a plain one, with names and colours, and give it its name."""
    made = plain.with_name("map.tif")
    written.check(plain, out)
    try:
        with rasterio.Env(**NO_SIDECARS):
            with rasterio.open(plain, "r+") as file:
                file.write_colormap(1, {each.id: each.rgb for each in legend.classes})
                room = attribute_table.reserved(legend, None)
                file.update_tags(**{legend_tag.LEGEND_TAG: legend_tag.written(legend), **room})
            rasterio.shutil.copy(plain, made, driver="COG", compress="deflate", overview_resampling="mode")
            attribute_table.embed(made, legend, None)
    except GDAL_ERRORS as error:
        raise RasterError(f"{out} cannot be written ({error}); check its folder and the space left") from error
    readback.check_copy(plain, made, out)
    publish(made, out)


def table(found: Change) -> Table:
    """What a terminal shows: a row for each class with areas in km², the largest changes and what to know below.

    Parameters
    ----------
    found : Change
        From `compare`.

    Returns
    -------
    (heads, rows, lines)
    """
    km2 = found.areas_m2 / 1e6
    rows: list[tuple[str | float | int | None, ...]] = [
        (name, float(a), float(g), float(x), float(b - a), float(b))
        for name, a, g, x, b in zip(
            found.legend.names, km2.sum(1), found.gained_m2 / 1e6, found.lost_m2 / 1e6, km2.sum(0)
        )
        if a or b
    ]
    changed = km2 - np.diag(np.diag(km2))
    order = np.argsort(-changed, axis=None, kind="stable")[:5]
    pairs = [np.unravel_index(each, changed.shape) for each in order.tolist()]
    feet = [
        f"changed: {changed.sum():,.3f} km², {changed.sum() / km2.sum():.1%} of what holds data in both",
        *(
            f"{found.legend.names[a]} to {found.legend.names[b]}: {changed[a, b]:,.3f} km²"
            for a, b in pairs
            if changed[a, b]
        ),
    ]
    for pixels, which in ((found.only_before, "first"), (found.only_after, "second")):
        if pixels:
            feet.append(f"{pixels:,} pixels hold data in the {which} map alone and are left out")
    return ("class", "before, km²", "gained", "lost", "net", "after, km²"), rows, [*feet, CAVEAT]


def as_json(found: Change) -> str:
    """Everything as JSON text; areas in m²."""
    held = {
        "classes": {
            each.name: {
                "id": each.id,
                "before_m2": float(found.areas_m2[at].sum()),
                "after_m2": float(found.areas_m2[:, at].sum()),
                "gained_m2": float(found.gained_m2[at]),
                "lost_m2": float(found.lost_m2[at]),
            }
            for at, each in enumerate(found.legend.classes)
        },
        "change": {
            "rows": "before",
            "columns": "after",
            "classes": list(found.legend.names),
            "areas_m2": found.areas_m2.tolist(),
            "pixels": found.pixels.tolist(),
        },
        "pixels_only_before": found.only_before,
        "pixels_only_after": found.only_after,
        "notes": [CAVEAT],
    }
    return json.dumps(held, indent=1, allow_nan=False, ensure_ascii=False) + "\n"

"""Plan: a job resolved, as plain values that a worker can be given.

Everything that can change a pixel is a fact of the plan and part of the map's digest. The cutting into blocks, and
where and how fast the job runs, are not: they may change between two runs of one job. Nothing is opened here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import shapely
from odc.geo.crs import CRS
from odc.geo.geom import Geometry
from pydantic import TypeAdapter

from geoseg import imagery
from geoseg.catalog.legend import Legend
from geoseg.grid import Demand, Grid, Layout, Window, cut, project, sheets_that_fit, windows_that_fit
from geoseg.inference.predictor import Predictor
from geoseg.jobs.spec import JobSpec
from geoseg.process import remembered
from geoseg.storage.digests import digest_of

USABLE = 0.75
"""Share of a worker's memory that a job may fill; Dask pauses a worker at 80 %."""
_COPIES = 4
"""Of a layer that are held at once: on the device, taken from it, cut to the block, and encoded."""
PIXELS = 1
"""Raised whenever a change of geoseg changes what any map would hold."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A job, resolved."""

    spec: JobSpec
    scene: imagery.Scene
    grid: Grid
    layout: Layout
    legend: Legend
    region: str | None
    """Region in the grid's CRS as WKB in hexadecimal; None: all of the imagery."""
    predictor: Predictor | None
    """None where the caller brings a callable of its own."""
    notes: tuple[str, ...] = ()
    """What the user should know although it is allowed."""
    forced: tuple[str, ...] = ()
    """Why it should not be run, where the user went on all the same."""

    @property
    def geometry(self) -> Geometry | None:
        """The region in the grid's CRS."""
        return None if self.region is None else _geometry(self.region, self.grid.crs)

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the imagery's files."""
        return tuple(sorted(imagery.identity(self.scene)))

    @property
    def facts(self) -> dict[str, Any]:
        """All that decides the pixels of the map's blocks, as plain data."""
        scene, layout = self.scene, self.layout
        layer = dataclasses.asdict(scene.imagery)
        layer.pop("attribution")
        return {
            "pixels": PIXELS,
            "imagery": layer,
            "files": imagery.identity(scene),
            "model": None if self.predictor is None else self.predictor.facts,
            "legend": list(self.legend.ids),
            "grid": {"crs": self.grid.crs, "transform": list(self.grid.transform)},
            "region": None if self.region is None else digest_of({"region": self.region}),
            "extent": list(dataclasses.astuple(layout.extent)),
            "layout": {"core": layout.core, "margin": layout.margin},
            "confidence": self.spec.outputs.confidence,
            **({"also": list(also)} if (also := self.spec.outputs.also) else {}),
        }

    @property
    def digest(self) -> str:
        """The map's digest: hash of the facts."""
        return digest_of(self.facts)

    @property
    def variant(self) -> str:
        """Hash of the whole plan, cutting, device and outputs included: one way to make the map of this digest."""
        return digest_of(self.to_json())

    @property
    def layers(self) -> int:
        """Bytes of all rasters for a pixel, before compression."""
        wanted = self.spec.outputs
        classes = 0 if self.predictor is None else len(self.predictor.predicted)
        return 1 + wanted.confidence + wanted.entropy + wanted.margin + wanted.probabilities * classes

    @property
    def windows_at_once(self) -> int:
        """How many windows a worker may label at once on a CPU within its memory."""
        bands = len(self.scene.imagery.bands)
        allowed = int(USABLE * self.spec.memory_per_worker)
        return windows_that_fit(self.layout.block, self.layout.margin, bands, demand(self.predictor), allowed)

    @property
    def sheets_at_once(self) -> int:
        """How many sheets of a map a worker may put together at once within its memory; 0 where none fits."""
        wanted, edge = self.spec.outputs, self.layout.block
        bands = len(self.predictor.predicted) if self.predictor and wanted.probabilities else 1
        width = min(wanted.sheet_pixels, self.layout.extent.width)
        return sheets_that_fit(width, edge, bands, demand(self.predictor), int(USABLE * self.spec.memory_per_worker))

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data for job.json."""
        return dict(_adapter().dump_python(self, mode="json", by_alias=True))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """A plan from what `to_json` gave."""
        return _adapter().validate_python(data)

    def blocks(self, kept: Iterable[Window] = ()) -> Iterator[Window]:
        """Blocks that can hold a label, inside the region and touched by a file of the imagery, in row-major order.

        Rows of blocks that cannot are passed over whole, and halves of rows, so that a scattered region in a wide
        extent costs little.

        Parameters
        ----------
        kept : iterable of Window
            Finished blocks, perhaps of another cutting. Where they cover a block it is left out, and where they cover
            a part of it the rest comes in rectangles of whole cores.
        """
        layout, square = self.layout, self.layout.block
        taken: dict[tuple[int, int], list[Window]] = {}
        for window in kept:
            for each in cut(window, square):
                taken.setdefault((each.row, each.col), []).append(window)
        for block in self._halved(layout.extent.snapped(square), within=False):
            at = block.row // square * square, block.col // square * square
            yield from layout.left(block, taken.get(at, ()))

    def _halved(self, squares: Window, *, within: bool, covered: bool = False) -> Iterator[Window]:
        """Blocks wanted among those of a window of whole blocks: rows first, then each row by its halves."""
        layout, window = self.layout, self.layout.clipped(squares)
        if not within and self.geometry is not None:
            outline = self.grid.footprint(window).geom
            if not self.geometry.geom.intersects(outline):
                return
            within = bool(self.geometry.geom.contains(outline))
        covered = covered or imagery.covers(self.scene, self.grid, window)
        if not covered and not imagery.touches(self.scene, self.grid, window):
            return
        if squares.shape == (layout.block, layout.block):
            yield window
            return
        for half in _halves(squares, layout.block):
            yield from self._halved(half, within=within, covered=covered)


def demand(predictor: Predictor | None, margin: int = 0) -> Demand:
    """What labelling asks of a worker's memory.

    Parameters
    ----------
    predictor : Predictor, optional
        The job's own.
    margin : int
        Pixels that a window sees around its core, where the caller brings a callable.
    """
    if predictor is None:
        return Demand.unknown(margin)
    layers = sum(len(predictor.predicted) if each == "probabilities" else 1 for each in predictor.also)
    window = Demand.unknown(predictor.halo).window if predictor.window_bytes is None else predictor.window_bytes
    ways = {(each.model.card.normalisation.kind, each.mean, each.std) for each in predictor.members}
    normalised = 4 * len(predictor.model.card.bands) * (len(ways) - 1)
    return Demand(window, predictor.loaded_bytes, _COPIES * layers + normalised)


def ground_resolution(grid: Grid, extent: Window) -> float:
    """Pixel size in metres (mean of both directions) at the middle of the extent.

    Parameters
    ----------
    grid : Grid
        Of the map.
    extent : Window
        Its pixels.
    """
    return sum(pixel_size(grid, extent)) / 2


def pixel_size(grid: Grid, extent: Window) -> tuple[float, float]:
    """Metres that a pixel measures down and across at the middle of the extent.

    Parameters
    ----------
    grid : Grid
        Of the map.
    extent : Window
        Its pixels.
    """
    rows, cols = grid.resolution
    crs = CRS(grid.crs)
    if crs.geographic:
        _, lat = grid.affine @ (extent.col + extent.width / 2, extent.row + extent.height / 2)
        metres = 111_320.0  # per degree of latitude, within 0.6 % everywhere
        return metres * rows, metres * cols * math.cos(math.radians(lat))
    factor = crs.proj.axis_info[0].unit_conversion_factor or 1.0
    return factor * rows, factor * cols


def outline(grid: Grid, window: Window) -> Geometry:
    """A window's outline in longitude and latitude, for GeoJSON.

    Parameters
    ----------
    grid : Grid
        Of the map.
    window : Window
        Some of its pixels.
    """
    return project(grid.footprint(window), "EPSG:4326", max(grid.resolution) * 64)


def _halves(squares: Window, edge: int) -> tuple[Window, Window]:
    """A window of whole squares in two, its rows before its columns."""
    row, col, height, width = squares.row, squares.col, squares.height, squares.width
    if height > edge:
        upper = height // edge // 2 * edge
        return Window(row, col, upper, width), Window(row + upper, col, height - upper, width)
    left = width // edge // 2 * edge
    return Window(row, col, height, left), Window(row, col + left, height, width - left)


@remembered(4)
def _geometry(region: str, crs: str) -> Geometry:
    shape = shapely.from_wkb(region)
    shapely.prepare(shape)
    return Geometry(shape, CRS(crs))


@remembered(1)
def _adapter() -> TypeAdapter[Plan]:
    return TypeAdapter(Plan)

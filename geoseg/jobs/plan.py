"""Plan: a job resolved, as plain values that a worker can be given.

Everything that can change a pixel is a fact of the plan and part of its fingerprint; where and how fast it
runs is not. Nothing is opened here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from odc.geo.crs import CRS
from odc.geo.geom import Geometry
from pydantic import TypeAdapter

from geoseg import imagery
from geoseg.catalog.legend import Legend
from geoseg.grid import Grid, Layout, Window, project
from geoseg.inference.predictor import Predictor
from geoseg.jobs.spec import JobSpec
from geoseg.storage.digests import digest_of

PIXELS = 1
"""Raised whenever a change of geoseg changes what any map would hold."""

Predict = Callable[[np.ndarray], Any]
"""(band, row, col) float32, NaN = no data -> (row, col) uint8 labels, or (labels, confidence), of the same size."""


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

    @property
    def geometry(self) -> Geometry | None:
        """The region in the grid's CRS."""
        return None if self.region is None else Geometry(shapely.from_wkb(self.region), CRS(self.grid.crs))

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the imagery's files."""
        return tuple(sorted(imagery.identity(self.scene)))

    @property
    def facts(self) -> dict[str, Any]:
        """All that decides the pixels and how they are kept, as plain data."""
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
            "layout": {"core": layout.core, "margin": layout.margin, "block": layout.block},
            "confidence": self.spec.outputs.confidence,
        }

    @property
    def digest(self) -> str:
        """Hash of the facts."""
        return digest_of(self.facts)

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data for job.json."""
        return dict(_adapter().dump_python(self, mode="json", by_alias=True))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """A plan from what `to_json` gave."""
        return _adapter().validate_python(data)

    def blocks(self) -> Iterator[Window]:
        """Blocks that can hold a label: inside the region and touched by a file of the imagery."""
        region = None
        if self.geometry is not None:
            region = self.geometry.geom
            shapely.prepare(region)
        for window in self.layout.cut():
            if region is not None and not region.intersects(self.grid.footprint(window).geom):
                continue
            if imagery.touches(self.scene, self.grid, window):
                yield window


def ground_resolution(grid: Grid, extent: Window) -> float:
    """Pixel size in metres (mean of both directions) at the middle of the extent."""
    rows, cols = grid.resolution
    crs = CRS(grid.crs)
    if crs.geographic:
        _, lat = grid.affine @ (extent.col + extent.width / 2, extent.row + extent.height / 2)
        metres = 111_320.0  # per degree of latitude, within 0.6 % everywhere
        return metres * (rows + cols * math.cos(math.radians(lat))) / 2
    factor = crs.proj.axis_info[0].unit_conversion_factor or 1.0
    return factor * (rows + cols) / 2


def outline(grid: Grid, window: Window) -> Geometry:
    """A window's outline in longitude and latitude, for GeoJSON."""
    return project(grid.footprint(window), "EPSG:4326", max(grid.resolution) * 64)


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[Plan]:
    return TypeAdapter(Plan)

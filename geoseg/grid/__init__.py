"""Grid: windows of an endless lattice, the plane that they lie on, and how an extent is cut into blocks."""

from geoseg.grid.grid import Bounds, Grid, Region, project, read_crs
from geoseg.grid.lattice import Demand, Layout, Tile, block_edge, sheets_that_fit, windows_that_fit, worker_bytes
from geoseg.grid.windows import Window, count, cut

__all__ = [
    "Bounds",
    "Demand",
    "Grid",
    "Layout",
    "Region",
    "Tile",
    "Window",
    "block_edge",
    "count",
    "cut",
    "project",
    "read_crs",
    "sheets_that_fit",
    "windows_that_fit",
    "worker_bytes",
]

"""Imagery: the pixels of a layer of files, over any window of any grid."""

from geoseg.imagery.scene import Scene, Statistics, extent, forget, identity, open, read, statistics, touches
from geoseg.rasters.masks import inside

__all__ = ["Scene", "Statistics", "extent", "forget", "identity", "inside", "open", "read", "statistics", "touches"]

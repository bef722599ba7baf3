"""Imagery: the pixels of a layer of files, over any window of any grid."""

from geoseg.imagery.scene import (
    Scene,
    check_unchanged,
    covers,
    extent,
    forget,
    identity,
    open,
    read,
    touches,
    unseen,
)
from geoseg.imagery.statistics import Statistics, statistics
from geoseg.rasters.masks import inside

__all__ = [
    "Scene",
    "Statistics",
    "check_unchanged",
    "covers",
    "extent",
    "forget",
    "identity",
    "inside",
    "open",
    "read",
    "statistics",
    "touches",
    "unseen",
]

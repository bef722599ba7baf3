"""Networks: architectures by name.

A network takes float32 (batch, band, row, col) and gives scores (batch, class, row, col) of the same rows and
columns, which must be multiples of its stride. Weights are never downloaded and files are never opened here.
"""

from geoseg.models.networks.build import NAMES, build, encoder_of, stride_of
from geoseg.models.networks.compact import Compact, parameters_of
from geoseg.models.networks.dynamic_world import DynamicWorld, dynamic_world_order

__all__ = [
    "NAMES",
    "Compact",
    "DynamicWorld",
    "build",
    "dynamic_world_order",
    "encoder_of",
    "parameters_of",
    "stride_of",
]

"""Networks: architectures by name, and the reach of a network measured from the network itself.

A network takes float32 (batch, band, row, col) and gives scores (batch, class, row, col) of the same rows and
columns, which must be multiples of its stride. Weights are never downloaded and files are never opened here.
"""

from geoseg.networks.build import build, stride_of
from geoseg.networks.compact import Compact, parameters_of
from geoseg.networks.reach import Field, probe

__all__ = ["Compact", "Field", "build", "parameters_of", "probe", "stride_of"]

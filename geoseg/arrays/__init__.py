"""Arrays: imagery and maps as lazy xarray objects. Pixels are read and labelled when they are computed."""

from geoseg.arrays.labels import segment
from geoseg.arrays.scenes import open_imagery

__all__ = ["open_imagery", "segment"]

"""Arrays: imagery and maps as lazy xarray objects. Pixels are read and labelled when they are computed."""

from geoseg.arrays.labels import segment
from geoseg.arrays.maps import legend_of, plot, write
from geoseg.arrays.scenes import open_imagery

__all__ = ["legend_of", "open_imagery", "plot", "segment", "write"]

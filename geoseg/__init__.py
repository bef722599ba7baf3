"""geoseg: satellite land-cover maps, the same pixels however they are computed.

Importing this package loads neither torch, dask nor rasterio; each public name loads its module on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geoseg.arrays import open_imagery as open_imagery
    from geoseg.arrays import segment as segment
    from geoseg.errors import GeosegError as GeosegError
    from geoseg.jobs.submit import submit as submit
    from geoseg.vectors.polygons import trace as vectorize

__version__ = "0.1.0"

_HOMES = {
    "GeosegError": "errors",
    "open_imagery": "arrays",
    "segment": "arrays",
    "submit": "jobs.submit",
    "vectorize": "vectors.polygons",
}
_CALLED = {"vectorize": "trace"}
"""Names that are others at home."""

__all__ = ["GeosegError", "__version__", "open_imagery", "segment", "submit", "vectorize"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"geoseg.{_HOMES[name]}"), _CALLED.get(name, name))
    raise AttributeError(f"module 'geoseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})

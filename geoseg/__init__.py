"""geoseg: satellite land-cover maps, the same pixels however they are computed.

Importing this package loads neither torch, dask nor rasterio; each public name loads its room on first use.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "GeosegError": "errors",
    "open_imagery": "arrays",
    "segment": "arrays",
    "submit": "submission",
}

__all__ = ["GeosegError", "__version__", "open_imagery", "segment", "submit"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"geoseg.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'geoseg' has no attribute {name!r}")

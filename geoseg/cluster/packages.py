"""Packages: those that only some kinds of cluster need, imported only where they are asked for."""

from __future__ import annotations

import importlib
from typing import Any

from geoseg.errors import ClusterError

INSTALL = {
    "dask_jobqueue": "pip install 'geoseg[slurm]'",
    "dask_kubernetes": "pip install 'geoseg[kubernetes]'",
    "dask_gateway": "pip install dask-gateway",
    "coiled": "pip install coiled",
}


def needed(module: str) -> Any:
    """A module of one of these packages.

    Raises
    ------
    ClusterError
        If it is not installed; the sentence says how it is.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ClusterError(f"{package} is needed for this kind of cluster ({error}); {INSTALL[package]}") from error

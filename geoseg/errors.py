"""Errors: one root and one child for each kind of trouble a user can meet.

Every message says what was asked, what was found and what to do. Each class is also the builtin
that a caller would catch. Nothing here knows exit codes; only the command line does.
"""

from collections.abc import Sequence
from typing import Any


class GeosegError(Exception):
    """Something geoseg refuses or cannot do, in one sentence."""


class CatalogError(GeosegError, ValueError):
    """The data catalog, a legend or a crosswalk is wrong or lacks what was asked of it."""


class JobError(GeosegError, ValueError):
    """A job or training spec is wrong, or asks for the impossible."""


class GridError(GeosegError, ValueError):
    """A region, CRS, resolution or alignment cannot be used."""


class RasterError(GeosegError, OSError):
    """A raster or vector file cannot be read or written."""


class ImageryChangedError(RasterError):
    """A file of the imagery is another one than when the job was planned."""


class ModelError(GeosegError, ValueError):
    """A model folder, its card or its weights cannot be used."""


class PredictionError(GeosegError, RuntimeError):
    """A network gave scores that cannot become classes."""


class LedgerError(GeosegError, OSError):
    """The job folder is not usable: another job's, locked, damaged or full."""


class FolderInUseError(LedgerError):
    """Another living coordinator holds the job folder."""


class DamagedBlocksError(RasterError, LedgerError):
    """Blocks that are missing, cannot be read, or are not what was written; they must be made again.

    Parameters
    ----------
    message : str
        One sentence.
    windows : sequence of Window
        All of the damaged blocks.
    """

    def __init__(self, message: str, windows: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.windows = tuple(windows)


class CancelledError(GeosegError):
    """Someone asked the job to stop; what was finished is kept."""


class ClusterError(GeosegError, RuntimeError):
    """The Dask cluster cannot be reached, was lost, or stopped making progress."""

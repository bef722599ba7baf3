"""Limits: whether this account may hold as many files open, and as much memory, as a run needs.

Checked before anything is done: libraries that find no memory while they are loaded crash, or are half there.
"""

from __future__ import annotations

from geoseg.errors import JobError

try:
    import resource
except ImportError:  # not on Windows, which has no such limit
    resource = None  # type: ignore[assignment]

PROCESS = 64
"""Open files of a process with torch, GDAL, numba and Dask: measured 24 to 30, and some to spare."""
WORKER = 12
"""Pipes and sockets that a local cluster keeps for each worker process: measured 8 to 10."""
HANDLES = 32
"""Rasters that a thread holds open: see `rasters.handles`."""
ADDRESSES = 4_000_000_000
"""Bytes of address space of a process with torch and GDAL: measured 3.8 GB, most of which is never used."""
POOL = 100
"""Files that GDAL holds open below virtual mosaics: GDAL_MAX_DATASET_POOL_SIZE."""


def needed(*, files: int, blocks: int, workers: int = 0, threads: int = 2, mosaics: bool = False) -> int:
    """Files that one process of a run holds open at once, at most.

    Parameters
    ----------
    files : int
        Of the imagery.
    blocks : int
        Of the job; the map is put together from their files.
    workers : int
        Processes that this one starts.
    threads : int
        Blocks that a process reads at once.
    mosaics : bool
        Whether a file of the imagery is a VRT.
    """
    pool = POOL if mosaics else min(blocks, POOL)
    return PROCESS + WORKER * workers + min(files, HANDLES) * threads + pool


def allow(number: int) -> None:
    """Raise this process's limit of open files to a number, where it is lower.

    Raises
    ------
    JobError
        If the account's own limit is lower.
    """
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= number:
        return
    if hard != resource.RLIM_INFINITY and hard < number:
        raise JobError(
            f"this run may hold {number} files open at once, and 'ulimit -Hn' allows {hard}; "
            "raise that, or use fewer --workers"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))


def allow_memory() -> None:
    """Refuse to begin where the libraries alone need more address space than this process may have.

    Raises
    ------
    JobError
        If 'ulimit -v' is too low.
    """
    if resource is None:
        return
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed != resource.RLIM_INFINITY and allowed < ADDRESSES:
        raise JobError(
            f"'ulimit -v' allows {allowed / 1e9:.1f} GB of address space, and torch and GDAL alone take "
            f"{ADDRESSES / 1e9:.0f} GB; raise that"
        )

"""Batch: batch systems. What dask-jobqueue is given, so that their jobs are workers that leave in peace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geoseg.cluster import worker

CLASSES = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "lsf": "LSFCluster",
    "sge": "SGECluster",
    "moab": "MoabCluster",
    "oar": "OARCluster",
    "htcondor": "HTCondorCluster",
}
"""Batch systems and their classes in dask-jobqueue."""


def options(given: Mapping[str, Any]) -> dict[str, Any]:
    """A batch system's options: the user's own, and workers that are set up for blocks and leave in peace.

    One process for each job, unless asked otherwise: it labels as many windows at once as the job has cores.
    """
    theirs = [str(each) for each in given.get("worker_extra_args", ())]
    ours = ["--worker-class", "geoseg.cluster.worker.BlockWorker", "--nthreads", str(worker.THREADS)]
    return {"processes": 1, **given, "worker_extra_args": [*ours, *theirs]}

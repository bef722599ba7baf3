"""Cluster: Dask clusters and the map over them. The only room, with `arrays`, that knows Dask.

`local` and `cuda` start workers on this machine, `running` reaches a cluster that is there, `opened` starts what a
job's `cluster:` section asks for; `mapper` spreads work over any of them. `worker.start` is what `geoseg worker` runs.
"""

from __future__ import annotations

from geoseg.cluster.kinds import cores, cuda, devices, local, manifest, opened, running, threads_per_worker
from geoseg.cluster.mapping import ATTEMPTS, mapper
from geoseg.cluster.resident import inside, leave_running
from geoseg.cluster.security import tls

__all__ = [
    "ATTEMPTS",
    "cores",
    "cuda",
    "devices",
    "inside",
    "leave_running",
    "local",
    "manifest",
    "mapper",
    "opened",
    "running",
    "threads_per_worker",
    "tls",
]

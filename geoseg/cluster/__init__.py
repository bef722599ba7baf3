"""Cluster: Dask clusters and the map over them. The only room, with `arrays`, that knows Dask.

`local` starts workers on this machine, `running` reaches a cluster that is there, `mapper` spreads work over either.
"""

from __future__ import annotations

from geoseg.cluster.kinds import cores, local, running, threads_per_worker
from geoseg.cluster.mapping import ATTEMPTS, mapper
from geoseg.cluster.resident import inside, leave_running

__all__ = ["ATTEMPTS", "cores", "inside", "leave_running", "local", "mapper", "running", "threads_per_worker"]

"""Run a job on a Dask cluster that is already running.

Purpose: spread a job over the workers of a cluster; the map is the same as on one machine
Inputs:  JOB, a job spec whose imagery the workers can read under the same paths; ADDRESS of the scheduler
Outputs: FOLDER, on a file system that the workers share
Run:     python workflows/submit_to_cluster.py workflows/map_region.yaml tcp://127.0.0.1:8786 map_on_cluster

Start a cluster of your own with `dask scheduler` and, on each machine, `geoseg worker ADDRESS`.
"""

import sys

from geoseg.cluster import kinds
from geoseg.cluster.mapper import map_over
from geoseg.jobs import resolve
from geoseg.jobs import run as job_run
from geoseg.jobs import spec as job_spec


def main() -> None:
    """Read the command line, connect, run; a run that was stopped goes on."""
    spec, address, folder = sys.argv[1:]
    plan = resolve.resolve(job_spec.read(spec))
    with kinds.running(address) as client:
        print("dashboard:", client.dashboard_link)
        mapper = map_over(client, job_run.lost(plan.digest))
        summary = job_run.run(plan, folder, mapper=mapper)
    print(f"{summary.progress.total} blocks, {len(summary.failed)} failed")
    print(*summary.outputs, sep="\n")


if __name__ == "__main__":
    main()

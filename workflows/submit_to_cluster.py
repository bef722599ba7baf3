"""Run a job on a Dask cluster that is already running.

Purpose: spread a job over the workers of a cluster; the map is the same as on one machine
Inputs:  JOB, a job spec whose imagery the workers can read under the same paths; ADDRESS of the scheduler
Outputs: FOLDER, on a file system that the workers share
Run:     python workflows/submit_to_cluster.py workflows/map_region.yaml tcp://127.0.0.1:8786 map_on_cluster

Start a cluster of your own with `dask scheduler` and, on each machine or GPU, `dask worker ADDRESS --nthreads 1`.
"""

import sys

from geoseg import cluster, job, pipeline, planning


def main() -> None:
    """Read the command line, connect, run; a run that was stopped goes on."""
    spec, address, folder = sys.argv[1:]
    resolved = planning.resolve(job.read(spec))
    with cluster.running(address) as client:
        print("dashboard:", client.dashboard_link)
        mapper = cluster.mapper(client, pipeline.lost(resolved.digest))
        summary = pipeline.run(resolved, folder, mapper=mapper)
    print(f"{summary.progress.total} blocks, {len(summary.failed)} failed")
    print(*summary.outputs, sep="\n")


if __name__ == "__main__":
    main()

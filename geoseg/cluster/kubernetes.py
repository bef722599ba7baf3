"""Kubernetes: the DaskCluster resource that the Dask operator makes pods of; dask-kubernetes' own, with our workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geoseg.cluster import packages

_GRACE_S = 30
"""Seconds from SIGTERM to SIGKILL; a worker is gone 25 s after the first."""
_WORKER = ["geoseg", "worker", "$(DASK_SCHEDULER_ADDRESS)", "--name", "$(DASK_WORKER_NAME)"]
_PATIENT = {"name": "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "value": "10"}


def manifest(
    name: str,
    workers: int,
    *,
    image: str,
    memory: str = "4Gi",
    cpu: str = "2",
    gpus: int = 0,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A DaskCluster resource as plain data; write it as YAML for kubectl.

    It is what dask-kubernetes makes, but for its workers, which are `geoseg worker`, have their resources to themselves
    and 30 s to leave, and its scheduler, which leaves it to the map to count lost workers.

    Parameters
    ----------
    name : str
        Of the cluster.
    workers : int
        Pods.
    image : str
        With geoseg in it.
    memory, cpu : str
        Of each worker, Kubernetes units.
    gpus : int
        NVIDIA GPUs of each worker, 0 or 1.
    env : mapping, optional
        Environment of scheduler and workers.

    Raises
    ------
    ClusterError
        If dask-kubernetes is not installed.
    """
    maker = packages.needed("dask_kubernetes.operator").make_cluster_spec
    made: dict[str, Any] = maker(name, image=image, n_workers=workers, env=dict(env or {}), resources={})
    pod = made["spec"]["worker"]["spec"]
    limits = {"memory": memory, "cpu": cpu} | ({"nvidia.com/gpu": str(gpus)} if gpus else {})
    (worker,) = pod["containers"]
    worker |= {"args": list(_WORKER), "resources": {"limits": limits, "requests": dict(limits)}}
    del worker["ports"]  # of a dashboard, which our workers have not
    pod["terminationGracePeriodSeconds"] = _GRACE_S
    (scheduler,) = made["spec"]["scheduler"]["spec"]["containers"]
    scheduler["env"] = [*scheduler["env"], dict(_PATIENT)]
    return made

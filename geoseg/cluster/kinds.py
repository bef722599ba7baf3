"""Kinds: the ways to start a cluster or to reach one. Each gives a client, and the cluster ends with its block.

`local` and `cuda` start processes on this machine, `running` reaches a scheduler, `opened` starts what a ClusterSpec
asks for: a batch system's jobs (dask-jobqueue), Kubernetes pods, a gateway, Coiled. Those come from packages of their
own, imported only when they are asked for; what a spec has under `options` goes to them as it stands.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import dask
from distributed import Client, LocalCluster, Nanny, Scheduler, SpecCluster
from distributed.comm.addressing import parse_host_port
from distributed.security import Security

from geoseg.cluster import tls
from geoseg.cluster import worker as worker_room
from geoseg.cluster.spec import ClusterSpec
from geoseg.errors import ClusterError

PATIENT_SCHEDULER = {"distributed.scheduler.allowed-failures": 10}
"""The map keeps count of dead workers itself; the scheduler's own count also takes in those that only stood by."""
QUEUES = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "lsf": "LSFCluster",
    "sge": "SGECluster",
    "moab": "MoabCluster",
    "oar": "OARCluster",
    "htcondor": "HTCondorCluster",
}
"""Batch systems and their classes in dask-jobqueue."""
_EXTRAS = {
    "dask_jobqueue": "pip install 'geoseg[slurm]'",
    "dask_kubernetes": "pip install 'geoseg[kubernetes]'",
    "dask_gateway": "pip install dask-gateway",
    "coiled": "pip install coiled",
}
_log = logging.getLogger(__name__)
Note = Callable[[str], None]


@contextmanager
def local(workers: int, memory_bytes: int) -> Iterator[Client]:
    """A cluster on this machine, listening on loopback only.

    Parameters
    ----------
    workers : int
        Processes, at least 1; each has two threads, so that reading one block overlaps labelling another.
    memory_bytes : int
        Limit of each process.
    """
    settings = {
        **PATIENT_SCHEDULER,
        "distributed.worker.daemon": True,
        "distributed.admin.large-graph-warning-threshold": "100MB",
        "distributed.nanny.pre-spawn-environ.MALLOC_ARENA_MAX": 2,
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=worker_room.THREADS,
            memory_limit=memory_bytes,
            processes=True,
            worker_class=functools.partial(Nanny, worker_class=worker_room.BlockWorker),  # Ctrl-C is for us, not them
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR,
            env=worker_room.environment(0, ()),
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def cuda(gpus: int, memory_bytes: int) -> Iterator[Client]:
    """A cluster on this machine with one process for each GPU, which sees no other; on loopback only.

    dask-cuda does it where it is installed.

    Parameters
    ----------
    gpus : int
        How many this process may use (torch.cuda.device_count()).
    memory_bytes : int
        Limit of each process's main memory.

    Raises
    ------
    ClusterError
        If there is none.
    """
    names = devices(gpus)
    if not names:
        raise ClusterError("no CUDA device is visible here; use a local cluster, or check nvidia-smi and torch")
    common = {"nthreads": worker_room.THREADS, "memory_limit": memory_bytes, "host": "127.0.0.1", "dashboard": False}
    common |= {"worker_class": worker_room.BlockWorker}
    workers = {
        i: {"cls": Nanny, "options": {**common, "env": worker_room.environment(i, names), "silence_logs": "ERROR"}}
        for i in range(len(names))
    }
    own_scheduler = {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"}
    with dask.config.set({**PATIENT_SCHEDULER, "distributed.worker.daemon": True}), ExitStack() as stack:
        if importlib.util.find_spec("dask_cuda"):
            theirs = importlib.import_module("dask_cuda").LocalCUDACluster(
                CUDA_VISIBLE_DEVICES=",".join(names),
                threads_per_worker=worker_room.THREADS,
                memory_limit=memory_bytes,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
            )
            cluster = stack.enter_context(theirs)
        else:
            scheduler = {"cls": Scheduler, "options": own_scheduler}
            cluster = stack.enter_context(SpecCluster(workers, scheduler, silence_logs=logging.ERROR))
        yield stack.enter_context(Client(cluster))


def devices(gpus: int) -> tuple[str, ...]:
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES has them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(i) for i in range(gpus)] if visible is None else [each.strip() for each in visible.split(",")]
    return tuple(names[:gpus])


@contextmanager
def running(
    address: str, timeout_s: float = 10.0, *, security: Security | None = None, note: Note = _log.warning
) -> Iterator[Client]:
    """A client of a cluster that already runs.

    Parameters
    ----------
    address : str
        Of its scheduler.
    timeout_s : float
        How long to wait for an answer.
    security : Security, optional
        From `tls.certificates`; default: dask's own configuration.
    note : callable
        Told, in a sentence, if the connection is open to others.

    Raises
    ------
    ClusterError
        If nothing answers at `address`.
    """
    security = security or Security()
    address = tls.reachable(address, security, note)
    try:
        _knock(address, timeout_s)
        client = Client(address, timeout=timeout_s, security=security)
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {address} ({error}); start one with 'dask scheduler', or check the address "
            "and the certificates"
        ) from error
    with client:
        yield client


def _knock(address: str, timeout_s: float) -> None:
    """Wait until something listens: a Client that could not connect hangs for 20 s when it is collected."""
    if not address.startswith(("tcp://", "tls://")):
        return
    place, end = parse_host_port(address.partition("://")[2]), time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection(place, timeout=timeout_s).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


@contextmanager
def opened(spec: ClusterSpec, memory_bytes: int, *, gpus: int = 0, note: Note = _log.warning) -> Iterator[Client]:
    """A client of the cluster that a spec asks for; what was started for it ends with the block.

    Parameters
    ----------
    spec : ClusterSpec
        Kind, number of workers, options.
    memory_bytes : int
        Limit of a process that is started on this machine.
    gpus : int
        CUDA devices here, for kind 'cuda'.

    Raises
    ------
    ClusterError
        If the package for it is not installed, or the cluster cannot be started or reached.
    """
    security = tls.certificates(spec.tls_ca, spec.tls_cert, spec.tls_key)
    if spec.kind == "local":
        opening = local(spec.workers or cores(), memory_bytes)
    elif spec.kind == "cuda":
        opening = cuda(min(gpus, spec.workers or gpus), memory_bytes)
    elif spec.kind == "address":
        assert spec.address is not None
        opening = running(spec.address, security=security, note=note)
    else:
        opening = _started(spec, security)
    with opening as client:
        yield client


@contextmanager
def _started(spec: ClusterSpec, security: Security) -> Iterator[Client]:
    """A cluster from a package of its own."""
    with dask.config.set(PATIENT_SCHEDULER), ExitStack() as stack:
        try:
            cluster = stack.enter_context(_start(spec, security))
            if spec.minimum is not None and spec.maximum is not None:
                cluster.adapt(minimum=spec.minimum, maximum=spec.maximum)
            elif spec.workers is not None and spec.kind in (*QUEUES, "gateway"):
                cluster.scale(spec.workers)
            client = stack.enter_context(cluster.get_client())
        except ClusterError:
            raise
        except Exception as error:  # theirs to raise whatever they like
            raise ClusterError(
                f"the {spec.kind} cluster could not be started ({type(error).__name__}: {error}); "
                "check cluster.options, which are passed on as they are"
            ) from error
        yield client


def _start(spec: ClusterSpec, security: Security) -> Any:
    options: dict[str, Any] = dict(spec.options)
    if spec.kind in QUEUES:
        cluster = getattr(_package("dask_jobqueue"), QUEUES[spec.kind])
        shared = {"security": security, "protocol": "tls://"} if security.require_encryption else {}
        return cluster(**queue_options(options), **shared)
    if spec.kind == "kubernetes":
        cluster = _package("dask_kubernetes.operator").KubeCluster
        kept = {key: options.pop(key) for key in ("namespace",) if key in options}
        named: dict[str, Any] = {"name": "geoseg", "workers": spec.workers or 1, **options}
        return cluster(custom_cluster_spec=manifest(**named), **kept)
    if spec.kind == "gateway":
        return _package("dask_gateway").GatewayCluster(**options)
    return _package("coiled").Cluster(n_workers=spec.workers or 1, **options)


def queue_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """What dask-jobqueue is given: the user's options, and workers that are set up for blocks and leave well.

    One process for each job, unless asked otherwise: it labels as many windows at once as the job has cores.
    """
    theirs = [str(each) for each in options.get("worker_extra_args", ())]
    ours = ["--worker-class", "geoseg.cluster.worker.BlockWorker", "--nthreads", str(worker_room.THREADS)]
    return {"processes": 1, **options, "worker_extra_args": [*ours, *theirs]}


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
    """A DaskCluster resource for the Dask operator of Kubernetes, as plain data; write it as YAML for kubectl.

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
    """
    variables = [{"name": key, "value": value} for key, value in (env or {}).items()]
    limits = {"memory": memory, "cpu": cpu} | ({"nvidia.com/gpu": str(gpus)} if gpus else {})
    ports = {"tcp-comm": 8786, "http-dashboard": 8787}
    health = {"httpGet": {"port": "http-dashboard", "path": "/health"}, "periodSeconds": 20}
    worker = {
        "name": "worker",
        "image": image,
        "args": ["geoseg", "worker", "$(DASK_SCHEDULER_ADDRESS)", "--name", "$(DASK_WORKER_NAME)"],
        "env": variables,
        "resources": {"limits": limits, "requests": limits},
    }
    scheduler = {
        "name": "scheduler",
        "image": image,
        "args": ["dask", "scheduler", "--host", "0.0.0.0"],
        "env": [*variables, {"name": "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "value": "10"}],
        "ports": [{"name": each, "containerPort": port, "protocol": "TCP"} for each, port in ports.items()],
        "readinessProbe": {**health, "periodSeconds": 1, "timeoutSeconds": 300},
        "livenessProbe": {**health, "initialDelaySeconds": 15},
    }
    service = {
        "type": "ClusterIP",
        "selector": {"dask.org/cluster-name": name, "dask.org/component": "scheduler"},
        "ports": [{"name": e, "protocol": "TCP", "port": p, "targetPort": e} for e, p in ports.items()],
    }
    pod = {"terminationGracePeriodSeconds": 30, "containers": [worker]}
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": name},
        "spec": {
            "worker": {"replicas": workers, "spec": pod},
            "scheduler": {"spec": {"containers": [scheduler]}, "service": service},
        },
    }


def threads_per_worker(workers: int) -> int:
    """Windows that each of `workers` processes should label at once on this machine's CPU."""
    return max(1, cores() // max(1, workers))


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        how = _EXTRAS[name.partition(".")[0]]
        raise ClusterError(f"{name.partition('.')[0]} is needed for this kind of cluster ({error}); {how}") from error

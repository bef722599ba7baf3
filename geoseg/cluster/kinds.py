"""Kinds: the ways to reach a cluster. Each gives a client; what was started for it ends with the block.

`running` reaches a scheduler, `opened` starts what a ClusterSpec asks for: processes of this machine (`local`), a batch
system's jobs (dask-jobqueue), Kubernetes pods, a gateway, Coiled. Those come from packages of their own, and what a
spec has under `options` goes to them as it stands.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import dask
from distributed import Client
from distributed.security import Security

from geoseg.cluster import batch, compat, kubernetes, local, packages, tls
from geoseg.cluster.spec import ClusterSpec
from geoseg.errors import ClusterError
from geoseg.process import cores

_SCHEMES = ("tcp", "tls", "ws", "wss", "inproc", "ucx")
"""Of the addresses that Dask knows; with another one, its Client hangs."""
_WORKER_S = 3.0
"""How long a worker may take to answer."""
_log = logging.getLogger(__name__)
Note = Callable[[str], None]


@contextmanager
def running(
    address: str,
    timeout_s: float = 10.0,
    *,
    security: Security | None = None,
    note: Note = _log.warning,
    direct: bool = False,
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
        Called with a sentence if the connection is open to others.
    direct : bool
        Whether results come from the workers themselves where these can be reached, not through the scheduler.

    Raises
    ------
    ClusterError
        If nothing answers at `address`.
    """
    security = security or Security()
    address = tls.full_address(address, security, note)
    try:
        _knock(address, security, timeout_s)
        client = Client(address, timeout=timeout_s, security=security)
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {address} ({error}); start one with 'dask scheduler', or check the address "
            "and the certificates"
        ) from error
    with client:
        client.direct_to_workers = direct and _reaches_workers(client, security)
        yield client


def _reaches_workers(client: Client, security: Security) -> bool:
    """Whether one of them answers: from outside of a cluster's network none may."""
    found = client.scheduler_info(n_workers=1)["workers"]
    try:
        for address in found:
            compat.shake_hands(address, security, _WORKER_S)
    except (OSError, TimeoutError, ValueError, RuntimeError):
        return False
    return bool(found)


def _knock(address: str, security: Security, timeout_s: float) -> None:
    """Wait until a scheduler answers: a Client that cannot connect hangs when it is made, or when it is collected."""
    parts = urlsplit(address)
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"{parts.scheme!r} is none of {', '.join(_SCHEMES)}")
    if parts.scheme not in ("tcp", "tls"):
        return
    if parts.hostname is None or parts.port is None:
        raise ValueError("it needs a host and a port")
    compat.shake_hands(address, security, timeout_s)


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
    note : callable
        Called with a sentence if the connection is open to others.

    Raises
    ------
    ClusterError
        If the package for it is not installed, or the cluster cannot be started or reached.
    """
    security = tls.certificates(spec.tls_ca, spec.tls_cert, spec.tls_key)
    if spec.kind == "local":
        opening = local.cpu_cluster(spec.workers or cores(), memory_bytes)
    elif spec.kind == "cuda":
        opening = local.gpu_cluster(min(gpus, spec.workers or gpus), memory_bytes)
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
    with dask.config.set(local.PATIENT_SCHEDULER), ExitStack() as stack:
        try:
            cluster = stack.enter_context(_start(spec, security))
            if spec.minimum is not None and spec.maximum is not None:
                cluster.adapt(minimum=spec.minimum, maximum=spec.maximum)
            elif spec.workers is not None and spec.kind in (*batch.CLASSES, "gateway"):
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
    if spec.kind in batch.CLASSES:
        cluster = getattr(packages.needed("dask_jobqueue"), batch.CLASSES[spec.kind])
        shared = {"security": security, "protocol": "tls://"} if security.require_encryption else {}
        return cluster(**batch.options(options), **shared)
    if spec.kind == "kubernetes":
        cluster = packages.needed("dask_kubernetes.operator").KubeCluster
        kept = {key: options.pop(key) for key in ("namespace",) if key in options}
        named: dict[str, Any] = {"name": "geoseg", "workers": spec.workers or 1, **options}
        return cluster(custom_cluster_spec=kubernetes.manifest(**named), **kept)
    if spec.kind == "gateway":
        return packages.needed("dask_gateway").GatewayCluster(**options)
    return packages.needed("coiled").Cluster(n_workers=spec.workers or 1, **options)

"""Cluster spec: where a job runs, as YAML has it. Plain data; no Dask here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue, model_validator

from geoseg.catalog.yaml import Spec

ClusterKind = Literal[
    "local",
    "cuda",
    "address",
    "slurm",
    "pbs",
    "lsf",
    "sge",
    "moab",
    "oar",
    "htcondor",
    "kubernetes",
    "gateway",
    "coiled",
]


class ClusterSpec(Spec):
    """Where a job runs, where not on this machine; `geoseg run --workers` and `--scheduler` go before it."""

    kind: ClusterKind = "local"
    workers: int | None = Field(None, ge=1)
    """Processes, jobs or pods; None: as many as there are cores, GPUs, or as the cluster has."""
    minimum: int | None = Field(None, ge=0)
    maximum: int | None = Field(None, ge=1)
    """With both, the cluster grows and shrinks between them with the work."""
    address: str | None = None
    """Of the scheduler, for kind 'address'."""
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    """PEM files; see docs/security.md."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Passed on as they are to dask-jobqueue, dask-gateway or coiled; for kubernetes: image, memory, cpu, gpus, env."""

    @model_validator(mode="after")
    def _fit(self) -> ClusterSpec:
        if (self.kind == "address") != (self.address is not None):
            raise ValueError("kind 'address' and the key 'address' go together; give both or neither")
        if (self.minimum is None) != (self.maximum is None):
            raise ValueError("minimum and maximum go together; give both or neither")
        if self.kind in ("local", "cuda", "address") and (self.options or self.maximum is not None):
            raise ValueError(f"a cluster of kind {self.kind!r} takes no options, minimum or maximum; leave them out")
        if self.kind == "kubernetes" and "image" not in self.options:
            raise ValueError("a cluster of kind 'kubernetes' needs options.image, a container image with geoseg in it")
        return self

"""Cluster spec: impossible sections are refused where they are read."""

from __future__ import annotations

from typing import get_args

import pytest

from geoseg.catalog.yaml import parse
from geoseg.cluster import batch
from geoseg.cluster.spec import ClusterKind, ClusterSpec
from geoseg.errors import JobError


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"kind": "slrum"}, "kind"),
        ({"kind": "address"}, "go together"),
        ({"kind": "slurm", "minimum": 1}, "minimum and maximum go together"),
        ({"kind": "local", "options": {"queue": "x"}}, "takes no options"),
        ({"kind": "kubernetes"}, "options.image"),
        ({"kind": "slurm", "address": "tcp://host:8786"}, "go together"),
        ({"kind": "slurm", "maximum": 3}, "minimum and maximum go together"),
        ({"kind": "cuda", "minimum": 1, "maximum": 2}, "takes no options, minimum or maximum"),
        ({"kind": "address", "address": "tcp://host:8786", "options": {"queue": "x"}}, "takes no options"),
        ({"workers": 0}, "workers"),
        ({"wokers": 3}, "workers"),
    ],
)
def test_impossible_cluster_sections_are_refused(section: dict[str, object], sentence: str) -> None:
    with pytest.raises(JobError, match=sentence):
        parse(ClusterSpec, section, "job.yaml", JobError)


@pytest.mark.parametrize("kind", get_args(ClusterKind))
def test_the_least_that_each_kind_needs_is_enough(kind: str) -> None:
    least: dict[str, object] = {"kind": kind}
    least |= {"address": {"address": "tcp://host:8786"}, "kubernetes": {"options": {"image": "a"}}}.get(kind, {})
    read = parse(ClusterSpec, least, "job.yaml", JobError)
    assert (read.kind, read.workers, read.minimum) == (kind, None, None)


def test_every_batch_system_can_be_asked_for() -> None:
    assert set(batch.CLASSES) <= set(get_args(ClusterKind))

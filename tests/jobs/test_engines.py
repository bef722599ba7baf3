"""Engines: what a run is given is given in each of its forms."""

from __future__ import annotations

import inspect

from geoseg.cluster.mapper import Over
from geoseg.jobs.engines import Elsewhere


def test_the_mapper_of_a_cluster_can_spread_other_work() -> None:
    asked = inspect.signature(Elsewhere.of).parameters
    given = inspect.signature(Over.of).parameters
    assert list(given) == list(asked)

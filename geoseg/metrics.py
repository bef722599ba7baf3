"""Metrics: counters of a worker process, for Prometheus.

Dask's workers show everything that prometheus_client counts on their `/metrics` page; without that package nothing
is counted. Labels are few and fixed: a label for each block would drown the server that collects them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any


def count(state: str, pixels: int, seconds: Mapping[str, float]) -> None:
    """Count a block: its state, its pixels, and the seconds of each stage."""
    counters = _counters()
    if counters is None:
        return
    blocks, labelled, spent = counters
    blocks.labels(state).inc()
    labelled.inc(pixels)
    for stage, length in seconds.items():
        spent.labels(stage).inc(length)


@lru_cache(maxsize=1)
def _counters() -> tuple[Any, Any, Any] | None:
    try:
        from prometheus_client import Counter
    except ModuleNotFoundError:
        return None
    return (
        Counter("geoseg_blocks", "Blocks made by this process", ["state"]),
        Counter("geoseg_pixels", "Pixels of those blocks"),
        Counter("geoseg_seconds", "Seconds spent on them", ["stage"]),
    )

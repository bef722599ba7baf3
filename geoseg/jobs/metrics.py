"""Metrics: counters of a worker process, for Prometheus.

Dask's workers show everything that prometheus_client counts on their `/metrics` page; without that package nothing
is counted. Labels are few and fixed: a label for each block would drown the server that collects them.
"""

from __future__ import annotations

from collections.abc import Mapping

try:
    from prometheus_client import Counter
except ModuleNotFoundError:
    _BLOCKS = _PIXELS = _SECONDS = None
else:
    _BLOCKS = Counter("geoseg_blocks", "Blocks made by this process", ["state"])
    _PIXELS = Counter("geoseg_pixels", "Pixels of those blocks")
    _SECONDS = Counter("geoseg_seconds", "Seconds spent on them", ["stage"])


def count(state: str, pixels: int, seconds: Mapping[str, float]) -> None:
    """Count a block: its state, its pixels, and the seconds of each stage.

    Parameters
    ----------
    state : str
        Of the block: 'done', 'empty' or 'failed'.
    pixels : int
        Pixels of it.
    seconds : mapping
        Seconds spent in each stage.
    """
    if _BLOCKS is None or _PIXELS is None or _SECONDS is None:
        return
    _BLOCKS.labels(state).inc()
    _PIXELS.inc(pixels)
    for stage, length in seconds.items():
        _SECONDS.labels(stage).inc(length)

"""Blocks: the life of one block on a worker. Read core and margin, label, mask, commit; counts go back, not pixels.

A block that cannot be made becomes a failed record, nodata in the map; it never becomes a class. Only a folder
that cannot be written stops the run.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np

from geoseg import imagery
from geoseg.catalog.legend import NODATA
from geoseg.errors import GeosegError, LedgerError, PredictionError, RasterError
from geoseg.grid import Window
from geoseg.jobs import metrics
from geoseg.jobs.plan import Plan, Predict
from geoseg.storage import block_file, job_file, ledger
from geoseg.storage.record import Record
from geoseg.storage.store import Store

READS = 4
"""Attempts to read a block before it fails."""
_WAIT_S = 0.5
_log = logging.getLogger(__name__)
_device = threading.Lock()


def task(root: str, digest: str, predict: Predict | None = None, threads: int | None = None) -> partial[Record]:
    """The work on one block as a small picklable callable of its window.

    Parameters
    ----------
    root, digest : str
        The job folder and the digest of its job.json, which each worker process reads once.
    predict : callable, optional
        In place of the job's own network.
    threads : int, optional
        Windows labelled at once on a CPU.
    """
    return partial(finish, root, digest, predict, threads)


def finish(root: str, digest: str, predict: Predict | None, threads: int | None, window: Window) -> Record:
    """Make one block and commit it to the job folder.

    Returns
    -------
    Record
        State 'done', 'empty' or 'failed'.

    Raises
    ------
    LedgerError
        If the job folder cannot be written.
    """
    store = Store(root)
    plan = load_plan(root, digest)
    call = predict if predict is not None else own_predictor(plan, threads)
    blank = Record(window, "empty", digest, worker=f"{socket.gethostname()}:{os.getpid()}")
    try:
        record, files = make(plan, call, blank)
    except LedgerError:
        raise
    except Exception as error:  # whatever broke, the block is listed with its reason and the rest goes on
        _log.warning("block %s failed", window, exc_info=True)
        attempts = READS if isinstance(error, RasterError) else 1
        record, files = replace(blank, state="failed", attempts=attempts, error=reason(error)), {}
    begin = time.perf_counter()
    kept = ledger.commit(store, record, {kind: block_file.encode(a, plan.grid, window) for kind, a in files.items()})
    seconds = {**record.seconds, "write": round(time.perf_counter() - begin, 4)}
    metrics.count(record.state, window.pixels, seconds)
    return replace(kept, seconds=seconds)


def make(plan: Plan, predict: Predict, blank: Record) -> tuple[Record, dict[str, np.ndarray]]:
    """Label one block without keeping it.

    Returns
    -------
    Record and dict
        Its record, and the (row, col) uint8 arrays 'labels' and perhaps 'confidence'; none for an empty block.

    Raises
    ------
    GeosegError
        If it cannot be read or labelled.
    """
    window, begin = blank.window, time.perf_counter()
    wanted = _wanted(plan, window)
    if wanted is None:
        return blank, {}
    reading = plan.layout.reading(wanted)
    pixels, attempts = _read(plan, reading)
    inside = wanted.within(window)
    valid = np.zeros(window.shape, bool)
    valid[inside] = np.isfinite(pixels[(slice(None), *wanted.within(reading))]).all(axis=0)
    if plan.geometry is not None:
        valid[inside] &= imagery.inside(plan.geometry, plan.grid, wanted)
    read_s = time.perf_counter() - begin
    blank = replace(blank, attempts=attempts, seconds={"read": round(read_s, 4)})
    if not valid.any():
        return blank, {}
    with _device:
        begin = time.perf_counter()
        answer = predict(pixels)
        infer_s = time.perf_counter() - begin
    arrays = {}
    for kind, array in zip(("labels", "confidence"), _arrays(answer, reading)):
        out = np.full(window.shape, NODATA, np.uint8)
        out[inside] = array[wanted.within(reading)]
        out[~valid] = NODATA
        arrays[kind] = out
    counts = _counts(arrays["labels"], valid, plan)
    if not plan.spec.outputs.confidence:
        arrays.pop("confidence", None)
    seconds = {"read": round(read_s, 4), "infer": round(infer_s, 4)}
    return replace(blank, state="done", counts=counts, seconds=seconds), arrays


def own_predictor(plan: Plan, threads: int | None) -> Predict:
    """The predictor of the job's own model."""
    assert plan.predictor is not None
    return plan.predictor if threads is None else replace(plan.predictor, threads=threads)


@lru_cache(maxsize=4)
def load_plan(root: str, digest: str) -> Plan:
    """The plan in a job folder, read once per process.

    Raises
    ------
    LedgerError
        If the folder meanwhile became another job's, or its plan has changed since it was written.
    """
    held = job_file.read_job(Store(root), digest)
    if held["digest"] != digest:
        raise LedgerError(f"{root} became another job while this one ran; run it in a folder of its own")
    plan = Plan.from_json(held["plan"])
    if plan.digest != digest:
        raise LedgerError(f"the plan in {root} has changed since it was written; run the same command again")
    return plan


def reason(error: BaseException) -> str:
    """Why a block failed, in at most 300 characters."""
    text = str(error) if isinstance(error, GeosegError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]


def _wanted(plan: Plan, window: Window) -> Window | None:
    """The part of a block that the region touches; labels do not depend on it, only how much is read."""
    if plan.geometry is None:
        return window
    part = plan.geometry.geom.intersection(plan.grid.footprint(window).geom)
    if part.is_empty:
        return None
    from_geometry = plan.grid.cover(type(plan.geometry)(part, plan.geometry.crs))
    return from_geometry.grown(1).meet(window)


def _read(plan: Plan, reading: Window) -> tuple[np.ndarray, int]:
    for attempt in range(1, READS + 1):
        try:
            return imagery.read(plan.scene, plan.grid, reading), attempt
        except RasterError:
            if attempt == READS:
                raise
            _log.warning("reading %s failed, attempt %d of %d", reading, attempt, READS, exc_info=True)
            imagery.forget(plan.scene)
            time.sleep(_WAIT_S * 2 ** (attempt - 1))
    raise AssertionError("unreachable")


def _arrays(answer: object, reading: Window) -> tuple[np.ndarray, ...]:
    arrays = answer if isinstance(answer, tuple) else (answer,)
    for array in arrays:
        if not isinstance(array, np.ndarray) or array.shape != reading.shape or array.dtype.kind not in "ui":
            what = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise PredictionError(
                f"the predictor was given {reading.shape} pixels and returned {what}; "
                "return integer labels of that shape"
            )
        if array.size and (array.min() < 0 or array.max() > NODATA):
            raise PredictionError(
                f"the predictor returned labels {array.min()} to {array.max()}; they run from 0 to 254"
            )
    return arrays


def _counts(labels: np.ndarray, valid: np.ndarray, plan: Plan) -> Mapping[int, int]:
    """Pixels per class; a valid pixel that got no class of the legend fails the block."""
    found = np.bincount(labels[valid], minlength=256)
    strange = sorted(set(np.flatnonzero(found).tolist()) - set(plan.legend.ids))
    if strange:
        raise PredictionError(
            f"the predictor returned {strange[0]}, which legend {plan.legend.name!r} lacks; "
            f"its ids are {', '.join(map(str, plan.legend.ids[:12]))}{', ...' if len(plan.legend) > 12 else ''}"
        )
    return {int(each): int(found[each]) for each in np.flatnonzero(found)}

"""Block: the life of one block on a worker. Read core and margin, label, mask, commit; counts go back, not pixels.

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
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np

from geoseg import imagery
from geoseg.catalog.legend import NODATA, Legend
from geoseg.errors import GeosegError, ImageryChangedError, LedgerError, PredictionError, RasterError
from geoseg.grid import Tile, Window
from geoseg.inference.occupancy import Occupancy
from geoseg.jobs import metrics, seams
from geoseg.jobs.engines import Predict
from geoseg.jobs.plan import Plan
from geoseg.process import cores, kept, peak_bytes, remembered
from geoseg.rasters import masks
from geoseg.storage import block_file, job_file, ledger
from geoseg.storage.digests import digest_of
from geoseg.storage.record import Record
from geoseg.storage.store import Store

READS = 4
"""Attempts to read a block before it fails."""
_WAIT_S = 0.5
_log = logging.getLogger(__name__)
A = TypeVar("A", np.ndarray, np.ndarray | None)


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A block as it was labelled, not kept yet."""

    labels: np.ndarray | None = None
    """(row, col) uint8, nodata 255; None where no pixel can have a label."""
    confidence: np.ndarray | None = None
    """The same for 0..254 as 0..1; None where the predictor gives none."""
    also: Mapping[str, np.ndarray] = field(default_factory=dict)
    """The same, or (class, row, col), for what else the predictor is asked for."""
    counts: Mapping[int, int] = field(default_factory=dict)
    """Pixels of each class."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Time spent: read, infer."""
    attempts: int = 1
    """How often it was read."""


def task(
    root: str, plan: Plan, predict: Predict | None = None, threads: int | None = None, run: str = ""
) -> partial[Record]:
    """The work on one block as a small picklable callable of its window.

    Parameters
    ----------
    root : str
        The job folder; each worker process reads the plan there once.
    plan : Plan
        The job.
    predict : callable, optional
        In place of the job's own network.
    threads : int, optional
        Windows labelled at once on a CPU.
    run : str
        A name for the run, so that the time between two of them counts for neither.
    """
    return partial(finish, root, plan.digest, plan.variant, predict, threads, run=run)


def finish(
    root: str, digest: str, variant: str, predict: Predict | None, threads: int | None, window: Window, *, run: str = ""
) -> Record:
    """Make one block and commit it to the job folder.

    Parameters
    ----------
    root, digest, variant : str
        The job folder, and the digest and variant of the plan in it.
    predict, threads
        As in `task`.
    window : Window
        The block.
    run : str
        As in `task`.

    Returns
    -------
    Record
        State 'done', 'empty' or 'failed'.

    Raises
    ------
    LedgerError
        If the job folder cannot be written.
    ImageryChangedError
        If a file of the imagery changed since the job was planned; nothing is kept of the block.
    ImportError
        If this process lacks what labels pixels, or the memory to load it.
    """
    store = Store(root)
    plan = load_plan(root, digest, variant)
    call = predict if predict is not None else own_predictor(plan, threads)
    device = kept(Occupancy)
    device.begin(run)
    record = Record(window, "empty", digest, worker=f"{socket.gethostname()}:{os.getpid()}")
    made = Labelled()
    try:
        made = label(plan, call, window)
        state: Literal["done", "empty"] = "empty" if made.labels is None else "done"
        record = replace(record, state=state, counts=made.counts, seconds=made.seconds, attempts=made.attempts)
        record = replace(record, batch=getattr(call, "reduced_batch", 0), seams=_seams(plan, call, window))
    except (LedgerError, ImageryChangedError, ImportError):  # no other block can be made either
        raise
    except Exception as error:  # whatever broke, the block is listed with its reason and the rest goes on
        _log.warning("block %s failed", window, exc_info=True)
        attempts = READS if isinstance(error, RasterError) else 1
        record = replace(record, state="failed", attempts=attempts, error=reason(error))
    record = replace(record, memory=peak_bytes(), device=device.taken())
    begin = time.perf_counter()
    arrays: dict[str, np.ndarray | None] = {"labels": made.labels}
    arrays |= {"confidence": made.confidence if plan.spec.outputs.confidence else None}
    arrays |= made.also
    with device.at("write"):
        files = {kind: block_file.encode(a, plan.grid, window) for kind, a in arrays.items() if a is not None}
        record = ledger.commit(store, record, files)
    seconds = {**record.seconds, "write": round(time.perf_counter() - begin, 4)}
    metrics.count(record.state, window.pixels, seconds)
    return record


def label(plan: Plan, predict: Predict, window: Window) -> Labelled:
    """Label one block without keeping it.

    Parameters
    ----------
    plan : Plan
        The job.
    predict : callable
        What labels the pixels; see `engines.Predict`.
    window : Window
        Any window of the plan's lattice.

    Raises
    ------
    GeosegError
        If it cannot be read or labelled.
    """
    begin = time.perf_counter()
    wanted = _wanted(plan, window)
    if wanted is None:
        return Labelled()
    tile = plan.layout.tile(wanted)
    with kept(Occupancy).at("read"):
        pixels, attempts = _read(plan, tile.read)
        where = None if plan.geometry is None else masks.inside(plan.geometry, plan.grid, wanted)
    seconds = {"read": round(time.perf_counter() - begin, 4)}
    made = label_pixels(predict, plan.legend, pixels, tile, where)
    if wanted != window:
        labels, confidence = (_laid(array, wanted, window) for array in (made.labels, made.confidence))
        also = {kind: _laid(array, wanted, window) for kind, array in made.also.items()}
        made = replace(made, labels=labels, confidence=confidence, also=also)
    return replace(made, seconds={**seconds, **made.seconds}, attempts=attempts)


def label_pixels(
    predict: Predict, legend: Legend, pixels: np.ndarray, tile: Tile, where: np.ndarray | None = None
) -> Labelled:
    """Label pixels that were read already; labels and confidence cover `tile.keep`.

    Parameters
    ----------
    predict : callable
        What labels the pixels; see `engines.Predict`.
    legend : Legend
        The classes that it may give.
    pixels : (band, row, col) float32
        Over `tile.read`, NaN where there is no data.
    tile : Tile
        Where they lie.
    where : (row, col) bool, optional
        Pixels of `tile.keep` that get a label; default: all that have data in every band.

    Raises
    ------
    PredictionError
        If the predictor gives something other than labels of the legend for these pixels.
    """
    valid = np.isfinite(pixels[(slice(None), *tile.keep.within(tile.read))]).all(axis=0)
    if where is not None:
        valid &= where
    if not valid.any():
        return Labelled()
    alone = not getattr(predict, "shares_its_device", False)
    with kept(_OneAtATime).lock if alone else nullcontext():
        begin = time.perf_counter()
        with kept(Occupancy).at("label") if alone else nullcontext():
            answer = predict(pixels, tile)
        seconds = {"infer": round(time.perf_counter() - begin, 4)}
    found = [
        np.where(valid, array[(..., *tile.keep.within(tile.read))], NODATA).astype(np.uint8)
        for array in _arrays(answer, tile.read)
    ]
    labels, confidence = found[0], found[1] if len(found) > 1 else None
    if getattr(predict, "leaves_out", False):
        valid &= labels != NODATA
    also = dict(zip(getattr(predict, "also", ()), found[2:]))
    return Labelled(labels, confidence, also, _counts(labels, valid, legend), seconds)


def _seams(plan: Plan, call: Predict, window: Window) -> list[int]:
    """What `Record.seams` holds; a trial that fails says nothing and harms no block."""
    try:
        asked = seams.asked(plan, window)
        if asked is None:
            return []
        part, other, moved = asked
        return seams.differing(label(plan, call, part).labels, label(other, call, moved).labels)
    except Exception:
        _log.warning("windows cut otherwise could not be tried in block %s", window, exc_info=True)
        return []


def own_predictor(plan: Plan, threads: int | None) -> Predict:
    """The predictor of the job's own model.

    Parameters
    ----------
    plan : Plan
        The job.
    threads : int, optional
        Windows labelled at once on a CPU; default: the plan's own. Fewer where the job's memory does not hold so many.
    """
    assert plan.predictor is not None
    wanted = threads or plan.predictor.threads or cores()
    return replace(plan.predictor, threads=min(wanted, plan.windows_at_once))


@remembered(4)
def load_plan(root: str, digest: str, variant: str = "") -> Plan:
    """The plan in a job folder, read once per process.

    Parameters
    ----------
    root : str
        The job folder.
    digest : str
        The map's digest.
    variant : str
        The plan's; '' takes any of that digest.

    Raises
    ------
    LedgerError
        If the folder meanwhile became another job's, or its plan has changed since it was written.
    """
    held = job_file.read_job(Store(root), variant or digest)
    if held["digest"] != digest or (variant and held.get("variant") != variant):
        raise LedgerError(f"{root} became another job while this one ran; run it in a folder of its own")
    plan = plan_in(root, held)
    if plan.digest != digest:
        raise LedgerError(f"the plan in {root} has changed since it was written; run the same command again")
    return plan


def plan_in(root: str, held: Mapping[str, Any]) -> Plan:
    """The plan of a job file.

    Parameters
    ----------
    root : str
        The job folder, for the message.
    held : mapping
        Its job.json.

    Raises
    ------
    LedgerError
        If the plan is not the one that was written, or another version of geoseg wrote it.
    """
    try:
        if digest_of(held["plan"]) != held["variant"]:
            raise ValueError("its hash is another")
        return Plan.from_json(held["plan"])
    except (ValueError, TypeError, KeyError, GeosegError) as error:
        raise LedgerError(
            f"the plan in {root} is damaged or of another version of geoseg; run its job file again with geoseg run"
        ) from error


class _OneAtATime:
    """A GPU, and a callable of the user's own, label one block at a time; the next is read meanwhile."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


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
        except ImageryChangedError:
            raise
        except RasterError:
            if attempt == READS:
                raise
            _log.warning("reading %s failed, attempt %d of %d", reading, attempt, READS, exc_info=True)
            imagery.forget(plan.scene)
            time.sleep(_WAIT_S * 2 ** (attempt - 1))
    raise AssertionError("unreachable")


def _laid(array: A, part: Window, window: Window) -> A:
    """An array of a part of a window, nodata around it."""
    if array is None:
        return array
    out = np.full((*array.shape[:-2], *window.shape), NODATA, np.uint8)
    out[(..., *part.within(window))] = array
    return out


def _arrays(answer: object, reading: Window) -> tuple[np.ndarray, ...]:
    arrays = answer if isinstance(answer, tuple) else (answer,)
    for at, array in enumerate(arrays):
        bands = 1 if at > 1 else 0
        if (
            not isinstance(array, np.ndarray)
            or array.shape[-2:] != reading.shape
            or array.ndim > 2 + bands
            or array.dtype.kind not in "ui"
        ):
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


def _counts(labels: np.ndarray, valid: np.ndarray, legend: Legend) -> Mapping[int, int]:
    """Pixels per class; a valid pixel that got no class of the legend fails the block."""
    found = np.bincount(labels[valid], minlength=256)
    strange = sorted(set(np.flatnonzero(found).tolist()) - set(legend.ids))
    if strange:
        raise PredictionError(
            f"the predictor returned {strange[0]}, which legend {legend.name!r} lacks; "
            f"its ids are {', '.join(map(str, legend.ids[:12]))}{', ...' if len(legend) > 12 else ''}"
        )
    return {int(each): int(found[each]) for each in np.flatnonzero(found)}

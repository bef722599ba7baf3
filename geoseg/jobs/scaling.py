"""Scaling: how long a large job would take on many workers, simulated from what the blocks of a smaller one took.

What is assumed: a block of the large job takes what one of the small job's took, drawn at random, for each pixel of
it. A worker reads one block ahead of the one that it labels, and writes while it labels the next. Storage serves all
workers from one bandwidth, first come, first served, and no block faster than it was measured. The scheduler spends
the same time on each block, one after the other. Workers die at random, lose the block that they label, and are
replaced. When all blocks are made, the workers put the map together, each one sheet after another; a map of one sheet
is put together by one process. Polygons, scores and the report, which one process makes, are not counted.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoseg.errors import LedgerError
from geoseg.storage import job_file, ledger
from geoseg.storage.store import Store

_LISTED = 0.9
"""Share of the time from which on a part is said to be busy throughout."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a finished job took."""

    read_s: np.ndarray
    """(block,) seconds for each million pixels of the block, like the next two."""
    infer_s: np.ndarray
    write_s: np.ndarray


@dataclass(frozen=True, slots=True)
class Assumed:
    """What nobody can measure before the cluster stands; the defaults are guesses to start from."""

    block_mpx: float = 4.0
    bytes_per_pixel: float = 8.0
    """Read from storage; four bands of 16 bits take 8 uncompressed."""
    storage_gb_s: float = 2.0
    """Of all workers together."""
    scheduler_ms: float = 3.0
    """For each block; 100,000 blocks took 5 minutes on two cores."""
    deaths_per_hour: float = 0.01
    """Of one worker."""
    finish_mpx_s: float = 6.0
    """Put together in a second by one worker, with overviews; two made 8192 x 8192 labels at 10.6 on two cores."""
    sheet_pixels: int = 65536
    """Edge of a sheet, as in `outputs.sheet_pixels`."""
    start_s: float = 60.0
    """Until a worker stands, also one that replaces another."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One simulated run."""

    workers: int
    made_s: float
    """Until all blocks are made."""
    finish_s: float
    """For the map after that."""
    busy: float
    """Share of the workers' time, until all blocks are made, in which they label."""
    limit: str
    """What keeps it from being faster: 'network', 'storage', 'scheduler', 'few blocks' or 'finish'."""


ADVICE = {
    "network": "more workers help",
    "storage": "more workers do not help; bring the imagery nearer, or spread it over more disks or buckets",
    "scheduler": "more workers do not help; make blocks larger (inference.block), or split the region into jobs",
    "few blocks": "there are few blocks for each worker; make them smaller (inference.block)",
    "finish": "putting the map together takes longer than labelling; make sheets smaller (outputs.sheet_pixels)",
}


def measured(folder: Path | str) -> Measured:
    """What the blocks of a finished job took.

    Parameters
    ----------
    folder : path
        The job folder.

    Raises
    ------
    LedgerError
        If it holds no job, or no block that was labelled.
    """
    store = Store.at(folder)
    known, _ = ledger.records(store, job_file.read_job(store)["digest"], verify=False)
    made = [each for each in known.values() if {"read", "infer", "write"} <= each.seconds.keys()]
    if not made:
        raise LedgerError(f"{store.root} has no block that was labelled; run the job first")
    mpx = np.array([each.window.pixels / 1e6 for each in made])
    of = {name: np.array([each.seconds[name] for each in made]) / mpx for name in ("read", "infer", "write")}
    return Measured(of["read"], of["infer"], of["write"])


def simulate(found: Measured, mpx: float, workers: int, assumed: Assumed | None = None) -> Outcome:
    """One run of a large job.

    Parameters
    ----------
    found : Measured
        What its blocks take.
    mpx : float
        Million pixels of the large job.
    workers : int
        One device or core each, as in the job that was measured.
    assumed : Assumed, optional
        All else.
    """
    assumed = assumed or Assumed()
    rng = np.random.default_rng(assumed.seed)
    blocks = max(1, round(mpx / assumed.block_mpx))
    size = mpx / blocks
    drawn = rng.integers(0, len(found.infer_s), blocks)
    read, infer, write = (each[drawn] * size for each in (found.read_s, found.infer_s, found.write_s))
    moving = size * 1e6 * assumed.bytes_per_pixel / (assumed.storage_gb_s * 1e9)
    scheduling = assumed.scheduler_ms / 1000
    life_s = 3600 / assumed.deaths_per_hour if assumed.deaths_per_hour > 0 else np.inf

    def life() -> float:
        return float(rng.exponential(life_s)) if np.isfinite(life_s) else np.inf

    asking = [(assumed.start_s, worker) for worker in range(workers)]
    dies = [assumed.start_s + life() for _ in range(workers)]
    free = [0.0] * workers
    storage = scheduler = labelled = end = 0.0
    again: list[int] = []
    following = 0
    while following < blocks or again:
        now, worker = heapq.heappop(asking)
        if now >= dies[worker]:
            back = dies[worker] + assumed.start_s
            dies[worker], free[worker] = back + life(), back
            heapq.heappush(asking, (max(now, back), worker))
            continue
        block = again.pop() if again else following
        following += block == following
        scheduler = max(scheduler, now) + scheduling
        storage = max(storage, scheduler) + moving
        begins = max(scheduler + read[block], storage, free[worker])
        done = begins + infer[block]
        if done > dies[worker]:
            again.append(block)
        else:
            labelled += infer[block]
            end = max(end, done + write[block])
        free[worker] = done
        heapq.heappush(asking, (begins, worker))  # it reads the next one while it labels this one
    made = end - assumed.start_s
    busy = {"network": labelled / (workers * made), "storage": blocks * moving / made}
    busy["scheduler"] = blocks * scheduling / made
    finish = finishing(mpx, workers, assumed)
    return Outcome(workers, end, finish, busy["network"], _limit(busy, blocks / workers, finish / end))


def finishing(mpx: float, workers: int, assumed: Assumed) -> float:
    """Seconds in which workers put a map together from its blocks.

    Parameters
    ----------
    mpx : float
        Million pixels of the map.
    workers : int
        Each makes one sheet at a time.
    assumed : Assumed
        How fast, and the size of sheets.
    """
    sheets = max(1, math.ceil(mpx * 1e6 / assumed.sheet_pixels**2))
    return math.ceil(sheets / workers) * mpx / sheets / assumed.finish_mpx_s


def table(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """Rows of text for people, the heading first.

    Parameters
    ----------
    outcomes : sequence of Outcome
        From few workers to many.
    """
    rows: list[tuple[str, ...]] = [("workers", "blocks, min", "map, min", "labelling", "limit")]
    rows += [
        (str(each.workers), f"{each.made_s / 60:.1f}", f"{each.finish_s / 60:.1f}", f"{each.busy:.0%}", each.limit)
        for each in outcomes
    ]
    return rows


def _limit(busy: dict[str, float], blocks_each: float, finish: float) -> str:
    if finish > 1:
        return "finish"
    most = max(("storage", "scheduler"), key=lambda each: busy[each])
    if busy[most] > _LISTED and busy[most] > busy["network"]:
        return most
    return "few blocks" if blocks_each < 10 and busy["network"] < _LISTED else "network"

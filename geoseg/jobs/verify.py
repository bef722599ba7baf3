"""Verification: blocks of a finished job made again in other ways, and compared with what stands in the folder.

Other block sizes, batch sizes, thread counts and worker processes must give the same pixels, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from geoseg.catalog.legend import NODATA
from geoseg.errors import LedgerError
from geoseg.grid import Window, cut
from geoseg.jobs import block as job_block
from geoseg.jobs.plan import Plan, Predict
from geoseg.storage import block_file, ledger
from geoseg.storage.record import Record, block_name
from geoseg.storage.store import Store


@dataclass(frozen=True, slots=True)
class Way:
    """Another way to make the same pixels."""

    name: str
    block: int
    """Edge of a block."""
    batch: int
    threads: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One block made one way."""

    way: str
    window: Window
    differing: int
    """Pixels unlike those in the folder."""
    first: tuple[int, int] | None
    """Lattice (row, col) of the first of them."""


Mapper = Callable[[Callable[[tuple[Way, Window]], Finding], Iterable[tuple[Way, Window]]], Iterable[Finding]]


def ways(plan: Plan) -> tuple[Way, ...]:
    """The other ways worth trying for a plan."""
    core, block = plan.layout.core, plan.layout.block
    return (
        Way(f"blocks of one core ({core} px), batch 1, 1 thread", core, 1, 1),
        Way(f"blocks of {block + core} px, batch 2, 2 threads", block + core, 2, 2),
        Way(f"blocks of {2 * core} px, batch 5, 3 threads", 2 * core, 5, 3),
    )


def sample(store: Store, plan: Plan, blocks_wanted: int) -> list[Window]:
    """Finished blocks spread evenly over the map.

    Raises
    ------
    LedgerError
        If the folder has none.
    """
    known, _ = ledger.records(store, plan.digest)
    done = sorted(window for window, record in known.items() if record.state == "done")
    if not done:
        raise LedgerError(f"{store.root} has no finished block to verify; run the job first")
    picks = np.unique(np.linspace(0, len(done) - 1, min(blocks_wanted, len(done))).round().astype(int))
    return [done[each] for each in picks]


def verify(
    root: str, plan: Plan, windows: list[Window], mapper: Mapper = map, predict: Predict | None = None
) -> Iterable[Finding]:
    """Make each block each other way and compare it with the folder; findings come as they are made."""
    work = partial(check, root, plan.digest, predict)
    return mapper(work, [(way, window) for way in ways(plan) for window in windows])


def renamed(finding: Finding, way: str) -> Finding:
    """The finding under another name of the way."""
    return replace(finding, way=way)


def check(root: str, digest: str, predict: Predict | None, item: tuple[Way, Window]) -> Finding:
    """Make one block one way and compare it with the folder."""
    way, window = item
    plan = job_block.load_plan(root, digest)
    kept = block_file.decode(Store(root).get(block_name(window)))
    again = made(plan, way, window, predict)
    unlike = np.argwhere(kept != again)
    first = (int(unlike[0, 0]) + window.row, int(unlike[0, 1]) + window.col) if len(unlike) else None
    return Finding(way.name, window, len(unlike), first)


def made(plan: Plan, way: Way, window: Window, predict: Predict | None = None) -> np.ndarray:
    """The labels (row, col) of `window`, made `way`'s way."""
    other = replace(plan, layout=replace(plan.layout, block=way.block))
    if predict is None:
        assert plan.predictor is not None
        predict = replace(plan.predictor, batch=way.batch, threads=way.threads)
    labels = np.full(window.shape, NODATA, np.uint8)
    for square in cut(window, way.block):
        part = square.meet(plan.layout.extent)
        if part is None:
            continue
        shared = part.meet(window)
        _, arrays = job_block.make(other, predict, Record(part, "empty", ""))
        if shared is not None and "labels" in arrays:
            labels[shared.within(window)] = arrays["labels"][shared.within(part)]
    return labels

"""Verification: blocks of a finished job made again in other ways, and compared with what stands in the folder.

Other block sizes, batch sizes, thread counts and worker processes must give the same pixels, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from geoseg.catalog.legend import NODATA
from geoseg.errors import LedgerError
from geoseg.grid import Window, cut
from geoseg.jobs import block as job_block
from geoseg.jobs.engines import Mapper, Predict
from geoseg.jobs.plan import Plan
from geoseg.storage import block_file, ledger
from geoseg.storage.record import block_name
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

    Parameters
    ----------
    store : Store
        The job folder.
    plan : Plan
        Its job.
    blocks_wanted : int
        How many at most.

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
    root: str,
    plan: Plan,
    windows: list[Window],
    mapper: Mapper[tuple[Way, Window], Finding] = map,
    predict: Predict | None = None,
) -> Iterable[Finding]:
    """Make each block each other way and compare it with the folder; findings come as they are made.

    Parameters
    ----------
    root : str
        The job folder.
    plan : Plan
        Its job.
    windows : list of Window
        Finished blocks, as `sample` gives them.
    mapper : callable
        Spreads the work; default: this process.
    predict : callable, optional
        In place of the job's own network.
    """
    return mapper(
        partial(check, root, plan.digest, predict), [(way, window) for way in ways(plan) for window in windows]
    )


def renamed(finding: Finding, way: str) -> Finding:
    """The finding under another name of the way.

    Parameters
    ----------
    finding : Finding
        One block made one way.
    way : str
        Its other name.
    """
    return replace(finding, way=way)


def check(root: str, digest: str, predict: Predict | None, item: tuple[Way, Window]) -> Finding:
    """Make one block one way and compare it with the folder.

    Parameters
    ----------
    root, digest : str
        The job folder and its map's digest.
    predict : callable, optional
        In place of the job's own network.
    item : (Way, Window)
        The way and the block.
    """
    way, window = item
    plan = job_block.load_plan(root, digest)
    kept = block_file.decode(Store(root).get(block_name(window)))
    again = made(plan, way, window, predict)
    unlike = np.argwhere(kept != again)
    first = (int(unlike[0, 0]) + window.row, int(unlike[0, 1]) + window.col) if len(unlike) else None
    return Finding(way.name, window, len(unlike), first)


def made(plan: Plan, way: Way, window: Window, predict: Predict | None = None) -> np.ndarray:
    """The labels (row, col) of a window, made another way.

    Parameters
    ----------
    plan : Plan
        The job.
    way : Way
        How to make them.
    window : Window
        Any window of the lattice.
    predict : callable, optional
        In place of the job's own network.
    """
    if predict is None:
        assert plan.predictor is not None
        predict = replace(plan.predictor, batch=way.batch, threads=way.threads)
    labels = np.full(window.shape, NODATA, np.uint8)
    for square in cut(window, way.block):
        part = square.meet(plan.layout.extent)
        if part is None:
            continue
        shared, found = part.meet(window), job_block.label(plan, predict, part).labels
        if shared is not None and found is not None:
            labels[shared.within(window)] = found[shared.within(part)]
    return labels

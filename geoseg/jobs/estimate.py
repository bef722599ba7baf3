"""Estimate: what a job will do, in numbers, before it runs.

Counts are exact; bytes are uncompressed; minutes come from timing a few windows and the reading of one block. What is
foretold is noted in this account, and the summary of the run says how far it was off.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from geoseg import imagery
from geoseg.catalog.legend import NODATA
from geoseg.grid import Window, count, worker_bytes
from geoseg.inference.predictor import Predictor
from geoseg.jobs import block as job_block
from geoseg.jobs import forecast
from geoseg.jobs.forecast import Forecast
from geoseg.jobs.performance import duration
from geoseg.jobs.plan import Plan, demand, pixel_size
from geoseg.process import cores, peak_bytes
from geoseg.quantities import counted, length, plain

FINISH_PX_S = 6_000_000
"""Pixels of the map that are put together in a second; see `scaling.Assumed.finish_mpx_s`."""


def lines(plan: Plan, *, workers: int = 1, probe: bool = True) -> Iterator[tuple[str, str]]:
    """(what, how much) of everything worth knowing before a run.

    Parameters
    ----------
    plan : Plan
        The resolved job.
    workers : int
        Worker processes that share the work.
    probe : bool
        Whether to label one block to estimate the time.
    """
    layout, grid, scene = plan.layout, plan.grid, plan.scene
    extent = layout.extent
    todo = list(plan.blocks())
    pixels = sum(window.pixels for window in todo)
    reading = sum(layout.tile(window).read.pixels for window in todo) * len(scene.imagery.bands)
    transform = grid.transform_of(extent)
    yield "imagery", f"{scene.imagery.name}: {', '.join(band.name for band in scene.imagery.bands)}"
    if plan.predictor is not None:
        for card in plan.predictor.cards:
            classes = counted(len(card.classes), "class", "classes")
            yield "model", f"{card.name}: {classes}, weights {card.weights.sha256[:12]}"
        if asked := plan.predictor.told:
            yield "labels", asked
    yield "grid", f"{grid.crs.splitlines()[0][:60]}, pixels of {_pixel(*pixel_size(grid, extent))}"
    corner = f"({plain(transform.c, 10)}, {plain(transform.f, 10)})"
    yield "map", f"{extent.height} x {extent.width} pixels (rows x columns), corner {corner}"
    yield "windows", f"{_windows(plan, todo)} of {layout.core} px, margin {layout.margin} px"
    skipped = layout.blocks - len(todo)
    blocks = counted(len(todo), "block")
    yield "blocks", f"{blocks} of up to {layout.block} px; {skipped} skipped, outside the region or without imagery"
    yield (
        "read",
        f"{_bytes(reading * 4)} as float32, {_bytes(pixels * len(scene.imagery.bands) * 4)} of it without margins",
    )
    yield "written", f"at most {_bytes(pixels * plan.layers * 7 // 3)}: blocks, map and overviews before compression"
    held = worker_bytes(layout.block, layout.margin, len(scene.imagery.bands), demand(plan.predictor, layout.margin))
    yield (
        "memory",
        f"at most {_bytes(held)} of {_bytes(int(plan.spec.memory_per_worker))} for each worker with one window "
        f"at a time; room for {counted(plan.windows_at_once, 'window')} at once",
    )
    if probe and todo and plan.predictor is not None:
        foretold = foretell(plan, todo, workers)
        if plan.predictor.field is not None and plan.predictor.halo < plan.predictor.field:
            yield "halo", _halo(plan, todo)
        if foretold is None:
            yield "time", "the blocks that were tried hold no data"
            return
        forecast.remember(plan, foretold)
        yield "time", f"about {duration(foretold.seconds)} with {counted(workers, 'worker')} like this process"
        yield "expected", f"{_bytes(foretold.memory)} of memory for each worker"


def _halo(plan: Plan, todo: list[Window]) -> str:
    """The share of labels of the middle block's first core that a full halo would change."""
    assert plan.predictor is not None
    assert plan.predictor.field is not None
    middle, core = todo[len(todo) // 2], plan.layout.core
    part = Window(middle.row, middle.col, min(core, middle.height), min(core, middle.width))
    full = replace(plan.predictor, halo=plan.predictor.field)
    layout = replace(plan.layout, margin=full.margin)
    asked = job_block.label(plan, plan.predictor, part).labels
    exact = job_block.label(replace(plan, predictor=full, layout=layout), full, part).labels
    if asked is None or exact is None:
        return "the middle of the map holds no data to try it on"
    valid = asked != NODATA
    share = (asked != exact)[valid].mean() if valid.any() else 0.0
    return f"{100 * share:.2g} % of {counted(int(valid.sum()), 'pixel')} differ from those with the full {full.halo} px"


def _windows(plan: Plan, todo: list[Window]) -> int:
    return sum(count(window, plan.layout.core) for window in todo)


def foretell(plan: Plan, todo: Sequence[Window], workers: int = 1) -> Forecast | None:
    """Time a few windows and the reading of one block, and foretell what the run takes.

    Parameters
    ----------
    plan : Plan
        The job, with its predictor.
    todo : sequence of Window
        Its blocks, at least one.
    workers : int
        Processes like this one.

    Returns
    -------
    Forecast or None
        None where the blocks that were tried hold no data. Windows are timed in all threads of a CPU at once, and
        reading takes from the same cores; a GPU labels while blocks are read. Loading the network counts once.
    """
    assert plan.predictor is not None
    threads = min(plan.predictor.threads or cores(), plan.windows_at_once)
    predictor, begin = replace(plan.predictor, threads=threads), time.perf_counter()
    found = next((each for block in _spread(todo) if (each := _tried(plan, predictor, block, threads))), None)
    if found is None:
        return None
    part, loaded = found, time.perf_counter() - begin
    infer = job_block.label(plan, predictor, part).seconds["infer"] / _windows_of(plan, part)
    tile, begin = plan.layout.tile(part.snapped(plan.layout.block)), time.perf_counter()
    imagery.read(plan.scene, plan.grid, tile.read)
    read = (time.perf_counter() - begin) / tile.keep.pixels / threads
    pixels = sum(each.pixels for each in todo)
    label_s, read_s = infer * sum(_windows_of(plan, each) for each in todo), read * pixels
    made = label_s + read_s if predictor.shares_its_device else max(label_s, read_s)
    held = peak_bytes() + tile.read.pixels * (8 * len(plan.scene.imagery.bands) + 8)
    return Forecast(loaded + made / workers + pixels / FINISH_PX_S, held, workers)


def _spread(todo: Sequence[Window]) -> list[Window]:
    """The middle block, and others spread over the map for the case that it holds no data."""
    return [todo[len(todo) * at // 8] for at in (4, 2, 6, 1, 3, 5, 7)]


def _tried(plan: Plan, predictor: Predictor, block: Window, threads: int) -> Window | None:
    """A core for each thread at a block's corner, labelled once so that all is warm; None where they hold no data."""
    core = plan.layout.core
    part = plan.layout.clipped(Window(block.row, block.col, core, threads * core))
    return None if job_block.label(plan, predictor, part).labels is None else part


def _windows_of(plan: Plan, part: Window) -> float:
    """Whole windows that take as long as those of a part: at edges they are computed as far as wanted."""
    predictor, core = plan.predictor, plan.layout.core
    assert predictor is not None
    whole = predictor.field is None or predictor.halo < predictor.field or not predictor.shares_its_device
    sides = []
    for begin, end in ((part.row, part.row_end), (part.col, part.col_end)):
        starts = range(begin // core * core, end, core)
        kept = [core if whole else min(end, at + core) - max(begin, at) for at in starts]
        sides.append(sum(kept) + 2 * predictor.halo * len(kept))
    return math.prod(sides) / (core + 2 * predictor.halo) ** 2


def _pixel(down: float, across: float) -> str:
    """Size on the ground, both ways where they differ."""
    if abs(down / across - 1) < 0.01:
        return length((down + across) / 2)
    return f"{length(across)} across, {length(down)} down"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{plain(count, 3)} {unit}"
        count = count / 1000
    return f"{plain(count, 3)} TB"

"""Estimate: what a job will do, in numbers, before it runs.

Counts are exact; bytes are uncompressed; minutes come from timing one block and are good to a factor of two.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from geoseg.catalog.legend import NODATA
from geoseg.grid import Window, count, worker_bytes
from geoseg.jobs import block as job_block
from geoseg.jobs.plan import Plan, demand, pixel_size
from geoseg.quantities import counted, length, plain


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
        if plan.predictor.field is not None and plan.predictor.halo < plan.predictor.field:
            yield "halo", _halo(plan, todo)
        seconds, labelled = _probe(plan, todo)
        minutes = seconds * pixels / max(labelled, 1) / workers / 60
        much = f"about {minutes:.1f} minutes" if minutes >= 1 else f"about {max(1, round(60 * minutes))} s"
        yield "time", f"{much} with {counted(workers, 'worker')} like this process"


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


def _probe(plan: Plan, todo: list[Window]) -> tuple[float, int]:
    """Seconds and pixels of the middle block's first cores, after one warming pass."""
    middle, core = todo[len(todo) // 2], plan.layout.core
    part = Window(middle.row, middle.col, min(core, middle.height), min(2 * core, middle.width))
    assert plan.predictor is not None
    job_block.label(plan, plan.predictor, part)
    begin = time.perf_counter()
    job_block.label(plan, plan.predictor, part)
    return time.perf_counter() - begin, part.pixels


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

"""Benchmark: a job of a million blocks: planned, gathered, driven, looked at and gone on with; seconds and memory.

The scene is a sparse GeoTIFF of `--edge`² pixels, the blocks are one pixel, and what labels them does nothing, so
that all that is measured is geoseg's own work on a block. Each step is a process of its own. Blocks are kept in
`--folder`, two files each; /dev/shm spares the disk.
Output: a table of seconds and of the most memory that the step's process took. Blocks are labelled only with `--drive`,
which takes some 10 ms a block; without it their records are written as a run would have left them.
Run: python tests/benchmarks/many_blocks.py [--edge 1000] [--drive] [--folder /dev/shm]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio

from geoseg.catalog.legend import LandClass, Legend
from geoseg.grid import Tile
from geoseg.jobs import outputs, resolve, status
from geoseg.jobs import run as job_run
from geoseg.jobs import spec as job_spec
from geoseg.jobs.ahead import map_ahead
from geoseg.jobs.claim import claim
from geoseg.jobs.plan import Plan
from geoseg.process import peak_bytes
from geoseg.storage.record import Record, record_name, to_json
from geoseg.storage.store import Store

LEGEND = Legend("two", (LandClass(0, "nothing", "#808080"), LandClass(1, "something", "#808081")))
STEPS = ("plan", "records", "status", "resume")


def main() -> None:
    """Run the steps, each in a process of its own, or the one that is asked for."""
    given = _arguments()
    if given.step:
        begin = time.perf_counter()
        steps = {"plan": plan, "records": records, "drive": drive, "status": look, "resume": resume}
        said = steps[given.step](Path(given.folder), given.edge)
        seconds = time.perf_counter() - begin
        print(json.dumps({"seconds": seconds, "memory": peak_bytes(), "said": said}))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        _write(folder, given.edge)
        for step in ("plan", "drive", *STEPS[2:]) if given.drive else STEPS:
            command = [sys.executable, __file__, "--step", step, "--folder", str(folder), "--edge", str(given.edge)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout.splitlines()[-1])
            print(f"{step:<8} {found['seconds']:8.1f} s {found['memory'] / 1e6:8.0f} MB  {found['said']}", flush=True)


def no_op(pixels: np.ndarray, tile: Tile) -> np.ndarray:
    """Labels that cost nothing."""
    return np.zeros(pixels.shape[1:], np.uint8)


def plan(folder: Path, edge: int) -> str:
    """Resolve the job and go through its blocks."""
    return f"{sum(1 for _ in _plan(folder).blocks()):,} blocks"


def records(folder: Path, edge: int) -> str:
    """Write the records of empty blocks for all but the last hundred."""
    made, store = _plan(folder), Store.at(folder / "out")
    claim(made, store)
    digest, count = made.digest, edge * edge - 100
    for at, window in enumerate(made.blocks()):
        if at == count:
            break
        path = folder / "out" / record_name(window)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(to_json(Record(window, "empty", digest)))
    return f"{count:,} records"


def drive(folder: Path, edge: int) -> str:
    """Label all blocks in this process."""
    return _run(folder)


def resume(folder: Path, edge: int) -> str:
    """Go on with the job: look at what stands, make what is missing."""
    return _run(folder)


def look(folder: Path, edge: int) -> str:
    """Say where the job stands."""
    return status.status(Store.at(folder / "out")).state


def _run(folder: Path) -> str:
    outputs.write = lambda *_: ((), ())  # the map is another story
    summary = job_run.run(_plan(folder), folder / "out", predict=no_op, mapper=map_ahead)
    now = summary.progress
    return f"{now.reused:,} reused, {now.finished:,} made of {now.total:,}"


def _plan(folder: Path) -> Plan:
    return resolve.resolve(job_spec.read(folder / "job.yaml"), predict_halo=0, legend=LEGEND)


def _write(folder: Path, edge: int) -> None:
    import benchmark_scene  # loads torch, which no step needs

    profile = {"driver": "GTiff", "count": 4, "dtype": "uint16", "height": edge, "width": edge, "tiled": True}
    profile |= {"blockxsize": 256, "blockysize": 256, "crs": "EPSG:32632", "sparse_ok": True}
    profile |= {"transform": rasterio.Affine(10, 0, 300_000, 0, -10, 5_000_000)}
    with rasterio.open(folder / "scene.tif", "w", **profile):
        pass
    benchmark_scene.scene("noise", 512, folder / "square.tif")
    benchmark_scene.model(folder / "model", "compact", 256, folder / "square.tif")
    benchmark_scene.job(folder, inference={"window": 1, "block": 1})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edge", type=int, default=1000, help="blocks along the scene's side")
    parser.add_argument("--drive", action="store_true", help="label all blocks instead of writing their records")
    parser.add_argument("--folder", help="where to write; default: the system's")
    parser.add_argument("--step", default="", help="of these, used by itself")
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""Benchmark: the most memory that each process of a job takes, as the system sees it, beside what was declared.

A job is run for each edge and network, on worker processes or in one; RSS is sampled 20 times a second and PSS twice.
Declared is `memory_per_worker`; planned is what `geoseg plan` says that the windows labelled at once take. The source
is a sparse GeoTIFF: a square of real pixels repeated on its diagonal, the rest nodata, so that 100,000² is quick.
Output: a table, with `--json FILE` as data; the exit status is 1 where a process took more than was declared.
Run: python tests/benchmarks/memory.py [--edges 10000 30000] [--networks compact unet] [--precisions float32 bfloat16]
     [--windows 256 1024] [--workers 2] [--memory 3GB] [--filled 8]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import benchmark_scene
import rasterio
from measuring import measured

from geoseg.errors import JobError
from geoseg.grid import worker_bytes
from geoseg.jobs import resolve
from geoseg.jobs import spec as job_spec
from geoseg.jobs.plan import demand
from geoseg.process import cores

SQUARE = 2048


def main() -> None:
    """Run all jobs, print the table."""
    given = _arguments()
    rows = []
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        for edge in given.edges:
            folder = Path(name) / str(edge)
            folder.mkdir()
            sparse(edge, given.filled, folder / "scene.tif")
            for network, precision, window in itertools.product(given.networks, given.precisions, given.windows):
                row = {"edge": edge, "network": network, "precision": precision, "window": window}
                rows.append(row | run(folder, given, network, precision, window))
                print(_line(rows[-1]), flush=True)
            shutil.rmtree(folder)
    if given.json:
        given.json.write_text(json.dumps({"memory": given.memory, "workers": given.workers, "rows": rows}, indent=1))
    over = [row for row in rows if row.get("over")]
    for lines in _flat(rows):
        print(lines)
    print(f"{len(over)} of {len(rows)} jobs took more than was declared")
    sys.exit(bool(over))


def sparse(edge: int, filled: int, target: Path) -> None:
    """A scene of edge² pixels with so many squares of data along its diagonal, the rest never written."""
    side = min(SQUARE, edge)
    square = target.with_name("square.tif")
    benchmark_scene.scene("auto", side, square)
    with rasterio.open(square) as src:
        pixels, profile = src.read(), src.profile
    profile.update(width=edge, height=edge, bigtiff="YES", sparse_ok=True)
    count = max(1, min(filled, edge // side))
    with rasterio.open(target, "w", **profile) as out:
        for at in range(count):
            first = (edge - side) * at // max(1, count - 1) // 512 * 512
            out.write(pixels, window=rasterio.windows.Window(first, first, side, side))


def run(folder: Path, given: argparse.Namespace, network: str, precision: str, window: int) -> dict[str, Any]:
    """One job: what was declared and planned, and what its processes took."""
    halo = 48 if network == "compact" else 32
    benchmark_scene.model(folder / "model", network, window, folder / "square.tif")
    outputs = {"quicklook": False, "report": False}
    inference = {"precision": precision, "device": "cpu", "halo": halo}
    benchmark_scene.job(folder, memory_per_worker=given.memory, inference=inference, outputs=outputs)
    try:
        plan = resolve.resolve(job_spec.read(folder / "job.yaml"))
    except JobError as error:
        return {"refused": str(error)}
    layout, bands = plan.layout, len(plan.scene.imagery.bands)
    threads = min(max(1, cores() // max(1, given.workers)), plan.windows_at_once)
    planned = worker_bytes(layout.block, layout.margin, bands, demand(plan.predictor), threads)
    out = folder / "map"
    shutil.rmtree(out, ignore_errors=True)
    command = [str(Path(sys.executable).with_name("geoseg")), "run", "job.yaml", "--out", str(out)]
    took = measured([*command, "--workers", str(given.workers)], folder, folder / "log", os.environ, "cpu")
    text = (folder / "log").read_text()
    if took.status:
        sys.exit(text[-2000:])
    status = json.loads((out / "status.json").read_text())
    # With workers, the process of the command itself labels nothing: what it takes is told and not judged.
    rss, pss = sorted(took.rss.values(), reverse=True), sorted(took.pss.values(), reverse=True)
    made = status["performance"].get("memory", 0)
    declared = int(plan.spec.memory_per_worker)
    return {
        "declared": declared,
        "planned": planned,
        "block": layout.block,
        "made": made,
        "rss": rss[:6],
        "pss": pss[:6],
        "seconds": took.seconds,
        "died": len(re.findall("died", text)),
        "over": max(rss[0], made) > declared,
        "over_plan": made > planned,
    }


def _line(row: dict[str, Any]) -> str:
    name = f"{row['edge']:>7}²  {row['network']:<8}{row['precision']:<9} window {row['window']:<5}"
    if "refused" in row:
        return f"{name} refused: {row['refused']}"
    sizes = {key: row[key] / 1e9 for key in ("declared", "planned", "made")}
    rss, pss = (" ".join(f"{each / 1e9:.2f}" for each in row[kind][:4]) for kind in ("rss", "pss"))
    return (
        f"{name} block {row['block']:<5} declared {sizes['declared']:.2f} planned {sizes['planned']:.2f} workers at "
        f"most {sizes['made']:.2f} GB; RSS {rss}; PSS {pss}; {row['seconds']:.0f} s; {row['died']} died"
        + ("  OVER" if row["over"] else "  over plan" if row["over_plan"] else "")
    )


def _flat(rows: list[dict[str, Any]]) -> Iterator[str]:
    """How far apart the most memory of a worker is over the edges, for each network, precision and window."""
    for key in dict.fromkeys((row["network"], row["precision"], row["window"]) for row in rows):
        same = [row for row in rows if (row["network"], row["precision"], row["window"]) == key and "made" in row]
        peaks = [row["made"] for row in same]
        if len(peaks) > 1 and min(peaks):
            yield f"{' '.join(map(str, key))}: {max(peaks) / min(peaks) - 1:.1%} apart over {len(peaks)} edges"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edges", type=int, nargs="+", default=[10_000, 30_000])
    parser.add_argument("--networks", nargs="+", choices=benchmark_scene.ARCHITECTURES, default=["compact", "unet"])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--windows", type=int, nargs="+", default=[256, 512, 1024, 2048])
    parser.add_argument("--workers", type=int, default=2, help="processes; 0: in the command's own")
    parser.add_argument("--memory", default="3GB", help="memory_per_worker")
    parser.add_argument("--filled", type=int, default=4, help="squares of 2048 pixels with data")
    parser.add_argument("--folder", type=Path, help="where to write; default: the system's")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""Benchmark: `geoseg run` beside the network alone, in interleaved turns, with the memory that each process takes.

Inputs: a raster of at least four bands, mirrored up to `--edge`² pixels as a 4-band uint16 tiled deflate GeoTIFF; by
default noise. Networks get random weights: what they say does not change how long they take.
Limit: the same network on windows that are in the device's memory already, counted per pixel that is kept: one window
in each thread of a CPU, batches of `--batch` on a GPU. With a GPU its busy share is sampled while blocks are made.
Output: a table, and with `--json FILE` the same as data.
Run: python tests/benchmarks/throughput.py [--edge 4096] [--turns 3] [--network unet] [--precision bfloat16] ...
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rasterio
import safetensors.torch
import torch
import yaml

from geoseg import process
from geoseg.models import networks

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "compact": {"name": "compact", "width": 24, "depth": 3},
    "unet": {"name": "smp", "arch": "Unet", "encoder": "resnet18"},
}
BANDS, CLASSES = ("red", "green", "blue", "nir"), 6


def main() -> None:
    """Write the scene and the model, take turns, print the table."""
    given = _arguments()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        scene(given.source, given.edge, folder / "scene.tif")
        network = model(folder / "model", given.network, given.window, given.halo)
        turns = []
        for turn in range(given.turns):
            turns.append({"limit": limit(network, given, process.cores()), "run": run(folder, given, given.workers)})
            if given.beside:
                turns[-1]["beside"] = run(folder, given, given.workers, given.beside)
            print(f"turn {turn + 1} of {given.turns}: {_sentence(turns[-1])}", flush=True)
        report(given, turns)


def scene(source: Path | None, edge: int, target: Path) -> None:
    """Mirror a raster up to edge² pixels; noise of four smooth bands where there is none."""
    if source is None:
        generator = np.random.default_rng(0)
        tile = generator.integers(0, 10_000, (4, 512, 512)).astype(np.uint16)
    else:
        with rasterio.open(source) as src:
            tile = src.read(range(1, 5)).astype(np.uint16)
    rows, cols = (-(-edge // side) for side in tile.shape[1:])
    profile = {"driver": "GTiff", "count": 4, "dtype": "uint16", "height": edge, "width": edge, "tiled": True}
    profile |= {"blockxsize": 512, "blockysize": 512, "compress": "deflate", "predictor": 2, "crs": "EPSG:32632"}
    profile["transform"] = rasterio.Affine(10, 0, 300_000, 0, -10, 5_000_000)
    with rasterio.open(target, "w", BIGTIFF="IF_SAFER", NUM_THREADS="ALL_CPUS", **profile) as dst:
        for row in range(rows):
            strip = tile[:, :: (-1) ** row]
            strip = np.concatenate([strip[:, :, :: (-1) ** col] for col in range(cols)], axis=2)[:, :, :edge]
            top = row * tile.shape[1]
            strip = strip[:, : edge - top]
            dst.write(strip, window=rasterio.windows.Window(0, top, edge, strip.shape[1]))


def model(folder: Path, name: str, window: int, halo: int) -> torch.nn.Module:
    """A model folder of random weights, and its network."""
    torch.manual_seed(0)
    network = networks.build(ARCHITECTURES[name], len(BANDS), CLASSES, most_bytes=10**9).eval().requires_grad_(False)
    folder.mkdir()
    file = folder / "weights.safetensors"
    safetensors.torch.save_file(network.state_dict(), file)
    card = {
        "name": name,
        "architecture": ARCHITECTURES[name],
        "weights": {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()},
        "bands": list(BANDS),
        "normalisation": {"kind": "fixed", "mean": [1000.0] * 4, "std": [500.0] * 4},
        "stride": networks.stride_of(network),
        "halo": halo,
        "field": "bounded",
        "window": window,
        "legend_name": "six",
        "classes": [{"id": i, "name": f"class {i}", "colour": f"#{40 * i:02x}8040"} for i in range(1, CLASSES + 1)],
    }
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    return network.to(memory_format=torch.channels_last)


def limit(network: torch.nn.Module, given: argparse.Namespace, threads: int) -> dict[str, float]:
    """Megapixels a second of the network alone: windows in memory, one in each thread, cores counted."""
    if given.device != "cpu":
        return limit_of_gpu(network, given)
    side, dtype = given.window + 2 * given.halo, getattr(torch, given.precision)
    windows = [
        torch.randn(1, 4, side, side).contiguous(memory_format=torch.channels_last) for _ in range(max(2, threads))
    ]

    def work(window: torch.Tensor) -> None:
        with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            network(window)

    torch.set_num_threads(1)
    count = max(threads, round(given.edge**2 / given.window**2 / 2))
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(work, windows))
        begin = time.perf_counter()
        list(pool.map(work, [windows[i % len(windows)] for i in range(count)]))
        seconds = time.perf_counter() - begin
    return {"seconds": seconds, "mpx_s": count * given.window**2 / 1e6 / seconds}


def limit_of_gpu(network: torch.nn.Module, given: argparse.Namespace) -> dict[str, float]:
    """The same on a GPU, batch after batch."""
    side, dtype = given.window + 2 * given.halo, getattr(torch, given.precision)
    network = network.to(given.device)
    windows = torch.randn(given.batch, 4, side, side, device=given.device).contiguous(memory_format=torch.channels_last)
    count = max(1, round(given.edge**2 / given.window**2 / given.batch / 2))
    with torch.inference_mode(), torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        for each in (3, count):
            torch.cuda.synchronize()
            begin = time.perf_counter()
            for _ in range(each):
                network(windows)
            torch.cuda.synchronize()
    seconds = time.perf_counter() - begin
    network.to("cpu")
    torch.cuda.empty_cache()
    return {"seconds": seconds, "mpx_s": count * given.batch * given.window**2 / 1e6 / seconds}


def run(folder: Path, given: argparse.Namespace, workers: int, checkout: Path | None = None) -> dict[str, Any]:
    """`geoseg run` in a fresh job folder: seconds, in all and while blocks are made, and most memory of a process."""
    catalog = {
        "imagery": {"scene": {"files": "scene.tif", "bands": {name: i for i, name in enumerate(BANDS, 1)}}},
        "models": {"net": {"path": "model"}},
    }
    spec = {
        "imagery": "scene",
        "model": "net",
        "memory_per_worker": given.memory,
        "inference": {"precision": given.precision, "device": given.device},
        "outputs": {"quicklook": False},
    }
    (folder / "data_catalog.yaml").write_text(yaml.safe_dump(catalog))
    (folder / "job.yaml").write_text(yaml.safe_dump(spec))
    out = folder / "map"
    shutil.rmtree(out, ignore_errors=True)
    command = [
        Path(sys.executable).with_name("geoseg"),
        "run",
        "job.yaml",
        "--out",
        str(out),
        "--workers",
        str(workers),
    ]
    env = {**os.environ, "COLUMNS": "200"} | ({"PYTHONPATH": str(checkout.resolve())} if checkout else {})
    begin, clock = time.time(), time.perf_counter()
    with (folder / "run.log").open("w") as log:
        child = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=env)
        with Watched(child.pid) as peaks, Busy(given.device) as busy:
            child.wait()
    seconds = time.perf_counter() - clock
    if child.returncode:
        sys.exit((folder / "run.log").read_text()[-2000:])
    journal = [json.loads(line) for file in sorted((out / "log").iterdir()) for line in file.read_text().splitlines()]
    blocks = [each for each in journal if each.get("event") == "block"]
    times = [each["time"] for each in journal if each.get("event") in ("block", "output")]
    finished = max(each["time"] for each in blocks)
    began = min(each["time"] - sum(each["seconds"].values()) for each in blocks)
    spent = {key: sum(each["seconds"].get(key, 0.0) for each in blocks) for key in ("read", "infer", "write")}
    return {
        "seconds": seconds,
        "mpx_s": given.edge**2 / 1e6 / seconds,
        "made_mpx_s": given.edge**2 / 1e6 / (finished - began),
        "blocks_until_s": finished - begin,
        "outputs_s": max(times) - finished,
        "blocks": len(blocks),
        "spent": spent,
        "peak_bytes": max(peaks.values()),
        "died": sum("died" in str(each) for each in journal),
        "device_busy": busy.share(began, finished),
    }


class Busy:
    """Share of the time in which a GPU computes, as nvidia-smi says five times a second; None for a CPU."""

    def __init__(self, device: str) -> None:
        self._device, self._seen = device, []
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Busy:
        if self._device != "cpu":
            number = self._device.partition(":")[2] or "0"
            query = ["nvidia-smi", "-i", number, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
            self._child = subprocess.Popen([*query, "-lms", "200"], stdout=subprocess.PIPE, text=True)
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.terminate()
            self._thread.join()

    def share(self, began: float, finished: float) -> float | None:
        """Mean between two times."""
        held = [share for at, share in self._seen if began <= at <= finished]
        return statistics.mean(held) / 100 if held else None

    def _watch(self) -> None:
        assert self._child is not None
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._seen.append((time.time(), float(line)))


class Watched:
    """Most memory (RSS) of a process and of each of its children, sampled 20 times a second."""

    def __init__(self, pid: int) -> None:
        self.peaks: dict[int, int] = {}
        self._pid, self._stop = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> dict[int, int]:
        self._thread.start()
        return self.peaks

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            try:
                parent = psutil.Process(self._pid)
                for each in [parent, *parent.children(recursive=True)]:
                    self.peaks[each.pid] = max(self.peaks.get(each.pid, 0), each.memory_info().rss)
            except psutil.Error:
                continue


def report(given: argparse.Namespace, turns: list[dict[str, Any]]) -> None:
    """Print medians of the paired ratios, in all and while blocks are made; write all turns where asked."""
    ratios = sorted(each["run"]["mpx_s"] / each["limit"]["mpx_s"] for each in turns)
    made = [each["run"]["made_mpx_s"] / each["limit"]["mpx_s"] for each in turns]
    peak = max(each["run"]["peak_bytes"] for each in turns)
    median, died = statistics.median, sum(each["run"]["died"] for each in turns)
    print(
        f"{given.network}, {given.precision}, {given.edge}² pixels, window {given.window}, halo {given.halo}, "
        f"{given.workers} workers: run / limit = {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}), "
        f"while blocks are made {median(made):.2f}; peak memory {peak / 1e9:.2f} GB; {died} workers died"
    )
    if all(each["run"]["device_busy"] is not None for each in turns):
        print(f"{given.device} is busy {median(each['run']['device_busy'] for each in turns):.0%} of that time")
    if given.beside:
        gains = sorted(each["beside"]["seconds"] / each["run"]["seconds"] for each in turns)
        print(f"{given.beside}: {median(gains):.2f} times as long ({gains[0]:.2f} to {gains[-1]:.2f})")
    if given.json:
        machine = {"cores": process.cores(), "machine": platform.machine(), "python": platform.python_version()}
        machine |= {name: version(name) for name in ("geoseg", "torch", "rasterio", "dask")}
        options = {key: str(value) for key, value in vars(given).items()}
        text = {"machine": machine, "options": options, "ratio": median(ratios), "made": median(made), "turns": turns}
        given.json.write_text(json.dumps(text, indent=1))


def _sentence(turn: dict[str, Any]) -> str:
    limit_, run_ = turn["limit"], turn["run"]
    spent = ", ".join(f"{key} {seconds:.1f}" for key, seconds in run_["spent"].items())
    return (
        f"limit {limit_['mpx_s']:.2f} Mpx/s; run {run_['mpx_s']:.2f} Mpx/s in {run_['seconds']:.1f} s (blocks until "
        f"{run_['blocks_until_s']:.1f} s, outputs {run_['outputs_s']:.1f} s; in {run_['blocks']} blocks: {spent} s); "
        f"peak {run_['peak_bytes'] / 1e9:.2f} GB"
    ) + (f"; beside {turn['beside']['seconds']:.1f} s" if "beside" in turn else "")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, help="raster to mirror up; default: noise")
    parser.add_argument("--edge", type=int, default=4096, help="pixels along the scene's side")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--network", choices=ARCHITECTURES, default="unet")
    parser.add_argument("--precision", default="bfloat16", choices=("float32", "bfloat16"))
    parser.add_argument("--window", type=int, default=1024)
    parser.add_argument("--halo", type=int, default=32)
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: `geoseg run` itself, with all cores")
    parser.add_argument("--memory", default="4GB", help="memory_per_worker")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1")
    parser.add_argument("--batch", type=int, default=16, help="windows in a pass of the limit on a GPU")
    parser.add_argument("--beside", type=Path, help="another checkout of geoseg to take turns with")
    parser.add_argument("--folder", type=Path, help="where to write; default: the system's")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""Benchmark: `geoseg run` beside the network alone and other tools, in interleaved turns, and what each process holds.

Scene: real pixels (Landsat over Zion, else Sentinel-2 over India, else noise) mirrored up to `--edge`² pixels as a
4-band uint16 tiled deflate GeoTIFF. Networks get random weights, which take as long as others.
Limit: the same network on windows that are in the device's memory already, counted per pixel that is kept: one window
in each thread of a CPU, batches of `--batch` on a GPU. With a GPU its busy share is sampled while blocks are made.
Peers: `--peers` runs those of peers.py on the same scene, network and number of threads, with `--peer-python`.
Disagreement is the share of labels that differ from those of the middle of the scene in one piece.
Output: a table, and with `--json FILE` the same as data.
Run: python tests/benchmarks/throughput.py [--edge 4096] [--turns 3] [--network unet] [--precision bfloat16] ...
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import benchmark_scene
import torch
from measuring import measured

from geoseg import process

PIXEL_M2 = 100.0
PEERS = ("torchgeo", "dask", "geo-inference")


def main() -> None:
    """Write the scene and the model, take turns, print the table."""
    given = _arguments()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        given.source = benchmark_scene.scene(given.source, given.edge, folder / "scene.tif")
        network = benchmark_scene.model(folder / "model", given.network, given.window, folder / "scene.tif")
        whole = benchmark_scene.Whole(network, folder / "scene.tif", given.precision)
        if given.peers:
            script(network, given.precision, given.window + 2 * given.halo, folder / "network.pt")
        turns: list[dict[str, Any]] = []
        for turn in range(given.turns):
            turns.append({"limit": limit(network, given, process.cores())})
            turns[-1]["run"] = run(folder, given, given.workers, whole)
            if given.beside:
                turns[-1]["beside"] = run(folder, given, given.workers, whole, given.beside)
            for kind in given.peers:
                turns[-1][kind] = peer(folder, given, kind, whole)
            print(f"turn {turn + 1} of {given.turns}: {_sentence(turns[-1])}", flush=True)
        report(given, turns)


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


def script(network: torch.nn.Module, precision: str, side: int, target: Path) -> None:
    """The network with its normalisation and precision as TorchScript, for the peers."""
    dtype = getattr(torch, precision)

    class Normalised(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            values = (pixels.to(torch.float32) - benchmark_scene.MEAN) / benchmark_scene.STD
            values = values.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32, cache_enabled=False):
                return self.network(values).to(torch.float32)

    with torch.inference_mode():
        torch.jit.save(torch.jit.trace(Normalised(), torch.rand(1, 4, side, side) * 2000, check_trace=False), target)


def run(
    folder: Path, given: argparse.Namespace, workers: int, whole: benchmark_scene.Whole, checkout: Path | None = None
) -> dict[str, Any]:
    """`geoseg run` in a fresh job folder: seconds, in all and while blocks are made, and most memory of a process."""
    inference = {"precision": given.precision, "device": given.device, "halo": given.halo}
    benchmark_scene.job(folder, memory_per_worker=given.memory, inference=inference)
    out = folder / "map"
    shutil.rmtree(out, ignore_errors=True)
    command = [str(Path(sys.executable).with_name("geoseg")), "run", "job.yaml", "--out", str(out)]
    command += ["--workers", str(workers)]
    env = {**os.environ, "COLUMNS": "200"} | ({"PYTHONPATH": str(checkout.resolve())} if checkout else {})
    begin = time.time()
    took = measured(command, folder, folder / "run.log", env, given.device)
    if took.status:
        sys.exit((folder / "run.log").read_text()[-2000:])
    journal = [json.loads(line) for file in sorted((out / "log").iterdir()) for line in file.read_text().splitlines()]
    blocks = [each for each in journal if each.get("event") == "block"]
    times = [each["time"] for each in journal if each.get("event") in ("block", "output")]
    finished = max(each["time"] for each in blocks)
    began = min(each["time"] - sum(each["seconds"].values()) for each in blocks)
    told = json.loads((out / "status.json").read_text()).get("performance", {})
    return {
        **_speed(given, took.seconds),
        "made_mpx_s": given.edge**2 / 1e6 / (finished - began),
        "blocks_until_s": finished - begin,
        "outputs_s": max(times) - finished,
        "blocks": len(blocks),
        "spent": {key: sum(each["seconds"].get(key, 0.0) for each in blocks) for key in ("read", "infer", "write")},
        "device": told.get("device"),
        "peak_bytes": max(took.rss.values()),
        "peak_rss": sorted(took.rss.values(), reverse=True)[:8],
        "peak_pss": sorted(took.pss.values(), reverse=True)[:8],
        "died": sum("died" in str(each) for each in journal),
        "gpu_busy": took.busy.share(began, finished),
        "disagreement": whole.disagreement(out / "map.tif"),
    }


def peer(folder: Path, given: argparse.Namespace, kind: str, whole: benchmark_scene.Whole) -> dict[str, Any]:
    """One of the peers on the same scene; why not, where it does not run."""
    command = [str(given.peer_python), str(Path(__file__).with_name("peers.py").resolve()), kind, str(folder)]
    command += ["--window", str(given.window), "--halo", str(given.halo), "--threads", str(process.cores())]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    took = measured(command, folder, folder / f"{kind}.log", env, given.device)
    if took.status or not (folder / f"{kind}.tif").exists():
        return {"failed": (folder / f"{kind}.log").read_text()[-500:]}
    found = whole.disagreement(folder / f"{kind}.tif", first_id=0)
    return {**_speed(given, took.seconds), "peak_bytes": max(took.rss.values()), "disagreement": found}


def _speed(given: argparse.Namespace, seconds: float) -> dict[str, float]:
    mpx_s = given.edge**2 / 1e6 / seconds
    return {"seconds": seconds, "mpx_s": mpx_s, "km2_h": mpx_s * PIXEL_M2 * 3600}


def report(given: argparse.Namespace, turns: list[dict[str, Any]]) -> None:
    """Print medians of the paired ratios, in all and while blocks are made; write all turns where asked."""
    print(
        f"{given.network}, {given.precision}, {given.edge}² pixels of {given.source}, window {given.window}, halo "
        f"{given.halo}, {given.workers} workers, {process.cores()} cores"
    )
    for line in _lines(given, turns):
        print(line)
    if given.json:
        machine = {"cores": process.cores(), "machine": platform.machine(), "python": platform.python_version()}
        machine |= {name: version(name) for name in ("geoseg", "torch", "rasterio", "dask")}
        options = {key: str(value) for key, value in vars(given).items()}
        ratios = {name: _ratios(turns, name) for name in ("limit", *given.peers) if _ratios(turns, name)}
        made = [each["run"]["made_mpx_s"] / each["limit"]["mpx_s"] for each in turns]
        text = {"machine": machine, "options": options, "run_over": ratios, "made": made, "turns": turns}
        given.json.write_text(json.dumps(text, indent=1))


def _lines(given: argparse.Namespace, turns: list[dict[str, Any]]) -> Iterator[str]:
    median, runs = statistics.median, [each["run"] for each in turns]
    made = sorted(each["run"]["made_mpx_s"] / each["limit"]["mpx_s"] for each in turns)
    yield f"run / limit = {_spread(_ratios(turns, 'limit'))}, while blocks are made {_spread(made)}"
    mpx_s, km2_h = (median(each[key] for each in runs) for key in ("mpx_s", "km2_h"))
    died, off = sum(each["died"] for each in runs), max(each["disagreement"] for each in runs)
    yield f"run: {mpx_s:.2f} Mpx/s, {km2_h:,.0f} km²/h, disagreement {off:.4%}, {died} workers died"
    if all(each["device"] for each in runs):
        parts = {part: median(each["device"][part] for each in runs) for part in runs[0]["device"]}
        yield "device: " + ", ".join(f"{part} {share:.0%}" for part, share in parts.items())
    if all(each["gpu_busy"] is not None for each in runs):
        yield f"{given.device} is busy {median(each['gpu_busy'] for each in runs):.0%} of that time"
    for kind in ("rss", "pss"):
        largest = max((each[f"peak_{kind}"] for each in runs), key=lambda each: each[:1])
        yield f"most {kind.upper()} of each process: " + ", ".join(f"{each / 1e9:.2f}" for each in largest) + " GB"
    if given.beside:
        gains = sorted(each["beside"]["seconds"] / each["run"]["seconds"] for each in turns)
        yield f"{given.beside}: {_spread(gains)} times as long"
    for name in given.peers:
        failed = [each[name]["failed"] for each in turns if "failed" in each[name]]
        if failed:
            yield f"{name} did not run: {failed[0]}"
            continue
        peak, off = (max(each[name][key] for each in turns) for key in ("peak_bytes", "disagreement"))
        text = f"run / {name} = {_spread(_ratios(turns, name))}; disagreement {off:.4%}, memory {peak / 1e9:.2f} GB"
        yield text


def _ratios(turns: list[dict[str, Any]], other: str) -> list[float]:
    """Speed of the run over another's, turn by turn, sorted."""
    return sorted(each["run"]["mpx_s"] / each[other]["mpx_s"] for each in turns if "mpx_s" in each.get(other, {}))


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def _sentence(turn: dict[str, Any]) -> str:
    limit_, run_ = turn["limit"], turn["run"]
    spent = ", ".join(f"{key} {seconds:.1f}" for key, seconds in run_["spent"].items())
    beside = {name: turn[name]["seconds"] for name in ("beside", *PEERS) if "seconds" in turn.get(name, {})}
    others = [f"; {name} {seconds:.1f} s" for name, seconds in beside.items()]
    return (
        f"limit {limit_['mpx_s']:.2f} Mpx/s; run {run_['mpx_s']:.2f} Mpx/s in {run_['seconds']:.1f} s (blocks until "
        f"{run_['blocks_until_s']:.1f} s, outputs {run_['outputs_s']:.1f} s; in {run_['blocks']} blocks: {spent} s); "
        f"peak {run_['peak_bytes'] / 1e9:.2f} GB"
    ) + "".join(others)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", default="auto", help="zion, india, noise or a raster of four bands to mirror up")
    parser.add_argument("--edge", type=int, default=4096, help="pixels along the scene's side")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--network", choices=benchmark_scene.ARCHITECTURES, default="unet")
    parser.add_argument("--precision", default="bfloat16", choices=("float32", "bfloat16"))
    parser.add_argument("--window", type=int, default=1024)
    parser.add_argument("--halo", type=int, default=32)
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: `geoseg run` itself, with all cores")
    parser.add_argument("--memory", default="4GB", help="memory_per_worker")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1")
    parser.add_argument("--batch", type=int, default=16, help="windows in a pass of the limit on a GPU")
    parser.add_argument("--beside", type=Path, help="another checkout of geoseg to take turns with")
    parser.add_argument("--peers", nargs="*", choices=PEERS, help="other tools to take turns with; alone: all of them")
    parser.add_argument("--peer-python", type=Path, default=Path(sys.executable), help="Python that has them")
    parser.add_argument("--folder", type=Path, help="where to write; default: the system's")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    given.peers = () if given.peers is None else tuple(given.peers) or PEERS
    return given


if __name__ == "__main__":
    main()

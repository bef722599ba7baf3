"""Benchmark: a map scored against a shifted copy of itself, by geoseg, scikit-learn and torchmetrics.

Inputs: a classified GeoTIFF of a shipped legend, of which the lowest rows are taken. Output: for each route the median
of Mpx/s and of peak memory over turns taken one after the other, each run in a process of its own. The others read
strips of 1024 rows with rasterio and add up confusion matrices, since whole maps do not fit their memory; all must
count the same. geoseg also makes areas, blocks and intervals.
Run: python tests/benchmarks/evaluate.py MAP [--legend worldcover] [--rows 8192] [--shift 3] [--turns 3]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

STRIP = 1024


def main() -> None:
    """Make the two maps, take the turns, and print a line for each route."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("map", type=Path)
    arguments.add_argument("--legend", default="worldcover")
    arguments.add_argument("--rows", type=int, default=8192)
    arguments.add_argument("--shift", type=int, default=3)
    arguments.add_argument("--turns", type=int, default=3)
    arguments.add_argument("--once", nargs=2, metavar=("ROUTE", "OTHER"), help="one run, for the benchmark itself")
    given = arguments.parse_args()
    if given.once:
        print(json.dumps(once(given.map, Path(given.once[1]), given.legend, given.once[0])))
        return
    with tempfile.TemporaryDirectory() as folder:
        pair = [Path(folder, name) for name in ("map.tif", "shifted.tif")]
        pixels = cut(given.map, *pair, given.rows, given.shift)
        turns = [{route: run(*pair, given.legend, route) for route in ROUTES} for _ in range(given.turns)]
    for route in ROUTES:
        assert all(turn[route]["matrix"] == turns[0]["geoseg"]["matrix"] for turn in turns), route
        seconds, memory = (statistics.median(turn[route][what] for turn in turns) for what in ("time", "memory"))
        times = statistics.median(turn[route]["time"] / turn["geoseg"]["time"] for turn in turns)
        speed = f"{pixels / seconds / 1e6:7.1f} Mpx/s, {memory / 1e6:7,.0f} MB"
        print(f"{route:13} {speed}; geoseg is {times:.1f} times as fast")
    compared = int(np.sum(turns[0]["geoseg"]["matrix"]))
    print(f"{pixels / 1e6:,.0f} Mpx, {compared / 1e6:,.1f} of them compared; all routes count the same")


def cut(given, path, shifted, rows, by):
    """Write the lowest rows of a map, and the same moved sideways; their number of pixels."""
    import rasterio
    from rasterio.windows import Window

    with rasterio.open(given) as source:
        first = max(0, source.height - rows)
        size = {"height": source.height - first, "width": source.width}
        part = source.window_transform(Window(0, first, 1, 1))
        layout = {"driver": "GTiff", "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
        profile = {"count": 1, "dtype": source.dtypes[0], "crs": source.crs, "nodata": source.nodata, "transform": part}
        for out, move in ((path, 0), (shifted, by)):
            with rasterio.open(out, "w", **profile | layout | size) as file:
                for row in range(0, size["height"], STRIP):
                    strip = Window(0, first + row, source.width, min(STRIP, size["height"] - row))
                    ids = np.roll(source.read(1, window=strip), move, axis=1)
                    file.write(ids, 1, window=Window(0, row, source.width, len(ids)))
    return size["height"] * size["width"]


def run(path, other, legend, route):
    """One run in a process of its own."""
    command = [sys.executable, __file__, str(path), "--legend", legend, "--once", route, str(other)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def once(path, other, name, route):
    """Seconds, bytes at most, and the confusion matrix of one route."""
    from geoseg import catalog
    from geoseg.process import peak_bytes  # what getrusage tells may be the peak of the process that started this one

    legend = catalog.shipped().legend(name)
    counting = ROUTES[route](path, other, legend)  # imports what it needs before the clock
    start = time.perf_counter()
    matrix = counting()
    taken = time.perf_counter() - start
    return {"time": taken, "memory": peak_bytes(), "matrix": np.asarray(matrix).tolist()}


def by_geoseg(path, other, legend):
    """All that `geoseg evaluate` does."""
    from geoseg.accuracy import score, tables
    from geoseg.catalog import Reference

    def counting():
        found = score.score(path, Reference("shifted", str(other), 1, legend, None), legend=legend)
        tables.as_json(found)
        return found.confusion.matrix

    return counting


def by_scikit_learn(path, other, legend):
    """A confusion matrix of each strip."""
    from sklearn.metrics import confusion_matrix

    def counting():
        return sum(confusion_matrix(b, a, labels=legend.ids) for a, b in strips(path, other, legend) if len(a))

    return counting


def by_torchmetrics(path, other, legend):
    """Strips as tensors of positions in the legend, in one thread as the others."""
    import torch
    from torchmetrics.classification import MulticlassConfusionMatrix

    torch.set_num_threads(1)
    metric = MulticlassConfusionMatrix(len(legend), validate_args=False)
    table = np.zeros(65536, np.int64)
    table[list(legend.ids)] = np.arange(len(legend))

    def counting():
        for a, b in strips(path, other, legend):
            metric.update(torch.from_numpy(table[a]), torch.from_numpy(table[b]))
        return metric.compute().numpy()

    return counting


ROUTES = {"geoseg": by_geoseg, "scikit-learn": by_scikit_learn, "torchmetrics": by_torchmetrics}


def strips(path, other, legend):
    """Ids of the pixels of both maps that have a class, a strip at a time."""
    import rasterio
    from rasterio.windows import Window

    known = np.zeros(65536, bool)
    known[list(legend.ids)] = True
    with rasterio.open(path) as ours, rasterio.open(other) as theirs:
        for row in range(0, ours.height, STRIP):
            window = Window(0, row, ours.width, min(STRIP, ours.height - row))
            a, b = (each.read(1, window=window) for each in (ours, theirs))
            both = known[a] & known[b]
            yield a[both], b[both]


if __name__ == "__main__":
    main()

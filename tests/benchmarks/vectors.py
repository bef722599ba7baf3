"""Benchmark: a map's polygons in a file, by geoseg, by rasterio.features.shapes with geopandas, and by other packages.

Inputs: a classified GeoTIFF, mirrored both ways and repeated downwards until it has so many pixels, or as it is.
Output: medians of the ratios of time, taken in turns that run one after the other, with peak memory and polygons, each
run in a process of its own; and of tracing alone, in one thread, without a file.
Run: python tests/benchmarks/vectors.py MAP [--mpx 23 | --mpx 0] [--turns 3] [--formats shp parquet fgb gpkg]
     [--peer-python xarray-spatial=PYTHON] [--peer-python contourrs=PYTHON]

Processes are started before the clock, and what is compiled has been compiled by an earlier call. Other packages may
need an environment of their own (contourrs needs Python 3.12): --peer-python names its interpreter. One that is not
named, or cannot import the package, is left out, and that is said. xarray-spatial on Dask, which can take several
times as long as on NumPy, is named xarray-spatial-dask.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SHAPES = "shapes"
GEOSEG = {"geoseg, 1 thread": 1, "geoseg, 2 threads": 2}
PEERS = {
    "xarray-spatial": ("xrspatial", {"xarray-spatial": "1"}),
    "xarray-spatial-dask": ("xrspatial", {"xarray-spatial, Dask": "2"}),
    "contourrs": ("contourrs", {"contourrs": "1"}),
}
"""By package: its module, and its routes with the threads that Dask and numba may take."""


def main() -> None:
    """Make the map, take the turns, and print a line for each route."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("map", type=Path)
    arguments.add_argument("--mpx", type=float, default=23.0, help="0: the map as it is")
    arguments.add_argument("--turns", type=int, default=3)
    arguments.add_argument("--formats", nargs="*", default=["shp", "parquet", "fgb", "gpkg"])
    arguments.add_argument("--peer-python", action="append", default=[], metavar="PACKAGE=PATH")
    arguments.add_argument("--once", nargs=2, metavar=("ROUTE", "OUT"), help="one run, for the benchmark itself")
    given = arguments.parse_args()
    if given.once:
        print(json.dumps(once(given.map, *given.once)))
        return
    peers = found_peers(dict(each.split("=", 1) for each in given.peer_python))
    with tempfile.TemporaryDirectory() as folder:
        path = given.map
        if given.mpx:
            path = Path(folder, "map.tif")
            print(f"{repeated(given.map, path, given.mpx * 1e6) / 1e6:.1f} Mpx", flush=True)
        routes = [SHAPES, *GEOSEG, *peers]
        for ending in [*given.formats, "-"]:
            run(path, "geoseg, 1 thread", outside(folder, "warm", ending), peers)
            turns = []
            for turn in range(given.turns):
                taken = {}
                for number, route in enumerate(routes):
                    out = outside(folder, f"{turn}{number}", ending)
                    taken[route] = run(path, route, out, peers)
                    for each in Path(folder).glob(f"{turn}{number}.*"):
                        each.unlink()
                turns.append(taken)
            report("tracing" if ending == "-" else ending, turns, "traced" if ending == "-" else "time")


def found_peers(given):
    """Routes of the packages that can be imported, with their interpreter and how many threads they may take."""
    found = {}
    for package, (module, routes) in PEERS.items():
        python = given.get(package)
        if python is None:
            print(f"{package} is left out: no --peer-python {package}=PATH")
            continue
        probe = (
            f"import {module}, sys, importlib.metadata as known\n"
            f"print('.'.join(map(str, sys.version_info[:3])), known.version({package.removesuffix('-dask')!r}))"
        )
        seen = subprocess.run([python, "-c", probe], capture_output=True, text=True, check=False)
        if seen.returncode:
            print(f"{package} is left out: {python} cannot import it ({seen.stderr.strip().splitlines()[-1]})")
            continue
        print(f"{package}: Python and version {seen.stdout.strip()}")
        found |= {route: (python, threads) for route, threads in routes.items()}
    return found


def outside(folder, name, ending):
    """Where a run writes; '-': nowhere."""
    return Path("-") if ending == "-" else Path(folder, f"{name}.{ending}")


def report(what, turns, key) -> None:
    """A line for each route: seconds, how often it fits into the time of rasterio's, memory and polygons."""
    for route in turns[0]:
        seconds, memory = (statistics.median(turn[route][each] for turn in turns) for each in (key, "memory"))
        faster = statistics.median(turn[SHAPES][key] / turn[route][key] for turn in turns)
        count = turns[0][route]["polygons"]
        print(
            f"{what:8} {route:22} {seconds:7.2f} s, {faster:5.1f} times as fast as {SHAPES}, {memory / 1e6:7,.0f} MB, "
            f"{count:9,} polygons",
            flush=True,
        )
    assert all(turn[route]["polygons"] == turn[SHAPES]["polygons"] for turn in turns for route in GEOSEG)


def run(path, route, out, peers):
    """One run in a process of its own."""
    command, more = [sys.executable, __file__, str(path), "--once", route, str(out)], {}
    if route in peers:
        python, threads = peers[route]
        command = [python, str(Path(__file__).with_name("peer_polygons.py")), route, str(path), str(out)]
        more = {"env": {**os.environ, "NUMBA_NUM_THREADS": threads, "DASK_NUM_WORKERS": threads, "PYTHONPATH": ""}}
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    if done.returncode:
        raise SystemExit(f"{route} failed: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def once(path, route, out):
    """Seconds in all and until the polygons are there, bytes at most, and polygons of one route."""
    import geopandas
    import rasterio
    import rasterio.features
    import shapely.geometry

    from geoseg.vectors import polygons

    start = time.perf_counter()
    traced = None
    if route == SHAPES:
        with rasterio.open(path) as source:
            labels = source.read(1)
            found = rasterio.features.shapes(labels, mask=source.read_masks(1), transform=source.transform)
            rows = [(shapely.geometry.shape(shape), int(value)) for shape, value in found]
            crs = source.crs
        shapes, ids = zip(*rows)
        frame = geopandas.GeoDataFrame({"class_id": ids}, geometry=list(shapes), crs=crs)
        traced, count = time.perf_counter() - start, len(frame)
        frame["class_name"], frame["area_m2"] = frame.class_id.astype(str), frame.area
        if out.endswith(".parquet"):
            frame.to_parquet(out)
        elif out != "-":
            frame.to_file(out, engine="pyogrio")
    elif out == "-":
        count = sum(map(len, polygons.batches(path, workers=GEOSEG[route])))
        traced = time.perf_counter() - start
    else:
        (count,) = polygons.vectorize(path, out, workers=GEOSEG[route]).values()
    taken = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"time": taken, "traced": traced, "memory": peak, "polygons": count}


def repeated(given, path, pixels):
    """Write the larger map; its number of pixels."""
    import rasterio

    with rasterio.open(given) as source:
        labels, profile = source.read(1), source.profile
    square = np.block([[labels, labels[:, ::-1]], [labels[::-1], labels[::-1, ::-1]]])
    times = max(1, round(pixels / square.size))
    whole = np.tile(square, (times, 1))
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "driver": "GTiff"}
    with rasterio.open(path, "w", **profile | layout | {"height": whole.shape[0], "width": whole.shape[1]}) as file:
        file.write(whole, 1)
    return whole.size


if __name__ == "__main__":
    main()

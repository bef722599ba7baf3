"""Benchmark: a map's polygons in a file, by geoseg and by rasterio.features.shapes, shapely and geopandas.

Inputs: a classified GeoTIFF, mirrored both ways and repeated downwards until it has so many pixels. Output: medians of
the ratios of time, taken in pairs that run one after the other, and of peak memory, each run in a process of its own.
Run: python tests/benchmarks/vectors.py MAP [--mpx 23] [--turns 3] [--formats shp parquet fgb gpkg]

Processes are started before the clock; geoseg's code has been compiled by an earlier one.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROUTES = {"shapes": 1, "geoseg, 1 thread": 1, "geoseg, 2 threads": 2}


def main() -> None:
    """Make the map, run the pairs, and print their ratios."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("map", type=Path)
    arguments.add_argument("--mpx", type=float, default=23.0)
    arguments.add_argument("--turns", type=int, default=3)
    arguments.add_argument("--formats", nargs="+", default=["shp", "parquet", "fgb", "gpkg"])
    arguments.add_argument("--once", nargs=2, metavar=("ROUTE", "OUT"), help="one run, for the benchmark itself")
    given = arguments.parse_args()
    if given.once:
        print(json.dumps(once(given.map, *given.once)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "map.tif")
        print(f"{repeated(given.map, path, given.mpx * 1e6) / 1e6:.1f} Mpx")
        for ending in given.formats:
            run(path, "geoseg, 1 thread", Path(folder, f"warm.{ending}"))
            turns = [
                {
                    route: run(path, route, Path(folder, f"{turn}{number}.{ending}"))
                    for number, route in enumerate(ROUTES)
                }
                for turn in range(given.turns)
            ]
            report(ending, turns)


def report(ending, turns) -> None:
    """One line for each way of geoseg's: how often it fits into the time and memory of the other route."""
    for route in list(ROUTES)[1:]:
        assert all(turn[route]["polygons"] == turn["shapes"]["polygons"] for turn in turns)
        faster, smaller = (
            statistics.median(turn["shapes"][what] / turn[route][what] for turn in turns) for what in ("time", "memory")
        )
        count = turns[0][route]["polygons"]
        print(f"{ending:8} {count:9,} polygons  {route}: {faster:5.1f} times as fast, 1/{smaller:.1f} of the memory")


def run(path, route, out):
    """One run in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, str(path), "--once", route, str(out)], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def once(path, route, out):
    """Seconds, bytes at most, and polygons of one route."""
    import geopandas
    import rasterio
    import rasterio.features
    import shapely.geometry

    from geoseg.vectors import polygons

    start = time.perf_counter()
    if route == "shapes":
        with rasterio.open(path) as source:
            labels = source.read(1)
            found = rasterio.features.shapes(labels, mask=source.read_masks(1), transform=source.transform)
            rows = [(shapely.geometry.shape(shape), int(value)) for shape, value in found]
            crs = source.crs
        shapes, ids = zip(*rows)
        frame = geopandas.GeoDataFrame({"class_id": ids}, geometry=list(shapes), crs=crs)
        frame["class_name"], frame["area_m2"] = frame.class_id.astype(str), frame.area
        if out.endswith(".parquet"):
            frame.to_parquet(out)
        else:
            frame.to_file(out, engine="pyogrio")
        count = len(frame)
    else:
        (count,) = polygons.vectorize(path, out, workers=ROUTES[route]).values()
    taken = time.perf_counter() - start
    return {"time": taken, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "polygons": count}


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

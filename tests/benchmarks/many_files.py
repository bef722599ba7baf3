"""Benchmark: imagery of thousands of files in two UTM zones, opened, planned and read.

Inputs: none; a mosaic of sparse GeoTIFFs with four bands is written to a temporary folder. Output: a table of seconds.
Run: python tests/benchmarks/many_files.py [--files 2000] [--edge 2048] [--blocks 40] [--profile STEP]

Files lie in rows and columns, a tenth overlapping, half of them in the zone of the grid, half in the next one.
Steps that use the index of files (`index.near`) are timed once more with every file looked at in its stead; where
they walk all blocks, on `--blocks` of them, spread evenly.
"""

import argparse
import cProfile
import itertools
import json
import pickle
import pstats
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import rasterio
from affine import Affine

from geoseg import imagery
from geoseg.catalog import Band, Imagery
from geoseg.catalog.legend import LandClass, Legend
from geoseg.grid import Grid, Layout, cut
from geoseg.jobs.plan import Plan
from geoseg.jobs.spec import JobSpec
from geoseg.rasters import footprints, index

BLOCK = 2048
ZONES = ("EPSG:32632", "EPSG:32633")


def main() -> None:
    """Write the mosaic, time each step, print the table."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--files", type=int, default=2000)
    arguments.add_argument("--edge", type=int, default=2048, help="pixels along a file's side")
    arguments.add_argument("--blocks", type=int, default=40, help="blocks that are timed")
    arguments.add_argument("--profile", default="", help="a step to profile")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        layer = mosaic(Path(folder), given.files, given.edge)
        table = Table(given.profile)
        scene = table.time("open", lambda: imagery.open(layer))
        assert len(scene.bands[0]) == given.files
        extent = table.time("extent, own grid", lambda: imagery.extent(scene, scene.grid))
        classes = Legend("two", (LandClass(1, "land", "#00ff00"), LandClass(2, "water", "#0000ff")))
        spec = JobSpec(imagery="mosaic", model="none")
        plan = Plan(spec, scene, scene.grid, Layout(extent, 256, 32, BLOCK), classes, None, None)
        text = table.time("plan to JSON", lambda: json.dumps(plan.to_json(), indent=1))
        table.time("plan from JSON", lambda: Plan.from_json(json.loads(text)))
        table.time("digest of the facts", lambda: plan.digest)
        packed = table.time("scene to pickle", lambda: pickle.dumps(scene))
        table.time("scene from pickle", lambda: pickle.loads(packed))
        blocks = list(plan.layout.cut())
        some = blocks[:: max(1, len(blocks) // given.blocks)][: given.blocks]
        share = len(blocks) / len(some)
        table.time("the first look at a block", partial(touches, scene, scene.grid, some[:1]))
        table.time("list of all blocks", lambda: list(plan.blocks()))
        look = table.both("all blocks, touched or not", scene, partial(touches, scene, scene.grid, some), share)
        touched = [block for block, yes in zip(some, look) if yes]
        for name, block in (("west", touched[len(touched) // 2]), ("east", last_in_a_row(touched))):
            table.both(f"one block in the {name}", scene, partial(imagery.read, scene, scene.grid, block.grown(32)))
        grid = Grid.regular("EPSG:3035", 10.0)
        extent = table.time("extent, another grid", lambda: imagery.extent(scene, grid))
        others = list(cut(extent, BLOCK))[:: max(1, len(blocks) // given.blocks)][: given.blocks]
        table.time("the first look at another grid", partial(touches, scene, grid, others[:1]))
        look = table.both("all blocks of another grid", scene, partial(touches, scene, grid, others), share)
        block = last_in_a_row([block for block, yes in zip(others, look) if yes])
        table.both("one block of another grid", scene, partial(imagery.read, scene, grid, block.grown(32)))
        print(f"{given.files} files, {len(text) / 1e6:.1f} MB of JSON, {len(packed) / 1e6:.1f} MB of pickle, ")
        print(f"{len(blocks)} blocks of {BLOCK}, of which {len(some)} were timed, {len(touched)} of them touched")


def touches(scene, grid, blocks):
    """Whether each block is touched."""
    return [imagery.touches(scene, grid, block) for block in blocks]


def last_in_a_row(touched):
    """The block furthest east among those in the middle."""
    middle = touched[len(touched) // 4 : -len(touched) // 4]
    return max(middle, key=lambda block: block.col)


def mosaic(folder: Path, files: int, edge: int) -> Imagery:
    """Sparse files side by side in two zones, as the catalog would list them."""
    each = files // len(ZONES)
    across = max(1, min(round((each * 5 / 8) ** 0.5), int(500_000 / (edge * 9))))
    paths = []
    for number in range(files):
        zone, place = divmod(number, each) if number < each * len(ZONES) else (0, number)
        row, col = divmod(place, across)
        left = (720_000 - across * edge * 9 if zone == 0 else 220_000) + col * edge * 9 // 10 * 10
        transform = Affine(10, 0, left, 0, -10, 5_900_000 - row * edge * 9 // 10 * 10)
        paths.append(str(folder / f"{number:05}.tif"))
        with rasterio.open(
            paths[-1], "w", driver="GTiff", count=4, height=edge, width=edge, dtype="uint16", crs=ZONES[zone],
            transform=transform, tiled=True, blockxsize=512, blockysize=512, sparse_ok=True,
        ) as out:  # fmt: skip
            out.write(np.full((4, 16, 16), number + 1, np.uint16), window=((0, 16), (0, 16)))
    names = ("blue", "green", "red", "nir")
    return Imagery("mosaic", tuple(Band(n, tuple(paths), i, None, 1.0, 0.0) for i, n in enumerate(names, 1)))


def one_by_one(scene, _index, grid, window):
    """Numbers of the files near a window, found by looking at each, as geoseg did before it had an index."""
    return (n for n, source in enumerate(scene.bands[0]) if footprints.needed(source, grid, window) is not None)


class Table:
    """Prints each step with its seconds as it comes."""

    def __init__(self, profiled: str) -> None:
        self._profiled = profiled

    def time(self, name: str, work: Callable, share: float = 1.0):
        """Do the work, print how long it took (times `share`), return what it gave."""
        profile = cProfile.Profile() if self._profiled and name.startswith(self._profiled) else None
        begin = time.perf_counter()
        found = profile.runcall(work) if profile else work()
        seconds = share * (time.perf_counter() - begin)
        print(f"{name:42} {seconds:10.3f} s", flush=True)
        self.seconds = seconds
        if profile:
            pstats.Stats(profile, stream=sys.stdout).sort_stats("cumulative").print_stats(25)
        return found

    def both(self, name: str, scene, work: Callable, share: float = 1.0):
        """`time` with the index and without; what they give must be the same."""
        work()  # opens files, and lays them out
        bare = footprints.spread.__wrapped__  # else the coordinates of the first run would be remembered in the second
        with mock.patch.object(footprints, "spread", bare), mock.patch.object(index, "spread", bare):
            found = self.time(name, work, share)
            indexed = self.seconds
            with mock.patch.object(index, "near", partial(one_by_one, scene)):
                slow = self.time(f"{name}, every file looked at", work, share)
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in itertools.zip_longest(found, slow))
        print(f"{'':42} {self.seconds / indexed:10.1f} times as long")
        return found


if __name__ == "__main__":
    main()

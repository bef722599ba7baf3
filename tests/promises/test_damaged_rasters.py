"""Damaged rasters: cut anywhere, any bit flipped, a job is refused or lists what failed; no crash, no hang."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window
from strategies import write

from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import GeosegError
from geoseg.jobs import block as job_block
from geoseg.jobs import resolve
from geoseg.jobs import run as job_run
from geoseg.jobs import spec as job_room

LONGEST_S = 30
BYTES = Legend("bytes", tuple(LandClass(id, f"value {id}", f"#{id:02x}8040") for id in range(255)))


def damaged(data: bytes, case: int | float) -> bytes:
    """A file cut at a share of its length, or with one bit flipped where the seed says; every other in the header."""
    if isinstance(case, float):
        return data[: int(case * len(data))]
    random = np.random.default_rng(case)
    flipped = bytearray(data)
    flipped[random.integers(len(data) if case % 2 else min(len(data), 600))] ^= 1 << random.integers(8)
    return bytes(flipped)


def outcomes(folder: Path, data: bytes, cases: list[int | float]) -> list[tuple[int | float, str, float]]:
    """In a process of its own: what becomes of a job on each damaged file, and the seconds that it took."""
    job_block._WAIT_S = 0.0  # a damaged file stays damaged, however long one waits
    logging.disable()
    found = []
    for case in cases:
        (folder / "case").write_text(repr(case))
        (folder / "scene.tif").write_bytes(damaged(data, case))
        shutil.rmtree(folder / "out", ignore_errors=True)
        begin = time.monotonic()
        found.append((case, outcome(folder), time.monotonic() - begin))
    return found


def outcome(folder: Path) -> str:
    try:
        plan = resolve.resolve(job_room.read(folder / "job.yaml"), legend=BYTES)
        if plan.layout.extent.pixels > 10**8:
            return "done"  # the header now claims a map that nobody waits for
        summary = job_run.run(plan, folder / "out", predict=first_band)
    except GeosegError as error:
        return "refused" if str(error) and "\n" not in str(error) else f"untold: {error!r}"
    except BaseException:
        return traceback.format_exc()
    with rasterio.open(folder / "out" / "map.tif") as made:
        empty = not (made.read(1) != 255).any()
    if summary.failed:
        return "listed" if (folder / "out" / "failed.geojson").exists() else "failed in silence"
    return "nodata" if empty else "done"


def first_band(pixels, tile):
    return np.nan_to_num(pixels[0]).astype("uint8") % 255


@pytest.fixture
def fast_folder(tmp_path):
    """A folder in memory where the system has one: hundreds of jobs wait for the disk hundreds of times."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


def survive(folder: Path, data: bytes, cases: list[int | float]) -> list[str]:
    """The outcomes of all cases; none may crash, hang or raise what is not told as a sentence."""
    (folder / "data_catalog.yaml").write_text("imagery: {scene: {files: scene.tif, bands: {red: 1}}}")
    how = {"inference": {"window": 16, "block": 48}, "outputs": {"report": False, "quicklook": False}}
    (folder / "job.yaml").write_text(json.dumps({"imagery": "scene", "model": "none", **how}))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            found = pool.submit(outcomes, folder, data, cases).result(timeout=60 + len(cases))
        except BrokenProcessPool:
            pytest.fail(f"the process crashed on case {(folder / 'case').read_text()}")
        except TimeoutError:
            for process in pool._processes.values():
                process.kill()
            pytest.fail(f"hangs on case {(folder / 'case').read_text()}")
    for case, what, seconds in found:
        assert what in ("refused", "listed", "done", "nodata"), f"case {case}: {what}"
        assert seconds < LONGEST_S, f"case {case} took {seconds:.0f} s"
    return [what for _, what, _ in found]


def small_scene(path: Path, **how) -> bytes:
    rows, cols = np.mgrid[:61, :83]
    write(path, ((rows * 3 + cols * 2)[None] % 251 + 1).astype(np.uint8), nodata=0, **how)
    return path.read_bytes()


@pytest.mark.slow
def test_damaged_rasters_are_refused_or_listed(tmp_path, fast_folder):
    data = small_scene(tmp_path / "whole.tif", compress="deflate", tiled=True, blockxsize=32, blockysize=32)
    cuts = [float(share) for share in np.linspace(0, 0.97, 15)]
    found = survive(fast_folder, data, [*cuts, *range(40)])
    assert set(found[:15]) == {"refused"}
    assert {"refused", "listed"} <= set(found)


LAYOUTS = {
    "strips": {"compress": "deflate"},
    "tiles": {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "lzw", "predictor": 2},
    "plain": {},
    "cog": {"driver": "COG", "compress": "zstd"},
    "big": {"BIGTIFF": "YES", "compress": "deflate", "zlevel": 9},
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_hundred_cuts_and_a_thousand_flips_over_all_layouts(tmp_path, fast_folder, layout):
    data = small_scene(tmp_path / "whole.tif", **LAYOUTS[layout])
    cuts = [float(share) for share in np.linspace(0, 0.97, 20)]
    first = 1000 * list(LAYOUTS).index(layout)
    found = survive(fast_folder, data, [*cuts, *range(first, first + 200)])
    assert set(found[:20]) == {"refused"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hundred_cuts_and_a_thousand_flips_of_a_real_file(shared_data, fast_folder):
    with rasterio.open(shared_data / "zion" / "landsat_b4.tif") as scene:
        part = Window(100, 200, 83, 61)
        pixels, crs, transform = scene.read(1, window=part), scene.crs, scene.transform
    path = fast_folder / "whole.tif"
    write(path, pixels[None], transform, crs, compress="deflate")
    found = survive(fast_folder, path.read_bytes(), [*np.linspace(0, 0.97, 100).tolist(), *range(1000)])
    assert set(found[:100]) == {"refused"}

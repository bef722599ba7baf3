"""Handles: open datasets of a thread, counted by the operating system and read after the files changed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from http_server import serving
from strategies import NORTH_UP, coordinates, layer, write

from geoseg import imagery, process
from geoseg.errors import ImageryChangedError, RasterError
from geoseg.imagery import Scene
from geoseg.rasters import handles, identity


def open_files(folder: Path) -> list[str]:
    """Files below a folder that this process holds open, as Linux knows it."""
    held = []
    for each in Path("/proc/self/fd").iterdir():
        try:
            held.append(str(each.readlink()))
        except OSError:
            continue
    return sorted(name for name in held if name.startswith(str(folder)))


def row_of(folder: Path, number: int) -> Scene:
    files = tuple(
        write(folder / f"{n}.tif", coordinates(3, 4), NORTH_UP @ Affine.translation(4 * n, 0)) for n in range(number)
    )
    return imagery.open(layer(files))


def test_a_file_that_changed_since_it_was_examined_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", coordinates(3, 4))
    scene = imagery.open(layer(path))
    write(tmp_path / "a.tif", coordinates(5, 4))
    with pytest.raises(ImageryChangedError, match=r"a\.tif changed since the job was planned"):
        imagery.read(scene, scene.grid, scene.window)


def test_forget_makes_the_next_read_look_at_the_file_again(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a.tif", coordinates(3, 4)))
    scene = imagery.open(layer(str(path)))
    imagery.read(scene, scene.grid, scene.window)
    path.rename(tmp_path / "away.tif")
    imagery.read(scene, scene.grid, scene.window)  # the open handle still reads it
    imagery.forget(scene)
    with pytest.raises(RasterError, match="does not exist or cannot be reached"):
        imagery.read(scene, scene.grid, scene.window)
    (tmp_path / "away.tif").rename(path)
    np.testing.assert_array_equal(imagery.read(scene, scene.grid, scene.window), coordinates(3, 4)[:1])


def test_at_most_32_datasets_stay_open_those_used_last(tmp_path: Path) -> None:
    scene = row_of(tmp_path, 40)
    assert open_files(tmp_path) == []  # examining leaves none open
    assert np.isfinite(imagery.read(scene, scene.grid, scene.window)).all()
    assert len(open_files(tmp_path)) == 32
    assert str(tmp_path / "0.tif") not in open_files(tmp_path)
    assert str(tmp_path / "39.tif") in open_files(tmp_path)


def test_forget_closes_the_files_named_and_no_other(tmp_path: Path) -> None:
    scene = row_of(tmp_path, 3)
    imagery.read(scene, scene.grid, scene.window)
    handles.forget([str(tmp_path / "1.tif"), str(tmp_path / "never opened.tif")])
    assert open_files(tmp_path) == [str(tmp_path / "0.tif"), str(tmp_path / "2.tif")]


def test_a_process_that_begins_anew_holds_nothing_open(tmp_path: Path) -> None:
    scene = row_of(tmp_path, 3)
    imagery.read(scene, scene.grid, scene.window)
    process.renew()
    assert open_files(tmp_path) == []
    assert np.isfinite(imagery.read(scene, scene.grid, scene.window)).all()


def test_one_dataset_is_opened_for_many_reads_of_a_thread_and_another_for_another_thread(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", coordinates(3, 4))
    known = identity.stamp(path)
    mine = handles.handle(path, *known)
    assert handles.handle(path, *known) is mine
    theirs: list[object] = []
    thread = threading.Thread(target=lambda: theirs.append(handles.handle(path, *known)))
    thread.start()
    thread.join()
    assert theirs
    assert theirs[0] is not mine


def test_threads_read_the_same_file_at_once(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 60000, (3, 300, 200), np.uint16)
    scene = imagery.open(layer(write(tmp_path / "a.tif", pixels, compress="deflate"), 3))
    wrong: list[object] = []

    def work() -> None:
        for _ in range(20):
            if not np.array_equal(imagery.read(scene, scene.grid, scene.window), pixels):
                wrong.append("differs")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.slow
def test_a_forked_process_reads_by_handles_of_its_own(tmp_path: Path) -> None:
    """In a process without threads: what a fork finds locked by one stays locked."""
    program = f"import pathlib, runpy; runpy.run_path({__file__!r})['fork_and_read'](pathlib.Path({str(tmp_path)!r}))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], env=env, check=True, timeout=100)


def fork_and_read(tmp_path: Path) -> None:
    """A handle shared with the parent would share its place in the file, and the two would read each other's bytes."""
    pixels = np.random.default_rng(2).integers(0, 60000, (3, 700, 400), np.uint16)
    scene = imagery.open(layer(write(tmp_path / "a.tif", pixels), 3))
    imagery.read(scene, scene.grid, scene.window)
    parents = set(map(id, process.kept(handles._Handles).datasets.values()))
    child = os.fork()
    if child == 0:
        same = parents & set(map(id, process.kept(handles._Handles).datasets.values()))
        right = all(np.array_equal(imagery.read(scene, scene.grid, scene.window), pixels) for _ in range(5))
        os._exit(0 if right and not same else 1)
    assert all(np.array_equal(imagery.read(scene, scene.grid, scene.window), pixels) for _ in range(5))
    assert os.waitpid(child, 0)[1] == 0


def test_a_file_that_another_driver_would_open_is_refused(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a.tif", coordinates(3, 4)))
    path.rename(tmp_path / "a.jp2")
    with pytest.raises(RasterError, match=r"a\.jp2 cannot be opened as JP2OpenJPEG .* see that its ending says"):
        handles.opened(str(tmp_path / "a.jp2"))


@pytest.mark.parametrize("how", [{}, {"mask": True}, {"bands": 4}, {"driver": "GTiff"}])
def test_a_small_file_on_a_web_server_costs_what_its_pixels_need(tmp_path: Path, how: dict) -> None:
    """At most eight requests to open and read it, and none for what might lie beside it."""
    pixels = np.random.default_rng(0).integers(1, 3000, (how.get("bands", 2), 500, 500)).astype(np.uint16)
    mask = pixels[0] > 99 if "mask" in how else None
    made = write(tmp_path / "made.tif", pixels, nodata=None if mask is not None else 0, mask=mask)
    options = {} if how.get("driver") else {"blocksize": 256}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        rasterio.shutil.copy(made, tmp_path / "a.tif", driver=how.get("driver", "COG"), **options)
    for name in ("a.tif.msk", "a.tif.aux.xml", "a.tfw", "a.tif.ovr"):
        (tmp_path / name).write_text("not to be asked for")
    with serving(tmp_path) as (address, mood):
        scene = imagery.open(layer(f"{address}/a.tif", len(pixels)))
        found = imagery.read(scene, scene.grid, scene.window)
        imagery.read(scene, scene.grid, scene.window)
    wanted = pixels if mask is None else np.where(mask, pixels, np.nan)
    np.testing.assert_array_equal(found, wanted.astype(np.float32))
    assert {path for _, path, _ in mood.asked} == {"/a.tif"}
    assert len(mood.asked) <= 8, mood.asked
    fetched = [range(*map(int, part[6:].split("-"))) for method, _, part in mood.asked if method == "GET"]
    assert sum(map(len, fetched)) < 1.3 * (tmp_path / "a.tif").stat().st_size

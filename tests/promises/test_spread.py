"""`vectorize` and `evaluate` on the workers of a running scheduler give the bytes that one process gives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from clusters import PATHS, QUIET, Processes, client_of, wait_until
from small_jobs import geoseg
from strategies import write

UTM = Affine(30, 0, 300_000, 0, -30, 4_200_000)
SMALL = (
    "from geoseg.vectors import source; source._STRIP_PIXELS = 5_000\n"
    "from geoseg.accuracy import counting, spread; counting.STEP, spread._AT_ONCE = 64, 1\n"
    "from geoseg.cli import main; main()"
)
"""The command line, with so little at a time that a small map is many items."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    all_of_them = Processes(tmp_path_factory.mktemp("cluster"), warm=True)
    all_of_them.scheduler()
    all_of_them.workers(2)
    yield all_of_them
    all_of_them.end()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(4)
    ids = np.kron(rng.integers(0, 6, (200, 150)), np.ones((3, 3), int)).astype(np.uint8)
    write(tmp_path / "map.tif", ids[None], UTM, nodata=0, tiled=True, blockxsize=64, blockysize=64)
    other = np.where(rng.random(ids.shape) < 0.1, rng.integers(1, 6, ids.shape), np.roll(ids, 1)).astype(np.uint8)
    write(tmp_path / "reference.tif", other[None], UTM, nodata=0)
    write(tmp_path / "confidence.tif", rng.integers(0, 255, (1, *ids.shape), np.uint8), UTM)
    return tmp_path


VECTORS = (
    "--min-area",
    "2ha",
    "--simplify",
    "40m",
    "--smooth",
    "--attributes",
    "pixels,confidence",
    "--classes",
    "1,4",
)


@pytest.mark.parametrize("how", [(), VECTORS], ids=["exact", "generalised"])
def test_polygons_are_the_same_to_the_byte(here, processes, how):
    for name, where in (("one", ("--workers", "1")), ("many", ("--scheduler", processes.address))):
        said = geoseg("vectorize", "map.tif", "--out", f"{name}.shp", *how, *where)
        assert said.code == 0, said
    for ending in (".shp", ".shx", ".dbf"):
        assert (here / f"one{ending}").read_bytes() == (here / f"many{ending}").read_bytes()


def test_scores_are_the_same_to_the_byte(here, processes):
    legends = ("--legend", "landsat-6class", "--reference-legend", "landsat-6class", "--boundary", "2")
    for name, where in (("one", ("--workers", "1")), ("many", ("--scheduler", processes.address))):
        said = geoseg("evaluate", "map.tif", "reference.tif", *legends, "--out", name, *where)
        assert said.code == 0, said
    for name in ("accuracy.json", "accuracy.csv"):
        assert (here / "one" / name).read_bytes() == (here / "many" / name).read_bytes()


def test_polygons_as_reference_are_drawn_by_the_workers(here, processes):
    boxes = [shapely.box(300_000 + 90 * at, 4_185_000, 302_000 + 90 * at, 4_199_000 - 70 * at) for at in range(40)]
    made = geopandas.GeoDataFrame({"class_id": [1, 2, 3, 4, 5] * 8}, geometry=boxes, crs="EPSG:32612")
    made.to_file(here / "reference.gpkg")
    words = ("evaluate", "map.tif", "reference.gpkg", "--column", "class_id", "--legend", "landsat-6class")
    for name, where in (("one", ("--workers", "2")), ("many", ("--scheduler", processes.address))):
        said = geoseg(*words, "--out", name, *where)
        assert said.code == 0, said
    assert (here / "one/accuracy.csv").read_bytes() == (here / "many/accuracy.csv").read_bytes()


@pytest.mark.parametrize("command", ["vectorize", "evaluate"])
def test_what_a_dead_worker_had_is_done_again(here, tmp_path, command):
    words = {
        "vectorize": ("vectorize", "map.tif", "--out"),
        "evaluate": ("evaluate", "map.tif", "reference.tif", "--boundary", "9", "--legend", "landsat-6class",
                     "--reference-legend", "landsat-6class", "--out"),
    }[command]  # fmt: skip
    own = Processes(tmp_path / "cluster", warm=True)
    own.folder.mkdir()
    try:
        own.scheduler()
        mortal, _ = own.worker("--no-nanny", "--name", "mortal"), own.worker("--no-nanny")
        with client_of(own, 2) as client:
            name = "many.shp" if command == "vectorize" else "many"
            started = subprocess.Popen(
                [sys.executable, "-c", SMALL, *words, name, "--scheduler", own.address],
                env={**os.environ, **QUIET, "PYTHONPATH": os.pathsep.join(PATHS)},
                stderr=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            facts = client.scheduler_info(n_workers=-1)["workers"]
            (address,) = (each for each, known in facts.items() if known["name"] == "mortal")
            wait_until(lambda: any(str(key).startswith("block-") for key in client.processing()[address]))
            os.kill(mortal.pid, signal.SIGKILL)
            _, err = started.communicate(timeout=120)
        assert started.returncode == 0, err
        assert "in hand, tried again each alone" in err
    finally:
        own.end()
    assert geoseg(*words, name.replace("many", "one"), "--workers", "1").code == 0
    for each in (".shp", ".dbf") if command == "vectorize" else ("/accuracy.json",):
        assert (here / f"one{each}").read_bytes() == (here / f"many{each}").read_bytes()


@pytest.mark.parametrize("command", ["vectorize", "evaluate"])
def test_a_worker_that_does_not_see_the_map_is_named(here, processes, tmp_path, command, monkeypatch):
    probe = ["unshare", "--mount", "--map-root-user", "true"]
    if subprocess.run(probe, check=False, capture_output=True).returncode:
        pytest.skip("no namespaces here")
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (here / "map.tif").rename(hidden / "map.tif")
    own = Processes(tmp_path / "cluster")
    own.folder.mkdir()
    try:
        own.scheduler()
        worker = f"exec {sys.executable} -m distributed.cli.dask_worker {own.address} --no-dashboard --no-nanny"
        shell = ["sh", "-c", f"mount -t tmpfs none {hidden} && {worker}"]
        env = {**os.environ, **QUIET, "PYTHONPATH": os.pathsep.join(PATHS)}
        own.all.append(subprocess.Popen([*probe[:-1], *shell], start_new_session=True, env=env))
        with client_of(own, 1) as client:
            (worker,) = client.nthreads()
        more = ("--out", "out.shp") if command == "vectorize" else ("reference.tif", "--legend", "landsat-6class",
            "--reference-legend", "landsat-6class")  # fmt: skip
        said = geoseg(command, "hidden/map.tif", *more, "--scheduler", own.address).refusal("RasterError")
    finally:
        own.end()
    assert worker in said
    assert f"{hidden}/map.tif does not exist there" in said
    assert not list(here.glob("out*"))


def test_a_scheduler_and_threads_exclude_each_other(here):
    for words in (("vectorize", "map.tif", "--out", "a.shp"), ("evaluate", "map.tif", "reference.tif")):
        assert "exclude each other" in geoseg(*words, "--workers", "2", "--scheduler", "tcp://127.0.0.1:9").refusal()

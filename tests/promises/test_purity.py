"""The map is a pure function of imagery, model and grid: the network that geoseg ships, on real Landsat imagery."""

import numpy as np
import pytest
import rasterio
import torch

from geoseg import catalog, imagery
from geoseg.cluster import local
from geoseg.cluster.mapper import map_over
from geoseg.jobs import resolve
from geoseg.jobs import run as job_run
from geoseg.jobs import spec as job_spec
from geoseg.models import loading

TOO_FEW = 20
"""Classes need this many pixels to count as found."""


@pytest.fixture(scope="module")
def zion(shared_data, tmp_path_factory):
    """A folder with a catalog of Zion's four single-band files."""
    folder = tmp_path_factory.mktemp("zion")
    bands = {"blue": 2, "green": 3, "red": 4, "nir": 5}
    lines = [f"      {name}: {{file: {shared_data}/zion/landsat_b{number}.tif}}" for name, number in bands.items()]
    reference = f"{{file: {shared_data}/zion/nlcd2011.tif, legend: nlcd}}"
    (folder / "data_catalog.yaml").write_text(
        "\n".join(["imagery:", "  zion:", "    bands:", *lines, "references:", f"  nlcd2011: {reference}"])
    )
    return folder


def resolved(folder, name, **keys):
    lines = ["imagery: zion", "model: landsat-6class", *(f"{key}: {value}" for key, value in keys.items())]
    (folder / f"{name}.yaml").write_text("\n".join(lines))
    return resolve.resolve(job_spec.read(folder / f"{name}.yaml"))


PART = "{bounds: [310000, 4130000, 322000, 4140000], crs: 'EPSG:32612'}"


def labels_of(summary):
    with rasterio.open(f"{summary.folder}/map.tif") as source:
        return source.read(1)


def test_tiled_labels_equal_inference_over_the_scene_in_one_piece(zion):
    plan = resolved(zion, "whole")
    scene = plan.scene
    region = scene.window
    stride, halo = plan.predictor.model.card.stride, plan.predictor.halo
    piece = region.snapped(stride)
    pixels = imagery.read(scene, plan.grid, piece.grown(halo))
    mean = np.array(plan.predictor.mean, np.float32)[:, None, None]
    std = np.array(plan.predictor.std, np.float32)[:, None, None]
    filled = np.nan_to_num((pixels - mean) / std)
    network = loading.load(plan.predictor.model, "cpu")
    torch.set_num_threads(1)
    with torch.inference_mode():
        scores = network(torch.from_numpy(filled)[None])[0].numpy()
    scores = scores[:, halo:-halo, halo:-halo] if halo else scores
    ids = np.array(plan.legend.ids, np.uint8)
    valid = np.isfinite(pixels[:, halo:-halo, halo:-halo]).all(axis=0)
    whole = np.where(valid, ids[scores.argmax(axis=0)], 255)
    block = region.snapped(plan.layout.core)
    tile = plan.layout.tile(block)
    tiled, _ = plan.predictor(imagery.read(scene, plan.grid, tile.read), tile)
    unlike = whole[region.within(piece)] != tiled[region.within(block.grown(plan.predictor.margin))]
    best = np.sort(scores, axis=0)
    gap = (best[-1] - best[-2])[region.within(piece)]
    assert unlike.sum() <= unlike.size / 1e6
    assert (gap[unlike] < 1e-4).all()
    assert (np.bincount(tiled.ravel(), minlength=256)[list(plan.legend.ids)] > TOO_FEW).all()


@pytest.mark.slow
def test_processes_blocks_and_batches_change_no_byte(zion):
    serial = job_run.run(resolved(zion, "serial", region=PART), zion / "serial")
    for workers in (1, 3):
        plan = resolved(zion, f"spread{workers}", region=PART, inference=f"{{block: 256, batch: {workers + 1}}}")
        with local.cpu_cluster(workers, int(plan.spec.memory_per_worker)) as client:
            mapper = map_over(client, job_run.lost(plan.digest))
            spread = job_run.run(plan, zion / f"spread{workers}", mapper=mapper, threads=workers)
        assert np.array_equal(labels_of(serial), labels_of(spread))
    assert serial.progress.total > 1


@pytest.mark.slow
def test_two_regions_agree_on_their_overlap(zion):
    bounds = [(310000, 4130000, 317000, 4136000), (313015, 4132000, 320000, 4139000)]
    maps = []
    for at, each in enumerate(bounds):
        plan = resolved(zion, f"region{at}", region=f"{{bounds: {list(each)}, crs: 'EPSG:32612'}}")
        maps.append((plan.layout.extent, labels_of(job_run.run(plan, zion / f"region{at}"))))
    (one, left), (two, right) = maps
    shared = one.meet(two)
    assert shared.pixels > 10_000
    assert np.array_equal(left[shared.within(one)], right[shared.within(two)])


def test_zion_is_mapped_and_scored_on_a_reference_of_another_grid_and_crs(zion):
    with rasterio.open(catalog.read(zion / "data_catalog.yaml").reference("nlcd2011").file) as reference:
        assert reference.crs.to_epsg() != 32612
        assert reference.res != (30.0, 30.0)
    plan = resolved(zion, "scored", region=PART, reference="nlcd2011")
    summary = job_run.run(plan, zion / "scored")
    assert {"accuracy.json", "accuracy.csv"} <= set(summary.outputs)
    import json

    scores = json.loads((zion / "scored" / "accuracy.json").read_text())
    assert scores["pixel_accuracy"] > 0.6
    assert scores["classes"]["forest"]["iou"] > 0.4

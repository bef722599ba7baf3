"""The Sentinel-2 network that comes with geoseg: whole, small, as good as its card says on scenes it never saw."""

import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from small_jobs import geoseg

from geoseg import catalog
from geoseg.catalog import SHIPPED
from geoseg.catalog.card import read_model
from geoseg.models import loading, networks, receptive_field
from geoseg.training import recipe

NAME = "sentinel2-rgbn-3class"
FOLDER = SHIPPED / "models" / NAME
GOLDEN = Path(__file__).parents[1] / "data" / f"{NAME}.npz"
"""Random patches of 4 x 64 x 64 and the scores that the network gave for them when it was shipped."""
PAGE = (Path(__file__).parents[2] / "docs" / "models" / f"{NAME}.md").read_text("utf-8")


@pytest.fixture(scope="module")
def model():
    return read_model(FOLDER)


def test_it_is_in_the_shipped_catalog_and_small(model):
    assert catalog.shipped().model(NAME).card == model.card
    assert model.weights.stat().st_size <= 4_000_000
    assert not [file for file in FOLDER.iterdir() if file.suffix in (".pt", ".pth", ".pkl", ".ckpt", ".bin")]


def test_its_card_is_that_of_its_weights_and_legend(model):
    card = model.card
    loading.load(model, "cpu")  # refuses a wrong hash, name, shape or number
    assert card.legend == catalog.shipped().legend("sentinel2-3class")
    fresh = networks.build(card.architecture, 4, 3)
    assert receptive_field.probe(fresh, 4) == receptive_field.Field(card.halo, card.stride, card.field)


def test_its_scores_are_what_they_were_when_it_was_shipped(model):
    golden = np.load(GOLDEN)
    with torch.no_grad():
        found = loading.load(model, "cpu")(torch.from_numpy(golden["pixels"])[None])[0].numpy()
    np.testing.assert_allclose(found, golden["scores"], rtol=0, atol=1e-4)


def test_its_spec_is_the_one_on_its_card_and_holds_out_the_scenes_that_it_says(model):
    spec = recipe.read(FOLDER / "training.yaml")
    stated = model.card.training["recipe"]
    left = {"catalog", "out", "scenes", "chips", "split", "architecture", "memory"}
    asked = spec.model_dump(mode="json", exclude=left, exclude_none=True)
    assert {key: stated.get(key) for key in asked} == asked
    assert spec.architecture == model.card.architecture
    divided = {each["division"]: set(each["imagery"]) for each in model.card.training["scenes"]}
    assert set.union(*divided.values()) == {each.imagery for each in spec.all_scenes}
    assert [len(divided[kind]) for kind in ("train", "validation", "test")] == [56, 9, 9]
    known = catalog.read(FOLDER / "data_catalog.yaml")
    assert set(known.names("imagery")) >= {each.imagery for each in spec.all_scenes}


def test_the_page_has_the_numbers_of_the_card(model):
    unseen, forest = model.card.scores["all unseen"], model.card.scores["baselines"]["random forest"]["all unseen"]
    assert unseen["pixels"] == forest["pixels"]
    assert unseen["mean_iou"] > forest["mean_iou"]
    for line, scores in (("this network", unseen), ("random forest, per pixel", forest)):
        (row,) = re.findall(rf"^\| {line} \| (.*) \|$", PAGE, re.MULTILINE)
        expected = [*scores["iou"].values(), scores["mean_iou"]]
        assert row == " | ".join(f"{each:.3f}" for each in expected)
    parameters = sum(each.numel() for each in networks.build(model.card.architecture, 4, 3).parameters())
    assert f"{parameters:,} weights" in PAGE


@pytest.mark.slow
def test_held_out_scenes_are_mapped_as_well_as_the_card_says(model, shared_data, tmp_path):
    (tmp_path / "data_catalog.yaml").write_text(
        "\n".join(
            ["imagery:"]
            + [f"  s{n}: {{files: {shared_data}/s2_india/images/{n}.tif, bands: {{red: 1, green: 2, blue: 3, nir: 4}}}}"
               for n in ("000", "090")]
            + ["references:"]
            + [f"  s{n}: {{file: {shared_data}/s2_india/labels/{n}.tif, legend: sentinel2-3class, nodata: 0}}"
               for n in ("000", "090")]
        )
    )  # fmt: skip
    for number in ("000", "090"):
        job = tmp_path / f"{number}.yaml"
        job.write_text(f"imagery: s{number}\nmodel: {NAME}\noutputs: {{quicklook: false, report: false}}\n")
        assert geoseg("run", str(job), "--out", str(tmp_path / number), "--workers", "0").code == 0
        with (
            rasterio.open(tmp_path / number / "map.tif") as mapped,
            rasterio.open(shared_data / "s2_india" / "labels" / f"{number}.tif") as labels,
        ):
            ours, truth = mapped.read(1), labels.read(1)
        for at, name in enumerate(model.card.legend.names, 1):
            both, either = (truth == at) & (ours == at), ((truth == at) | (ours == at)) & (truth > 0)
            stated = model.card.scores[f"india-{number}"]["test"]["iou"][name]
            assert both.sum() / either.sum() == pytest.approx(stated, abs=2e-3), (number, name)

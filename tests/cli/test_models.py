"""models: what a user sees of networks on the command line, and the way from weights to a map."""

import re
import shutil

import numpy as np
import pytest
import rasterio
import safetensors.torch
import yaml
from model_folders import write_model
from small_jobs import geoseg
from strategies import NORTH_UP, write

from geoseg.catalog.card import read_model
from geoseg.models import networks

DRAFT = {
    "name": "mine",
    "architecture": {"name": "compact", "width": 3, "depth": 1},
    "bands": ["red", "nir"],
    "normalisation": {"kind": "scene"},
    "legend_name": "worldcover",
    "licence": "CC0-1.0",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data_catalog.yaml").write_text(
        "imagery:\n  scene: {files: scene.tif, bands: {red: 1, nir: 2}}\nmodels:\n  tiny: {path: tiny}\n"
    )
    pixels = np.random.default_rng(0).integers(1, 4000, (2, 90, 70)).astype(np.uint16)
    write(tmp_path / "scene.tif", pixels, NORTH_UP, nodata=0)
    write_model(tmp_path / "tiny", gsd_m=10, licence="MIT")
    return tmp_path


def test_models_are_listed_with_what_one_chooses_by(here):
    said = geoseg("models", "list")
    rows = [line.split("\t") for line in said.out.splitlines()]
    assert ["tiny", "red, nir", "3", "10 m", "MIT"] in rows
    assert any(row[0] == "landsat-6class" for row in rows)
    shutil.rmtree(here / "tiny")
    again = geoseg("models", "list")
    assert again.code == 0
    assert "has no card.yaml" in again.out


def test_a_card_is_shown(here):
    said = geoseg("models", "show", "tiny")
    for part in ("red, nir", "3 class 3 #038040", "MIT", "halo", read_model(here / "tiny").card.weights.sha256[:12]):
        assert part in said.out
    assert "did you mean" in geoseg("models", "show", "tyni").err


@pytest.mark.slow
def test_a_check_is_kept_on_the_card_and_fails_on_a_wrong_one(here):
    said = geoseg("models", "check", "tiny", "--imagery", "scene", "--write")
    assert said.code == 0, said
    assert "receptive field: " in said.out
    card = read_model(here / "tiny").card
    assert card.measured["halo"] == card.halo
    assert "effective_halo_on_imagery" in card.measured
    wrong = {**yaml.safe_load((here / "tiny" / "card.yaml").read_text()), "halo": 2}
    (here / "tiny" / "card.yaml").write_text(yaml.safe_dump(wrong))
    said = geoseg("models", "check", "tiny")
    assert said.code == 2
    assert re.search("the card's halo must be", said.out)
    assert "is wrong in 1 point" in said.err


def test_from_weights_and_a_draft_to_a_map(here):
    network = networks.build(DRAFT["architecture"], 2, 11)
    safetensors.torch.save_file(network.state_dict(), here / "net.safetensors")
    (here / "draft.yaml").write_text(yaml.safe_dump(DRAFT))
    said = geoseg("models", "add", "draft.yaml", "--from", "net.safetensors")
    assert said.code == 0, said
    assert "wrote models/mine: bounded field, halo" in said.out
    (here / "job.yaml").write_text("imagery: scene\nmodel: models/mine\n")
    said = geoseg("run", "job.yaml", "--workers", 0)
    assert said.code == 0, said
    with rasterio.open("job/map.tif") as file:
        assert set(np.unique(file.read(1))) <= {10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100}
    again = geoseg("models", "add", "draft.yaml", "--from", "net.safetensors")
    assert again.code == 2
    assert "holds a model" in again.err


def test_a_card_that_hides_how_far_a_network_looks_never_makes_a_map(here):
    wrong = {**yaml.safe_load((here / "tiny" / "card.yaml").read_text()), "halo": 2}
    (here / "tiny" / "card.yaml").write_text(yaml.safe_dump(wrong))
    (here / "job.yaml").write_text("imagery: scene\nmodel: tiny\n")
    said = geoseg("run", "job.yaml", "--workers", 0)
    assert said.code == 2
    assert re.search(r"looks \d+ pixels around a core or farther, but its card says halo 2; correct the card", said.err)
    assert not (here / "job").exists()

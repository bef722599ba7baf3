"""Importing: an item and its weights become the model that was exported, and nothing is trusted or fetched for it."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from hand_made_onnx import convolution
from model_folders import sha256, write_model
from small_jobs import geoseg

from geoseg.catalog import stac
from geoseg.catalog.card import read_model
from geoseg.errors import ModelError
from geoseg.models import adding, importing, loading

FOREIGN = {
    "type": "Feature",
    "stac_extensions": [stac.MLM],
    "id": "edges",
    "properties": {
        "mlm:architecture": "one convolution",
        "mlm:tasks": ["segmentation"],
        "mlm:input": [
            {"name": "x", "bands": ["red", "nir"], "input": {"dim_order": ["batch", "channel", "height", "width"]}}
        ],
        "mlm:output": [
            {
                "result": {"shape": [1, 3, -1, -1]},
                "classification:classes": [{"value": at, "name": f"c{at}"} for at in range(3)],
            }
        ],
    },
    "assets": {"weights": {"href": "./network.onnx", "roles": ["mlm:weights", "mlm:model"]}},
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A model folder with its item."""
    monkeypatch.chdir(tmp_path)
    normalisation = {"kind": "percentile", "percentiles": [2, 98]}
    write_model(tmp_path / "tiny", normalisation=normalisation, gsd_m=10, licence="MIT", temperature=1.5)
    done = geoseg("models", "export-stac", "tiny", "--out", "tiny/item.json")
    assert done.code == 0, done
    return tmp_path


def item(path, **keys):
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))
    return path


def test_what_was_exported_is_imported_as_it_was(here):
    done = geoseg("models", "import", "tiny/item.json", "--out", "again")
    assert done.code == 0, done
    one, other = read_model(here / "tiny"), read_model(here / "again")
    assert other.weights.read_bytes() == one.weights.read_bytes()
    assert other.card.legend == one.card.legend
    assert other.card.model_copy(update={"classes": one.card.classes}) == one.card
    assert "wrote again" in done.out
    assert "holds a model" in geoseg("models", "import", "tiny/item.json", "--out", "again").refusal("ModelError")


def test_weights_are_beside_the_item_or_named(here):
    (here / "elsewhere").mkdir()
    moved = shutil.copy("tiny/item.json", "elsewhere/item.json")
    refused = geoseg("models", "import", moved, "--out", "a").refusal("ModelError")
    assert refused.endswith("weights.safetensors is no file; name the weights of elsewhere/item.json with --weights")
    done = geoseg("models", "import", moved, "--weights", "tiny/weights.safetensors", "--out", "a")
    assert done.code == 0, done
    done = geoseg("models", "export-stac", "tiny", "--out", "elsewhere/item.json")
    assert json.loads((here / "elsewhere/item.json").read_text())["assets"]["model"]["href"] == (
        "../tiny/weights.safetensors"
    )
    assert "which is not beside or below it" in geoseg("models", "import", moved, "--out", "b").refusal("ModelError")


@pytest.mark.parametrize(
    "href", ["https://example.com/a.onnx", "/etc/passwd", "file:///etc/passwd", "../x", "s3://b/c"]
)
def test_nothing_elsewhere_is_read(here, href):
    held = json.loads((here / "tiny/item.json").read_text())
    held["assets"]["model"]["href"] = href
    (here / "tiny/item.json").write_text(json.dumps(held))
    with pytest.raises(ModelError, match=r"not beside or below it; fetch them and name the file with --weights"):
        importing.from_item(here / "tiny/item.json")


def test_other_weights_are_refused(here):
    path = here / "tiny/weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(ModelError, match=r"has another hash than .* says; fetch the weights again"):
        importing.from_item(here / "tiny/item.json")


def test_an_item_does_not_make_a_graph_trusted(here):
    held = json.loads((here / "tiny/item.json").read_text())
    held["properties"]["geoseg:card"]["architecture"] = {"name": "exported", "trust": True}
    (here / "tiny/item.json").write_text(json.dumps(held))
    with pytest.raises(ModelError, match=r"can run code; if you know where it comes from, say so with --trust"):
        importing.from_item(here / "tiny/item.json")


@pytest.mark.parametrize("name", ["../../up", "a/b", ".."])
def test_a_name_that_is_a_path_makes_no_folder_there(here, name):
    item(here / "tiny/item.json", id=name)
    said = geoseg("models", "import", "tiny/item.json").refusal("ModelError")
    assert "which is no name of a folder; name one with --out" in said


@pytest.mark.parametrize("text", ["", "{", "[" * 9000, "7", '"\\ud800"'])
def test_what_is_no_item_is_refused(here, text):
    (here / "bad.json").write_text(text)
    with pytest.raises(ModelError, match=r"bad.json (cannot be read as JSON|is no STAC item)"):
        importing.from_item(here / "bad.json")


def test_a_graph_of_another_maker_is_measured(tmp_path):
    pytest.importorskip("onnxruntime")
    weight = np.random.default_rng(0).normal(size=(3, 2, 5, 5)).astype("float32")
    (tmp_path / "network.onnx").write_bytes(convolution(weight))
    (tmp_path / "item.json").write_text(json.dumps(FOREIGN))
    model = adding.write(importing.from_item(tmp_path / "item.json"), tmp_path / "model")
    assert (model.card.halo, model.card.stride, model.card.architecture) == (2, 1, {"name": "onnx"})
    assert model.card.weights.sha256 == sha256(tmp_path / "network.onnx")
    pixels = torch.rand(1, 2, 9, 8)
    wanted = torch.nn.functional.conv2d(pixels, torch.from_numpy(weight), padding=2)
    torch.testing.assert_close(loading.load(model, "cpu")(pixels), wanted, atol=1e-4, rtol=1e-4)
    assert yaml.safe_load((tmp_path / "model/card.yaml").read_text())["legend_name"] == "edges"

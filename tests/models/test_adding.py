"""Adding: weights in each format become a folder that labels as they do, and what cannot be used is a sentence."""

import json
import os
import pickle

import numpy as np
import pytest
import safetensors.torch
import torch
from hand_made_onnx import convolution
from torch import nn

from geoseg import catalog, process
from geoseg.catalog.card import Draft, Output, dump, read_model
from geoseg.catalog.yaml import load_yaml, parse
from geoseg.errors import ModelError
from geoseg.models import adding, loading, networks

CLASSES = [{"id": at, "name": f"class {at}", "colour": f"#{at:02x}0000"} for at in range(3)]
COMPACT = {"name": "compact", "width": 3, "depth": 1}
PIXELS = torch.randn(1, 2, 48, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _nothing_loaded():
    process.renew()


def draft(**more):
    keys = {"name": "mine", "bands": ["red", "nir"], "legend_name": "three", "classes": CLASSES, **more}
    return Draft.model_validate(keys)


def network(architecture=COMPACT):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return networks.build(architecture, 2, 3).eval()


def added(source, said, folder, pixels=PIXELS):
    """The model that was written, read again, and its network's scores."""
    adding.write(adding.from_file(source, said), folder)
    model = read_model(folder)
    with torch.inference_mode():
        return model, loading.load(model, "cpu")(pixels)


@pytest.mark.parametrize("wrapped", ["plain", "state_dict", "prefix", "two prefixes", "safetensors"])
@pytest.mark.sampled(3)
def test_a_state_dict_becomes_a_folder_that_scores_the_same(tmp_path, wrapped):
    own = network()
    state, path = own.state_dict(), tmp_path / "net.pt"
    if wrapped == "safetensors":
        path = tmp_path / "net.safetensors"
        safetensors.torch.save_file(state, path)
    else:
        prefix = {"prefix": "module.", "two prefixes": "module.model."}.get(wrapped, "")
        named = {prefix + name: value for name, value in state.items()}
        torch.save({"epoch": 3, "state_dict": named} if wrapped == "state_dict" else named, path)
    model, scores = added(path, draft(architecture=COMPACT), tmp_path / "model")
    with torch.inference_mode():
        assert torch.allclose(scores, own(PIXELS), atol=1e-5)
    assert (model.card.stride, model.card.field) == (2, "bounded")
    assert model.card.halo > 0
    assert model.weights.name == "weights.safetensors"


@pytest.mark.slow
def test_a_folder_of_segmentation_models_pytorch(tmp_path):
    smp = pytest.importorskip("segmentation_models_pytorch")
    own = smp.Unet("resnet18", encoder_weights=None, in_channels=2, classes=3).eval()
    own.save_pretrained(tmp_path / "saved")
    model, scores = added(tmp_path / "saved", draft(), tmp_path / "model", PIXELS[..., :32, :32])
    assert model.card.architecture["arch"] == "Unet"
    assert model.card.stride == 32
    with torch.inference_mode():
        assert torch.allclose(scores, own(PIXELS[..., :32, :32]), atol=1e-4)


@pytest.mark.parametrize(("side", "kernel", "halo"), [(None, 1, 0), (None, 5, 2), (40, 7, 3)])
def test_a_graph_is_taken_as_it_is_and_its_halo_is_measured(tmp_path, side, kernel, halo):
    pytest.importorskip("onnxruntime")
    weight = np.random.default_rng(0).normal(size=(3, 2, kernel, kernel)).astype("float32")
    (tmp_path / "net.onnx").write_bytes(convolution(weight, side))
    made = adding.from_file(tmp_path / "net.onnx", draft())
    assert (made.card.halo, made.card.stride, made.card.field) == (halo, 1, "bounded")
    model = adding.write(made, tmp_path / "model")
    assert model.card.window == (side - 2 * halo if side else 256)
    pixels = PIXELS[..., :40, :40]
    with torch.inference_mode():
        wanted = nn.functional.conv2d(pixels, torch.from_numpy(weight), padding=kernel // 2)
        assert torch.allclose(loading.load(model, "cpu")(pixels), wanted, atol=1e-5)


def test_a_network_with_one_channel_for_two_classes(tmp_path):
    own = networks.build(COMPACT, 2, 1).eval()
    safetensors.torch.save_file(own.state_dict(), tmp_path / "net.safetensors")
    said = draft(architecture=COMPACT, classes=CLASSES[:2], output={"kind": "sigmoid", "channels": 1})
    model, scores = added(tmp_path / "net.safetensors", said, tmp_path / "model")
    assert model.card.output == Output(kind="sigmoid", channels=1)
    with torch.inference_mode():
        assert torch.equal(scores.argmax(dim=1), (own(PIXELS)[:, 0] > 0).long())


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_runs_code_is_refused_unrun(tmp_path):
    (tmp_path / "bad.pt").write_bytes(pickle.dumps({"head.bias": Trap(tmp_path / "sprung")}))
    with pytest.raises(ModelError, match="no state dict that can be read without running code in it"):
        adding.from_file(tmp_path / "bad.pt", draft(architecture=COMPACT))
    assert not (tmp_path / "sprung").exists()


def test_weights_that_do_not_fit_are_refused_in_one_sentence(tmp_path):
    state = network().state_dict()
    path = tmp_path / "net.safetensors"

    def refused(tensors, said, sentence):
        safetensors.torch.save_file(tensors, path)
        with pytest.raises(ModelError, match=sentence):
            adding.from_file(path, said)

    fitting = draft(architecture=COMPACT)
    refused({**state, "head.bias": state["head.bias"] * torch.nan}, fitting, "numbers that are not finite")
    refused({**state, "more": state["head.bias"] + 0}, fitting, "has tensor 'more', which")
    refused({name: each for name, each in state.items() if name != "head.bias"}, fitting, "lacks tensor 'head.bias'")
    refused(state, draft(architecture=COMPACT, bands=["red"]), "correct its architecture, bands or classes")
    refused(state, draft(), "holds tensors and no network; say whose")
    refused(
        state, draft(architecture={"name": "compact", "width": 512, "depth": 6}), "more than the .* MB that its weights"
    )
    with pytest.raises(ModelError, match="of no kind that can be added"):
        adding.from_file(tmp_path / "net.h5", fitting)
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        adding.from_file(tmp_path / "gone.pt", fitting)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (None, "has no config.json"),
        ({"architectures": ["SegformerForSemanticSegmentation"]}, "saved by SegformerForSemanticSegmentation, not by"),
        ({"_model_class": "Unet", "activation": "sigmoid"}, "ends in activation 'sigmoid'"),
        ({"_model_class": "Unet", "in_channels": 5}, "has in_channels 5, and the draft stands for 2"),
        ({"_model_class": "Unet", "in_channels": 2, "classes": 3}, "has no model.safetensors"),
    ],
)
def test_a_folder_of_another_kind_is_refused(tmp_path, config, sentence):
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=sentence):
        adding.from_file(tmp_path, draft())


def test_a_model_that_is_there_is_replaced_only_when_asked(tmp_path):
    safetensors.torch.save_file(network().state_dict(), tmp_path / "net.safetensors")
    made = adding.from_file(tmp_path / "net.safetensors", draft(architecture=COMPACT))
    adding.write(made, tmp_path / "model")
    with pytest.raises(ModelError, match="holds a model; name another folder"):
        adding.write(made, tmp_path / "model")
    adding.write(made, tmp_path / "model", overwrite=True)
    assert read_model(tmp_path / "model").card == made.card


def test_a_folder_without_dynamic_world_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"holds no variables/variables\.index"):
        adding.dynamic_world(tmp_path, catalog.shipped().legend("dynamic-world"))


def test_a_draft_reads_back_as_the_card_it_made(tmp_path):
    safetensors.torch.save_file(network().state_dict(), tmp_path / "net.safetensors")
    made = adding.from_file(tmp_path / "net.safetensors", draft(architecture=COMPACT, gsd_m=10, licence="CC0"))
    (tmp_path / "card.yaml").write_bytes(dump(made.card))
    held = parse(type(made.card), load_yaml(tmp_path / "card.yaml", ModelError), "card", ModelError)
    assert held == made.card

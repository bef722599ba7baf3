"""Exported graphs: they label as the network that was exported, and are read only where the card trusts them."""

import hashlib
import time

import pytest
import torch
from model_folders import write_model
from torch import nn

from geoseg import process
from geoseg.catalog.card import Model, Output, Weights
from geoseg.errors import ModelError
from geoseg.models import loading

TRUSTED = {"name": "exported", "trust": True}


class Twice(nn.Module):
    """Two heads."""

    def __init__(self, key=None):
        super().__init__()
        self.conv, self.key = nn.Conv2d(2, 3, 3, padding=1), key

    def forward(self, x):
        scores = self.conv(x)
        return {"main": scores, "more": scores * 2} if self.key else (scores, scores * 2)


@pytest.fixture(autouse=True)
def _nothing_loaded():
    process.renew()


def exported(tmp_path, network, *, output=None, side=None, architecture=None):
    """A model whose weights are the exported network."""
    card = write_model(tmp_path / "model").card
    free = torch.export.Dim("side", min=2, max=512)
    shapes = None if side else ({2: 8 * free, 3: 8 * free},)
    program = torch.export.export(network.eval(), (torch.zeros(1, 2, side or 32, side or 32),), dynamic_shapes=shapes)
    path = tmp_path / "model" / "net.pt2"
    torch.export.save(program, path)
    held = Weights(file="net.pt2", sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    facts = {"architecture": architecture or TRUSTED, "output": output or Output(), "stride": 8, "halo": 8}
    return Model(str(path.parent), card.model_copy(update={**facts, "weights": held}))


@pytest.mark.parametrize("side", [None, 40])
def test_it_scores_as_the_network_that_was_exported(tmp_path, side):
    network = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))
    found = loading.load(exported(tmp_path, network, side=side), "cpu")
    assert found.side == side
    pixels = torch.randn(2, 2, 40, 40)
    with torch.inference_mode():
        assert torch.allclose(found(pixels), network(pixels), atol=1e-6)


@pytest.mark.parametrize(("key", "name"), [(None, "1"), ("dict", "more")])
def test_one_of_several_outputs_is_named_on_the_card(tmp_path, key, name):
    network = Twice(key)
    found = loading.load(exported(tmp_path, network, output=Output(name=name)), "cpu")
    pixels = torch.randn(1, 2, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(found(pixels), network.conv(pixels) * 2, atol=1e-6)
        with pytest.raises(ModelError, match=r"name one as output\.name"):
            loading.load(exported(tmp_path, network), "cpu")(pixels)


@pytest.mark.parametrize(
    ("architecture", "sentence"),
    [
        ({"name": "exported"}, r"reading one can run code; if you trust where it comes from"),
        ({"name": "exported", "trust": "yes"}, r"reading one can run code"),
        ({"name": "exported", "trust": True, "arch": "Unet"}, "takes 'trust' and no more"),
        ({"name": "compact"}, "is an exported graph; say so on its card"),
    ],
)
@pytest.mark.sampled(2)
def test_a_graph_that_nobody_trusts_is_not_read(tmp_path, architecture, sentence):
    model = exported(tmp_path, nn.Conv2d(2, 3, 1), architecture=architecture)
    begin = time.process_time()
    with pytest.raises(ModelError, match=sentence):
        loading.load(model, "cpu")
    assert time.process_time() - begin < 1


def test_what_is_no_graph_or_not_the_one_on_the_card_is_refused(tmp_path):
    model = exported(tmp_path, nn.Conv2d(2, 3, 1))
    whole = model.weights.read_bytes()
    model.weights.write_bytes(whole[:-1] + b"x")
    with pytest.raises(ModelError, match="the card says"):
        loading.load(model, "cpu")
    for data, sentence in ((whole[: len(whole) // 2], "cut short or of another format"), (b"no zip", "cut short")):
        model.weights.write_bytes(data)
        held = Weights(file="net.pt2", sha256=hashlib.sha256(data).hexdigest())
        with pytest.raises(ModelError, match=sentence):
            loading.load(Model(model.folder, model.card.model_copy(update={"weights": held})), "cpu")


def test_a_graph_of_other_bands_is_refused(tmp_path):
    model = exported(tmp_path, nn.Conv2d(2, 3, 1))
    card = model.card.model_copy(update={"bands": ("red", "nir", "blue")})
    with pytest.raises(ModelError, match=r"its card asks for \(1, 3, row, col\)"):
        loading.load(Model(model.folder, card), "cpu")

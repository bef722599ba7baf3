"""Networks of every format map a scene on two workers as in one process."""

import hashlib

import numpy as np
import pytest
import rasterio
import safetensors.torch
import torch
import yaml
from hand_made_onnx import convolution
from model_folders import write_model
from small_jobs import SmallJob
from torch import nn

from geoseg.models import networks

WEIGHT = np.random.default_rng(0).normal(size=(3, 2, 3, 3)).astype("float32") / 100


class Probabilities(nn.Module):
    """Softmax of a convolution."""

    def __init__(self, labels=False):
        super().__init__()
        self.conv, self.labels = nn.Conv2d(2, 3, 3, padding=1), labels
        with torch.no_grad():
            self.conv.weight.copy_(torch.from_numpy(WEIGHT))

    def forward(self, x):
        scores = self.conv(x)
        return scores.argmax(dim=1) if self.labels else scores.softmax(dim=1)


def onnx(folder, side=None):
    return "net.onnx", convolution(WEIGHT, side), {"architecture": {"name": "onnx"}}


def exported(folder, *, labels=False):
    free = torch.export.Dim("side", min=2, max=512)
    network = Probabilities(labels).eval()
    program = torch.export.export(network, (torch.zeros(1, 2, 32, 32),), dynamic_shapes=({2: 8 * free, 3: 8 * free},))
    torch.export.save(program, folder / "net.pt2")
    kind = {"kind": "labels" if labels else "probabilities"}
    keys = {"architecture": {"name": "exported", "trust": True}, "output": kind, "stride": 8, "halo": 8}
    return "net.pt2", (folder / "net.pt2").read_bytes(), keys


def one_channel(folder):
    torch.manual_seed(0)
    network = networks.build({"name": "compact", "width": 3, "depth": 1}, 2, 1)
    classes = [{"id": at, "name": f"class {at}", "colour": f"#{at:02x}8040"} for at in (3, 7)]
    keys = {"output": {"kind": "sigmoid", "channels": 1}, "classes": classes}
    return "one.safetensors", safetensors.torch.save(network.state_dict()), keys


def dynamic_world(folder):
    torch.manual_seed(0)
    network = networks.build({"name": "dynamic-world"}, 2, 3)
    with torch.no_grad():  # a random head likes one class everywhere
        scores = network.eval()(torch.rand(1, 2, 64, 64))
        network.head.bias -= scores.mean(dim=(0, 2, 3))
    numbers = {"kind": "dynamic-world", "mean": [1.7, 2.3], "std": [2.0, 2.6]}
    keys = {"architecture": {"name": "dynamic-world"}, "normalisation": numbers, "stride": 2, "halo": 22, "window": 32}
    return "world.safetensors", safetensors.torch.save(network.state_dict()), keys


FORMATS = {
    "onnx": onnx,
    "onnx of one size": lambda folder: onnx(folder, 20),
    "probabilities": exported,
    "labels": lambda folder: exported(folder, labels=True),
    "one channel": one_channel,
    "dynamic world": dynamic_world,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_a_map_is_the_same_in_one_process_and_on_two_workers(tmp_path, kind):
    if kind.startswith("onnx"):
        pytest.importorskip("onnxruntime")
    write_model(tmp_path / "model")
    name, data, keys = FORMATS[kind](tmp_path)
    path = tmp_path / "model" / "card.yaml"
    (tmp_path / "model" / name).write_bytes(data)
    held = {"file": name, "sha256": hashlib.sha256(data).hexdigest()}
    first = {"stride": 1, "halo": 2} if kind.startswith("onnx") else {}
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **first, **keys, "weights": held}))

    serial = SmallJob.write(tmp_path / "serial", tmp_path / "model", (90, 70))
    made = SmallJob.write(tmp_path / "workers", tmp_path / "model", (90, 70))
    for each in (serial, made):
        each.job(inference={"block": 32}, outputs={"quicklook": False, "report": False, "confidence": True})
    assert serial.run().code == 0
    assert made.run("--workers", 2).code == 0
    maps = []
    for each in (serial, made):
        with rasterio.open(each.out / "map.tif") as file, rasterio.open(each.out / "confidence.tif") as sure:
            maps.append((file.read(), sure.read()))
    assert all(np.array_equal(a, b) for a, b in zip(*maps))
    labels = maps[0][0]
    assert len(np.unique(labels)) > 1
    if kind.startswith("onnx"):  # whole-scene inference by torch
        with rasterio.open(serial.folder / "scene.tif") as file:
            pixels = torch.from_numpy(file.read().astype("float32"))[None]
        wanted = nn.functional.conv2d(pixels, torch.from_numpy(WEIGHT), padding=1).argmax(dim=1)[0].numpy()
        assert np.array_equal(labels[0], np.array([3, 7, 200])[wanted])

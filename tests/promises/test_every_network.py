"""Every kind of network is checked, and maps a scene on two workers that die, for a client that dies, as one process.

`data/exported-onnx.npz` holds what torch 2.15 made of one small network with `torch.onnx.export`: of any size, of 256
pixels, with a softmax and with an argmax behind it; and the network's weights.
"""

from __future__ import annotations

import math
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faults
import numpy as np
import pytest
import rasterio
import torch
import yaml
from affine import Affine
from clusters import client_of, wait_until
from farm import Farm
from small_jobs import SmallJob, geoseg
from strategies import write
from torch import nn

from geoseg.catalog import SHIPPED
from geoseg.catalog.card import Model, read_model
from geoseg.grid import Tile, Window
from geoseg.imagery import Statistics
from geoseg.inference import checking
from geoseg.inference.predictor import prepare
from geoseg.models import networks

EXPORTED = Path(__file__).parents[1] / "data" / "exported-onnx.npz"
COMPACT = {"name": "compact", "width": 3, "depth": 1}
WINDOW = 32
PATIENCE_S = 240
"""Where many processes share few cores, a worker takes its time to load a network."""
DRAFT = {
    "name": "any",
    "bands": ["red", "nir"],
    "normalisation": {"kind": "scene"},
    "legend_name": "three",
    "window": WINDOW,
    "classes": [{"id": at, "name": f"class {at}", "colour": f"#{at:02x}8040"} for at in (3, 7, 200)],
}
TRUSTED = {"name": "exported", "trust": True}
SHALLOW = {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}
FPN = {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32}


@dataclass(frozen=True)
class Case:
    """A network, and a scene for it."""

    make: Callable[[Path], Path]
    """Writes its model folder."""
    window: int = WINDOW
    shape: tuple[int, int] = (90, 120)
    measured: set[str] = field(default_factory=lambda: {"bfloat16", "float16"})
    """Which findings of a check there are beside those of every network."""


def added(folder: Path, source: str, **draft: Any) -> Path:
    """The model folder that `geoseg models add` makes."""
    (folder / "draft.yaml").write_text(yaml.safe_dump({**DRAFT, **draft}))
    done = geoseg("models", "add", folder / "draft.yaml", "--from", folder / source, "--out", folder / "model")
    assert done.code == 0, done
    return folder / "model"


def smp(arch: str, encoder: str, **options: Any) -> Callable[[Path], Path]:
    """Of segmentation-models-pytorch, with random weights and a head that likes all classes."""

    def make(folder: Path) -> Path:
        architecture = {"name": "smp", "arch": arch, "encoder": encoder, **options}
        torch.manual_seed(0)
        network = networks.build(architecture, 2, 3)
        with torch.no_grad():
            for _ in range(2):  # gives BatchNorm something to subtract
                network.train()(torch.randn(2, 2, 128, 128))
            balanced(network.eval(), network.segmentation_head[0])
        torch.save(network.state_dict(), folder / "network.pt")
        return added(folder, "network.pt", architecture=architecture)

    return make


def balanced(network: nn.Module, head: Any) -> None:
    """Give the head of a random network no favourite class."""
    scores = network(torch.randn(2, 2, 128, 128))
    spread = scores.std(dim=(0, 2, 3))
    head.weight *= (1 / spread)[:, None, None, None]
    head.bias.copy_((head.bias - scores.mean(dim=(0, 2, 3))) / spread)


def onnx(graph: str, **draft: Any) -> Callable[[Path], Path]:
    """One of the exported graphs."""

    def make(folder: Path) -> Path:
        pytest.importorskip("onnxruntime")
        (folder / "network.onnx").write_bytes(np.load(EXPORTED)[graph].tobytes())
        return added(folder, "network.onnx", **draft)

    return make


def exported(folder: Path) -> Path:
    """The same network as torch.export writes it."""
    free = torch.export.Dim("free", min=2, max=512)
    program = torch.export.export(compact(), (torch.zeros(1, 2, 32, 32),), dynamic_shapes=({2: 2 * free, 3: 2 * free},))
    torch.export.save(program, folder / "network.pt2")
    return added(folder, "network.pt2", architecture=TRUSTED)


def compact() -> nn.Module:
    """The network that was exported."""
    network = networks.build(COMPACT, 2, 3).eval()
    held = np.load(EXPORTED)
    weights = {name.removeprefix("weight."): held[name] for name in held.files if name.startswith("weight.")}
    network.load_state_dict({name: torch.from_numpy(each) for name, each in weights.items()})
    return network


def dynamic_world(folder: Path) -> Path:
    """The published one."""
    source = Path(__file__).parents[3] / "shared" / "data" / "dynamic_world"
    if not source.is_dir():
        pytest.skip("the weights of Dynamic World are not here: no shared/data beside the repository")
    done = geoseg("models", "add", "dynamic-world", "--from", source, "--out", folder / "model")
    assert done.code == 0, done
    return folder / "model"


GRAPH: dict[str, Any] = {"measured": set()}
CASES = {
    "shipped": Case(lambda _: SHIPPED / "models" / "landsat-6class"),
    "dynamic world": Case(dynamic_world),
    "unet": Case(smp("Unet", "resnet18", **SHALLOW)),
    "deeplabv3+": Case(smp("DeepLabV3Plus", "mobilenet_v2", decoder_channels=16)),
    "fpn": Case(smp("FPN", "mobilenet_v2", **FPN)),
    "segformer": Case(smp("Segformer", "tu-pvt_v2_b0", decoder_segmentation_channels=16)),
    "squeeze and excite": Case(smp("Unet", "tu-mobilenetv3_small_050", **SHALLOW)),
    "onnx": Case(onnx("free"), **GRAPH),
    "onnx of 256 pixels": Case(onnx("fixed", window=240), window=240, shape=(500, 700), **GRAPH),
    "onnx of probabilities": Case(onnx("probabilities", output={"kind": "probabilities"}), **GRAPH),
    "onnx of labels": Case(onnx("labels", output={"kind": "labels"}), **GRAPH),
    "pt2": Case(exported),
}


@pytest.fixture(autouse=True)
def _one_thread():
    """As many threads as windows need; more only wait for each other where other tests run beside them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


ALWAYS = {"weights", "output", "receptive field", "effective halo", "memory", "speed"}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", CASES)
def test_it_is_checked_and_maps_a_scene_as_one_process_whoever_is_killed(farm, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(checking, "_LEAST_S", 0.01)
    case = CASES[kind]
    model = read_model(case.make(tmp_path))
    said = geoseg("models", "check", model.folder)
    assert said.code == 0, said
    print(f"\n{kind}\n{said.out}")
    assert {line.partition(":")[0] for line in said.out.splitlines()} == ALWAYS | case.measured

    made = job(tmp_path / "job", model, case)
    serial = made.folder / "serial"
    done = geoseg("run", made.folder / "job.yaml", "--workers", 0, "--out", serial)
    assert done.code == 0, done
    with rasterio.open(serial / "map.tif") as file:
        assert len(np.unique(file.read(1))) > 1

    run_and_kill(farm, made)
    for name in ("map.tif", "confidence.tif"):
        assert (made.out / name).read_bytes() == (serial / name).read_bytes(), name


def run_and_kill(farm: Farm, made: SmallJob) -> None:
    """Map on two workers of which one is killed, then the client too, and go on with the same command."""
    faults.plan_trouble(made.out, sleep=0.15)
    farm.scale(2)
    command = ("run", str(made.folder / "job.yaml"), "--scheduler", farm.address, "--out", str(made.out))
    with client_of(farm, 2) as watching:
        wait_until(lambda: len(farm.joined(watching)) == 2, PATIENCE_S)
        client = farm.start("-m", "faults", *command)
        wait_until(lambda: len(faults.attempts(made.out)) > 2 or client.poll() is not None, PATIENCE_S)
        victim = farm.joined(watching)[0]
        victim.kill()
        victim.wait()
        farm.scale(2)
    wait_until(lambda: len(faults.attempts(made.out)) > 4 or client.poll() is not None, PATIENCE_S)
    assert client.poll() is None, farm.log(client)
    client.kill()
    assert client.wait() == -signal.SIGKILL
    assert not (made.out / "map.tif").exists()
    again = farm.start("-m", "faults", *command)
    assert again.wait(PATIENCE_S) == 0, farm.log(again)
    known = re.search(r"(\d+) blocks, (\d+) of them finished before", farm.log(again))
    assert known, farm.log(again)
    assert 0 < int(known[2]) < int(known[1])


def job(folder: Path, model: Model, case: Case) -> SmallJob:
    """Noise of the model's bands and pixel size to map, in numbers as Sentinel-2 and Landsat have them."""
    made, card = SmallJob.write(folder, Path(model.folder)), model.card
    gsd = card.gsd_m or 30
    numbers = np.random.default_rng(3).gamma(2.0, 700.0, (len(card.bands), *case.shape)).clip(1, 16000)
    if card.radiometry is None:
        numbers /= 100
    place = Affine(gsd, 0, 300000, 0, -gsd, 4200000)
    write(folder / "scene.tif", numbers.astype(np.uint16), place, nodata=0, compress="deflate")
    made.imagery(bands={name: number for number, name in enumerate(card.bands, 1)})
    made.job(
        inference={"window": case.window, "block": case.window},
        outputs={"quicklook": False, "report": False, "confidence": True},
        memory_per_worker="4GB",
    )
    return made


@pytest.mark.parametrize("graph", ["free", "fixed", "probabilities", "labels"])
@pytest.mark.sampled(3)
def test_an_exported_graph_labels_as_its_torch_network(tmp_path, graph):
    kind = {"kind": graph} if graph in ("probabilities", "labels") else {"kind": "logits"}
    window = 240 if graph == "fixed" else WINDOW
    model = read_model(onnx(graph, output=kind, window=window)(tmp_path))
    halo = model.card.halo
    numbers = Statistics((0.0, 0.0), (1.0, 1.0), 1)
    predict = prepare(model, numbers, device="cpu")
    side = predict.core * math.ceil(240 / predict.core)
    whole = Window(0, 0, side, side)
    pixels = np.random.default_rng(0).normal(size=(2, *whole.grown(halo).shape)).astype("float32")
    labels, _ = predict(pixels, Tile(whole.grown(halo), predict.core, whole))
    with torch.inference_mode():
        wanted = compact()(torch.from_numpy(pixels)[None])[0].argmax(dim=0).numpy()
    found = labels[halo:-halo, halo:-halo]
    assert len(np.unique(found)) == 3
    assert (found == np.array([3, 7, 200])[wanted[halo:-halo, halo:-halo]]).mean() >= 0.9999

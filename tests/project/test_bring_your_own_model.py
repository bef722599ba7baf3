"""The page on bringing one's own model: each of its commands is run, in its order, on networks as users have them."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import yaml
from affine import Affine
from hand_made_onnx import convolution
from small_jobs import geoseg
from strategies import write
from torch import nn

AT_10_M = Affine(10, 0, 300000, 0, -10, 4200000)
PAGE = Path(__file__).parents[2] / "docs" / "bring_your_own_model.md"


@pytest.mark.slow
def test_every_command_of_the_page_works(tmp_path, monkeypatch):
    smp = pytest.importorskip("segmentation_models_pytorch")
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text("utf-8")
    (draft,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    said = yaml.safe_load(draft)
    for name, more in (
        ("draft.yaml", {}),
        ("draft_state_dict.yaml", {"architecture": {"name": "smp", "arch": "Unet", "encoder": "resnet18"}}),
        ("draft_trusted.yaml", {"architecture": {"name": "exported", "trust": True}}),
    ):
        Path(name).write_text(yaml.safe_dump({**said, **more}))

    network = smp.Unet("resnet18", encoder_weights=None, in_channels=2, classes=3).eval()
    torch.save({"state_dict": {f"model.{name}": each for name, each in network.state_dict().items()}}, "network.pt")
    network.save_pretrained("saved")
    weight = np.random.default_rng(0).normal(size=(3, 2, 3, 3)).astype("float32")
    Path("network.onnx").write_bytes(convolution(weight))
    side = torch.export.Dim("side", min=2, max=512)
    small = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1)).eval()
    program = torch.export.export(small, (torch.zeros(1, 2, 32, 32),), dynamic_shapes=({2: 8 * side, 3: 8 * side},))
    torch.export.save(program, "network.pt2")
    write(tmp_path / "coast.tif", np.random.default_rng(0).integers(1, 4000, (2, 90, 70)).astype(np.uint16), AT_10_M)
    Path("data_catalog.yaml").write_text("imagery:\n  coast: {files: coast.tif, bands: {red: 1, nir: 2}}\n")

    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines() if not line.startswith("geoseg run")]
    for line in commands:
        done = geoseg(*shlex.split(line)[1:])
        assert done.code == 0, (line, done)
    made = sorted(path.parent.name for path in Path("models").glob("*/card.yaml"))
    assert made == ["from-export", "from-onnx", "from-saved", "from-stac", "from-state-dict"]
    for name in made:
        Path("job.yaml").write_text(f"imagery: coast\nmodel: models/{name}\nmemory_per_worker: 4GB\n")
        done = geoseg("run", "job.yaml", "--workers", 0, "--out", name)
        assert done.code == 0, (name, done)
        with rasterio.open(f"{name}/map.tif") as file:
            assert set(np.unique(file.read(1))) <= {1, 2, 3}

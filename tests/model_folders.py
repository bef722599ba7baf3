"""Model folders that tests write for themselves: small random networks with everything that a card says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml

from geoseg.catalog.card import Model, read_model
from geoseg.models import networks, receptive_field

IDS = (3, 7, 200)
"""Not consecutive, so that a class number taken for an id shows."""
CARD = {
    "name": "tiny",
    "architecture": {"name": "compact"},
    "weights": {"file": "weights.safetensors", "sha256": "0" * 64},
    "bands": ["red", "nir"],
    "stride": 8,
    "halo": 16,
    "window": 64,
    "legend_name": "two",
    "classes": [{"id": 1, "name": "water", "colour": "#0000FF"}, {"id": 2, "name": "land", "colour": "#00ff00"}],
}
"""All that a card must say, as YAML has it."""


def write_model(folder: Path, *, bands: int = 2, ids: tuple[int, ...] = IDS, seed: int = 0, **card: Any) -> Model:
    """A model folder with a compact network of random weights; further keys go into its card."""
    architecture = card.pop("architecture", {"name": "compact", "width": 3, "depth": 1})
    torch.manual_seed(seed)
    network = networks.build(architecture, bands, len(ids)).train()
    for _ in range(3):  # gives BatchNorm something to subtract
        network(torch.randn(2, bands, 32, 32) * 2 + 0.5)
    with torch.no_grad():  # a random head likes one class everywhere
        scores = network.eval()(torch.randn(2, bands, 32, 32))
        network.head.bias -= scores.mean(dim=(0, 2, 3))
        for each in (network.head.weight, network.head.bias):
            each *= 2 / scores.std(dim=(0, 2, 3)).mean()
    field = _field(json.dumps(architecture), bands)
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(network.state_dict(), folder / "weights.safetensors")
    text = {
        "name": "tiny",
        "architecture": architecture,
        "weights": {"file": "weights.safetensors", "sha256": sha256(folder / "weights.safetensors")},
        "bands": ["red", "nir", "blue", "green"][:bands],
        "stride": field.stride,
        "halo": field.halo,
        "window": 16,
        "legend_name": "three",
        "classes": [{"id": each, "name": f"class {each}", "colour": f"#{each:02x}8040"} for each in ids],
        **card,
    }
    (folder / "card.yaml").write_text(yaml.safe_dump(text))
    return read_model(folder)


def swapped(model: Model, data: bytes | None = None, **keys: Any) -> Model:
    """The model with other bytes for weights, their hash on the card, and other keys on it."""
    card = yaml.safe_load((model.weights.parent / "card.yaml").read_text())
    card.update(keys)
    path = model.weights.parent / card["weights"]["file"]
    if data is not None:
        path.write_bytes(data)
        card["weights"]["sha256"] = sha256(path)
    (model.weights.parent / "card.yaml").write_text(yaml.safe_dump(card))
    return read_model(model.folder)


def changed(model: Model, change: Callable[[dict[str, torch.Tensor]], object]) -> Model:
    """The model with other tensors, which `change` made of its own."""
    tensors = safetensors.torch.load_file(model.weights)
    change(tensors)
    return swapped(model, safetensors.torch.save(tensors))


@lru_cache
def _field(architecture: str, bands: int) -> receptive_field.Field:
    return receptive_field.probe(networks.build(json.loads(architecture), bands, 2), bands)


def sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()

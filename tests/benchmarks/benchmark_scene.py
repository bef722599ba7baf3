"""The benchmarks' scene and model: real pixels mirrored up, a network of random weights as a model folder.

What random weights say does not change how long they take.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import safetensors.torch
import torch
import yaml

from geoseg.models import networks

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "compact": {"name": "compact", "width": 24, "depth": 3},
    "unet": {"name": "smp", "arch": "Unet", "encoder": "resnet18"},
}
FIELDS = {"compact": 48, "unet": 288}
"""Pixels that they look around a core."""
BANDS, CLASSES = ("red", "green", "blue", "nir"), 6
MEAN, STD = 1000.0, 500.0
_DATA = Path(__file__).parents[2].parent / "shared/data"
_WHOLE, _AROUND = 768, 320
"""Pixels along the side of what is labelled in one piece, and around it; no network here looks farther."""
SCENES = {"zion": _DATA / "zion/landsat_b2.tif", "india": _DATA / "s2_india/images"}


def scene(source: str, edge: int, target: Path) -> str:
    """Write a scene of edge² pixels: 4 bands, uint16, tiled, deflate; what it is made of.

    Parameters
    ----------
    source : str
        'zion', 'india', 'noise', a raster of four bands, or 'auto': the first of them that is there.
    edge : int
        Pixels along its side; the source is mirrored at its edges as often as that takes.
    target : Path
        File to write.
    """
    if source == "auto":
        source = next((name for name, path in SCENES.items() if path.exists()), "noise")
    tile = _tile(source)
    rows, cols = (-(-edge // side) for side in tile.shape[1:])
    profile = {"driver": "GTiff", "count": 4, "dtype": "uint16", "height": edge, "width": edge, "tiled": True}
    profile |= {"blockxsize": 512, "blockysize": 512, "compress": "deflate", "predictor": 2, "crs": "EPSG:32632"}
    profile |= {"transform": rasterio.Affine(10, 0, 300_000, 0, -10, 5_000_000), "nodata": 65535}
    with rasterio.open(target, "w", BIGTIFF="IF_SAFER", NUM_THREADS="ALL_CPUS", **profile) as dst:
        for row in range(rows):
            strip = tile[:, :: (-1) ** row]
            strip = np.concatenate([strip[:, :, :: (-1) ** col] for col in range(cols)], axis=2)[:, :, :edge]
            top = row * tile.shape[1]
            strip = strip[:, : edge - top]
            dst.write(strip, window=rasterio.windows.Window(0, top, edge, strip.shape[1]))
    return source


def _tile(source: str) -> np.ndarray:
    """Four bands (4, row, col) uint16 to mirror, without nodata."""
    if source == "noise":
        return np.random.default_rng(0).integers(0, 10_000, (4, 512, 512)).astype(np.uint16)
    if source == "zion":
        bands = [rasterio.open(SCENES["zion"].with_name(f"landsat_b{band}.tif")).read(1) for band in (4, 3, 2, 5)]
        return _inside(np.stack(bands) // 16)
    path = sorted(SCENES["india"].glob("*.tif"))[0] if source == "india" else Path(source)
    with rasterio.open(path) as src:
        return src.read(range(1, 5)).astype(np.uint16) * (16 if src.dtypes[0] == "uint8" else 1)


def _inside(bands: np.ndarray) -> np.ndarray:
    """The largest middle part of a tilted scene in which every pixel has data."""
    valid = (bands < 65535 // 16).all(axis=0)
    rows, cols = valid.shape
    cut = next(at for at in range(0, min(rows, cols) // 2, 8) if valid[at : rows - at, at : cols - at].mean() > 0.999)
    return np.minimum(bands[:, cut : rows - cut, cut : cols - cut], 65534 // 16)


def model(folder: Path, name: str, window: int, scene: Path) -> torch.nn.Module:
    """Write a model folder of random weights that tell classes apart in a scene; its network."""
    torch.manual_seed(0)
    network = networks.build(ARCHITECTURES[name], len(BANDS), CLASSES, most_bytes=10**9).eval().requires_grad_(False)
    _spread(network, scene)
    folder.mkdir(exist_ok=True)
    file = folder / "weights.safetensors"
    safetensors.torch.save_file(network.state_dict(), file)
    card = {
        "name": name,
        "architecture": ARCHITECTURES[name],
        "weights": {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()},
        "bands": list(BANDS),
        "normalisation": {"kind": "fixed", "mean": [MEAN] * 4, "std": [STD] * 4},
        "stride": networks.stride_of(network),
        "halo": FIELDS[name],
        "field": "bounded",
        "window": window,
        "legend_name": "six",
        "classes": [{"id": i, "name": f"class {i}", "colour": f"#{40 * i:02x}8040"} for i in range(1, CLASSES + 1)],
    }
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    return network.to(memory_format=torch.channels_last)


def _spread(network: torch.nn.Module, scene: Path) -> None:
    """Give all classes scores of one mean and spread over the scene's corner, so that each is the best somewhere."""
    with rasterio.open(scene) as src:
        pixels = torch.from_numpy(src.read(window=((0, 512), (0, 512))).astype(np.float32))
    scores = network((pixels[None] - MEAN) / STD)
    last = [each for each in network.modules() if isinstance(each, torch.nn.Conv2d)][-1]
    assert last.bias is not None
    mean, std = scores.mean(dim=(0, 2, 3)), scores.std(dim=(0, 2, 3))
    last.weight.data /= std[:, None, None, None]
    last.bias.data = (last.bias.data - mean) / std


def job(folder: Path, **keys: Any) -> None:
    """Write the catalog and the job of `scene.tif` and `model` in a folder."""
    catalog = {
        "imagery": {"scene": {"files": "scene.tif", "bands": {name: i for i, name in enumerate(BANDS, 1)}}},
        "models": {"net": {"path": "model"}},
    }
    spec = {"imagery": "scene", "model": "net", "outputs": {"quicklook": False}, **keys}
    (folder / "data_catalog.yaml").write_text(yaml.safe_dump(catalog))
    (folder / "job.yaml").write_text(yaml.safe_dump(spec))


class Whole:
    """A network's labels of the middle of a scene, made in one piece with more around it than the network sees."""

    def __init__(self, network: torch.nn.Module, path: Path, precision: str) -> None:
        with rasterio.open(path) as src:
            side = min(_WHOLE, src.height) // 32 * 32
            first = (src.height - side) // 2 // 32 * 32
            begin, end = max(0, first - _AROUND), min(src.height, first + side + _AROUND)
            pixels = src.read(window=((begin, end), (begin, end))).astype(np.float32)
        inputs = torch.from_numpy((pixels - MEAN) / STD)[None].contiguous(memory_format=torch.channels_last)
        dtype = getattr(torch, precision)
        with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            scores = network(inputs)[0].float()
        inner = slice(first - begin, first - begin + side)
        self._labels = scores.argmax(0)[inner, inner].numpy() + 1
        self._window = ((first, first + side), (first, first + side))

    def disagreement(self, path: Path, first_id: int = 1) -> float:
        """Share of pixels of a map that have another label; `first_id` is what it calls the first class."""
        with rasterio.open(path) as src:
            labels = src.read(1, window=self._window).astype(int)
        known = labels != 255
        return float((labels - first_id + 1 != self._labels)[known].mean()) if known.any() else float("nan")

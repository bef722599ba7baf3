"""A small scene with a reference, a catalog and a training spec, and how training loads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from geoseg import catalog
from geoseg.catalog.card import Normalisation
from geoseg.training import scenes
from geoseg.training.division import Squares
from geoseg.training.recipe import SceneSpec

CATALOG = """
imagery:
  scene: {files: scene.tif, bands: {red: 1, nir: 2}, attribution: made here}
references:
  truth: {file: truth.tif, legend: codes}
legends:
  codes:
    classes:
      - {id: 10, name: deep, colour: '#0000ff'}
      - {id: 20, name: bare, colour: '#aaaaaa'}
      - {id: 30, name: lush, colour: '#00ff00'}
      - {id: 99, name: doubtful, colour: '#ff00ff'}
  plain:
    classes:
      - {id: 3, name: green, colour: '#00ff00'}
      - {id: 1, name: water, colour: '#0000ff'}
      - {id: 2, name: soil, colour: '#aaaaaa'}
crosswalks:
  codes-to-plain: {from: codes, to: plain, classes: {10: 1, 20: 2, 30: 3, 99: null}}
"""
RECIPE = """
name: tiny
licence: CC0-1.0
imagery: scene
reference: truth
bands: [nir, red]
legend: plain
architecture: {name: compact, width: 4, depth: 1}
chips: {size: 16, square: 16, per_epoch: 64, jitter: 0.05}
epochs: 6
batch: 8
learning_rate: 0.02
baseline: none
readers: 0
seed: 1
"""


def make(folder: Path) -> Path:
    """A scene of 96 x 112 pixels in squares of three classes, a narrower reference, and their catalog."""
    random = np.random.default_rng(0)
    kinds = np.kron(random.integers(0, 3, (12, 14)), np.ones((8, 8), int))
    means = np.array([[100, 400, 900], [50, 300, 2000]], float)
    pixels = means[:, kinds] + random.normal(0, 60, (2, 96, 112))
    pixels = np.maximum(pixels, 1)
    pixels[:, 40:50, 60:70] = -1
    where = {"crs": "EPSG:32633", "transform": Affine(30, 0, 500000, 0, -30, 4000000)}
    with rasterio.open(folder / "scene.tif", "w", "GTiff", 112, 96, 2, dtype="int16", nodata=-1, **where) as file:
        file.write(pixels.astype(np.int16))
    codes = np.array([10, 20, 30])[kinds][:, :100]
    codes[:8, :8], codes[8:16, :8] = 99, 0
    with rasterio.open(folder / "truth.tif", "w", "GTiff", 100, 96, 1, dtype="uint8", nodata=0, **where) as file:
        file.write(codes.astype(np.uint8), 1)
    (folder / "data_catalog.yaml").write_text(CATALOG)
    (folder / "training.yaml").write_text(RECIPE)
    return folder


def loaded(folder: Path, part: Any = None, normalisation: Any = "scene", buffer: int = 0) -> scenes.LabelledScene:
    """The scene of a folder that `make` wrote, in its squares."""
    known = catalog.read(folder / "data_catalog.yaml")
    spec = SceneSpec(imagery="scene", reference="truth", part=part or {})
    squares = Squares(16, 0.15, 0.15, buffer, 1)
    return scenes.load(known, spec, ("nir", "red"), known.legend("plain"), squares, Normalisation(kind=normalisation))


def cropped(folder: Path, row: int, col: int, height: int, width: int) -> None:
    """The scene and its reference cut out under the name 'crop', as another date of the same ground would be."""
    for name, crop in (("scene", "crop"), ("truth", "crop_truth")):
        with rasterio.open(folder / f"{name}.tif") as file:
            window = rasterio.windows.Window(col, row, width, height)
            profile = file.profile | {
                "height": height,
                "width": width,
                "transform": file.transform @ Affine.translation(col, row),
            }
            values = file.read(window=window)
        with rasterio.open(folder / f"{crop}.tif", "w", **profile) as file:
            file.write(values)
    text = (folder / "data_catalog.yaml").read_text()
    text = text.replace("references:", "  crop: {files: crop.tif, bands: {red: 1, nir: 2}}\nreferences:")
    text = text.replace("legends:", "  crop: {file: crop_truth.tif, legend: codes}\nlegends:", 1)
    (folder / "data_catalog.yaml").write_text(text)

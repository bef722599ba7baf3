"""A virtual scene of any size: one small tile, put beside itself in a VRT, with its reference and a training spec."""

from __future__ import annotations

from pathlib import Path

import labelled_scenes
import numpy as np
import rasterio
from affine import Affine

_TILE = 1000
_MEANS = np.array([[400, 900, 1500], [300, 800, 1200], [200, 700, 1100], [300, 2500, 1700]], np.float32)
_WHERE = {"crs": "EPSG:32633", "transform": Affine(10, 0, 300000, 0, -10, 6000000)}


def make(folder: Path, edge: int, memory: str) -> Path:
    """A scene of edge x edge pixels in four bands of float32, which its spec may hold so many bytes of."""
    random = np.random.default_rng(0)
    kinds = np.kron(random.integers(0, 3, (_TILE // 20, _TILE // 20)), np.ones((20, 20), int))
    pixels = _MEANS[:, kinds] + random.normal(0, 120, (4, _TILE, _TILE)).astype(np.float32)
    pixels[:, 100:140, 300:390] = -9999
    codes = np.array([10, 20, 30], np.uint8)[kinds]
    _tiled(folder, "scene", pixels, edge, -9999)
    _tiled(folder, "truth", codes[None], edge, 0)
    text = labelled_scenes.CATALOG.replace("truth.tif", "truth.vrt")
    text = text.replace("scene.tif, bands: {red: 1, nir: 2}", "scene.vrt, bands: {blue: 1, green: 2, red: 3, nir: 4}")
    (folder / "data_catalog.yaml").write_text(text)
    text = labelled_scenes.RECIPE.replace("[nir, red]", "[nir, red, green, blue]").replace("epochs: 6", "epochs: 2")
    chips = "{size: 64, square: 512, validation: 0.003, test: 0.002, per_epoch: 64}"
    text = text.replace("{size: 16, square: 16, per_epoch: 64, jitter: 0.05}", chips)
    text = text.replace("readers: 0", "readers: 1").replace("baseline: none", "baseline: random_forest")
    (folder / "training.yaml").write_text(f"{text}memory: {memory}\n")
    return folder


def _tiled(folder: Path, name: str, values: np.ndarray, edge: int, nodata: float) -> None:
    """A tile, and a VRT of as many of it as it takes."""
    bands, kind = len(values), {"float32": "Float32", "uint8": "Byte"}[values.dtype.name]
    how = {"tiled": True, "blockxsize": 256, "blockysize": 256, "nodata": nodata, "dtype": values.dtype}
    with rasterio.open(folder / f"{name}_tile.tif", "w", "GTiff", _TILE, _TILE, bands, **how, **_WHERE) as file:
        file.write(values)
    lines = [
        f'<VRTDataset rasterXSize="{edge}" rasterYSize="{edge}"><SRS>EPSG:32633</SRS>',
        f"<GeoTransform>{', '.join(map(str, _WHERE['transform'].to_gdal()))}</GeoTransform>",
    ]
    for band in range(1, bands + 1):
        lines.append(f'<VRTRasterBand dataType="{kind}" band="{band}"><NoDataValue>{nodata}</NoDataValue>')
        for row in range(0, edge, _TILE):
            for col in range(0, edge, _TILE):
                size = f'xSize="{min(_TILE, edge - col)}" ySize="{min(_TILE, edge - row)}"'
                lines.append(
                    f'<SimpleSource><SourceFilename relativeToVRT="1">{name}_tile.tif</SourceFilename>'
                    f'<SourceBand>{band}</SourceBand><SrcRect xOff="0" yOff="0" {size}/>'
                    f'<DstRect xOff="{col}" yOff="{row}" {size}/></SimpleSource>'
                )
        lines.append("</VRTRasterBand>")
    (folder / f"{name}.vrt").write_text("".join(lines) + "</VRTDataset>")

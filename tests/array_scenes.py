"""A small scene of two bands as a file with a catalog, as arrays of many kinds, and the map that a run makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rioxarray
import xarray
from affine import Affine
from strategies import NORTH_UP, OBLONG, ROTATED, SOUTH_UP, write

from geoseg.arrays import open_imagery
from geoseg.catalog.card import Model
from geoseg.jobs import resolve
from geoseg.jobs import run as job_run
from geoseg.jobs import spec as job_spec

BANDS = ("red", "nir")
DEGREES = Affine(0.001, 0, 10.0005, 0, -0.001, 50.0002)
PLACES = {
    "north up": (NORTH_UP, "EPSG:32612"),
    "oblong": (OBLONG, "EPSG:32612"),
    "rotated": (ROTATED, "EPSG:32612"),
    "south up": (SOUTH_UP, "EPSG:32612"),
    "degrees": (DEGREES, "EPSG:4326"),
}
"""Transform and CRS."""


def put(
    folder: Path,
    shape: tuple[int, int] = (75, 91),
    transform: Affine = NORTH_UP,
    crs: str = "EPSG:32612",
    scale: float = 0.001,
    apart: bool = False,
) -> Path:
    """Two bands of noise with a hole in one and a corner without data; the catalog that names them.

    Parameters
    ----------
    folder : Path
        Where scene.tif goes.
    shape, transform, crs, scale
        Of the scene.
    apart : bool
        Whether the catalog names files of one band each; scene.tif is written all the same.
    """
    pixels = np.random.default_rng(5).integers(1, 3000, (2, *shape)).astype("uint16")
    pixels[0, 10:14, 20:30] = 0
    pixels[:, -20:, -30:] = 0
    write(folder / "scene.tif", pixels, transform, crs, nodata=0)
    entry: dict[str, Any] = {"scale": scale, "attribution": "Noise"}
    if apart:
        for name, band in zip(BANDS, pixels):
            write(folder / f"{name}.tif", band[None], transform, crs, nodata=0)
        entry["bands"] = {name: {"file": f"{name}.tif"} for name in BANDS}
    else:
        entry |= {"files": "scene.tif", "bands": dict(zip(BANDS, (1, 2)))}
    (folder / "data_catalog.yaml").write_text(json.dumps({"imagery": {"scene": entry}}))
    return folder / "data_catalog.yaml"


def run(folder: Path, used: Model, **keys: Any) -> tuple[np.ndarray, np.ndarray, Affine, rasterio.CRS]:
    """Labels, confidence, transform and CRS of the map that a run writes."""
    text = {
        "imagery": "scene",
        "model": used.folder,
        "outputs": {"report": False, "quicklook": False, "confidence": True},
        **keys,
    }
    (folder / "job.yaml").write_text(json.dumps(text))
    plan = resolve.resolve(job_spec.read(folder / "job.yaml"))
    summary = job_run.run(plan, folder / "out", threads=1)
    with (
        rasterio.open(f"{summary.folder}/map.tif") as labels,
        rasterio.open(f"{summary.folder}/confidence.tif") as sure,
    ):
        return labels.read(1), sure.read(1), labels.transform, labels.crs


def rio(folder: Path, **how: Any) -> xarray.DataArray:
    """The scene as rioxarray opens it, its bands named."""
    found = rioxarray.open_rasterio(folder / "scene.tif", **how)
    assert isinstance(found, xarray.DataArray)
    return found.assign_coords(band=list(BANDS))


def described(folder: Path) -> xarray.DataArray:
    """Band names as rioxarray has them from a file's band descriptions."""
    return rio(folder).assign_coords(band=[1, 2]).assign_attrs(long_name=BANDS)


def decoded(folder: Path) -> xarray.DataArray:
    """Stored integers whose nodata stands in the encoding."""
    found = rio(folder)
    found.encoding["_FillValue"] = found.attrs.pop("_FillValue")
    return found


def variables(folder: Path) -> xarray.Dataset:
    """A Dataset, each band with a nodata of its own, and a layer that is no band of the model."""
    found = rio(folder).to_dataset("band")
    red = found["red"].where(found["red"] != 0, 65535).astype("int64").assign_attrs(nodata=65535)
    nir = found["nir"].where(found["nir"] != 0).astype("float64").drop_attrs()
    cloud = xarray.DataArray(np.zeros((3, *nir.shape), "datetime64[ns]"), dims=("time", *nir.dims))
    return found.assign(red=red, nir=nir, cloud=cloud)


KINDS: dict[str, Callable[[Path], xarray.DataArray | xarray.Dataset]] = {
    "loaded": lambda folder: open_imagery("scene", catalog=folder / "data_catalog.yaml").load(),
    "rechunked": lambda folder: open_imagery("scene", catalog=folder / "data_catalog.yaml").chunk(y=11, x=50),
    "NumPy": rio,
    "Dask": lambda folder: rio(folder, chunks={"y": 17, "x": 23}),
    "one chunk a band": lambda folder: rio(folder, chunks={"band": 1, "y": -1, "x": -1}),
    "NaN": lambda folder: rio(folder, masked=True),
    "descriptions": described,
    "encoding": decoded,
    "bands last": lambda folder: rio(folder).transpose("y", "x", "band"),
    "bands turned": lambda folder: rio(folder).sel(band=["nir", "red"]).transpose("x", "band", "y"),
    "another name for bands": lambda folder: rio(folder).rename(band="variable"),
    "one time": lambda folder: rio(folder).expand_dims(time=[np.datetime64("2020-07-01", "ns")]),
}
"""The scene as an array whose pixels are those of a run, with scale 1 in the catalog."""
APART: dict[str, Callable[[Path], xarray.DataArray | xarray.Dataset]] = {
    "loaded": KINDS["loaded"],
    "Dataset": variables,
    "Dataset of Dask": lambda folder: rio(folder, chunks={"y": 40, "x": 13}).to_dataset("band"),
    "Dataset of NumPy": lambda folder: rio(folder).to_dataset("band"),
}
"""The same where each band has a file of its own."""

"""Scenes whose pixels say where they lie, and predictors of a few lines to map them with."""

import json

import numpy as np
import rasterio
from affine import Affine

from geoseg.catalog.legend import LandClass, Legend
from geoseg.jobs import resolve
from geoseg.jobs import spec as job_spec

BYTES = Legend("bytes", tuple(LandClass(id, f"value {id}", f"#{id:02x}{id:02x}{id:02x}") for id in range(251)))
NORTH_UP = Affine(30, 0, 300015, 0, -30, 4199985)
OBLONG = Affine(20, 0, 300007, 0, -35, 4200011)
ROTATED = Affine.translation(300015, 4199985) @ Affine.rotation(31) @ Affine.scale(30, -30)


def coordinates(shape, axis):
    """Each pixel painted with its own row or column, modulo 251."""
    return (np.indices(shape)[axis] % 251).astype("uint8")


def scene(folder, shape=(137, 211), transform=NORTH_UP, bands=None, nodata=None, name="scene.tif"):
    bands = [coordinates(shape, 0), coordinates(shape, 1)] if bands is None else bands
    path = folder / name
    profile = {"driver": "GTiff", "dtype": bands[0].dtype, "count": len(bands), "crs": "EPSG:32612"}
    with rasterio.open(
        path, "w", **profile, height=shape[0], width=shape[1], transform=transform, nodata=nodata
    ) as target:
        target.write(np.stack(bands))
    names = ", ".join(f"{name}: {index}" for index, name in enumerate(["red", "nir", "blue"][: len(bands)], 1))
    (folder / "data_catalog.yaml").write_text(f"imagery:\n  scene:\n    files: {path.name}\n    bands: {{{names}}}\n")
    return path


def resolved(folder, halo=0, legend=BYTES, **keys):
    text = {"imagery": "scene", "model": "none", **keys}
    text["inference"] = {"window": 16, "block": 32, **text.get("inference", {})}
    text["outputs"] = {"report": False, "quicklook": False, **text.get("outputs", {})}
    (folder / "job.yaml").write_text(json.dumps(text))
    return resolve.resolve(job_spec.read(folder / "job.yaml"), predict_halo=halo, legend=legend)


def red(pixels, tile):
    return np.nan_to_num(pixels[0]).astype("uint8")


def nir(pixels, tile):
    return np.nan_to_num(pixels[1]).astype("uint8")


def blur(pixels, tile):
    """A predictor with a field of 5 x 5 pixels."""
    filled = np.nan_to_num(pixels.sum(axis=0))
    total = sum(np.roll(filled, (r, c), (0, 1)) for r in range(-2, 3) for c in range(-2, 3))
    return (total.astype("int64") % 251).astype("uint8")


def read_map(summary):
    with rasterio.open(f"{summary.folder}/map.tif") as source:
        return source.read(1), source.transform, source.crs

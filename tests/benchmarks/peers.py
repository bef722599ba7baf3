"""Peers: the scene and network labelled by other tools, each as its documentation says; see `throughput.py --peers`.

torchgeo: `RasterDataset`, `GridGeoSampler` and `DataLoader` with `stack_samples`, the network on each batch, the part
of each chip that is farther than the halo from its edge written to the map. dask: rioxarray's lazy array, `map_overlap`
over chunks, `rio.to_raster`, after the Planetary Computer's land-cover example. geo-inference: its `GeoInference` on
the file. All get the network with its normalisation as TorchScript.

Run: python peers.py KIND FOLDER --window 1024 --halo 32 --threads 2
FOLDER holds scene.tif and network.pt, and gets KIND.tif with class numbers from 0. Needs torch, torchgeo, rioxarray,
dask and geo-inference; no geoseg.
"""

from __future__ import annotations

import argparse
import shutil
import threading
from pathlib import Path

import numpy as np
import rasterio
import torch


def main() -> None:
    """Label the scene."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("torchgeo", "dask", "geo-inference"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--window", type=int, default=1024)
    parser.add_argument("--halo", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    {"torchgeo": torchgeo, "dask": dask, "geo-inference": geo_inference}[given.kind](given)


def torchgeo(given: argparse.Namespace) -> None:
    """TorchGeo's sampler loop; torch takes all threads for each batch, as many processes read ahead."""
    from torch.utils.data import DataLoader
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import GridGeoSampler

    torch.set_num_threads(given.threads)
    network, scene = torch.jit.load(given.folder / "network.pt"), given.folder / "scene.tif"
    dataset = RasterDataset(str(scene))
    size = given.window + 2 * given.halo
    sampler = GridGeoSampler(dataset, size=size, stride=given.window)
    loader = DataLoader(dataset, batch_size=4, sampler=sampler, collate_fn=stack_samples, num_workers=given.threads)
    with rasterio.open(scene) as src:
        profile, transform, edge = src.profile, src.transform, src.height
    profile.update(count=1, dtype="uint8", nodata=255)
    with torch.inference_mode(), rasterio.open(given.folder / "torchgeo.tif", "w", **profile) as out:
        for batch in loader:
            labels = network(batch["image"]).argmax(1).to(torch.uint8).numpy()
            for label, bounds in zip(labels, batch["bounds"]):
                west, north = _corner(bounds)
                col, row = (round(each) for each in ~transform @ (west, north))
                rows, cols = (_kept(each, size, given.halo, edge) for each in (row, col))
                part = label[rows[0] - row : rows[1] - row, cols[0] - col : cols[1] - col]
                if part.size:
                    out.write(part, 1, window=(rows, cols))


def _corner(bounds: object) -> tuple[float, float]:
    """West and north of a chip: slices of x and y in newer versions, a box or a tensor in others."""
    if hasattr(bounds, "minx"):
        return float(bounds.minx), float(bounds.maxy)
    if isinstance(bounds, torch.Tensor):
        flat = bounds.flatten().tolist()
        return flat[0], flat[4]
    x, y = bounds[0], bounds[1]  # type: ignore[index]
    return float(x.start), float(y.stop)


def _kept(begin: int, size: int, halo: int, edge: int) -> tuple[int, int]:
    """First and end of what is kept of a chip: less its halo, but for the scene's own edge."""
    return (0 if begin <= 0 else begin + halo), (edge if begin + size >= edge else begin + size - halo)


def dask(given: argparse.Namespace) -> None:
    """map_overlap over a lazy array, one chunk in each thread."""
    import dask as dask_
    import rioxarray
    import xarray as xr

    torch.set_num_threads(1)
    network = torch.jit.load(given.folder / "network.pt")
    lazy = rioxarray.open_rasterio(
        given.folder / "scene.tif", chunks={"band": -1, "y": given.window, "x": given.window}, lock=False
    )

    def predict(chunk: np.ndarray) -> np.ndarray:
        torch.set_num_threads(1)
        with torch.inference_mode():
            return network(torch.from_numpy(chunk)[None])[0].argmax(0).to(torch.uint8).numpy()

    labels = lazy.data.astype("float32").map_overlap(
        predict,
        depth={0: 0, 1: given.halo, 2: given.halo},
        boundary="none",
        drop_axis=0,
        dtype="uint8",
        meta=np.empty((0, 0), "uint8"),
    )
    found = xr.DataArray(labels, dims=("y", "x"), coords={"y": lazy.y, "x": lazy.x}).rio.write_crs(lazy.rio.crs)
    with dask_.config.set(scheduler="threads", num_workers=given.threads):
        found.rio.to_raster(
            given.folder / "dask.tif", tiled=True, compress="deflate", lock=threading.Lock(), driver="GTiff"
        )


def geo_inference(given: argparse.Namespace) -> None:
    """geo-inference's Dask path; its patches overlap by half and are blended, whatever the halo."""
    from geo_inference.geo_inference import GeoInference

    torch.set_num_threads(1)
    work = given.folder / "geo_inference"
    inference = GeoInference(
        model=str(given.folder / "network.pt"),
        work_dir=str(work),
        mask_to_vec=False,
        device="cpu",
        num_classes=6,
    )
    name = inference(inference_input=str(given.folder / "scene.tif"), patch_size=given.window, workers=given.threads)
    shutil.move(work / name, given.folder / "geo-inference.tif")


if __name__ == "__main__":
    main()

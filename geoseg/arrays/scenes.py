"""Scenes: imagery as a lazy xarray.DataArray, which remembers where its pixels come from.

Pixels are (band, y, x) float32 in physical units, NaN where there is no data; files are read when they are computed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import odc.geo.xr
import shapely
import xarray
from odc.geo.crs import CRS
from odc.geo.geom import Geometry
from pydantic import TypeAdapter, ValidationError

from geoseg import catalog, imagery
from geoseg.arrays import chunks, cube
from geoseg.catalog import Band, Catalog, Imagery, RegionSpec
from geoseg.catalog.yaml import parse
from geoseg.errors import CatalogError, GridError, JobError
from geoseg.grid import Grid, Window
from geoseg.imagery import Scene
from geoseg.jobs import resolve
from geoseg.process import remembered
from geoseg.storage.digests import digest_of

ORIGIN = "geoseg_origin"
"""Attribute that tells where the pixels came from."""
_DIMS = ("y", "x")

PathText = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the pixels of an array came from; travels in its attributes as JSON."""

    imagery: Imagery
    grid: Grid
    region: str | None
    """Outline in the grid's CRS as WKB in hexadecimal; None: all of the imagery."""
    extent: Window
    """What the whole array covers."""
    token: str = ""
    """Name in Dask of the whole array; it stands for the files too."""


@dataclass(frozen=True, slots=True, eq=False)
class _Reader:
    """What chunks of imagery need."""

    scene: Scene
    origin: Origin


def open_imagery(
    source: PathText | Sequence[PathText],
    *,
    bands: Mapping[str, int] | Sequence[str] | None = None,
    catalog: PathText | None = None,
    region: str | Mapping[str, Any] | None = None,
    grid: Grid | tuple[str, float] | str = "source",
) -> xarray.DataArray:
    """Open imagery lazily: files are found and checked now, pixels are read when they are computed.

    Parameters
    ----------
    source : str, path or list of paths
        Imagery of the catalog by name; or, with `bands`, GeoTIFFs (globs too), the first on top where they overlap.
    bands : mapping or sequence, optional
        For files: band numbers by name, or the names of bands 1, 2, ...
    catalog : path, optional
        Default: data_catalog.yaml in the working folder, where there is one.
    region : str or mapping, optional
        Region of the catalog by name, or `{"bounds": [left, bottom, right, top], "crs": ...}`, or `{"file": ...}`.
        Default: all of the imagery. Pixels whose centre lies outside are NaN.
    grid : 'source', (crs, resolution) or Grid
        Where it is not the imagery's own, pixels are warped.

    Returns
    -------
    xarray.DataArray
        (band, y, x) float32 in Dask chunks that lie on the lattice, with `spatial_ref`.

    Raises
    ------
    GeosegError
        If a name is unknown, a file cannot be used, or the region does not meet the imagery.
    """
    known = catalog_of(catalog)
    layer = _layer(source, bands, known)
    scene = imagery.open(layer)
    on = _grid(grid, scene)
    wanted = parse(RegionSpec, region, "region", JobError) if isinstance(region, Mapping) else region or "imagery"
    extent, outline = resolve.extent_of(wanted, known, scene, on)
    outlined = None if outline is None else shapely.to_wkb(outline.geom, hex=True)
    origin = Origin(layer, on, outlined, extent)
    facts = {"origin": _text(origin), "files": imagery.identity(scene)}
    origin = replace(origin, token=f"geoseg-imagery-{digest_of(facts)[:16]}")
    names = [band.name for band in layer.bands]
    like = np.empty((len(names), 0, 0), np.float32)
    data = chunks.lazy(_read, _Reader(scene, origin), extent, chunks.EDGE, like, origin.token)
    attrs = {
        "long_name": layer.name,
        "units": "1",
        "attribution": layer.attribution,
        "_FillValue": np.float32(np.nan),
        ORIGIN: _text(origin),
    }
    coords = odc.geo.xr.xr_coords(on.geobox(extent), dims=_DIMS)
    return xarray.DataArray(data, {"band": names, **coords}, ("band", *_DIMS), layer.name, attrs)


def origin_of(scene: object) -> Origin | None:
    """Where an array's pixels came from, if it is just what `open_imagery` gives for that, or one selection of it.

    Dask names an array by all that it is made of, so the name which that selection would have tells it from others.
    """
    if not isinstance(scene, xarray.DataArray) or not isinstance(scene.data, dask.array.Array):
        return None
    try:
        origin = _adapter().validate_json(scene.attrs.get(ORIGIN, ""))
        window = origin.grid.window_of(cube.geobox(scene))
    except (ValidationError, GridError):
        return None
    if window is None or not origin.extent.holds(window) or "band" not in scene.coords:
        return None
    return origin if scene.data.name in _selections(origin, window, scene["band"].values) else None


def _selections(origin: Origin, window: Window, names: np.ndarray) -> set[str]:
    """Names in Dask of the selections of an origin's array that give some of its bands over a window."""
    known = [band.name for band in origin.imagery.bands]
    rows, cols = window.within(origin.extent)
    shape = ((len(known),), *chunks.sizes(origin.extent, chunks.EDGE))
    whole = xarray.Variable(("band", *_DIMS), dask.array.Array({}, origin.token, shape, dtype=np.float32))
    part = {"y": rows, "x": cols}
    if not set(names.flat) <= set(known):
        return set()
    at: Any = known.index(names.item()) if names.ndim == 0 else [known.index(name) for name in names]
    bands = [at] if names.ndim == 0 or at != list(range(at[0], at[-1] + 1)) else [at, slice(at[0], at[-1] + 1)]
    found = [whole.isel({"band": band, **part}) for band in bands]
    found += [whole.isel(band=band).isel(part) for band in bands] + [whole.isel(part).isel(band=band) for band in bands]
    return {each.data.name for each in found}


def _text(origin: Origin) -> str:
    return _adapter().dump_json(origin).decode()


@remembered(1)
def _adapter() -> TypeAdapter[Origin]:
    return TypeAdapter(Origin)


def catalog_of(path: PathText | None) -> Catalog:
    """The catalog named, else that of the working folder, else the shipped one."""
    if path is not None:
        return catalog.read(Path(path))
    here = Path("data_catalog.yaml")
    return catalog.read(here) if here.is_file() else catalog.shipped()


def _grid(grid: Grid | tuple[str, float] | str, scene: Scene) -> Grid:
    if isinstance(grid, Grid):
        return grid
    if isinstance(grid, str):
        if grid == "source":
            return scene.grid
        raise GridError(f"grid is {grid!r}; give 'source' or a CRS with a resolution, as ('EPSG:32612', 30)")
    return Grid.regular(*grid)


def _layer(
    source: PathText | Sequence[PathText], bands: Mapping[str, int] | Sequence[str] | None, known: Catalog
) -> Imagery:
    if bands is None:
        if isinstance(source, str) and not source.lower().endswith((".tif", ".tiff", ".vrt")):
            return known.imagery(source)
        raise CatalogError(f"{source} is opened without a catalog, so say what its bands are, as bands={{'red': 3}}")
    paths = (source,) if isinstance(source, str | os.PathLike) else tuple(source)
    if not paths or not bands or isinstance(bands, str):
        raise CatalogError("give at least one file and one band, as open_imagery('scene.tif', bands={'red': 3})")
    files = tuple(_absolute(os.fspath(path)) for path in paths)
    numbers = bands if isinstance(bands, Mapping) else {name: number for number, name in enumerate(bands, 1)}
    listed = tuple(Band(name, files, int(number), None, 1.0, 0.0) for name, number in numbers.items())
    return Imagery(Path(files[0]).stem, listed)


def _absolute(path: str) -> str:
    return path if path.startswith(("/vsi", "http://", "https://", "s3://")) else str(Path(path).absolute())


def _read(reader: _Reader, window: Window) -> np.ndarray:
    origin = reader.origin
    pixels = imagery.read(reader.scene, origin.grid, window)
    if origin.region is not None:
        pixels[:, ~imagery.inside(_outline(origin.region, origin.grid.crs), origin.grid, window)] = np.nan
    return pixels


@remembered(4)
def _outline(region: str, crs: str) -> Geometry:
    return Geometry(shapely.from_wkb(region), CRS(crs))

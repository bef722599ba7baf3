"""Cube: any georeferenced xarray as plain facts: bands by name over the pixels of a grid. Nothing is computed here.

Pixels become (band, row, col) float32 in Dask chunks, NaN where there is no data: where the array has NaN, or its
nodata. Numbers are taken as they are: a scale or offset among the attributes is for whoever opened the file.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
import odc.geo.xr
import rioxarray
import xarray
from affine import Affine
from odc.geo.geobox import GeoBox
from rioxarray.exceptions import RioXarrayError

from geoseg.arrays import chunks
from geoseg.catalog.yaml import nearest
from geoseg.errors import CatalogError, GridError
from geoseg.grid import Grid, Window

_REGULAR = 0.02
"""Part of a pixel by which a coordinate may miss its place; float32 degrees do."""
_EXACT = 1e-3
_NODATA = ("_FillValue", "missing_value", "fill_value", "nodata")

Given = xarray.DataArray | xarray.Dataset
assert rioxarray  # its import gives arrays their .rio


@dataclass(frozen=True, slots=True, eq=False)
class Cube:
    """Pixels of some bands, and where they lie."""

    pixels: dask.array.Array
    """(band, row, col) float32, NaN where there is no data; one chunk holds all bands."""
    place: Georeference
    numbers: tuple[str | None, ...] = ()
    """Type of each band's numbers as they were stored; None where they were scaled, or nobody says."""


@dataclass(frozen=True, slots=True, eq=False)
class Georeference:
    """Where an array lies."""

    grid: Grid
    window: Window
    """What it covers."""
    dims: tuple[Hashable, Hashable]
    """Names of its rows' and columns' dimensions."""
    coords: dict[Hashable, xarray.DataArray]
    """Coordinates of another array of the same rows and columns."""


def of(given: Given, bands: Sequence[str], wanted_by: str, step: int, *, together: bool) -> Cube:
    """Some bands of an array.

    Parameters
    ----------
    given : DataArray or Dataset
        Bands along a dimension, as variables, or a single one; rows and columns of a regular grid.
    bands : sequence of str
        Names of the bands wanted.
    wanted_by : str
        What messages say needs them.
    step : int
        Edge of the chunks, on the lattice, into which pixels that Dask does not hold are cut.
    together : bool
        Whether a pixel that lacks one of these bands has no data in all of them, as in a file that holds them all.

    Raises
    ------
    CatalogError
        If a band is missing.
    GridError
        If the array has no CRS, no regular grid, several times or no numbers.
    """
    if not isinstance(given, Given):
        raise GridError(f"segment maps an xarray.DataArray or Dataset, and this is a {type(given).__name__}")
    dims = _spatial_dims(given)
    known = _bands(given, dims)
    for name in bands:
        if name not in known:
            raise CatalogError(f"{wanted_by} needs band {name!r}, which the array lacks; {nearest(name, tuple(known))}")
    layers = [_layer(known[name], dims, name) for name in bands]
    place = georeference(layers[0])
    physical = [_physical(layer, place.window, step) for layer in layers]
    pixels = dask.array.stack(physical).rechunk({0: -1})
    if together:
        pixels = dask.array.map_blocks(_whole, pixels, dtype=np.float32, meta=pixels._meta)
    return Cube(pixels, place, tuple(map(_stored, layers)))


def georeference(layer: xarray.DataArray) -> Georeference:
    """Where the pixels of a (row, col) array lie; any scalar coordinates stay with them.

    Raises
    ------
    GridError
        If it has no CRS, no pixels or no regular grid.
    """
    dims = _spatial_dims(layer)
    layer = layer.transpose(*dims)
    exact = geobox(layer)
    grid = Grid.of(exact)
    window = grid.window_of(exact)
    assert window is not None
    own = {name: coord for name, coord in layer.coords.items() if name != "band"}
    if layer.odc.crs_coord is None:
        own = odc.geo.xr.xr_coords(exact, dims=(str(dims[0]), str(dims[1]))) | own
    return Georeference(grid, window, dims, own)


def geobox(layer: xarray.DataArray) -> GeoBox:
    """The grid of a (row, col) array, fitted to all of its coordinates.

    Raises
    ------
    GridError
        If it has no CRS, no pixels or no regular grid.
    """
    dims = _spatial_dims(layer)
    if not layer.size:
        raise GridError("the array has no pixels; look at the slice or selection that it comes from")
    found = layer.odc.geobox
    box = found if isinstance(found, GeoBox) and found.crs is not None else _rio_geobox(layer)
    if box is None:
        raise GridError(
            f"the array's coordinates {dims[0]!r} and {dims[1]!r} are no regular grid; resample it to one first, for "
            "instance with odc.geo.xr.xr_reproject"
        )
    return _regular(layer, dims, box)


def _spatial_dims(given: Given) -> tuple[Hashable, Hashable]:
    found = odc.geo.xr.spatial_dims(given, relaxed=True)
    if found is not None:
        return found
    try:
        return given.rio.y_dim, given.rio.x_dim
    except RioXarrayError:
        names = ", ".join(map(str, given.dims)) or "none"
        raise GridError(
            f"the array has no rows and columns of a grid (its dimensions: {names}); rename these to 'y' and 'x'"
        ) from None


# ------------------------------------------------------------------------------------------- bands


def _bands(given: Given, dims: tuple[Hashable, Hashable]) -> dict[str, xarray.DataArray]:
    """Bands by name."""
    if isinstance(given, xarray.Dataset):
        common = {key: given.attrs[key] for key in _NODATA if key in given.attrs}  # where to_dataset leaves it
        found = {str(name): each for name, each in given.data_vars.items() if set(dims) <= set(each.dims)}
        return {
            name: each if set(_NODATA) & set(each.attrs) else each.assign_attrs(common) for name, each in found.items()
        }
    along = _band_dim(given, dims)
    if along is None:
        own = [given.coords["band"].item() if "band" in given.coords else None, given.name, *_long_names(given)]
        return {next((name for name in own if isinstance(name, str)), "?"): given}
    values: list[Any] = given.coords[along].values.tolist() if along in given.coords else []
    names = values if all(isinstance(name, str) for name in values) else _long_names(given)
    if len(names) != given.sizes[along]:
        raise CatalogError(
            f"the array's {given.sizes[along]} bands have no names; name them, for instance with "
            f"array.assign_coords({along}=['red', 'nir'])"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CatalogError(f"the array has band {twice[0]!r} twice; keep one of them")
    return {name: given.isel({along: number}) for number, name in enumerate(names)}


def _band_dim(given: xarray.DataArray, dims: tuple[Hashable, Hashable]) -> Hashable | None:
    """The dimension along which bands lie; a time is none."""
    rest = [dim for dim in given.dims if dim not in dims and not _is_time(given, dim)]
    named = [dim for dim in rest if dim in given.coords and given.coords[dim].dtype.kind in "UOT"]
    many = [dim for dim in rest if given.sizes[dim] > 1]
    return "band" if "band" in rest else next(iter([*named, *many]), None)


def _long_names(given: xarray.DataArray) -> list[str]:
    """Band descriptions of a file, as rioxarray gives them."""
    found = given.attrs.get("long_name", ())
    return [found] if isinstance(found, str) else [str(each) for each in found]


def _is_time(given: xarray.DataArray, dim: Hashable) -> bool:
    return dim == "time" or (dim in given.coords and given.coords[dim].dtype.kind == "M")


def _layer(band: xarray.DataArray, dims: tuple[Hashable, Hashable], name: str) -> xarray.DataArray:
    """One band as (row, col)."""
    for dim in [dim for dim in band.dims if dim not in dims]:
        if band.sizes[dim] != 1:
            what = "times" if _is_time(band, dim) else f"layers along {dim!r}"
            raise GridError(
                f"the array has {band.sizes[dim]} {what}; choose one, as array.isel({dim}=0), or combine them, as "
                f"array.median({str(dim)!r})"
            )
    if band.dtype.kind not in "biuf":
        raise GridError(f"band {name!r} holds {band.dtype}; give integers or floating-point numbers")
    return band.squeeze([dim for dim in band.dims if dim not in dims]).transpose(*dims)


def _physical(layer: xarray.DataArray, window: Window, step: int) -> dask.array.Array:
    data: Any = layer.data
    if not isinstance(data, dask.array.Array):
        data = dask.array.from_array(np.asarray(data), chunks.sizes(window, step))
    meta = np.empty((0, 0), np.float32)
    return dask.array.map_blocks(_floats, data, _nodata(layer), dtype=np.float32, meta=meta)


def _nodata(layer: xarray.DataArray) -> float | None:
    """The value that means no data; floats that were decoded have NaN there already."""
    held = [layer.attrs] if layer.dtype.kind == "f" else [layer.attrs, layer.encoding]
    found = [each[key] for each in held for key in _NODATA if each.get(key) is not None]
    return float(found[0]) if found else None


def _stored(layer: xarray.DataArray) -> str | None:
    """Type of a band's numbers in the file that it was decoded from; floats that come from nowhere may hold any."""
    held = layer.encoding
    if held.get("scale_factor", 1) != 1 or held.get("add_offset", 0) != 0:
        return None
    said = held.get("rasterio_dtype", held.get("dtype", layer.dtype if layer.dtype.kind in "iu" else None))
    return None if said is None else str(np.dtype(said))


def _floats(pixels: np.ndarray, nodata: float | None) -> np.ndarray:
    """Pixels of a chunk as float32, NaN where there is no data."""
    with np.errstate(over="ignore"):  # what float32 cannot hold is no data
        out = pixels.astype(np.float32)
    if nodata is not None and not np.isnan(nodata):
        # A float file's nodata was rounded to its own precision.
        out[pixels == (pixels.dtype.type(nodata) if pixels.dtype.kind == "f" else nodata)] = np.nan
    out[np.isinf(out)] = np.nan
    return out


def _whole(pixels: np.ndarray) -> np.ndarray:
    """(band, row, col) without the pixels that lack a band."""
    return np.where(np.isnan(pixels).any(axis=0), np.float32(np.nan), pixels)


# -------------------------------------------------------------------------------------------- grid


def _rio_geobox(layer: xarray.DataArray) -> GeoBox | None:
    """What rioxarray knows of the grid, where odc-geo finds none."""
    try:
        crs, affine = layer.rio.crs, layer.rio.transform()
    except RioXarrayError:
        crs, affine = layer.rio.crs, Affine.identity()
    if crs is None:
        raise GridError("the array has no CRS; state it, for instance with array.rio.write_crs('EPSG:32612')")
    return None if affine == Affine.identity() else GeoBox((layer.shape[0], layer.shape[1]), affine, crs.to_wkt())


def _regular(layer: xarray.DataArray, dims: tuple[Hashable, Hashable], box: GeoBox) -> GeoBox:
    """The grid that fits all coordinates of the array; odc-geo looks at the first two of each only.

    Raises
    ------
    GridError
        If none does.
    """
    flat = {str(name)[:1].lower(): coord.values for name, coord in layer.coords.items() if coord.ndim == 2}
    if {"x", "y"} <= set(flat) and not set(dims) <= set(layer.coords):  # what rioxarray gives rotated pixels
        rows, cols = np.indices(box.shape) + 0.5
        a, b, c, d, e, f = tuple(box.affine)[:6]
        wanted = {"x": a * cols + b * rows + c, "y": d * cols + e * rows + f}
        off = max(float(np.abs(flat[axis] - wanted[axis]).max()) for axis in wanted) / abs(a * e - b * d) ** 0.5
        if not off < _REGULAR:
            raise GridError(
                f"the array's coordinates are {off:.3g} pixels from where its transform puts them; after slicing "
                "rotated pixels write the transform anew, with array.rio.write_transform"
            )
    if not all(dim in layer.coords for dim in dims):
        return box
    to_crs = Affine.identity()
    if not box.axis_aligned:  # then coordinates count pixels of the transform that stands with the CRS
        to_crs = Affine.from_gdal(*map(float, layer.odc.crs_coord.attrs["GeoTransform"].split()))
        box = GeoBox(box.shape, Affine.identity(), box.crs)
    axes = [layer.coords[dim].values.astype(np.float64) for dim in dims]
    a, _, c, _, e, f = tuple(box.affine)[:6]
    off = max(_off(axis, scale, first) for axis, scale, first in ((axes[0], e, f), (axes[1], a, c)))
    if off >= _EXACT:
        e, a = ((axis[-1] - axis[0]) / (len(axis) - 1) if len(axis) > 1 else scale for axis, scale in zip(axes, (e, a)))
        f, c = axes[0][0] - e / 2, axes[1][0] - a / 2
        off = max(_off(axis, scale, first) for axis, scale, first in ((axes[0], e, f), (axes[1], a, c)))
    if not off < _REGULAR:
        raise GridError(
            f"the array's coordinates are no regular grid: one is {off:.3g} pixels from its place; resample it to one "
            "first, for instance with array.interp or odc.geo.xr.xr_reproject"
        )
    return GeoBox(box.shape, to_crs @ Affine(a, 0, c, 0, e, f), box.crs)


def _off(axis: np.ndarray, scale: float, edge: float) -> float:
    """How far, in pixels, an axis is from evenly spaced pixel centres; infinite where that cannot be said."""
    with np.errstate(all="ignore"):
        off = np.abs((axis - edge) / scale - np.arange(len(axis)) - 0.5).max()
    return float(off) if np.isfinite(off) else np.inf

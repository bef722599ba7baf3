"""Arrays: imagery as a lazy xarray.DataArray, and the map of it as another. Pixels are read when they are computed.

Imagery is (band, y, x) float32 in physical units, NaN where there is no data; a map is (y, x) uint8, 255 where
there is none. A chunk of a map is made just as a run makes a block, so it is the same pixel for pixel; chunks do
not exchange pixels, and the graph holds paths and cards, never a network or an open file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import odc.geo.xr
import shapely
import xarray
from odc.geo.crs import CRS
from odc.geo.geom import Geometry
from pydantic import TypeAdapter

from geoseg import catalog, imagery
from geoseg.catalog import Band, Catalog, Imagery, RegionSpec
from geoseg.catalog.card import Model, read_model
from geoseg.catalog.legend import NODATA, Legend
from geoseg.catalog.yaml import parse
from geoseg.errors import CatalogError, GridError, JobError
from geoseg.grid import Grid, Layout, Window
from geoseg.imagery import Scene
from geoseg.jobs import block as job_block
from geoseg.jobs import resolve
from geoseg.jobs.plan import Plan
from geoseg.jobs.spec import Inference, JobSpec, Outputs
from geoseg.storage.digests import digest_of

CHUNK = 1024
"""Edge of a chunk in pixels, about; chunks begin at multiples of it on the lattice."""
_ORIGIN = "geoseg_origin"
_PIXELS = "geoseg-imagery-"
_DIMS = ("y", "x")

PathText = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the pixels of an array came from; travels in its attributes as JSON."""

    imagery: Imagery
    grid: Grid
    region: str | None
    """Outline in the grid's CRS as WKB in hexadecimal; None: all of the imagery."""


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
    known = _catalog(catalog)
    layer = _layer(source, bands, known)
    scene = imagery.open(layer)
    on = _grid(grid, scene)
    wanted = parse(RegionSpec, region, "region", JobError) if isinstance(region, Mapping) else region or "imagery"
    extent, outline = resolve.extent_of(wanted, known, scene, on)
    origin = Origin(layer, on, None if outline is None else shapely.to_wkb(outline.geom, hex=True))
    names = [band.name for band in layer.bands]
    name = _PIXELS + digest_of({"origin": _text(origin), "files": imagery.identity(scene), "extent": repr(extent)})[:16]
    data = _lazy(partial(_read, scene, on, origin.region), extent, CHUNK, (len(names),), np.float32, name)
    attrs = {
        "long_name": layer.name,
        "units": "1",
        "attribution": layer.attribution,
        "_FillValue": np.float32(np.nan),
        _ORIGIN: _text(origin),
    }
    return xarray.DataArray(data, {"band": names, **_coords(on, extent)}, ("band", *_DIMS), layer.name, attrs)


def segment(
    scene: xarray.DataArray,
    model: Model | PathText,
    *,
    confidence: bool = False,
    catalog: PathText | None = None,
    **inference: Any,
) -> xarray.DataArray | xarray.Dataset:
    """Map imagery lazily: each chunk reads its own pixels and context from the files when it is computed.

    Only the place of `scene` counts: its files are read beyond its edges where the network looks there, so the map
    of a part is that part of the map, and equal to what `geoseg run` writes on the same grid. Where the model
    normalises by the scene's statistics, their fixed sample of the whole imagery is read now.

    Parameters
    ----------
    scene : (band, y, x) DataArray
        From `open_imagery`, whole or sliced; not one that was loaded or computed from it.
    model : Model, path or str
        A model, its folder, or its name in the catalog.
    confidence : bool
        Return a Dataset with `land_cover` and `confidence` (0..254 for 0..1, 255 where there is no data).
    catalog : path, optional
        As in `open_imagery`.
    **inference
        window, halo, batch, precision, stitch and device, as in a job; all 'auto' by default.

    Returns
    -------
    xarray.DataArray or xarray.Dataset
        (y, x) uint8 class ids, nodata 255 as `_FillValue`, with CF flag attributes.

    Raises
    ------
    GeosegError
        If the array is not such imagery or the model cannot be used for it.
    """
    origin, extent = _origin(scene)
    chosen = model if isinstance(model, Model) else _model(model, _catalog(catalog))
    card = chosen.card
    there = tuple(map(str, np.atleast_1d(scene["band"].values))) if "band" in scene.coords else ()
    layer = origin.imagery.select(there, "the array").select(card.bands, f"model {card.name!r}")
    asked = parse(Inference, inference, "segment", JobError)
    opened = imagery.open(layer)
    ready = resolve.predictor_of(asked, chosen, opened)
    step = ready.core * max(1, CHUNK // ready.core)
    spec = JobSpec(imagery=layer.name, model=card.name, inference=asked, outputs=Outputs(confidence=confidence))
    layout = Layout(extent, ready.core, ready.margin, step)
    plan = Plan(spec, opened, origin.grid, layout, card.legend, origin.region, ready)
    kinds = ("labels", "confidence") if confidence else ("labels",)
    data = _lazy(partial(_label, plan, kinds), extent, step, (len(kinds),), np.uint8, f"geoseg-map-{plan.digest[:16]}")
    coords = _coords(origin.grid, extent)
    labels = xarray.DataArray(data[0], coords, _DIMS, "land_cover", _flags(card.legend, chosen, layer))
    if not confidence:
        return labels
    sure = {"long_name": "confidence, 0 to 254 for 0 to 1", "units": "1", "_FillValue": np.uint8(NODATA)}
    return labels.to_dataset().assign(confidence=(_DIMS, data[1], sure))


# --------------------------------------------------------------------------------------- on a worker


def _chunk(
    make: Callable[[Window], np.ndarray], extent: Window, step: int, block_id: tuple[int, ...] | None = None
) -> np.ndarray:
    """One chunk, by its place among the chunks."""
    assert block_id is not None
    whole = extent.snapped(step)
    square = Window(whole.row + block_id[-2] * step, whole.col + block_id[-1] * step, step, step)
    window = square.meet(extent)
    assert window is not None
    return make(window)


def _read(scene: Scene, grid: Grid, region: str | None, window: Window) -> np.ndarray:
    pixels = imagery.read(scene, grid, window)
    if region is not None:
        outline = Geometry(shapely.from_wkb(region), CRS(grid.crs))
        pixels[:, ~imagery.inside(outline, grid, window)] = np.nan
    return pixels


def _label(plan: Plan, kinds: tuple[str, ...], window: Window) -> np.ndarray:
    assert plan.predictor is not None
    block = job_block.label(plan, plan.predictor, window)
    empty = np.full(window.shape, NODATA, np.uint8)
    arrays = {"labels": block.labels, "confidence": block.confidence}
    return np.stack([empty if (found := arrays[kind]) is None else found for kind in kinds])


# ------------------------------------------------------------------------------------------ the parts


def _lazy(
    make: Callable[[Window], np.ndarray], extent: Window, step: int, before: tuple[int, ...], dtype: Any, name: str
) -> dask.array.Array:
    """An array over `extent` whose chunks are the lattice's squares of `step` pixels, made when they are computed."""
    chunks = tuple((each,) for each in before)
    for first, end in ((extent.row, extent.row_end), (extent.col, extent.col_end)):
        edges = [first, *range((first // step + 1) * step, end, step), end]
        chunks += (tuple(b - a for a, b in pairwise(edges)),)
    meta = np.empty((0,) * len(chunks), dtype)
    return dask.array.map_blocks(partial(_chunk, make, extent, step), chunks=chunks, dtype=dtype, meta=meta, name=name)


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


def _catalog(path: PathText | None) -> Catalog:
    if path is not None:
        return catalog.read(Path(path))
    here = Path("data_catalog.yaml")
    return catalog.read(here) if here.is_file() else catalog.shipped()


def _model(model: PathText, known: Catalog) -> Model:
    return read_model(Path(model)) if (Path(model) / "card.yaml").is_file() else known.model(os.fspath(model))


def _grid(grid: Grid | tuple[str, float] | str, scene: Scene) -> Grid:
    if isinstance(grid, Grid):
        return grid
    if isinstance(grid, str):
        if grid == "source":
            return scene.grid
        raise GridError(f"grid is {grid!r}; give 'source' or a CRS with a resolution, as ('EPSG:32612', 30)")
    return Grid.regular(*grid)


def _coords(grid: Grid, extent: Window) -> dict[Any, xarray.DataArray]:
    return odc.geo.xr.xr_coords(grid.geobox(extent), dims=_DIMS)


def _flags(legend: Legend, model: Model, layer: Imagery) -> dict[str, Any]:
    """CF's attributes of a map of classes."""
    return {
        "long_name": "land cover",
        "flag_values": np.array(legend.ids, np.uint8),
        "flag_meanings": " ".join("_".join(each.split()) for each in legend.names),
        "flag_colors": " ".join(each.colour for each in legend.classes),
        "_FillValue": np.uint8(NODATA),
        "model": model.card.name,
        "model_sha256": model.card.weights.sha256,
        "attribution": layer.attribution,
    }


def _origin(scene: xarray.DataArray) -> tuple[Origin, Window]:
    """Where an array's pixels came from and what it covers, if they are still the files' own pixels."""
    advice = "pass what open_imagery returned, whole or sliced"
    layers = getattr(getattr(scene, "data", None), "dask", None)
    kept = ("getitem-", "rechunk-", "transpose-", _PIXELS)
    names = [] if layers is None else list(getattr(layers, "layers", ()))
    if _ORIGIN not in scene.attrs or not any(name.startswith(_PIXELS) for name in names):
        raise GridError(f"segment reads imagery from its files, and this array has none or was loaded; {advice}")
    changed = [name for name in names if not name.startswith(kept)]
    if changed:
        raise GridError(f"segment reads imagery from its files, but this array was changed ({changed[0]}); {advice}")
    origin = _adapter().validate_json(scene.attrs[_ORIGIN])
    geobox = scene.odc.geobox
    window = None if geobox is None else origin.grid.window_of(geobox)
    if window is None:
        raise GridError(f"the array's pixels are no longer those of its grid (thinned, turned or flipped); {advice}")
    return origin, window


def _text(origin: Origin) -> str:
    return _adapter().dump_json(origin).decode()


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[Origin]:
    return TypeAdapter(Origin)

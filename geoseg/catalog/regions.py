"""Regions: the ground that a job asks for, read from bounds or from a file of polygons.

Coordinates are (x, y) in the region's own CRS. Nothing is simplified or repaired.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError

from geoseg.catalog.catalog import RegionSpec
from geoseg.catalog.yaml import nearest
from geoseg.errors import GeosegError, GridError, RasterError
from geoseg.grid import Region, read_crs

_log = logging.getLogger(__name__)
_KNOWN = (b"SQLite format 3\0", b"\0\0\x27\x0a", b"fgb", b"PAR1", b"{")
"""How files of regions begin, whatever they are called."""


def region_of(spec: RegionSpec, name: str, folder: Path) -> Region:
    """A region as its spec has it; a relative file starts at `folder`."""
    if spec.bounds is not None:
        assert spec.crs is not None
        return Region.of_bounds(spec.bounds, spec.crs, name)
    assert spec.file is not None
    shape, crs = read_region(folder / spec.file, spec.layer, spec.where, crs=spec.crs)
    return Region.of_shape(shape, crs, name)


def read_region(
    path: str | Path, layer: str | None = None, where: str | None = None, *, crs: str | None = None
) -> tuple[shapely.Geometry, str]:
    """The union of a vector file's polygons, and its CRS as 'EPSG:n' or WKT.

    Parameters
    ----------
    path : path
        GeoPackage, Shapefile, FlatGeobuf, GeoParquet or GeoJSON, whatever its name.
    layer : str, optional
        Layer of the file; may be left out where it has only one.
    where : str, optional
        Filter on its attributes, an SQL condition such as "name = 'Zion'".
    crs : str, optional
        CRS to take in place of the file's own.

    Raises
    ------
    RasterError
        If the file is missing or cannot be read.
    GridError
        If it lacks the layer or a CRS, the filter is wrong or selects nothing, or a feature has no geometry,
        is no polygon or crosses itself.
    """
    path = Path(path)
    if not path.exists():
        raise RasterError(f"{path} does not exist; check the path of the region's file")
    _check_kind(path)
    with _reading(path):
        layer = _layer(path, layer)
    try:
        with _reading(path):
            meta, fids, blobs, _ = pyogrio.raw.read(
                path, layer=layer, columns=[], where=where, return_fids=True, force_2d=True
            )
    except RasterError as error:
        if where is None:
            raise
        raise GridError(
            f"{path}: the filter {where!r} does not work: {error.__cause__}; it is SQL, as in \"name = 'Zion'\""
        ) from error
    if len(fids) == 0:
        asked = f"the filter {where!r} selects no feature" if where else "there is no feature"
        raise GridError(f"{path}: {asked} in layer {layer!r}; a region needs at least one polygon")
    shapes = [_polygon(path, fid, blob) for fid, blob in zip(fids, blobs)]
    found = crs or meta["crs"]
    if not found:
        raise GridError(f"{path} has no CRS; add one to the file or state 'crs' beside it")
    read_crs(found, str(path))
    return shapely.union_all(shapes), found


def _check_kind(path: Path) -> None:
    """Refuse what GDAL would follow to other files or places, such as an OGR VRT or a GML file with its schema."""
    if not path.is_file():
        raise RasterError(f"{path} is no plain file, but a folder, pipe or device; name a file of polygons")
    try:
        with path.open("rb") as file:
            start = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError as error:
        raise RasterError(f"{path} cannot be read: {error.strerror}; check the path of the region's file") from error
    if not start.startswith(_KNOWN):
        raise RasterError(
            f"{path} is no GeoPackage, Shapefile, FlatGeobuf, GeoParquet or GeoJSON; convert it, for instance with QGIS"
        )


def _layer(path: Path, asked: str | None) -> str:
    layers = {str(name): kind for name, kind in pyogrio.list_layers(path)}
    if asked is not None and asked not in layers:
        raise GridError(f"{path} has no layer {asked!r}; {nearest(asked, tuple(layers))}")
    shapes = [name for name, kind in layers.items() if kind is not None]
    if asked is None and len(shapes) > 1:
        raise GridError(f"{path} has {len(shapes)} layers: {', '.join(shapes)}; say which with 'layer'")
    if asked is None and not shapes:
        raise GridError(f"{path} holds no geometry; give a vector file with polygons")
    return asked or shapes[0]


def _polygon(path: Path, fid: int, blob: bytes | None) -> shapely.Geometry:
    if blob is None:
        raise GridError(f"{path}: feature {fid} has no geometry; delete it or leave it out with a filter")
    try:
        shape = shapely.from_wkb(blob)
    except shapely.errors.ShapelyError as error:
        raise GridError(f"{path}: feature {fid} is broken: {error}; repair it") from error
    if shape.geom_type not in ("Polygon", "MultiPolygon"):
        raise GridError(f"{path}: feature {fid} is a {shape.geom_type}; a region is made of polygons")
    if shape.is_empty:
        raise GridError(f"{path}: feature {fid} is an empty polygon; delete it or leave it out with a filter")
    if not shape.is_valid:
        raise GridError(
            f"{path}: the outline of feature {fid} is not valid ({shapely.is_valid_reason(shape)}); "
            "repair it, for instance with 'Fix geometries' in QGIS"
        )
    return shape


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """GDAL's and pyogrio's refusals as RasterError, their warnings as log lines."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except (DataSourceError, DataLayerError, ValueError, OSError) as error:
            if isinstance(error, GeosegError):
                raise
            raise RasterError(f"{path} cannot be read: {error}") from error
    for warning in caught:
        _log.warning("%s: %s", path, warning.message)

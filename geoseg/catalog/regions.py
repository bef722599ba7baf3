"""Regions: the ground that a job asks for, read from bounds or from a file of polygons.

Coordinates are (x, y) in the region's own CRS. Nothing is simplified or repaired.
"""

from __future__ import annotations

import glob
import io
import logging
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError

from geoseg.catalog import filters, geojson, point_tables
from geoseg.catalog.entries import RegionSpec
from geoseg.catalog.yaml import nearest
from geoseg.errors import GeosegError, GridError, RasterError
from geoseg.grid import Region, read_crs

_log = logging.getLogger(__name__)
_SQLITE = b"SQLite format 3\0"
_CONTENTS = "gpkg_contents"
_AREAS = ("Polygon", "MultiPolygon")
_LABELLED = (*_AREAS, "Point", "MultiPoint")
_PARQUET = b"PAR1"
_KNOWN = (_SQLITE, b"\0\0\x27\x0a", b"fgb", _PARQUET)
"""How files of regions begin, whatever they are called, but for GeoJSON."""


def region_of(spec: RegionSpec, name: str, folder: Path) -> Region:
    """A region as its spec has it.

    Parameters
    ----------
    spec
        Bounds, or a file of polygons.
    name
        What the region is called in messages.
    folder
        Where a relative file starts.
    """
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
        Condition on its attributes such as "name = 'Zion'"; see `geoseg.catalog.filters`.
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
    asked = None if where is None else filters.read(where)
    source = _checked(path)
    with _reading(path):
        layer = _layer(path, source, layer)
    meta, fids, blobs, _ = _read(path, source, layer, asked)
    if len(fids) == 0:
        which = f"the filter {where!r} selects no feature" if where else "there is no feature"
        raise GridError(f"{path}: {which} in layer {layer!r}; a region needs at least one polygon")
    shapes = [_polygon(path, fid, blob) for fid, blob in zip(fids, blobs)]
    found = crs or meta["crs"]
    if not found:
        raise GridError(f"{path} has no CRS; add one to the file or state 'crs' beside it")
    read_crs(found, str(path))
    return shapely.union_all(shapes), found


def read_zones(
    path: str | Path, column: str | None = None, layer: str | None = None
) -> tuple[list[str], list[shapely.Geometry], str]:
    """Each polygon of a vector file with its name, and their CRS as 'EPSG:n' or WKT.

    Parameters
    ----------
    path : path
        As in `read_region`.
    column : str, optional
        Attribute that holds the names; by default zones are numbered from 1. Polygons of one name are one zone.
    layer : str, optional
        As in `read_region`.

    Raises
    ------
    RasterError
        If the file is missing or cannot be read.
    GridError
        If it lacks the layer, the column or a CRS, or a feature is no polygon or crosses itself.
    """
    path = Path(path)
    source = _checked(path)
    with _reading(path):
        layer = _layer(path, source, layer)
        facts = pyogrio.read_info(source, layer=layer)
        fields = [str(each) for each in facts["fields"]]
    if column is not None and column not in fields:
        raise GridError(f"{path} has no column {column!r}; {nearest(column, tuple(fields))}")
    try:
        with _reading(path):
            meta, fids, blobs, data = pyogrio.raw.read(
                source, layer=layer, columns=[] if column is None else [column], return_fids=True, force_2d=True
            )
    except (DataSourceError, DataLayerError) as error:
        raise RasterError(f"{path} cannot be read: {error}") from error
    if not meta["crs"]:
        raise GridError(f"{path} has no CRS; add one to the file")
    if len(fids) == 0:
        raise GridError(f"{path}: there is no feature in layer {layer!r}; zones are polygons")
    shapes = [_polygon(path, fid, blob) for fid, blob in zip(fids, blobs)]
    names = [str(index + 1) for index in range(len(shapes))] if column is None else [str(each) for each in data[0]]
    by_name: dict[str, list[shapely.Geometry]] = {}
    for name, shape in zip(names, shapes):
        by_name.setdefault(name, []).append(shape)
    return list(by_name), [shapely.union_all(each) for each in by_name.values()], str(meta["crs"])


def read_points(path: str | Path, layer: str | None = None) -> tuple[np.ndarray, dict[str, np.ndarray], str]:
    """Points of a vector file, what their columns hold, and their CRS as 'EPSG:n' or WKT.

    Parameters
    ----------
    path, layer
        As in `read_region`; or a .csv, see `point_tables`.

    Returns
    -------
    (point, 2) float64
        x and y.
    dict
        (point,) values of each column.
    str
        The CRS.

    Raises
    ------
    RasterError
        If the file is missing or cannot be read.
    GridError
        If it lacks the layer or a CRS, or a feature is no point.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        return *point_tables.read(path), point_tables.CRS
    source = _checked(path)
    try:
        with _reading(path):
            layer = _layer(path, source, layer)
            meta, fids, blobs, data = pyogrio.raw.read(source, layer=layer, return_fids=True, force_2d=True)
    except (DataSourceError, DataLayerError) as error:
        raise RasterError(f"{path} cannot be read: {error}") from error
    if not meta["crs"]:
        raise GridError(f"{path} has no CRS; add one to the file")
    shapes = shapely.from_wkb(blobs)
    for fid, shape in zip(fids, shapes):
        if shape is None or shape.geom_type != "Point" or shape.is_empty:
            what = "nothing" if shape is None else f"a {shape.geom_type}"
            raise GridError(f"{path}: feature {fid} is {what}; a sample is made of points")
    return shapely.get_coordinates(shapes), dict(zip(map(str, meta["fields"]), data)), str(meta["crs"])


def read_labels(
    path: str | Path, column: str, layer: str | None = None, where: str | None = None, *, crs: str | None = None
) -> tuple[np.ndarray, np.ndarray, str]:
    """Polygons and points of a vector file, what a column says of each, and their CRS as 'EPSG:n' or WKT.

    Parameters
    ----------
    path, layer, where, crs
        As in `read_region`.
    column : str
        Attribute to read.

    Returns
    -------
    (feature,) object
        Polygons, multipolygons, points and multipoints.
    (feature,)
        What the column holds.
    str
        The CRS.

    Raises
    ------
    RasterError
        If the file is missing or cannot be read.
    GridError
        If it lacks the layer, the column or a CRS, the filter is wrong or selects nothing, or a feature is a line, has
        no geometry or crosses itself.
    """
    path = Path(path)
    asked = None if where is None else filters.read(where)
    source = _checked(path)
    with _reading(path):
        layer = _layer(path, source, layer)
        fields = [str(each) for each in pyogrio.read_info(source, layer=layer)["fields"]]
    if column not in fields:
        raise GridError(f"{path} has no column {column!r}; {nearest(column, tuple(fields))}")
    meta, fids, blobs, values = _read(path, source, layer, asked, column)
    if len(fids) == 0:
        which = f"the filter {where!r} selects no feature" if where else "there is no feature"
        raise GridError(f"{path}: {which} in layer {layer!r}; give at least one polygon or point with a class")
    shapes = np.array([_shape(path, fid, blob, _LABELLED) for fid, blob in zip(fids, blobs)], object)
    found = crs or meta["crs"]
    if not found:
        raise GridError(f"{path} has no CRS; add one to the file or state 'crs' beside it")
    read_crs(found, str(path))
    return shapes, values, found


def _read(
    path: Path, source: Path | bytes, layer: str, asked: filters.Filter | None, column: str | None = None
) -> tuple[dict[str, Any], np.ndarray, np.ndarray, Any]:
    """What GDAL says of a layer; numbers and WKB of its features, and what a column says of them."""
    condition, needed = None, [] if column is None else [column]
    if asked is not None:
        with _reading(path):
            facts = pyogrio.read_info(source, layer=layer)
        fields = [str(each) for each in facts["fields"]]
        condition = asked.sql(fields, facts["fid_column"] or "FID")
        needed = [*dict.fromkeys([*needed, *asked.used(fields)])]
    try:
        with _reading(path):
            meta, fids, blobs, data = pyogrio.raw.read(  # a shapefile's filter sees only the columns that are read
                source, layer=layer, columns=needed, where=condition, return_fids=True, force_2d=True
            )
    except RasterError as error:
        if asked is None:
            raise
        raise GridError(f"{path}: the filter {asked.text!r} does not work: {error.__cause__}") from error
    return meta, fids, blobs, data[list(map(str, meta["fields"])).index(column)] if column is not None else None


def _checked(path: Path) -> Path | bytes:
    """What GDAL is given: a file whose kind cannot lead it to other files or places, or GeoJSON written anew.

    Refused are an OGR VRT, a GML file with its schema and other kinds that name what to open next, and pipes beside it.
    """
    if not path.exists():
        raise RasterError(f"{path} does not exist; check the path of the file of polygons")
    if not path.is_file():
        raise RasterError(f"{path} is no plain file, but a folder, pipe or device; name a file of polygons")
    try:
        with path.open("rb") as file:
            start = file.read(72)
        for beside in path.parent.glob(f"{glob.escape(path.stem)}.*"):  # .shx, .dbf, .prj and .cpg are opened too
            if beside.exists() and not (beside.is_file() or beside.is_dir()):
                raise RasterError(f"{beside} is no plain file, but a pipe or device; remove it")
    except OSError as error:
        if isinstance(error, GeosegError):
            raise
        raise RasterError(f"{path} cannot be read: {error.strerror}; check the path of the file of polygons") from error
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return geojson.rewritten(path)
    if not start.startswith(_KNOWN):
        raise RasterError(
            f"{path} is no GeoPackage, Shapefile, FlatGeobuf, GeoParquet or GeoJSON; convert it, for instance with QGIS"
        )
    if start.startswith(_SQLITE):
        _check_geopackage(path, start)
    if start.startswith(_PARQUET):
        return _flatgeobuf(path)
    return path


def _flatgeobuf(path: Path) -> bytes:
    """A GeoParquet file as what every build of GDAL reads; few have its driver."""
    import geopandas  # half a second, for few

    held = io.BytesIO()
    with _reading(path):
        frame = geopandas.read_parquet(path)
        frame.to_file(held, driver="FlatGeobuf", layer=path.stem, SPATIAL_INDEX="NO")  # the index would reorder them
    return held.getvalue()


def _check_geopackage(path: Path, start: bytes) -> None:
    """Refuse another SQLite database, and layers that are queries, which can run for ever or read elsewhere."""
    if start[68:72] not in (b"GPKG", b"GP10", b"GP11"):
        raise RasterError(f"{path} is an SQLite database, but no GeoPackage; convert it, for instance with QGIS")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            pages = dict(database.execute("SELECT lower(name), rootpage FROM sqlite_master"))
            layers = database.execute("SELECT lower(table_name) FROM gpkg_contents") if pages.get(_CONTENTS) else []
            queries = [name for name in (_CONTENTS, *(each for (each,) in layers)) if not pages.get(name)]
    except sqlite3.Error as error:
        raise RasterError(f"{path} cannot be read: {error}; repair it or fetch it again") from error
    if queries:  # views and virtual tables have no page of their own
        raise RasterError(f"{path}: {queries[0]!r} is no table; save what it shows as a layer of its own")


def _layer(path: Path, source: Path | bytes, asked: str | None) -> str:
    layers = {str(name): kind for name, kind in pyogrio.list_layers(source)}
    if asked is not None and asked not in layers:
        raise GridError(f"{path} has no layer {asked!r}; {nearest(asked, tuple(layers))}")
    shapes = [name for name, kind in layers.items() if kind is not None]
    if asked is None and len(shapes) > 1:
        raise GridError(f"{path} has {len(shapes)} layers: {', '.join(shapes)}; say which with 'layer'")
    if asked is None and not shapes:
        raise GridError(f"{path} holds no geometry; give a vector file with polygons")
    return asked or shapes[0]


def _polygon(path: Path, fid: int, blob: bytes | None) -> shapely.Geometry:
    return _shape(path, fid, blob, _AREAS)


def _shape(path: Path, fid: int, blob: bytes | None, kinds: tuple[str, ...]) -> shapely.Geometry:
    if blob is None:
        raise GridError(f"{path}: feature {fid} has no geometry; delete it or leave it out with a filter")
    try:
        shape = shapely.from_wkb(blob)
    except shapely.errors.ShapelyError as error:
        raise GridError(f"{path}: feature {fid} is broken: {error}; repair it") from error
    if shape.geom_type not in kinds:
        wanted = "a region is made of polygons" if kinds == _AREAS else "give polygons or points"
        raise GridError(f"{path}: feature {fid} is a {shape.geom_type}; {wanted}")
    if shape.is_empty:
        kind = shape.geom_type.lower()
        raise GridError(f"{path}: feature {fid} is an empty {kind}; delete it or leave it out with a filter")
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

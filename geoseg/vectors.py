"""Vectors: files of polygons; regions read from them, traced polygons written to them.

Coordinates are (x, y) in the file's CRS. A file appears whole or not at all; nothing is simplified or repaired.
"""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import geopandas
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError

from geoseg.errors import GeosegError, GridError, RasterError
from geoseg.grid import read_crs
from geoseg.specs import nearest
from geoseg.store import UNFINISHED

_LOG = logging.getLogger(__name__)
_DRIVERS = {".shp": "ESRI Shapefile", ".gpkg": "GPKG", ".fgb": "FlatGeobuf", ".parquet": "Parquet"}
_KNOWN = (b"SQLite format 3\0", b"\0\0\x27\x0a", b"fgb", b"PAR1", b"{")
"""How files of regions begin, whatever they are called."""
_SHAPEFILE_BYTES = 2**31 - 1
"""Most bytes in a .shp or .dbf that every reader opens."""
_SHAPEFILE_TEXT = 254
"""Most bytes of a text in a .dbf."""


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
        _LOG.warning("%s: %s", path, warning.message)


def write(frame: geopandas.GeoDataFrame, out: str | Path, *, per_class: bool = False) -> dict[Path, int]:
    """Write traced polygons as Shapefile, GeoPackage, FlatGeobuf or GeoParquet, whole or not at all.

    Files are made in a folder beside their place and moved there at the end, replacing what was there.
    GeoPackage and GeoParquet keep the name and tags of the map.

    Parameters
    ----------
    frame : GeoDataFrame
        What `trace` returns.
    out : path
        File ending in .shp, .gpkg, .fgb or .parquet.
    per_class : bool
        One file for each class that occurs, `<stem>_<class><ending>`.

    Returns
    -------
    dict of Path to int
        Files written and the number of polygons in each.

    Raises
    ------
    RasterError
        If the ending is another, there is no polygon, a Shapefile would pass 2 GB, or the file cannot be written.
    """
    out = Path(out)
    check_ending(out)
    driver = _DRIVERS[out.suffix]
    if frame.empty:
        raise RasterError(f"{out}: the map has no pixel of the classes asked for, so there is nothing to write")
    parts = dict(_split(frame, out)) if per_class else {out: frame}
    if driver == "ESRI Shapefile":
        parts = {path: _for_shapefile(part, path) for path, part in parts.items()}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        spool = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=out.parent))
    except OSError as error:
        raise RasterError(f"{out.parent} cannot be written to: {error}") from error
    try:
        for path, part in parts.items():
            _write_one(part, spool / path.name, driver)
        for path in parts:
            _move(spool, path)
    except (DataSourceError, DataLayerError, RuntimeWarning, OSError) as error:
        raise RasterError(f"{out} cannot be written: {error}") from error
    finally:
        shutil.rmtree(spool, ignore_errors=True)
    return {path: len(part) for path, part in parts.items()}


def check_ending(out: Path) -> None:
    """Refuse a file whose ending names no format that `write` knows.

    Raises
    ------
    RasterError
        If the ending is another than .shp, .gpkg, .fgb or .parquet.
    """
    if out.suffix not in _DRIVERS:
        raise RasterError(
            f"{out}: polygons are written to {', '.join(_DRIVERS)}, not to {out.suffix!r}; use one of these"
        )


def _split(frame: geopandas.GeoDataFrame, out: Path) -> Iterator[tuple[Path, geopandas.GeoDataFrame]]:
    kinds = frame[["class_id", "class_name"]].drop_duplicates().sort_values("class_id")
    slugs = [re.sub(r"\W+", "-", name.lower()).strip("-_")[:60] for name in kinds["class_name"]]
    for id, slug in zip(kinds["class_id"], slugs):
        unique = slug if slug and slugs.count(slug) == 1 else f"{slug}-{id}".strip("-")
        yield out.with_name(f"{out.stem}_{unique}{out.suffix}"), frame[frame["class_id"] == id]


def _for_shapefile(frame: geopandas.GeoDataFrame, path: Path) -> geopandas.GeoDataFrame:
    """The polygons with names that fit; refused where the file would be larger than readers can open."""
    long = {name for name in frame["class_name"].unique() if len(name.encode()) > _SHAPEFILE_TEXT}
    for name in long:
        _LOG.warning("%s: the class name %r is cut at %d bytes, the most of a Shapefile", path, name, _SHAPEFILE_TEXT)
    shapes = frame.geometry.values
    rings = len(frame) + int(shapely.get_num_interior_rings(shapes).sum())
    bytes_shp = 100 + 52 * len(frame) + 4 * rings + 16 * int(shapely.get_num_coordinates(shapes).sum())
    widest = min(_SHAPEFILE_TEXT, max(len(name.encode()) for name in frame["class_name"].unique()))
    bytes_dbf = 200 + len(frame) * (1 + 18 + max(80, widest) + 24)
    if max(bytes_shp, bytes_dbf) > _SHAPEFILE_BYTES:
        raise RasterError(
            f"{path} would take about {max(bytes_shp, bytes_dbf) / 1e9:.1f} GB, more than the "
            f"{_SHAPEFILE_BYTES / 1e9:.1f} GB of a Shapefile; write a .gpkg, or one file per class"
        )
    if not long:
        return frame
    cut = {name: name.encode()[:_SHAPEFILE_TEXT].decode(errors="ignore") for name in long}
    return frame.assign(class_name=frame["class_name"].replace(cut))


def _write_one(frame: geopandas.GeoDataFrame, path: Path, driver: str) -> None:
    if driver == "Parquet":
        frame.to_parquet(path, index=False, compression="zstd")
        return
    options: Mapping[str, Any] = {"layer_metadata": frame.attrs} if driver == "GPKG" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # GDAL says so where a value does not fit
        pyogrio.write_dataframe(frame, path, layer=path.stem, driver=driver, geometry_type="Polygon", **options)


def _move(spool: Path, path: Path) -> None:
    """Put a file and its sidecars in place, itself last; sidecars of a Shapefile that was there go away."""
    made = sorted(each for each in spool.iterdir() if each.stem == path.stem and each.suffix != path.suffix)
    if path.suffix == ".shp":
        path.unlink(missing_ok=True)
        for old in (".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".qmd", ".shp.xml"):
            path.with_suffix(old).unlink(missing_ok=True)
    for each in [*made, spool / path.name]:
        each.replace(path.with_name(each.name))

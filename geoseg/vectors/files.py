"""Files: traced polygons written as Shapefile, GeoPackage, FlatGeobuf or GeoParquet, with a style for QGIS.

Coordinates are (x, y) in the file's CRS. A file appears whole or not at all; nothing is simplified or repaired.
"""

from __future__ import annotations

import logging
import re
import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import geopandas
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError

from geoseg.catalog.legend import Legend
from geoseg.errors import RasterError
from geoseg.storage.files import UNFINISHED
from geoseg.vectors import style

_LOG = logging.getLogger(__name__)
_DRIVERS = {".shp": "ESRI Shapefile", ".gpkg": "GPKG", ".fgb": "FlatGeobuf", ".parquet": "Parquet"}
_SHAPEFILE_BYTES = 2**31 - 1
"""Most bytes in a .shp or .dbf that every reader opens."""
_SHAPEFILE_TEXT = 254
"""Most bytes of a text in a .dbf."""
_STYLES = """CREATE TABLE layer_styles (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256),
f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT,
styleSLD TEXT, useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30), update_time DATETIME)"""
"""The table in which QGIS keeps styles, as QGIS makes it."""


def write(
    frame: geopandas.GeoDataFrame, out: str | Path, *, per_class: bool = False, legend: Legend | None = None
) -> dict[Path, int]:
    """Write traced polygons, whole or not at all.

    Files are made in a temporary folder beside `out` and moved at the end, replacing what was there.
    GeoPackage and GeoParquet keep the name and tags of the map. With a legend QGIS shows the polygons in its colours:
    a GeoPackage holds the style itself, in the table `layer_styles`; beside other files lies a `.qml`, unless one of
    that name styles a raster.

    Parameters
    ----------
    frame : GeoDataFrame
        What `trace` returns.
    out : path
        File ending in .shp, .gpkg, .fgb or .parquet.
    per_class : bool
        One file for each class that occurs, `<stem>_<class><ending>`.
    legend : Legend, optional
        Colours and names of the style; no style by default, and an older one of polygons goes away.

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
        staging = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=out.parent))
    except OSError as error:
        raise RasterError(f"{out.parent} cannot be written to: {error}") from error
    try:
        for path, part in parts.items():
            _write_one(part, staging / path.name, driver)
            if legend is not None:
                _write_style(style.qgis_style(legend, part["class_id"].unique().tolist()), staging / path.name, path)
        for path in parts:
            _move(staging, path)
    except (DataSourceError, DataLayerError, RuntimeWarning, OSError, sqlite3.Error) as error:
        raise RasterError(f"{out} cannot be written: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
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


def _write_style(text: bytes, made: Path, path: Path) -> None:
    """Put a style into a GeoPackage, or beside another file where the name is free for it."""
    if path.suffix == ".gpkg":
        with closing(sqlite3.connect(made)) as base, base:
            base.execute(_STYLES)
            (changed,) = base.execute("SELECT last_change FROM gpkg_contents").fetchone()
            base.execute(
                "INSERT INTO gpkg_contents (table_name, data_type, identifier, last_change) "
                "VALUES ('layer_styles', 'attributes', 'layer_styles', ?)",
                [changed],
            )
            base.execute(
                "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, "
                "styleName, styleQML, styleSLD, useAsDefault, description, owner, update_time) "
                "SELECT '', '', table_name, column_name, 'land cover', ?, '', 1, '', '', ? FROM gpkg_geometry_columns",
                [text.decode(), changed],
            )
    elif not path.with_suffix(".qml").exists() or _styles_polygons(path.with_suffix(".qml")):
        made.with_suffix(".qml").write_bytes(text)


def _styles_polygons(style: Path) -> bool:
    """Whether a style is one of vectors; `map.qml` may be that of `map.tif`."""
    return style.is_file() and b"<renderer-v2" in style.read_bytes()


def _move(staging: Path, path: Path) -> None:
    """Give a file and those that belong to it their names, itself last; those of an older one go away."""
    made = sorted(each for each in staging.iterdir() if each.stem == path.stem and each.suffix != path.suffix)
    if path.suffix == ".shp":
        path.unlink(missing_ok=True)
        for old in (".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".qmd", ".shp.xml"):
            path.with_suffix(old).unlink(missing_ok=True)
    if path.suffix != ".gpkg" and _styles_polygons(path.with_suffix(".qml")):
        path.with_suffix(".qml").unlink()
    for each in [*made, staging / path.name]:
        each.replace(path.with_name(each.name))

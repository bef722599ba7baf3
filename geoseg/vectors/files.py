"""Files: polygons written as Shapefile, GeoPackage, FlatGeobuf, GeoParquet or GeoJSON, with a style for QGIS.

Coordinates are (x, y) in the file's CRS. A file appears whole or not at all; nothing is simplified or repaired.
Polygons arrive some at a time, and memory holds no more.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError

from geoseg.catalog.legend import Legend
from geoseg.errors import RasterError
from geoseg.storage.files import folder_beside
from geoseg.vectors import features as feature_arrays
from geoseg.vectors import style
from geoseg.vectors.arrow import GdalWriter, ParquetWriter
from geoseg.vectors.attributes import COLUMNS
from geoseg.vectors.behind import Behind
from geoseg.vectors.features import Features
from geoseg.vectors.shapefile import ShapefileWriter

_DRIVERS = {
    ".shp": "ESRI Shapefile",
    ".gpkg": "GPKG",
    ".fgb": "FlatGeobuf",
    ".parquet": "Parquet",
    ".geojson": "GeoJSON",
}
_WRITER_ERRORS = (DataSourceError, DataLayerError, FeatureError, FieldError, GeometryError, pa.ArrowException)
_STYLES = """CREATE TABLE layer_styles (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256),
f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT,
styleSLD TEXT, useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30), update_time DATETIME)"""
"""The table in which QGIS keeps styles, as QGIS makes it."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What is known of polygons before the first of them comes."""

    crs: Any
    """pyproj CRS of the coordinates."""
    names: Mapping[int, str]
    """Names of classes; others are called by their number."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Name and tags of the map, which GeoPackage and GeoParquet keep."""
    legend: Legend | None = None
    """Colours and names of the style; without it there is none, and an older one of polygons goes away.

    QGIS shows the polygons in its colours: a GeoPackage holds the style itself, in the table `layer_styles`; beside
    other files lie a `.qml` and a `.sld`, unless one of that name styles a raster."""
    columns: tuple[str, ...] = ()
    """Columns besides class and area, see `attributes`."""


def write(
    frame: geopandas.GeoDataFrame, out: str | Path, *, per_class: bool = False, legend: Legend | None = None
) -> dict[Path, int]:
    """Write traced polygons, whole or not at all.

    Parameters
    ----------
    frame : GeoDataFrame
        What `trace` returns.
    out : path
        File ending in .shp, .gpkg, .fgb, .parquet or .geojson.
    per_class : bool
        One file for each class that occurs, `<stem>_<class><ending>`.
    legend : Legend, optional
        Colours and names of the style, see `Layer`.

    Returns
    -------
    dict of Path to int
        Files written and the number of polygons in each.

    Raises
    ------
    RasterError
        If the ending is another, there is no polygon, a Shapefile would pass 2 GB, or the file cannot be written.
    """
    check_ending(Path(out))
    names = dict(zip(frame["class_id"].tolist(), frame["class_name"]))
    tags = {str(key): str(value) for key, value in frame.attrs.items()}
    columns = {name: frame[name].to_numpy() for name in COLUMNS.values() if name in frame}
    layer = Layer(frame.crs, names, tags, legend, tuple(columns))
    parts: list[Features] = []
    if len(frame):
        _, points, offsets = shapely.to_ragged_array(shapely.orient_polygons(frame.geometry.values))
        part = feature_arrays.from_ragged(frame["class_id"], frame["area_m2"], points, offsets)
        parts = [replace(part, columns=columns)]
    return write_parts(parts, [Path(out)], layer, per_class=per_class)


def write_parts(
    parts: Iterable[Features], outs: Sequence[Path], layer: Layer, *, per_class: bool = False
) -> dict[Path, int]:
    """Write polygons as they come to one or several files, all of them whole or none.

    Files are made in a temporary folder beside each and moved at the end, replacing what was there.

    Parameters
    ----------
    parts : iterable of Features
        The polygons.
    outs : sequence of Path
        Files whose endings name their formats, see `check_ending`.
    layer : Layer
        CRS, names, tags and style.
    per_class : bool
        As in `write`.

    Returns
    -------
    dict of Path to int
        Files written and the number of polygons in each.

    Raises
    ------
    RasterError
        As `write`.
    """
    targets: list[_Target] = []
    try:
        for out in outs:
            targets.append(_Target(out, layer, per_class))
        with ExitStack() as open_files:
            for part in parts:
                for target in targets:
                    target.add(part, open_files)
        for target in targets:
            target.finish()
        for target in targets:
            target.move()
    finally:
        for target in targets:
            target.close()
    return {path: count for target in targets for path, count in target.counts.items()}


def check_ending(out: Path) -> None:
    """Refuse a file whose ending names no format that `write` knows.

    Raises
    ------
    RasterError
        If the ending is another than .shp, .gpkg, .fgb, .parquet or .geojson.
    """
    if out.suffix not in _DRIVERS:
        raise RasterError(
            f"{out}: polygons are written to {', '.join(_DRIVERS)}, not to {out.suffix!r}; use one of these"
        )


class _Target:
    """One output, which may become a file for each class."""

    def __init__(self, out: Path, layer: Layer, per_class: bool) -> None:
        check_ending(out)
        if out.suffix == ".geojson" and layer.crs.to_epsg() != 4326:
            raise RasterError(f"{out}: GeoJSON is in longitude and latitude; leave the CRS out, or write a .gpkg")
        self.out, self.layer, self.per_class = out, layer, per_class
        self.writers: dict[Path, Any] = {}
        self.counts: dict[Path, int] = {}
        self.classes: dict[Path, set[int]] = {}
        slugs = [_slug(name) for name in layer.names.values()]
        self.slugs = {slug for slug in slugs if slugs.count(slug) == 1}
        self._held = ExitStack()
        try:
            self.staging = self._held.enter_context(folder_beside(out))
        except OSError as error:
            raise RasterError(f"{out.parent} cannot be written to: {error}") from error

    def add(self, part: Features, open_files: ExitStack) -> None:
        """Write polygons."""
        ids = np.unique(part.class_ids).tolist()
        try:
            for id in ids if self.per_class else [None]:
                path = self.out if id is None else self._path(id)
                if path not in self.writers:
                    self.writers[path] = open_files.enter_context(_Checked(self.out, self._writer(path)))
                    self.counts[path], self.classes[path] = 0, set()
                chosen = part if id is None or len(ids) == 1 else part.take(np.flatnonzero(part.class_ids == id))
                self.writers[path].add(chosen)
                self.counts[path] += len(chosen)
                self.classes[path].update(ids if id is None else [id])
        except (*_WRITER_ERRORS, OSError, OverflowError) as error:
            raise _failed(self.out, error) from error

    def finish(self) -> None:
        """Write the styles, when all files are closed."""
        if not self.counts:
            raise RasterError(
                f"{self.out}: the map has no pixel of the classes asked for, so there is nothing to write"
            )
        try:
            for path, ids in self.classes.items():
                if self.layer.legend is not None:
                    _write_styles(self.layer.legend, sorted(ids), self.staging / path.name, path)
        except (OSError, sqlite3.Error) as error:
            raise _failed(self.out, error) from error

    def move(self) -> None:
        """Give the files their names."""
        try:
            for path in self.counts:
                _move(self.staging, path)
        except OSError as error:
            raise _failed(self.out, error) from error

    def close(self) -> None:
        """Remove what is left of what was not finished."""
        self._held.close()

    def _path(self, id: int) -> Path:
        slug = _slug(self.layer.names.get(id, str(id)))
        alone = slug in self.slugs if id in self.layer.names else slug not in self.slugs
        unique = slug if slug and alone else f"{slug}-{id}".strip("-")
        return self.out.with_name(f"{self.out.stem}_{unique}{self.out.suffix}")

    def _writer(self, path: Path) -> Any:
        made, layer = self.staging / path.name, self.layer
        if path.suffix == ".shp":
            return Behind(ShapefileWriter(made, layer.names, layer.crs, layer.columns, shown=path))
        if path.suffix == ".parquet":
            return Behind(ParquetWriter(made, layer.names, layer.crs, layer.tags, layer.columns))
        driver = _DRIVERS[path.suffix]
        return GdalWriter(made, layer.names, layer.crs, layer.tags, driver, path.stem, layer.columns)


class _Checked:
    """A writer whose troubles on closing name the file."""

    def __init__(self, out: Path, writer: Any) -> None:
        self.out, self.writer = out, writer

    def __enter__(self) -> Any:
        return self.writer.__enter__()

    def __exit__(self, *trouble: Any) -> None:
        try:
            self.writer.__exit__(*trouble)
        except (*_WRITER_ERRORS, OSError, OverflowError) as error:
            if trouble[0] is None:
                raise _failed(self.out, error) from error


def _failed(out: Path, error: BaseException) -> RasterError:
    return error if isinstance(error, RasterError) else RasterError(f"{out} cannot be written: {error}")


def _slug(name: str) -> str:
    return re.sub(r"\W+", "-", name.lower()).strip("-_")[:60]


def _write_styles(legend: Legend, ids: Sequence[int], made: Path, path: Path) -> None:
    """Put styles into a GeoPackage, or beside another file where the names are free for them."""
    texts = {".qml": style.qgis_style(legend, ids), ".sld": style.sld_style(legend, ids, path.stem)}
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
                "SELECT '', '', table_name, column_name, 'land cover', ?, ?, 1, '', '', ? FROM gpkg_geometry_columns",
                [*(text.decode() for text in texts.values()), changed],
            )
        return
    for ending, text in texts.items():
        if not path.with_suffix(ending).exists() or _styles_polygons(path.with_suffix(ending)):
            made.with_suffix(ending).write_bytes(text)


def _styles_polygons(style: Path) -> bool:
    """Whether a style is one of vectors; `map.qml` may be that of `map.tif`."""
    if not style.is_file():
        return False
    text = style.read_bytes()
    return b"<renderer-v2" in text or b"PolygonSymbolizer" in text


def _move(staging: Path, path: Path) -> None:
    """Give a file and those that belong to it their names, itself last; those of an older one go away."""
    made = sorted(each for each in staging.iterdir() if each.stem == path.stem and each.suffix != path.suffix)
    if path.suffix == ".shp":
        path.unlink(missing_ok=True)
        for old in (".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".qmd", ".shp.xml"):
            path.with_suffix(old).unlink(missing_ok=True)
    for ending in () if path.suffix == ".gpkg" else (".qml", ".sld"):
        if _styles_polygons(path.with_suffix(ending)):
            path.with_suffix(ending).unlink()
    for each in [*made, staging / path.name]:
        each.replace(path.with_name(each.name))

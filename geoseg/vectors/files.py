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
from pathlib import Path
from typing import Any

import geopandas
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError

from geoseg.errors import RasterError
from geoseg.storage.files import UNFINISHED

_LOG = logging.getLogger(__name__)
_DRIVERS = {".shp": "ESRI Shapefile", ".gpkg": "GPKG", ".fgb": "FlatGeobuf", ".parquet": "Parquet"}
_SHAPEFILE_BYTES = 2**31 - 1
"""Most bytes in a .shp or .dbf that every reader opens."""
_SHAPEFILE_TEXT = 254
"""Most bytes of a text in a .dbf."""


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

"""GeoJSON: polygons with attributes as JSON text (RFC 7946), read here and written anew for GDAL.

GDAL's reader follows links in a `crs` to other files and places, and takes many dialects for GeoJSON. What it is given
is text of ours that holds features with plain geometries, and a CRS by its name at most.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from geoseg.errors import GridError, RasterError

LARGEST = 200_000_000
"""Bytes; a larger file is refused, for its text takes many times as much in memory."""
_NAME = re.compile(r"urn:ogc:def:crs:\w+:[\w.]*:\w+|\w+:\w+", re.ASCII)
_GEOMETRIES = ("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon")


def rewritten(path: Path) -> bytes:
    """The features of a GeoJSON file as GeoJSON without anything else; a lone feature or geometry becomes a collection.

    Raises
    ------
    RasterError
        If it is no GeoJSON: another dialect (TopoJSON, Esri JSON, JSON-FG, a text sequence), not UTF-8, a key given
        twice, a number that is none, nested too deeply or too large.
    GridError
        If its CRS is stated in any way but by name.
    """
    if path.stat().st_size > LARGEST:
        raise RasterError(f"{path} is larger than {LARGEST // 1_000_000} MB; convert it to a GeoPackage")
    try:
        held = json.loads(path.read_bytes().decode("utf-8-sig"), object_pairs_hook=_unique, parse_constant=_no_number)
        plain: dict[str, Any] = {"type": "FeatureCollection", "name": _text(held.get("name")) or path.stem}
        if "crs" in held:
            plain["crs"] = _crs(path, held.pop("crs"))
        if "coordRefSys" in held:
            raise ValueError("it is JSON-FG and states its CRS under 'coordRefSys'")
        plain["features"] = [_feature(each) for each in _features(held)]
        return json.dumps(plain, allow_nan=False).encode()
    except OSError as error:
        if isinstance(error, RasterError):
            raise
        raise RasterError(f"{path} cannot be read: {error.strerror}; check the path of the file of polygons") from error
    except (ValueError, RecursionError) as error:  # json's and unicode's are ValueErrors
        if isinstance(error, GridError):
            raise
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RasterError(f"{path} is no GeoJSON: {why}; convert it, for instance with QGIS") from error


def _features(held: dict[str, Any]) -> list[Any]:
    kind = held.get("type")
    if kind == "FeatureCollection" and isinstance(held.get("features"), list):
        return list(held["features"])
    if kind == "Feature":
        return [held]
    if kind in (*_GEOMETRIES, "GeometryCollection"):
        return [{"type": "Feature", "properties": {}, "geometry": held}]
    raise ValueError("it has no type 'FeatureCollection' with features, 'Feature' or a geometry's")


def _feature(held: Any) -> dict[str, Any]:
    if not isinstance(held, dict) or held.get("type") != "Feature":
        raise ValueError("one of its features is none")
    geometry, values, number = held.get("geometry"), held.get("properties"), held.get("id")
    if not isinstance(values, dict | None):
        raise ValueError("a feature's properties are no object")
    _check_no_crs(held)
    feature = {
        "type": "Feature",
        "properties": values or {},
        "geometry": None if geometry is None else _geometry(geometry),
    }
    return {**feature, "id": number} if isinstance(number, int | str) else feature


def _geometry(held: Any) -> dict[str, Any]:
    if not isinstance(held, dict):
        raise ValueError("a geometry is no object")
    kind = held.get("type")
    _check_no_crs(held)
    if kind == "GeometryCollection" and isinstance(held.get("geometries"), list):
        return {"type": kind, "geometries": [_geometry(each) for each in held["geometries"]]}
    if kind not in _GEOMETRIES or not isinstance(held.get("coordinates"), list):
        raise ValueError("a geometry has no known type with coordinates")
    return {"type": kind, "coordinates": held["coordinates"]}


def _check_no_crs(held: dict[str, Any]) -> None:
    for key in ("crs", "coordRefSys"):
        if key in held:
            raise ValueError(f"a feature or geometry states {key!r} of its own")


def _crs(path: Path, held: Any) -> Any:
    """A CRS by name, or null, as GeoJSON of 2008 has them."""
    if held is None:
        return None
    properties = held.get("properties") if isinstance(held, dict) and held.get("type") == "name" else None
    name = properties.get("name") if isinstance(properties, dict) else None
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise GridError(
            f"{path} states its CRS as {json.dumps(held)[:100]}; name it, as in "
            '{"type": "name", "properties": {"name": "EPSG:32612"}}, or leave it out and state \'crs\' beside the file'
        )
    return {"type": "name", "properties": {"name": name}}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice in one object")
    return found


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")

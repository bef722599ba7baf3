"""GeoJSON: features come through as they were, and nothing that GDAL would follow comes through at all."""

import json

import pyogrio
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geoseg.catalog import geojson
from geoseg.errors import GridError, RasterError

SQUARE = json.loads(shapely.to_geojson(shapely.box(0, 0, 2, 1)))
FEATURE = {"type": "Feature", "properties": {"a": 1}, "geometry": SQUARE}


def whole(*features, **more):
    return {"type": "FeatureCollection", "features": [*features], **more}


def read(path, held):
    path.write_bytes(held if isinstance(held, bytes) else json.dumps(held).encode())
    return geojson.rewritten(path)


def named(name):
    return {"type": "name", "properties": {"name": name}}


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**31), 2**31 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
ROWS = st.fixed_dictionaries(dict.fromkeys(("a", "b é", "crs", "name"), VALUES))


@given(rows=st.lists(ROWS, min_size=1, max_size=4))
def test_gdal_reads_of_the_new_text_what_it_reads_of_the_old(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("g") / "parks.geojson"
    held = whole(*({**FEATURE, "id": number, "properties": row} for number, row in enumerate(rows)))
    new = read(path, held)
    for theirs, ours in zip(pyogrio.raw.read(path, return_fids=True), pyogrio.raw.read(new, return_fids=True)):
        assert str(theirs) == str(ours)
    assert json.loads(new)["features"] == held["features"]


@pytest.mark.parametrize("held", [SQUARE, FEATURE, whole(FEATURE), {**FEATURE, "bbox": [0, 0, 2, 1], "x": {"y": "z"}}])
@pytest.mark.parametrize("name", [None, "EPSG:32612", "urn:ogc:def:crs:EPSG::32612", "urn:ogc:def:crs:OGC:1.3:CRS84"])
def test_a_lone_geometry_or_feature_is_a_collection_of_one(tmp_path, held, name):
    crs = {} if name is None else {"crs": named(name)}
    found = json.loads(read(tmp_path / "parks.geojson", {**held, **crs}))
    assert [each["geometry"] for each in found["features"]] == [SQUARE]
    assert (found["name"], found.get("crs")) == ("parks", crs.get("crs"))


def test_a_byte_order_mark_is_let_in_and_other_encodings_are_not(tmp_path):
    text = json.dumps(whole(FEATURE))
    assert read(tmp_path / "a.json", b"\xef\xbb\xbf" + text.encode()) == read(tmp_path / "a.json", text.encode())
    for encoding in ("utf-16", "utf-16-be", "utf-32"):
        with pytest.raises(RasterError, match="is no GeoJSON"):
            read(tmp_path / "a.json", text.encode(encoding))


@pytest.mark.parametrize(
    "crs",
    [
        {"type": "link", "properties": {"href": "http://host.example/crs", "type": "proj4"}},
        {"type": "url", "properties": {"url": "http://host.example/crs"}},
        {"type": "EPSG", "properties": {"code": 4326}},
        {"type": "LINK", "properties": {"href": "x"}},
        named("http://www.opengis.net/def/crs/EPSG/0/32612"),
        named("/etc/passwd"),
        named("file:///etc/passwd"),
        named("EPSG:32612 "),
        named('GEOGCS["x"]'),
        named(["EPSG:32612"]),
        {"type": ["name"], "properties": {"name": "EPSG:32612"}},
        {"type": "name"},
        "EPSG:32612",
        [named("EPSG:32612")],
        7,
    ],
)
def test_a_crs_is_stated_by_name_and_in_no_other_way(tmp_path, crs):
    for held in (whole(FEATURE), FEATURE, SQUARE):
        with pytest.raises(GridError, match=r'states its CRS as .*; name it, as in \{"type": "name"'):
            read(tmp_path / "a.json", {**held, "crs": crs})


LINK = {"type": "link", "properties": {"href": "http://host.example/crs"}}


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (whole({**FEATURE, "crs": LINK}), "a feature or geometry states 'crs' of its own"),
        (whole({**FEATURE, "geometry": {**SQUARE, "crs": LINK}}), "a feature or geometry states 'crs' of its own"),
        (whole(FEATURE, coordRefSys="http://host.example/crs"), "it is JSON-FG"),
        (whole({**FEATURE, "coordRefSys": "x"}), "a feature or geometry states 'coordRefSys' of its own"),
        ({"type": "Topology", "objects": {}, "arcs": []}, "it has no type 'FeatureCollection'"),
        ({"geometryType": "esriGeometryPolygon", "spatialReference": {"wkid": 4326}, "features": []}, "it has no type"),
        (whole({"attributes": {}, "geometry": {"rings": []}}), "one of its features is none"),
        (whole({**FEATURE, "geometry": {"rings": []}}), "a geometry has no known type with coordinates"),
        (whole({**FEATURE, "geometry": 7}), "a geometry is no object"),
        (whole({**FEATURE, "geometry": "crs"}), "a geometry is no object"),
        (whole({**FEATURE, "properties": [1]}), "a feature's properties are no object"),
        (whole(7), "one of its features is none"),
        ({"type": "FeatureCollection", "features": {}}, "it has no type"),
        ({"type": ["Feature"]}, "it has no type"),
        (
            b'{"type": "FeatureCollection", "features": [], "crs": null, "crs": {"type": "link"}}',
            "a key is given twice",
        ),
        (b'{"type": "Point", "coordinates": [NaN, 1]}', "NaN is no number"),
        (b'{"type": "Point", "coordinates": [1e999, 1]}', "Out of range float values"),
        (b'{"a":' * 100_000, "it is nested too deeply"),
        (b'{"type": "Point", "coordinates": ' + b"[" * 100_000, "it is nested too deeply"),
        (b'\x1e{"type": "Feature"}\n', "is no GeoJSON"),
        (json.dumps(FEATURE).encode() + b"\n" + json.dumps(FEATURE).encode(), "Extra data"),
        (b'{"type": "Feature", /* */ "properties": {}}', "is no GeoJSON"),
        (b'{"type": "Point", "coordinates": [' + b"1" * 5000 + b", 1]}", "is no GeoJSON"),
    ],
)
def test_what_is_no_plain_geojson_is_refused(tmp_path, held, said):
    with pytest.raises(RasterError, match=said):
        read(tmp_path / "a.json", held)


def test_a_file_too_large_for_memory_is_refused_unread(tmp_path):
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(geojson.LARGEST + 1)
    with pytest.raises(RasterError, match="is larger than 200 MB; convert it to a GeoPackage"):
        geojson.rewritten(tmp_path / "a.json")

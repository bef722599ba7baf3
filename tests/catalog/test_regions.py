"""Regions: polygons of vector files; what is no region is refused in one sentence."""

import json
import os
import sqlite3

import geopandas
import pandas
import pyogrio
import pytest
import shapely
from http_server import serving

from geoseg.catalog import RegionSpec
from geoseg.catalog.regions import read_region, read_zones, region_of
from geoseg.errors import GridError, RasterError

SQUARES = [shapely.box(0, 0, 10, 10), shapely.box(10, 0, 20, 30), shapely.box(40, 0, 50, 10)]


def region(path, shapes):
    names = [f"n{index}" for index in range(len(shapes))]
    frame = geopandas.GeoDataFrame({"name": names}, geometry=shapes, crs="EPSG:32612")
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_file(path)
    return path


@pytest.mark.parametrize("ending", [".shp", ".gpkg", ".geojson", ".fgb", ".parquet"])
def test_a_region_is_the_union_of_the_polygons(tmp_path, ending):
    path = region(tmp_path / f"parks{ending}", SQUARES)
    shape, crs = read_region(path)
    assert crs == "EPSG:32612"
    assert shape.equals(shapely.union_all(SQUARES))
    assert shape.geom_type == "MultiPolygon"


@pytest.mark.parametrize("ending", [".shp", ".gpkg", ".geojson", ".fgb", ".parquet"])
def test_a_filter_selects_features(tmp_path, ending):
    path = region(tmp_path / f"parks{ending}", SQUARES)
    shape, _ = read_region(path, where="name = 'n1'")
    assert shape.equals(SQUARES[1])


@pytest.mark.parametrize("ending", [".shp", ".gpkg"])
def test_a_filter_that_is_wrong_or_selects_nothing_is_refused(tmp_path, ending):
    path = region(tmp_path / f"parks{ending}", SQUARES)
    with pytest.raises(GridError, match="the filter \"name = 'nix'\" selects no feature in layer 'parks'"):
        read_region(path, where="name = 'nix'")
    with pytest.raises(GridError, match="the filter 'name = = 3' does not work: at character 8, '=' stands where"):
        read_region(path, where="name = = 3")
    with pytest.raises(GridError, match="names field 'nam', which the layer lacks; did you mean 'name'"):
        read_region(path, where="nam = 3")


def test_a_parquet_file_without_geometry_or_cut_short_is_refused(tmp_path):
    pandas.DataFrame({"a": [1]}).to_parquet(tmp_path / "table.parquet")
    with pytest.raises(RasterError, match=r"table\.parquet cannot be read: .*geo"):
        read_region(tmp_path / "table.parquet")
    whole = region(tmp_path / "parks.parquet", SQUARES).read_bytes()
    (tmp_path / "half.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RasterError, match=r"half\.parquet cannot be read"):
        read_region(tmp_path / "half.parquet")


def test_layers_are_named_and_the_nearest_is_suggested(tmp_path):
    path = tmp_path / "areas.gpkg"
    for layer, shape in zip(("parks", "lakes"), SQUARES):
        geopandas.GeoDataFrame(geometry=[shape], crs="EPSG:32612").to_file(path, layer=layer)
    assert read_region(path, "lakes")[0].equals(SQUARES[1])
    with pytest.raises(GridError, match=r"has no layer 'lake'; did you mean 'lakes'\? known: parks, lakes"):
        read_region(path, "lake")
    with pytest.raises(GridError, match="has 2 layers: parks, lakes; say which with 'layer'"):
        read_region(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(RasterError, match=r"nix\.gpkg does not exist; check the path"):
        read_region(tmp_path / "nix.gpkg")
    (tmp_path / "text.gpkg").write_text("no vectors")
    with pytest.raises(RasterError, match=r"text\.gpkg is no GeoPackage, Shapefile"):
        read_region(tmp_path / "text.gpkg")
    pyogrio.write_dataframe(pandas.DataFrame({"a": [1]}), tmp_path / "table.gpkg")
    with pytest.raises(GridError, match="holds no geometry"):
        read_region(tmp_path / "table.gpkg")


def test_a_region_without_crs_needs_one_stated(tmp_path):
    path = region(tmp_path / "parks.shp", SQUARES)
    (tmp_path / "parks.prj").unlink()
    with pytest.raises(GridError, match=r"parks\.shp has no CRS; add one to the file or state 'crs'"):
        read_region(path)
    assert read_region(path, crs="EPSG:32612")[1] == "EPSG:32612"


def test_only_whole_polygons_make_a_region(tmp_path):
    line = region(tmp_path / "line.gpkg", [SQUARES[0], shapely.LineString([(0, 0), (1, 1)])])
    with pytest.raises(GridError, match="feature 2 is a LineString; a region is made of polygons"):
        read_region(line)
    bow = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    crossed = region(tmp_path / "bow.gpkg", [SQUARES[0], bow])
    with pytest.raises(GridError, match=r"the outline of feature 2 is not valid \(Self-intersection"):
        read_region(crossed)
    assert read_region(crossed, where="name = 'n0'")[0].equals(SQUARES[0])
    missing = region(tmp_path / "none.gpkg", [SQUARES[0], None])
    with pytest.raises(GridError, match="feature 2 has no geometry"):
        read_region(missing)
    empty = region(tmp_path / "empty.gpkg", [shapely.Polygon()])
    with pytest.raises(GridError, match=r"feature 1 is an empty polygon|feature 1 has no geometry"):
        read_region(empty)


def test_a_file_without_features_is_refused(tmp_path):
    path = tmp_path / "none.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    with pytest.raises(GridError, match=r"there is no feature in layer 'none'|holds no geometry"):
        read_region(path)


@pytest.mark.parametrize("ring", [[[0, 0], [1, 1]], [[0, 0], [1, 1], [1, 0]]])
def test_a_broken_ring_is_refused(tmp_path, ring):
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    (tmp_path / "bad.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    with pytest.raises((GridError, RasterError), match=r"bad\.geojson"):
        read_region(tmp_path / "bad.geojson")


# ------------------------------------------------------------------------------ what leads elsewhere


def test_no_file_sends_a_request(tmp_path):
    square = json.loads(shapely.to_geojson(SQUARES[0]))
    with serving(tmp_path) as (address, mood):
        for crs in (
            {"type": "link", "properties": {"href": f"{address}/crs", "type": "ogcwkt"}},
            {"type": "url", "properties": {"url": f"{address}/crs"}},
            {"type": "name", "properties": {"name": f"{address}/crs"}},
        ):
            (tmp_path / "r.geojson").write_text(json.dumps({**square, "crs": crs}))
            with pytest.raises(GridError, match="states its CRS as"):
                read_region(tmp_path / "r.geojson")
        (tmp_path / "r.geojson").write_text(f"<OGRVRTDataSource><SrcDataSource>{address}/x</SrcDataSource>")
        with pytest.raises(RasterError, match="is no GeoPackage"):
            read_region(tmp_path / "r.geojson")
    assert mood.served == 0


@pytest.mark.parametrize(
    "made",
    [
        "CREATE VIEW parks AS WITH RECURSIVE c(fid) AS (SELECT 1 UNION ALL SELECT fid + 1 FROM c) SELECT fid FROM c",
        "CREATE VIRTUAL TABLE parks USING fts4(fid, geom)",
        None,
    ],
)
@pytest.mark.timeout(20)
def test_a_layer_that_is_a_query_is_not_asked(tmp_path, made):
    path = region(tmp_path / "parks.gpkg", SQUARES)
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE parks RENAME TO stored")
        database.execute("UPDATE gpkg_contents SET table_name = 'parks' WHERE table_name = 'stored'")
        if made:
            database.execute(made)
    with pytest.raises(RasterError, match="'parks' is no table; save what it shows as a layer of its own"):
        read_region(path)


def test_another_sqlite_database_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "r.gpkg") as database:
        database.execute("CREATE TABLE parks (fid INTEGER, geom BLOB)")
    with pytest.raises(RasterError, match=r"r\.gpkg is an SQLite database, but no GeoPackage"):
        read_region(tmp_path / "r.gpkg")


def test_a_damaged_geopackage_is_refused(tmp_path):
    path = region(tmp_path / "parks.gpkg", SQUARES)
    data = bytearray(path.read_bytes())
    data[100:4096] = b"\xff" * 3996
    path.write_bytes(data)
    with pytest.raises(RasterError, match=r"parks\.gpkg cannot be read: .*; repair it"):
        read_region(path)


@pytest.mark.parametrize("ending", [".dbf", ".prj", ".cpg", ".shx", ".qix"])
@pytest.mark.timeout(20)
def test_a_pipe_beside_a_shapefile_is_not_waited_for(tmp_path, ending):
    path = region(tmp_path / "parks.shp", SQUARES)
    path.with_suffix(ending).unlink(missing_ok=True)
    os.mkfifo(path.with_suffix(ending))
    with pytest.raises(RasterError, match=rf"parks{ending} is no plain file, but a pipe or device; remove it"):
        read_region(path)


def test_a_filter_works_in_every_format(tmp_path):
    for ending in (".shp", ".gpkg", ".geojson", ".fgb"):
        path = region(tmp_path / f"parks{ending}", SQUARES)
        assert read_region(path, where="NAME IN ('n1', 'n7') AND NOT name LIKE 'n2%'")[0].equals(SQUARES[1])


def test_a_filter_that_compares_what_cannot_be_compared_is_refused(tmp_path):
    path = region(tmp_path / "parks.shp", SQUARES)
    with pytest.raises(GridError, match=r"the filter 'name BETWEEN 1 AND 2' (does not work: |selects no)"):
        read_region(path, where="name BETWEEN 1 AND 2")


def test_a_region_of_a_spec_is_bounds_or_a_file_from_its_folder(tmp_path):
    region(tmp_path / "parks.gpkg", SQUARES)
    box = region_of(RegionSpec(bounds=(0, 1, 2, 3), crs="EPSG:32612"), "box", tmp_path)
    assert (box.name, box.geometry.boundingbox.bbox) == ("box", (0, 1, 2, 3))
    park = region_of(RegionSpec(file="parks.gpkg", where="name = 'n1'"), "park", tmp_path)
    assert park.geometry.geom.equals(SQUARES[1])


def test_zones_keep_their_names_and_polygons_of_one_name_are_one(tmp_path):
    boxes = [shapely.box(0, 0, 1, 1), shapely.box(3, 3, 4, 4), shapely.box(1, 0, 2, 1)]
    columns = {"name": ["a", "b", "a"], "size": [1, 2, 3]}
    geopandas.GeoDataFrame(columns, geometry=boxes, crs="EPSG:32612").to_file(tmp_path / "zones.gpkg")
    names, shapes, crs = read_zones(tmp_path / "zones.gpkg", "name")
    assert names == ["a", "b"]
    assert shapes[0].equals(shapely.box(0, 0, 2, 1))
    assert crs == "EPSG:32612"
    assert read_zones(tmp_path / "zones.gpkg")[0] == ["1", "2", "3"]
    with pytest.raises(GridError, match="has no column 'nam'; did you mean 'name'"):
        read_zones(tmp_path / "zones.gpkg", "nam")

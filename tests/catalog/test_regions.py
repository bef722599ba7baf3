"""Regions: polygons of vector files; what is no region is refused in one sentence."""

import json

import geopandas
import pandas
import pyogrio
import pytest
import shapely

from geoseg.catalog.regions import read_region
from geoseg.errors import GridError, RasterError

SQUARES = [shapely.box(0, 0, 10, 10), shapely.box(10, 0, 20, 30), shapely.box(40, 0, 50, 10)]


def region(path, shapes):
    names = [f"n{index}" for index in range(len(shapes))]
    geopandas.GeoDataFrame({"name": names}, geometry=shapes, crs="EPSG:32612").to_file(path)
    return path


@pytest.mark.parametrize("ending", [".shp", ".gpkg", ".geojson"])
def test_a_region_is_the_union_of_the_polygons(tmp_path, ending):
    path = region(tmp_path / f"parks{ending}", SQUARES)
    shape, crs = read_region(path)
    assert crs == "EPSG:32612"
    assert shape.equals(shapely.union_all(SQUARES))
    assert shape.geom_type == "MultiPolygon"


def test_a_filter_selects_features(tmp_path):
    path = region(tmp_path / "parks.gpkg", SQUARES)
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

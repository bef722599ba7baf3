"""Vectors: what is written is read by plain pyogrio; what is no region is refused in one sentence."""

import json
import logging

import geopandas
import numpy as np
import pandas
import pyogrio
import pytest
import shapely

from geoseg.catalog.regions import read_region
from geoseg.errors import GridError, RasterError
from geoseg.vectors import files as vector_files

ENDINGS = [".shp", ".gpkg", ".fgb", ".parquet"]
SQUARES = [shapely.box(0, 0, 10, 10), shapely.box(10, 0, 20, 30), shapely.box(40, 0, 50, 10)]


def traced(names=("forest", "water", "forest"), ids=(1, 2, 1)) -> geopandas.GeoDataFrame:
    areas = [shape.area for shape in SQUARES]
    columns = {"class_id": np.array(ids, np.int32), "class_name": list(names), "area_m2": areas}
    frame = geopandas.GeoDataFrame(columns, geometry=SQUARES, crs="EPSG:32612")
    frame.attrs = {"map": "map.tif", "GEOSEG_MODEL": "landsat-6class"}
    return frame


def region(path, shapes):
    names = [f"n{index}" for index in range(len(shapes))]
    geopandas.GeoDataFrame({"name": names}, geometry=shapes, crs="EPSG:32612").to_file(path)
    return path


# ---------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_says_the_same_to_its_reader(tmp_path, ending):
    out = tmp_path / "new" / f"classes{ending}"
    assert vector_files.write(traced(), out) == {out: 3}
    read = geopandas.read_parquet(out) if ending == ".parquet" else pyogrio.read_dataframe(out)
    order = np.lexsort((read.bounds.minx,))  # FlatGeobuf sorts its features by place
    read = read.iloc[order]
    assert list(read.columns) == ["class_id", "class_name", "area_m2", "geometry"]
    assert read.class_id.dtype == np.int32
    assert read.class_id.tolist() == [1, 2, 1]
    assert read.class_name.tolist() == ["forest", "water", "forest"]
    assert read.area_m2.tolist() == read.area.tolist() == [100, 300, 100]
    assert set(read.geom_type) == {"Polygon"}
    assert read.crs.to_epsg() == 32612
    assert [each.name for each in out.parent.iterdir() if each.name.startswith(".")] == []


def test_a_shapefile_keeps_to_its_rules(tmp_path):
    long = "Wald und Gebüsch, ä " * 20
    vector_files.write(traced((long, "вода", "forest"), (1, 2, 3)), tmp_path / "classes.shp")
    info = pyogrio.read_info(tmp_path / "classes.shp")
    assert all(len(name) <= 10 for name in info["fields"])
    assert (tmp_path / "classes.cpg").read_text() == "UTF-8"
    names = pyogrio.read_dataframe(tmp_path / "classes.shp").class_name.tolist()
    assert names[1:] == ["вода", "forest"]
    assert long.startswith(names[0])
    assert 250 < len(names[0].encode()) <= 254


def test_a_name_that_is_cut_is_told(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        vector_files.write(traced(("x" * 300, "b", "c"), (1, 2, 3)), tmp_path / "classes.shp")
    assert "is cut at 254 bytes" in caplog.text
    vector_files.write(traced(("x" * 300, "b", "c"), (1, 2, 3)), tmp_path / "classes.gpkg")
    assert pyogrio.read_dataframe(tmp_path / "classes.gpkg").class_name[0] == "x" * 300


def test_large_areas_are_kept_in_a_shapefile(tmp_path):
    frame = traced()
    frame["area_m2"] = [0.0625, 1234567890123.25, 5.1e14]  # the last is the whole earth
    vector_files.write(frame, tmp_path / "classes.shp")
    assert pyogrio.read_dataframe(tmp_path / "classes.shp").area_m2.tolist() == frame.area_m2.tolist()


@pytest.mark.parametrize("ending", ENDINGS)
def test_one_file_for_each_class(tmp_path, ending):
    frame = traced(("Grass / shrub", "草", "Grass-shrub"), (4, 9, 5))
    made = vector_files.write(frame, tmp_path / f"map{ending}", per_class=True)
    names = {f"map_grass-shrub-4{ending}": 1, f"map_grass-shrub-5{ending}": 1, f"map_草{ending}": 1}
    assert {path.name: count for path, count in made.items()} == names
    assert all(path.exists() for path in made)
    assert not (tmp_path / f"map{ending}").exists()


def test_the_map_and_its_tags_travel_where_the_format_can_say_them(tmp_path):
    for ending in (".gpkg", ".parquet"):
        vector_files.write(traced(), tmp_path / f"classes{ending}")
    metadata = pyogrio.read_info(tmp_path / "classes.gpkg")["layer_metadata"]
    assert metadata == traced().attrs
    assert geopandas.read_parquet(tmp_path / "classes.parquet").attrs == traced().attrs


@pytest.mark.parametrize("ending", ENDINGS)
def test_writing_again_replaces_what_was_there(tmp_path, ending):
    out = tmp_path / f"classes{ending}"
    vector_files.write(traced(), out)
    (tmp_path / "classes.qix").write_text("index of the old shapefile")
    vector_files.write(traced()[:1], out)
    read = geopandas.read_parquet(out) if ending == ".parquet" else pyogrio.read_dataframe(out)
    assert len(read) == 1
    assert (tmp_path / "classes.qix").exists() == (ending != ".shp")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_write_that_fails_leaves_the_old_file_as_it_was(tmp_path, monkeypatch, ending):
    out = tmp_path / f"classes{ending}"
    vector_files.write(traced(), out)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}

    def full(*args, **how):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(vector_files.pyogrio, "write_dataframe", full)
    monkeypatch.setattr(geopandas.GeoDataFrame, "to_parquet", full)
    with pytest.raises(RasterError, match=r"classes\.\w+ cannot be written: .*No space left"):
        vector_files.write(traced()[:1], out)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_a_shapefile_beyond_two_gigabytes_is_refused_before_writing(tmp_path, monkeypatch):
    vector_files.write(traced(), tmp_path / "fits.shp")
    largest = max((tmp_path / f"fits{ending}").stat().st_size for ending in (".shp", ".dbf"))
    monkeypatch.setattr(vector_files, "_SHAPEFILE_BYTES", largest - 1)
    with pytest.raises(RasterError, match=r"more than the .* of a Shapefile; write a \.gpkg"):
        vector_files.write(traced(), tmp_path / "large.shp")
    assert not list(tmp_path.glob("large*"))
    vector_files.write(traced(), tmp_path / "large.gpkg")


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(RasterError, match=r"polygons are written to \.shp, \.gpkg, \.fgb, \.parquet, not to '\.kml'"):
        vector_files.write(traced(), tmp_path / "classes.kml")
    with pytest.raises(RasterError, match="the map has no pixel of the classes asked for"):
        vector_files.write(traced()[:0], tmp_path / "classes.shp")
    (tmp_path / "file").write_text("")
    with pytest.raises(RasterError, match="cannot be written to"):
        vector_files.write(traced(), tmp_path / "file" / "classes.shp")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


# ---------------------------------------------------------------------------------------------- regions


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
    for wrong in ("name = = 3", "colour = 3"):
        with pytest.raises(GridError, match=f"the filter '{wrong}' does not work"):
            read_region(path, where=wrong)


def test_layers_are_named_and_the_nearest_is_told(tmp_path):
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

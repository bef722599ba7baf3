"""Files of polygons: what is written is read by plain pyogrio, with a style where the legend is known."""

import logging
import os
import sqlite3
from contextlib import closing
from functools import partial

import geopandas
import numpy as np
import pandas
import pyogrio
import pytest
import shapely
from full_disk import no_file_beyond

from geoseg.catalog.legend import LandClass, Legend
from geoseg.catalog.regions import read_region
from geoseg.errors import RasterError
from geoseg.maps import style as map_style
from geoseg.vectors import files as vector_files
from geoseg.vectors import shapefile, style

ENDINGS = [".shp", ".gpkg", ".fgb", ".parquet"]
SQUARES = [shapely.box(0, 0, 10, 10), shapely.box(10, 0, 20, 30), shapely.box(40, 0, 50, 10)]


def traced(names=("forest", "water", "forest"), ids=(1, 2, 1)) -> geopandas.GeoDataFrame:
    areas = [shape.area for shape in SQUARES]
    columns = {"class_id": np.array(ids, np.int32), "class_name": list(names), "area_m2": areas}
    frame = geopandas.GeoDataFrame(columns, geometry=SQUARES, crs="EPSG:32612")
    frame.attrs = {"map": "map.tif", "GEOSEG_MODEL": "landsat-6class"}
    return frame


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_says_the_same_to_its_reader(tmp_path, ending):
    out = tmp_path / "new" / f"classes{ending}"
    assert vector_files.write(traced(), out) == {out: 3}
    read = geopandas.read_parquet(out) if ending == ".parquet" else pyogrio.read_dataframe(out)
    order = np.lexsort((read.bounds.minx,))  # FlatGeobuf sorts its features by position
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


def test_a_name_that_is_cut_is_logged(tmp_path, caplog):
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
def test_a_write_that_fails_leaves_the_old_file_as_it_was(tmp_path, ending):
    out = tmp_path / f"classes{ending}"
    vector_files.write(traced(), out)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}

    many = pandas.concat([traced()] * 2000)
    with no_file_beyond(4096), pytest.raises(RasterError, match=r"classes\.\w+ cannot be written: "):
        vector_files.write(many, out)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_a_shapefile_beyond_two_gigabytes_is_refused_before_writing(tmp_path, monkeypatch):
    vector_files.write(traced(), tmp_path / "fits.shp")
    largest = max((tmp_path / f"fits{ending}").stat().st_size for ending in (".shp", ".dbf"))
    monkeypatch.setattr(shapefile, "MOST_BYTES", largest - 1)
    with pytest.raises(RasterError, match=r"more than the .* of a Shapefile; write a \.gpkg"):
        vector_files.write(traced(), tmp_path / "large.shp")
    assert not list(tmp_path.glob("large*"))
    vector_files.write(traced(), tmp_path / "large.gpkg")


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(
        RasterError, match=r"polygons are written to \.shp, \.gpkg, \.fgb, \.parquet, \.geojson, not to '\.kml'"
    ):
        vector_files.write(traced(), tmp_path / "classes.kml")
    with pytest.raises(RasterError, match="the map has no pixel of the classes asked for"):
        vector_files.write(traced()[:0], tmp_path / "classes.shp")
    (tmp_path / "file").write_text("")
    with pytest.raises(RasterError, match="cannot be written to"):
        vector_files.write(traced(), tmp_path / "file" / "classes.shp")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


# ---------------------------------------------------------------------------------------------- styles


LEGEND = Legend("two", (LandClass(1, "forest", "#006400"), LandClass(2, "water", "#0064c8")))


STYLES = {".qml": style.qgis_style, ".sld": partial(style.sld_style, layer="classes")}


@pytest.mark.parametrize("kind", STYLES)
@pytest.mark.parametrize("ending", [".shp", ".fgb", ".parquet"])
def test_a_style_belongs_to_the_set_and_goes_with_it(tmp_path, ending, kind):
    out, beside, text = tmp_path / f"classes{ending}", tmp_path / f"classes{kind}", STYLES[kind]
    assert vector_files.write(traced(), out, legend=LEGEND) == {out: 3}
    assert beside.read_bytes() == text(LEGEND, [1, 2])
    vector_files.write(traced()[:1], out, legend=LEGEND)
    assert beside.read_bytes() == text(LEGEND, [1])
    vector_files.write(traced(), out)  # whose names and colours nobody knows
    assert not beside.exists()


@pytest.mark.parametrize("legend", [LEGEND, None])
def test_the_style_of_a_map_beside_it_stays(tmp_path, legend):
    raster = tmp_path / "map.qml"
    raster.write_bytes(map_style.qgis_style(LEGEND))
    vector_files.write(traced(), tmp_path / "map.shp", legend=legend)
    assert raster.read_bytes() == map_style.qgis_style(LEGEND)


@pytest.mark.parametrize("ending", ENDINGS)
def test_each_file_of_a_class_has_its_style(tmp_path, ending):
    made = vector_files.write(traced(), tmp_path / f"map{ending}", per_class=True, legend=LEGEND)
    assert len(made) == 2
    styles = {path.stem: path.read_bytes() for path in tmp_path.glob("*.qml")}
    wanted = {"map_forest": style.qgis_style(LEGEND, [1]), "map_water": style.qgis_style(LEGEND, [2])}
    assert styles == ({} if ending == ".gpkg" else wanted)


def test_a_geopackage_holds_its_style_and_is_sound(tmp_path):
    out = tmp_path / "classes.gpkg"
    vector_files.write(traced(), out, legend=LEGEND)
    with closing(sqlite3.connect(out)) as base:
        rows = base.execute(
            "SELECT f_table_name, f_geometry_column, useAsDefault, styleQML, styleSLD FROM layer_styles"
        ).fetchall()
        qml, sld = style.qgis_style(LEGEND, [1, 2]).decode(), style.sld_style(LEGEND, [1, 2], "classes").decode()
        assert rows == [("classes", "geom", 1, qml, sld)]
        assert base.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert base.execute("PRAGMA foreign_key_check").fetchall() == []
    assert pyogrio.list_layers(out).tolist() == [["classes", "Polygon"], ["layer_styles", None]]
    assert len(pyogrio.read_dataframe(out, layer="classes")) == 3
    assert read_region(out)[0].equals(shapely.union_all(SQUARES))  # the table of styles is no layer of polygons
    assert [each.name for each in tmp_path.iterdir()] == ["classes.gpkg"]


def test_a_geopackage_bears_names_that_sql_would_stumble_over(tmp_path):
    out = tmp_path / 'it\'s "a" map.gpkg'
    vector_files.write(traced(), out, legend=LEGEND)
    with closing(sqlite3.connect(out)) as base:
        assert base.execute("SELECT f_table_name FROM layer_styles").fetchall() == [(out.stem,)]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_style_that_cannot_be_written_leaves_the_old_set(tmp_path, monkeypatch, ending):
    out = tmp_path / f"classes{ending}"
    vector_files.write(traced(), out, legend=LEGEND)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}

    def full(*args, **how):
        raise sqlite3.OperationalError("database or disk is full") if ending == ".gpkg" else OSError(28, "No space")

    monkeypatch.setattr(vector_files.sqlite3, "connect", full)
    monkeypatch.setattr(vector_files.Path, "write_bytes", full)
    with pytest.raises(RasterError, match=r"classes\.\w+ cannot be written: .*(disk is full|No space)"):
        vector_files.write(traced()[:1], out, legend=LEGEND)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


@pytest.mark.skipif(os.name != "posix", reason="umasks are POSIX")
@pytest.mark.parametrize("umask", [0o022, 0o027])
@pytest.mark.parametrize("ending", ENDINGS)
def test_the_umask_says_who_may_read_the_files(tmp_path, ending, umask):
    old = os.umask(umask)
    try:
        vector_files.write(traced(), tmp_path / "new" / f"classes{ending}", legend=LEGEND)
    finally:
        os.umask(old)
    modes = {each.name: oct(each.stat().st_mode & 0o777) for each in (tmp_path / "new").iterdir()}
    assert len(modes) >= (1 if ending == ".gpkg" else 2)
    assert set(modes.values()) == {oct(0o666 & ~umask)}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o777 & ~umask

"""Styles of polygons: what is written for QGIS, and what it makes of it."""

import xml.etree.ElementTree as ET

import geopandas
import numpy as np
import pytest
import shapely
from qgis_judge import shown

from geoseg.catalog.legend import LandClass, Legend
from geoseg.vectors import files, style

LEGEND = Legend(
    "odd",
    (
        LandClass(7, 'forêt "dense" <&>', "#006400"),
        LandClass(2, "water's edge", "#0064c8"),
        LandClass(300, "ሰማይ", "#12ab34"),
    ),
)


def frame(ids=(2, 7, 9)):
    shapes = [shapely.box(10 * id, 0, 10 * id + 10, 10) for id in ids]
    names = {each.id: each.name for each in LEGEND.classes}
    columns = {"class_id": np.array(ids, np.int32), "class_name": [names.get(id, str(id)) for id in ids]}
    return geopandas.GeoDataFrame(columns | {"area_m2": 100.0}, geometry=shapes, crs="EPSG:32612")


def test_classes_that_occur_are_filled_in_their_colours_and_in_the_legends_order():
    root = ET.fromstring(style.qgis_style(LEGEND, [9, 2, 7, 2]))
    renderer = root.find("renderer-v2")
    assert (renderer.get("type"), renderer.get("attr")) == ("categorizedSymbol", "class_id")
    symbols = {each.get("name"): each for each in renderer.iter("symbol")}
    rows = []
    for each in renderer.iter("category"):
        symbol = symbols[each.get("symbol")]
        colours = {option.get("value") for option in symbol.iter("Option") if option.get("name") == "color"}
        assert colours == {prop.get("v") for prop in symbol.iter("prop") if prop.get("k") == "color"}
        rows.append((each.get("value"), each.get("label"), *colours))
    assert rows == [
        ("7", 'forêt "dense" <&>', "0,100,0,255"),
        ("2", "water's edge", "0,100,200,255"),
        ("9", "9", "255,0,255,255"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("per_class", [False, True])
def test_qgis_shows_every_format_in_the_legends_colours(tmp_path, per_class):
    made = []
    for ending in (".shp", ".gpkg", ".fgb"):  # QGIS is seldom built with GeoParquet
        (tmp_path / ending[1:]).mkdir()
        written = files.write(frame(), tmp_path / ending[1:] / f"map{ending}", per_class=per_class, legend=LEGEND)
        made += sorted(written)
    rows = {7: ["#006400", 'forêt "dense" <&>'], 2: ["#0064c8", "water's edge"], 9: ["#ff00ff", "9"]}
    wanted = [[2], [7], [9]] if per_class else [[7, 2, 9]]
    by_name = {"water": 2, "for": 7, "9": 9}
    for path, found in zip(made, shown(*made)):
        ids = next([id] for name, id in by_name.items() if f"map_{name}" in path.name) if per_class else wanted[0]
        assert found["valid"], path
        assert found["kind"] == "categorizedSymbol class_id", path
        assert [[int(value), *rest] for value, *rest in found["rows"]] == [[id, *rows[id]] for id in ids], path


@pytest.mark.slow
def test_qgis_reads_the_style_of_map_servers(tmp_path):
    out = tmp_path / "map.shp"
    files.write(frame(), out, legend=LEGEND)
    (found,) = shown(f"{out}+sld")
    assert [[row[0].replace(" ", ""), *row[1:]] for row in found["rows"]] == [
        ["class_id=7", "#006400", 'forêt "dense" <&>'],
        ["class_id=2", "#0064c8", "water's edge"],
        ["class_id=9", "#ff00ff", "9"],
    ]


def test_rules_fill_the_classes_that_occur():
    root = ET.fromstring(style.sld_style(LEGEND, [300, 2], "map"))
    space = {"se": "http://www.opengis.net/se", "ogc": "http://www.opengis.net/ogc"}
    rules = root.findall(".//se:Rule", space)
    names = [rule.findtext("se:Name", None, space) for rule in rules]
    ids = [rule.findtext(".//ogc:Literal", None, space) for rule in rules]
    fills = [rule.findtext(".//se:SvgParameter[@name='fill']", None, space) for rule in rules]
    assert list(zip(ids, names, fills)) == [("2", "water's edge", "#0064c8"), ("300", "ሰማይ", "#12ab34")]

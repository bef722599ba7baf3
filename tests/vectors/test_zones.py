"""Zones: judged by intersecting every pixel's square with the polygon."""

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import write

from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import GridError, RasterError
from geoseg.vectors import zones

UTM = Affine(30, 0, 300_000, 0, -30, 4_200_000)
TURNED = UTM @ Affine.rotation(20) @ Affine.scale(1, 0.5)
LEGEND = Legend("two", (LandClass(1, "forest", "#006400"), LandClass(3, "水", "#0064c8")))
LABELS = np.random.default_rng(1).choice([1, 2, 3, 255], (1, 12, 15)).astype(np.uint8)


def by_pixels(shape, transform):
    found = {}
    for row, col in np.ndindex(LABELS.shape[1:]):
        ring = [transform @ (col + x, row + y) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
        area = shapely.Polygon(ring).intersection(shape).area
        found[int(LABELS[0, row, col])] = found.get(int(LABELS[0, row, col]), 0.0) + area
    return {id: area for id, area in found.items() if area > 1e-6 and id != 255}


POINT = st.tuples(st.floats(-2, 17), st.floats(-2, 14))


@settings(deadline=None, max_examples=share_of(25))
@given(st.lists(POINT, min_size=3, max_size=8), st.booleans(), st.booleans())
def test_pixels_on_an_edge_count_by_the_part_inside(tmp_path_factory, points, turned, whole):
    transform = TURNED if turned else UTM
    points = [(round(x), round(y)) for x, y in points] if whole else points  # edges along the sides of pixels
    shape = shapely.convex_hull(shapely.MultiPoint([transform @ point for point in points]))
    if shape.geom_type != "Polygon" or shape.area < 1:
        return
    folder = tmp_path_factory.mktemp("zones")
    path = write(folder / "map.tif", LABELS, transform, nodata=255)
    geopandas.GeoSeries([shape], crs="EPSG:32612").to_file(folder / "zones.gpkg")
    found = {each.class_id: each.area_m2 for each in zones.measure(path, folder / "zones.gpkg") if each.area_m2 > 1e-6}
    assert found == pytest.approx(by_pixels(shape, transform), rel=1e-6, abs=1e-3)


def test_zones_of_one_name_are_one_and_may_be_in_another_crs(tmp_path):
    path = write(tmp_path / "map.tif", np.ones((1, 20, 20), np.uint8), UTM, nodata=255)
    boxes = [shapely.box(300_030, 4_199_700, 300_090, 4_199_940), shapely.box(300_300, 4_199_700, 300_330, 4_199_730)]
    frame = geopandas.GeoDataFrame({"park": ["north", "north"]}, geometry=boxes, crs="EPSG:32612").to_crs("EPSG:4326")
    frame.to_file(tmp_path / "zones.gpkg")
    (found,) = zones.measure(path, tmp_path / "zones.gpkg", column="park")
    assert (found.zone, found.class_id) == ("north", 1)
    assert found.area_m2 == pytest.approx(60 * 240 + 900, rel=1e-4)
    with pytest.raises(GridError, match=r"zones\.gpkg has no column 'parc'; did you mean 'park'"):
        zones.measure(path, tmp_path / "zones.gpkg", column="parc")


def test_the_whole_map_is_one_zone_in_the_plane_and_on_the_ellipsoid(tmp_path):
    path = write(tmp_path / "map.tif", LABELS, UTM, nodata=255)
    found = {each.class_id: each.area_m2 for each in zones.measure(path)}
    assert found == pytest.approx({id: 900.0 * (id == LABELS).sum() for id in (1, 2, 3)}, rel=1e-12)
    world = write(tmp_path / "world.tif", np.ones((1, 180, 360), np.uint8), Affine(1, 0, -180, 0, -1, 90), "EPSG:4326")
    (earth,) = zones.measure(world)
    assert earth.zone == "map"
    assert earth.area_m2 == pytest.approx(5.10065622e14, rel=1e-4)


def test_a_table_is_written_for_a_spreadsheet(tmp_path):
    path = write(tmp_path / "map.tif", LABELS, UTM, nodata=255)
    zones.write(zones.measure(path), tmp_path / "areas.csv", path)
    first, *rows = (tmp_path / "areas.csv").read_text().splitlines()
    assert first == "zone,class_id,class_name,area_m2"
    assert [row.split(",")[:3] for row in rows] == [["map", id, id] for id in "123"]
    with pytest.raises(RasterError, match=r"areas\.xlsx: areas are written to \.csv or \.gpkg"):
        zones.write([], tmp_path / "areas.xlsx", path)


def test_zones_are_written_with_the_area_of_each_class(tmp_path):
    path = write(tmp_path / "map.tif", LABELS, UTM, nodata=255)
    boxes = [shapely.box(300_000 + 90 * at, 4_199_700, 300_075 + 90 * at, 4_199_990) for at in (0, 2, 900)]
    given = geopandas.GeoDataFrame({"park": ["a", "b", "far"]}, geometry=boxes, crs="EPSG:32612").to_crs("EPSG:3857")
    given.to_file(tmp_path / "zones.gpkg")
    found = zones.measure(path, tmp_path / "zones.gpkg", column="park", legend=LEGEND)
    zones.write(found, tmp_path / "out" / "areas.gpkg", path, tmp_path / "zones.gpkg", column="park")
    frame = geopandas.read_file(tmp_path / "out" / "areas.gpkg")
    assert list(frame.columns) == ["zone", "forest_m2", "2_m2", "水_m2", "all_m2", "largest", "geometry"]
    assert frame.geometry.geom_equals(geopandas.read_file(tmp_path / "zones.gpkg").geometry).all()
    assert frame.crs == "EPSG:3857"
    for row in frame.itertuples(index=False):
        areas = {each.class_name: each.area_m2 for each in found if each.zone == row.zone}
        assert row[1:4] == tuple(areas.get(name, 0.0) for name in ("forest", "2", "水"))
        assert row.all_m2 == pytest.approx(sum(areas.values()), rel=1e-12)
        assert not areas or row.largest == max(areas, key=areas.get)
    assert frame.largest.notna().tolist() == [True, True, False]
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["areas.gpkg"]


@pytest.mark.parametrize("names", [("a", "A", "b"), ("all", "b", "c")])
def test_columns_that_would_be_one_are_called_by_ids(tmp_path, names):
    path = write(tmp_path / "map.tif", LABELS, UTM, nodata=255)
    found = [zones.ZoneArea("map", id, name, 900.0 * id) for id, name in enumerate(names, 1)]
    zones.write(found, tmp_path / "areas.gpkg", path)
    frame = geopandas.read_file(tmp_path / "areas.gpkg")
    assert frame[["class_1_m2", "class_2_m2", "class_3_m2", "all_m2"]].iloc[0].tolist() == [900, 1800, 2700, 5400]
    assert frame.geometry[0].area == pytest.approx(12 * 15 * 900)
    assert frame.largest[0] == names[2]

"""Polygons: traced maps judged by GDAL, by geodesics, and by painting them back."""

import json
from dataclasses import asdict

import geopandas
import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.enums import ColorInterp
from strategies import NORTH_UP, TRANSFORMS, write

from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import CatalogError, GeosegError, RasterError
from geoseg.vectors import polygons

LEGEND = Legend("two", (LandClass(1, "forest", "#006400"), LandClass(2, "open water", "#0064c8")))
LABELS = np.array([[[1, 1, 2], [1, 255, 2], [2, 1, 1]]], np.uint8)


def painted_back(frame, like):
    with rasterio.open(like) as source:
        pairs = list(zip(frame.geometry, frame.class_id.tolist()))
        return rasterio.features.rasterize(pairs, source.shape, fill=255, transform=source.transform, dtype="uint8")


@pytest.fixture
def small(tmp_path):
    return write(tmp_path / "map.tif", LABELS, nodata=255)


def test_each_region_is_a_polygon_with_its_class_name_and_area(small):
    frame = polygons.trace(small, legend=LEGEND)
    assert list(frame.columns) == ["class_id", "class_name", "area_m2", "geometry"]
    assert frame.class_name.tolist() == ["forest", "open water", "open water", "forest"]
    assert frame.class_id.tolist() == [1, 2, 2, 1]
    assert frame.area_m2.tolist() == [2700, 1800, 900, 1800]
    assert frame.crs.to_epsg() == 32612
    left, bottom, right, top = frame.geometry[1].bounds
    assert (left, bottom, right, top) == (300075, 4199925, 300105, 4199985)


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_any_grid_gives_valid_anticlockwise_polygons_that_paint_the_map_back(tmp_path, transform):
    labels = np.random.default_rng(2).integers(1, 4, (1, 37, 53)).astype(np.uint8)
    labels[labels == 3] = 255
    path = write(tmp_path / "map.tif", labels, transform, nodata=255)
    frame = polygons.trace(path)
    assert frame.is_valid.all()
    assert shapely.is_ccw(frame.exterior.values).all()
    np.testing.assert_array_equal(painted_back(frame, path), labels[0])
    np.testing.assert_allclose(frame.area_m2, frame.area)
    pixels = np.count_nonzero(labels != 255)
    assert frame.area_m2.sum() == pytest.approx(pixels * abs(transform.determinant), rel=1e-12)


@settings(max_examples=share_of(20), deadline=None)
@given(arrays(np.uint8, st.tuples(st.just(1), st.integers(1, 20), st.integers(1, 20)), elements=st.integers(0, 2)))
def test_any_height_of_strips_gives_the_polygons_of_the_whole_map(tmp_path_factory, labels):
    path = write(tmp_path_factory.mktemp("m") / "map.tif", labels, nodata=0)
    whole = polygons.trace(path, strip_rows=1000)
    for rows in (1, 3, 7):
        part = polygons.trace(path, strip_rows=rows)
        assert part.drop(columns="geometry").equals(whole.drop(columns="geometry"))
        assert (shapely.to_wkb(part.geometry.values) == shapely.to_wkb(whole.geometry.values)).all()


def test_the_map_may_be_a_vrt_of_sheets(tmp_path):
    rasterio_vrt = """<VRTDataset rasterXSize="6" rasterYSize="3"><SRS>EPSG:32612</SRS>
    <GeoTransform>300015, 30, 0, 4199985, 0, -30</GeoTransform>
    <VRTRasterBand dataType="Byte" band="1"><NoDataValue>255</NoDataValue>{}</VRTRasterBand></VRTDataset>"""
    sheet = (
        '<ComplexSource><SourceFilename relativeToVRT="1">{}.tif</SourceFilename><SourceBand>1</SourceBand>'
        '<SrcRect xOff="0" yOff="0" xSize="3" ySize="3"/><DstRect xOff="{}" yOff="0" xSize="3" ySize="3"/>'
        "<NODATA>255</NODATA></ComplexSource>"
    )
    write(tmp_path / "a.tif", LABELS, nodata=255)
    write(tmp_path / "b.tif", np.full_like(LABELS, 2), NORTH_UP @ Affine.translation(3, 0), nodata=255)
    (tmp_path / "map.vrt").write_text(rasterio_vrt.format(sheet.format("a", 0) + sheet.format("b", 3)))
    frame = polygons.trace(tmp_path / "map.vrt")
    assert frame.area_m2.tolist() == [2700, 900 * 11, 900, 1800]


def test_only_the_classes_asked_for_are_traced(small):
    assert polygons.trace(small, classes=["open water"], legend=LEGEND).class_id.tolist() == [2, 2]
    assert polygons.trace(small, classes=["1"], legend=LEGEND).class_id.tolist() == [1, 1]
    assert polygons.trace(small, classes=[1, 2]).class_name.tolist() == ["1", "2", "2", "1"]
    assert polygons.trace(small, classes=[7]).empty


def test_the_map_tells_its_own_legend_and_tags(tmp_path, small):
    tag = json.dumps({"name": LEGEND.name, "classes": [asdict(each) for each in LEGEND.classes]})
    with rasterio.open(small, "r+") as out:
        out.update_tags(GEOSEG_LEGEND=tag, GEOSEG_MODEL="landsat-6class")
    frame = polygons.trace(small)
    assert set(frame.class_name) == {"forest", "open water"}
    assert frame.attrs["map"] == "map.tif"
    assert frame.attrs["GEOSEG_MODEL"] == "landsat-6class"
    other = Legend("other", (LandClass(1, "wood", "#006400"),))
    assert set(polygons.trace(small, legend=other).class_name) == {"wood", "2"}
    with rasterio.open(small, "r+") as out:
        out.update_tags(GEOSEG_LEGEND="[")
    with pytest.raises(RasterError, match=r"map\.tif carries a legend that cannot be read"):
        polygons.trace(small)


def test_nodata_may_be_a_mask_or_a_negative_number(tmp_path):
    masked = write(tmp_path / "masked.tif", LABELS, mask=LABELS[0] != 255)
    assert polygons.trace(masked).area_m2.sum() == 8 * 900
    wide = np.where(LABELS == 255, -9999, LABELS.astype(np.int16) + 300)
    frame = polygons.trace(write(tmp_path / "wide.tif", wide.astype(np.int16), nodata=-9999))
    assert sorted(frame.class_id) == [301, 301, 302, 302]


def test_nodata_a_mask_and_an_alpha_band_count_together(tmp_path):
    mask = np.array([[1, 1, 1], [1, 1, 1], [0, 1, 1]], bool)
    path = write(tmp_path / "map.tif", LABELS, nodata=255, mask=mask)
    assert polygons.trace(path).area_m2.sum() == 7 * 900
    alpha = np.where(mask, 255, 0).astype(np.uint8)
    path = write(tmp_path / "alpha.tif", np.concatenate([LABELS, alpha[None]]), nodata=255)
    with rasterio.open(path, "r+") as out:
        out.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
    assert polygons.trace(path).area_m2.sum() == 7 * 900


def test_a_legend_in_the_tags_is_the_one_used(tmp_path, small):
    tag = json.dumps({"name": LEGEND.name, "classes": [asdict(each) for each in LEGEND.classes]})
    with rasterio.open(small, "r+") as out:
        out.update_tags(GEOSEG_LEGEND=tag)
    other = Legend("other", (LandClass(1, "wood", "#006400"),))
    assert polygons.trace(small).attrs["GEOSEG_LEGEND"] == tag
    assert polygons.trace(small, legend=LEGEND).attrs["GEOSEG_LEGEND"] == tag
    assert "GEOSEG_LEGEND" not in polygons.trace(small, legend=other).attrs


def test_vectors_are_styled_by_the_legend_given_or_carried(tmp_path, small):
    tag = json.dumps({"name": LEGEND.name, "classes": [asdict(each) for each in LEGEND.classes]})
    polygons.vectorize(small, tmp_path / "bare.shp")
    polygons.vectorize(small, tmp_path / "given.shp", legend=LEGEND)
    with rasterio.open(small, "r+") as out:
        out.update_tags(GEOSEG_LEGEND=tag)
    polygons.vectorize(small, tmp_path / "carried.shp")
    assert (tmp_path / "given.qml").read_bytes() == (tmp_path / "carried.qml").read_bytes()
    assert not (tmp_path / "bare.qml").exists()


def test_area_on_a_geographic_grid_is_that_of_the_ellipsoid(tmp_path):
    for angle, within in ((0, 1e-6), (20, 1e-5)):
        transform = Affine.translation(6, 59) @ Affine.rotation(angle) @ Affine.scale(0.02, -0.01)
        path = write(tmp_path / f"{angle}.tif", np.full((1, 60, 80), 1, np.uint8), transform, "EPSG:4326")
        frame = polygons.trace(path)
        geodesic, _ = pyproj.Geod(ellps="WGS84").geometry_area_perimeter(frame.geometry[0].segmentize(1e-3))
        assert frame.area_m2[0] == pytest.approx(geodesic, rel=within)


def test_area_is_in_metres_where_the_map_is_in_feet(tmp_path):
    path = write(tmp_path / "feet.tif", np.ones((1, 2, 3), np.uint8), Affine(10, 0, 2e6, 0, -10, 7e5), "EPSG:2264")
    assert polygons.trace(path).area_m2.tolist() == pytest.approx([600 * (1200 / 3937) ** 2])


def test_what_is_no_map_is_refused(tmp_path, small):
    with pytest.raises(RasterError, match=r"nix\.tif does not exist; check the path of the map"):
        polygons.trace(tmp_path / "nix.tif")
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(RasterError, match=r"text\.tif cannot be read as a raster"):
        polygons.trace(tmp_path / "text.tif")
    with pytest.raises(RasterError, match="has 2 bands; a map has one"):
        polygons.trace(write(tmp_path / "two.tif", np.concatenate([LABELS, LABELS])))
    with pytest.raises(RasterError, match="holds float32; a map holds integer class ids"):
        polygons.trace(write(tmp_path / "float.tif", LABELS.astype(np.float32)))
    with pytest.raises(RasterError, match="holds the value -3; class ids run from 0 to 65535"):
        polygons.trace(write(tmp_path / "minus.tif", LABELS.astype(np.int16) - 4))
    with pytest.raises(RasterError, match="has no CRS"):
        polygons.trace(write(tmp_path / "plain.tif", LABELS, crs=None))
    with pytest.raises(CatalogError, match=r"no class 'open wter'; did you mean 'open water'\?"):
        polygons.trace(small, classes=["open wter"], legend=LEGEND)
    with pytest.raises(CatalogError, match="no class with id 9; its ids are 1, 2"):
        polygons.trace(small, classes=[9], legend=LEGEND)


def test_a_truncated_map_is_refused_with_the_rows_that_cannot_be_read(tmp_path):
    noise = np.random.default_rng(1).integers(0, 200, (1, 300, 300)).astype(np.uint8)
    path = write(tmp_path / "map.tif", noise, compress="deflate")
    whole = (tmp_path / "map.tif").read_bytes()
    (tmp_path / "map.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RasterError, match=r"map\.tif cannot be read"):
        polygons.trace(path)


def test_vectorize_refuses_an_unknown_ending_before_it_reads(tmp_path):
    with pytest.raises(RasterError, match=r"classes\.json: polygons are written to \.shp, \.gpkg, \.fgb, \.parquet"):
        polygons.vectorize(tmp_path / "nix.tif", tmp_path / "classes.json")


def test_vectorize_writes_what_trace_finds(tmp_path, small):
    made = polygons.vectorize(small, tmp_path / "out" / "classes.shp", legend=LEGEND)
    assert made == {tmp_path / "out" / "classes.shp": 4}
    assert pyogrio.read_info(tmp_path / "out" / "classes.shp")["features"] == 4


@pytest.mark.slow
def test_a_real_map_is_traced_as_gdal_does(shared_data):
    path = shared_data / "maps" / "chesapeake_13class_1m.tif"
    frame = polygons.trace(path)
    with rasterio.open(path) as source:
        labels, transform = source.read(1), source.transform
    assert len(frame) == 1905
    assert frame.is_valid.all()
    assert frame.area_m2.sum() == pytest.approx(np.count_nonzero(labels), rel=1e-9)
    found = rasterio.features.shapes(labels, mask=labels != 0, connectivity=4, transform=transform)
    areas = sorted((int(value), round(shapely.geometry.shape(shape).area)) for shape, value in found)
    assert sorted(zip(frame.class_id.tolist(), frame.area_m2.round().astype(int))) == areas


@pytest.mark.slow
def test_a_crop_of_worldcover_paints_back(shared_data, tmp_path):
    with rasterio.open(shared_data / "maps" / "ESA_WorldCover_10m_2021_v200_N00E006_Map.tif") as source:
        window = rasterio.windows.Window(8500, 31700, 500, 450)  # the town of São Tomé
        labels, transform = source.read(1, window=window), source.transform @ Affine.translation(8500, 31700)
    path = write(tmp_path / "map.tif", labels[None], transform, "EPSG:4326", nodata=0)
    frame = polygons.trace(path, strip_rows=333)
    assert len(frame) > 300
    assert frame.is_valid.all()
    painted = painted_back(frame, path)
    np.testing.assert_array_equal(painted[labels != 0], labels[labels != 0])
    side = frame.area_m2.sum() / np.count_nonzero(labels)
    assert side == pytest.approx(9.2766 * 9.2136, rel=2e-3)  # metres of 1/12000 degree at the equator


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3035", "EPSG:3857"])
def test_corners_are_brought_to_another_crs_one_by_one(tmp_path, crs):
    labels = np.random.default_rng(0).choice([1, 2, 3], (1, 20, 30)).astype(np.uint8)
    path = write(tmp_path / "map.tif", labels, Affine(30, 0, 500_000, 0, -30, 5_200_000), crs="EPSG:32633")
    polygons.vectorize(path, tmp_path / "a.gpkg", crs=crs, simplify="1px")
    polygons.vectorize(path, tmp_path / "b.gpkg", simplify="1px")
    moved, there = (geopandas.read_file(tmp_path / f"{each}.gpkg") for each in "ab")
    assert moved.crs == crs
    expected = there.to_crs(crs)
    assert all(one.equals_exact(other, 1e-6) for one, other in zip(moved.geometry, expected.geometry))
    assert shapely.coverage_is_valid(moved.geometry.values)
    np.testing.assert_array_equal(moved.area_m2, there.area_m2)


def test_geojson_is_in_longitude_and_latitude(tmp_path):
    labels = np.random.default_rng(0).choice([1, 2, 255], (1, 20, 30)).astype(np.uint8)
    path = write(tmp_path / "map.tif", labels, Affine(30, 0, 500_000, 0, -30, 5_200_000), crs="EPSG:32633", nodata=255)
    polygons.vectorize(path, tmp_path / "a.geojson")
    frame, exact = geopandas.read_file(tmp_path / "a.geojson"), polygons.trace(path)
    held = json.loads((tmp_path / "a.geojson").read_text())
    assert "crs" not in held
    assert frame.crs == "EPSG:4326"
    assert len(frame) == len(exact)
    assert frame.to_crs("EPSG:32633").area.sum() == pytest.approx(exact.area_m2.sum(), rel=1e-4)
    with pytest.raises(
        RasterError, match=r"GeoJSON is in longitude and latitude; leave the CRS out, or write a \.gpkg"
    ):
        polygons.vectorize(path, tmp_path / "b.geojson", crs="EPSG:32633")
    assert not (tmp_path / "b.geojson").exists()


def test_a_crs_that_does_not_hold_the_map_or_is_none_is_refused(tmp_path):
    path = write(tmp_path / "map.tif", np.ones((1, 4, 4), np.uint8), Affine(1, 0, -179, 0, -1, -88), crs="EPSG:4326")
    with pytest.raises(RasterError, match="lies where WGS 84 / Pseudo-Mercator is not defined; choose another CRS"):
        polygons.vectorize(path, tmp_path / "a.gpkg", crs="EPSG:3857")
    with pytest.raises(GeosegError, match="moon"):
        polygons.vectorize(path, tmp_path / "a.gpkg", crs="moon")
    assert not (tmp_path / "a.gpkg").exists()

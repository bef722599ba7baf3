"""Attributes of polygons: counts, lengths and means are those that other tools find, however the map is cut."""

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import Geod
from rasterio import features as gdal
from scipy import ndimage
from strategies import write
from typer.testing import CliRunner

import geoseg
from geoseg.cli import app
from geoseg.errors import CatalogError, RasterError
from geoseg.vectors import attributes, polygons

ALL = ["pixels", "perimeter", "confidence"]
UTM = Affine(30, 0, 300000, 0, -20, 4200000)
DEGREES = Affine(0.01, 0, 30.0, 0, -0.01, 50.0)


def scene(folder, *, transform=UTM, crs="EPSG:32612", dtype="uint8", seed=3):
    """A map with nodata, and its confidence; their paths and pixels."""
    rng = np.random.default_rng(seed)
    labels = (ndimage.gaussian_filter(rng.random((60, 73)), 1.2) * 9).astype(np.uint8) % 4 + 1
    labels[20:24, 30:40] = 255
    values = rng.integers(0, 255, labels.shape).astype(dtype)
    values = values if dtype != "float32" else rng.random(labels.shape).astype(dtype)
    path = write(folder / "map.tif", labels[None], transform, crs=crs, nodata=255)
    beside = folder / "confidence.tif"
    with rasterio.open(path) as source:
        profile = source.profile | {"dtype": dtype, "nodata": None if dtype == "float32" else 255}
    with rasterio.open(beside, "w", **profile) as file:
        file.write(values, 1)
        file.scales = [1.0 if dtype == "float32" else 1 / 254]
    return path, beside, labels, values / (1 if dtype == "float32" else 254)


def regions_of(labels):
    """Each region's class and pixels, by scipy, in the order of polygons."""
    found = []
    for id in np.unique(labels[labels != 255]):
        numbered, count = ndimage.label(labels == id)
        found += [(int(id), numbered == each) for each in range(1, count + 1)]
    return sorted(found, key=lambda each: int(np.flatnonzero(each[1])[0]))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_pixels_and_confidence_are_those_of_scipys_regions(tmp_path, dtype):
    path, _, labels, values = scene(tmp_path, dtype=dtype)
    frame, regions = geoseg.vectorize(path, attributes=ALL), regions_of(labels)
    assert frame.class_id.tolist() == [id for id, _ in regions]
    assert frame.pixels.tolist() == [int(inside.sum()) for _, inside in regions]
    means = [values[inside].mean(dtype=np.float64) for _, inside in regions]
    np.testing.assert_allclose(frame.conf, means, rtol=1e-12, atol=1e-7 if dtype == "float32" else 1e-12)
    np.testing.assert_allclose(frame.perim_m, frame.length, rtol=1e-12)


def test_in_degrees_the_perimeter_is_geodesic(tmp_path):
    path, *_ = scene(tmp_path, transform=DEGREES, crs="EPSG:4326")
    frame, geod = geoseg.vectorize(path, attributes=["perimeter"]), Geod(ellps="WGS84")
    lengths = [sum(geod.geometry_length(ring) for ring in (each.exterior, *each.interiors)) for each in frame.geometry]
    np.testing.assert_allclose(frame.perim_m, lengths, rtol=1e-9)
    assert list(frame.columns) == ["class_id", "class_name", "area_m2", "perim_m", "geometry"]


def test_after_merging_they_are_of_the_merged_regions(tmp_path):
    path, _, labels, values = scene(tmp_path)
    frame = geoseg.vectorize(path, attributes=ALL, min_area=["0.5ha"])
    exact = geoseg.vectorize(path, attributes=ALL)
    assert len(frame) < len(exact)
    assert frame.pixels.sum() == exact.pixels.sum() == (labels != 255).sum()
    for shape, pixels, conf in zip(frame.geometry, frame.pixels, frame.conf):
        inside = gdal.rasterize([shape], labels.shape, transform=UTM).astype(bool)
        assert (pixels, pytest.approx(conf, rel=1e-12)) == (inside.sum(), values[inside].mean())


def test_simplifying_leaves_pixels_and_confidence_and_shortens_outlines(tmp_path):
    path, *_ = scene(tmp_path)
    exact = geoseg.vectorize(path, attributes=ALL, classes=[1, 3])
    frame = geoseg.vectorize(path, attributes=ALL, simplify="1.5px", crs="EPSG:3857", classes=[1, 3])
    assert frame.pixels.tolist() == exact.pixels.tolist()
    assert frame.conf.tolist() == exact.conf.tolist()
    planar = geoseg.vectorize(path, simplify="1.5px", classes=[1, 3])
    np.testing.assert_allclose(frame.perim_m, planar.length, rtol=1e-12)  # on the map's grid
    assert frame.perim_m.sum() < exact.perim_m.sum()


@pytest.mark.parametrize("how", [{"strip_rows": 1}, {"strip_rows": 7, "workers": 2}, {"workers": 3}])
@pytest.mark.parametrize("shape", [{}, {"simplify": "2px"}, {"min_area": ["1ha"]}])
@pytest.mark.sampled(3)
def test_strips_and_threads_change_nothing(tmp_path, monkeypatch, how, shape):
    path, *_ = scene(tmp_path, dtype="float32")
    judge = geoseg.vectorize(path, attributes=ALL, **shape)
    monkeypatch.setattr("geoseg.vectors.stream.BLOCK_COLS", 16)
    found = geoseg.vectorize(path, attributes=ALL, **shape, **how)
    for name in ("pixels", "perim_m", "conf"):
        assert found[name].tolist() == judge[name].tolist()


@pytest.mark.parametrize("ending", [".shp", ".gpkg", ".fgb", ".parquet", ".geojson"])
def test_every_format_holds_them(tmp_path, ending):
    path, *_ = scene(tmp_path)
    judge = geoseg.vectorize(path, attributes=ALL).sort_values(["class_id", "area_m2", "conf"])
    out = tmp_path / f"out{ending}"
    done = CliRunner().invoke(app, ["vectorize", str(path), "--out", str(out), "--attributes", ",".join(ALL)])
    assert done.exit_code == 0, done.output
    read = geopandas.read_parquet if ending == ".parquet" else pyogrio.read_dataframe
    frame = read(out).sort_values(["class_id", "area_m2", "conf"])
    assert [name for name in frame.columns if name not in ("geometry", "bbox")] == [
        "class_id", "class_name", "area_m2", "pixels", "perim_m", "conf",
    ]  # fmt: skip
    assert frame.pixels.dtype.kind == "i"
    assert frame.pixels.tolist() == judge.pixels.tolist()
    np.testing.assert_allclose(frame.perim_m, judge.perim_m, rtol=1e-12)
    np.testing.assert_allclose(frame.conf, judge.conf, rtol=1e-12)


def test_a_frame_with_them_is_written_with_them(tmp_path):
    path, *_ = scene(tmp_path)
    frame = geoseg.vectorize(path, attributes=["confidence", "pixels"])
    polygons.write(frame, tmp_path / "a.shp")
    polygons.vectorize(path, tmp_path / "b.shp", attributes=["pixels", "confidence"])
    for end in (".shp", ".dbf", ".shx"):
        assert (tmp_path / f"a{end}").read_bytes() == (tmp_path / f"b{end}").read_bytes()


def test_perimeters_are_shapelys_also_of_none():
    shapes = [shapely.box(0, 0, 4, 4) - shapely.box(1, 1, 2, 2), shapely.box(9, 9, 10, 11)]
    frame = geopandas.GeoDataFrame({"class_id": [1, 2], "area_m2": [15.0, 2.0]}, geometry=shapes, crs="EPSG:32612")
    from geoseg.vectors.features import from_ragged

    _, points, offsets = shapely.to_ragged_array(frame.geometry.values)
    found = from_ragged(frame.class_id, frame.area_m2, points, offsets)
    assert attributes.perimeters(found, frame.crs).tolist() == frame.length.tolist() == [20, 6]
    assert attributes.perimeters(found.part(0, 0), frame.crs).tolist() == []


def wrong_grid(path, beside):
    with rasterio.open(beside, "r+") as file:
        file.transform = Affine(30, 0, 300015, 0, -20, 4200000)


def no_data(path, beside):
    with rasterio.open(beside, "r+") as file:
        values = file.read(1)
        values[41, 5] = 255
        file.write(values, 1)


def two_bands(path, beside):
    with rasterio.open(beside) as file:
        profile, values = file.profile, file.read(1)
    with rasterio.open(beside, "w", **profile | {"count": 2}) as file:
        file.write(np.stack([values, values]))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path, beside: beside.unlink(), "there is no confidence.tif beside"),
        (lambda path, beside: beside.write_bytes(b"no raster"), "confidence.tif"),
        (wrong_grid, "is on another grid than"),
        (two_bands, "has 2 bands; confidence has one"),
        (no_data, "no data at row 41, column 5"),
    ],
)
def test_what_is_no_confidence_of_the_map_is_refused(tmp_path, spoil, words):
    path, beside, *_ = scene(tmp_path)
    spoil(path, beside)
    with pytest.raises(RasterError, match=words):
        polygons.vectorize(path, tmp_path / "out.gpkg", attributes=["confidence"])
    assert not (tmp_path / "out.gpkg").exists()


def test_an_unknown_attribute_is_refused_with_the_nearest(tmp_path):
    path, *_ = scene(tmp_path)
    with pytest.raises(CatalogError, match="no attribute 'pixel'; did you mean 'pixels'"):
        geoseg.vectorize(path, attributes=["pixel"])

"""Zones: counts within polygons and numbers of a raster, judged by rasterio's own drawing and scikit-learn."""

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.features import geometry_mask
from rasterio.warp import Resampling, reproject
from sklearn.metrics import confusion_matrix

from geoseg.accuracy import counting, score, tables, zones
from geoseg.accuracy.boundaries import Boundaries
from geoseg.catalog import Reference
from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import GridError, RasterError
from geoseg.rasters import legend_tag

LEGEND = Legend("three", tuple(LandClass(id, f"class {id}", "#000000") for id in (1, 2, 3)))
CRS, SIDE = "EPSG:32612", 30.0
PLACE = Affine(SIDE, 0, 301_905, 0, -SIDE, 4_154_085)
SHAPE = (300, 400)
MADE = np.random.default_rng(0)
MAPPED, TRUTH = (MADE.choice(np.array([1, 2, 3, 255], np.uint8), SHAPE) for _ in range(2))


def at(col, row):
    return PLACE @ (col, row)


SHAPES = {
    "north": shapely.Polygon([at(10.3, 4.2), at(390.1, 9.7), at(150.4, 140.9)]),
    "overlapping": shapely.Polygon([at(100.2, 50.1), at(300.4, 60.6), at(250.7, 290.3), at(120.9, 200.2)]),
    "partly outside": shapely.Polygon([at(350.1, 200.2), at(520.3, 220.2), at(380.4, 400.8)]),
    "elsewhere": shapely.Polygon([at(900, 200), at(950, 220), at(930, 290)]),
}


def written(path, ids, transform=PLACE, crs=CRS, nodata=255, **tags):
    profile = {"driver": "GTiff", "height": ids.shape[0], "width": ids.shape[1], "count": 1, "dtype": ids.dtype}
    with rasterio.open(path, "w", **profile, crs=crs, transform=transform, nodata=nodata) as file:
        file.write(ids, 1)
        file.update_tags(**tags)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("zones")
    written(made / "map.tif", MAPPED)
    written(made / "truth.tif", TRUTH)
    frame = geopandas.GeoDataFrame({"name": list(SHAPES)}, geometry=list(SHAPES.values()), crs=CRS)
    frame.to_file(made / "zones.gpkg")
    return made


def scored(folder, file, column=None, **how):
    truth = Reference("truth", str(folder / "truth.tif"), 1, LEGEND, None)
    return score.score(folder / "map.tif", truth, legend=LEGEND, zones=folder / file, zone_column=column, **how)


def judged(mask):
    both = mask & (TRUTH < 255) & (MAPPED < 255)
    return confusion_matrix(TRUTH[both], MAPPED[both], labels=LEGEND.ids) if both.any() else np.zeros((3, 3))


@pytest.mark.parametrize("step", [64, 100, 1024])
def test_polygons_hold_the_pixels_whose_centres_lie_in_them_however_the_map_is_read(folder, monkeypatch, step):
    monkeypatch.setattr(counting, "STEP", step)
    found = scored(folder, "zones.gpkg", "name").zones
    assert [each.name for each in found] == list(SHAPES)
    for each in found:
        mask = geometry_mask([SHAPES[each.name]], SHAPE, PLACE, invert=True)
        np.testing.assert_array_equal(each.confusion.matrix, judged(mask))
        nodata = [(mask & (id == TRUTH) & (MAPPED == 255)).sum() for id in LEGEND.ids]
        assert each.confusion.unlabelled.tolist() == nodata
    assert not found[-1].confusion.matrix.any()


def test_polygons_of_one_name_are_one_zone_and_without_a_column_they_are_numbered(folder):
    frame = geopandas.read_file(folder / "zones.gpkg")
    frame.assign(name=["a", "b", "a", "b"]).to_file(folder / "joined.gpkg")
    joined, plain = scored(folder, "joined.gpkg", "name").zones, scored(folder, "zones.gpkg").zones
    assert [each.name for each in joined] == ["a", "b"]
    assert [each.name for each in plain] == ["1", "2", "3", "4"]
    apart = plain[0].confusion.matrix + plain[2].confusion.matrix
    np.testing.assert_array_equal(joined[0].confusion.matrix, apart)


def test_polygons_come_from_any_crs(folder):
    geopandas.read_file(folder / "zones.gpkg").to_crs("EPSG:4326").to_file(folder / "degrees.geojson")
    here, there = (scored(folder, file, "name").zones for file in ("zones.gpkg", "degrees.geojson"))
    for one, other in zip(here, there):
        off = np.abs(one.confusion.matrix - other.confusion.matrix).sum()
        assert off <= 0.002 * one.confusion.matrix.sum()


@pytest.mark.parametrize("step", [100, 1024])
def test_numbers_of_a_raster_of_another_resolution_are_zones(folder, monkeypatch, step):
    monkeypatch.setattr(counting, "STEP", step)
    monkeypatch.setattr(zones, "_COUNTERS", 60)
    numbers = np.random.default_rng(3).choice(np.array([0, 7, 500, 65535], np.uint16), (40, 50))
    coarse = PLACE @ Affine.scale(8.37)
    written(folder / "zones.tif", numbers, coarse, nodata=0)
    wanted = np.zeros(SHAPE, np.uint16)
    reproject(
        numbers, wanted, src_transform=coarse, src_crs=CRS, src_nodata=0, dst_transform=PLACE, dst_crs=CRS,
        dst_nodata=0, resampling=Resampling.nearest, tolerance=0,
    )  # fmt: skip
    found = scored(folder, "zones.tif").zones
    assert [each.name for each in found] == ["7", "500", "65535"]
    for each in found:
        np.testing.assert_array_equal(each.confusion.matrix, judged(wanted == int(each.name)))


def test_zones_that_a_rasters_legend_names_are_told_even_where_they_are_empty(folder):
    legend = Legend("parts", tuple(LandClass(id, name, "#000000") for id, name in ((1, "left"), (2, "nowhere"))))
    numbers = np.where(np.arange(SHAPE[1]) < 130, 1, 255).astype(np.uint8) * np.ones(SHAPE, np.uint8)
    written(folder / "named.tif", numbers, GEOSEG_LEGEND=legend_tag.written(legend))
    found = scored(folder, "named.tif").zones
    assert [each.name for each in found] == ["left", "nowhere"]
    np.testing.assert_array_equal(found[0].confusion.matrix, judged(numbers == 1))
    assert not found[1].confusion.matrix.any()


def test_a_nodata_of_zones_may_be_any_number(folder):
    written(folder / "from_zero.tif", np.zeros(SHAPE, np.uint8), nodata=0)
    assert scored(folder, "from_zero.tif").zones == ()


def test_what_is_no_zone_is_one_sentence(folder):
    with pytest.raises(GridError, match=r"no column 'nmae'; .*'name'"):
        scored(folder, "zones.gpkg", "nmae")
    with pytest.raises(GridError, match=r"map\.tif is a raster, which has no column 'name'; leave the column out"):
        scored(folder, "map.tif", "name")
    with pytest.raises(RasterError, match=r"gone\.gpkg does not exist"):
        scored(folder, "gone.gpkg")
    written(folder / "floats.tif", np.full(SHAPE, 0.5, np.float32))
    with pytest.raises(RasterError, match="holds fractions or NaN"):
        scored(folder, "floats.tif")


@pytest.mark.parametrize("workers", [2, 5, 100])
@pytest.mark.parametrize("file", ["zones.gpkg", "numbers.tif"])
@pytest.mark.sampled(3)
def test_any_number_of_threads_finds_the_same(folder, monkeypatch, file, workers):
    monkeypatch.setattr(counting, "STEP", 64)
    written(folder / "numbers.tif", (np.indices(SHAPE)[0] // 50).astype(np.uint16), nodata=None)
    how = {"boundaries": Boundaries(2, 1), "interval_block": "40 px"}
    one, other = (tables.plain(scored(folder, file, workers=each, **how)) for each in (1, workers))
    assert one == other
    assert len(one["zones"]) >= 4

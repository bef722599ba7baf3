"""Mapping units: areas as they are written, sieved maps as plain rasterio reads them, polygons that agree with them."""

import json

import numpy as np
import pyogrio
import pytest
import rasterio
from affine import Affine
from strategies import write

from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import CatalogError, RasterError
from geoseg.rasters import legend_tag
from geoseg.vectors import mapping_unit, polygons
from geoseg.vectors.mapping_unit import MappingUnit

LEGEND = Legend("two", (LandClass(1, "forest", "#006400"), LandClass(2, "open water", "#0064c8")))
UTM = Affine(30, 0, 300_000, 0, -30, 4_200_000)


@pytest.fixture
def noisy(tmp_path):
    labels = np.random.default_rng(4).choice([1, 1, 1, 2, 2, 3, 255], (1, 70, 90)).astype(np.uint8)
    path = write(tmp_path / "map.tif", labels, UTM, nodata=255)
    with rasterio.open(path, "r+") as file:
        file.update_tags(GEOSEG_LEGEND=legend_tag.written(LEGEND))
        file.write_colormap(1, {1: (0, 100, 0, 255), 2: (0, 100, 200, 255)})
    return path


def test_areas_are_read_as_they_are_written():
    assert mapping_unit.parse(["0.5ha"], None) == MappingUnit(5000.0, {})
    assert mapping_unit.parse([" 2 km2", "open water=1.5 ha", "1=90m2"], LEGEND) == MappingUnit(2e6, {2: 15000, 1: 90})


@pytest.mark.parametrize("text", ["", "5", "-1ha", "1e3m2", "ha", "inf ha", "5 acres", "=1", "=1ha", "nan m2"])
def test_what_is_no_area_is_refused(text):
    with pytest.raises(CatalogError, match=r"is no least area; write 0\.5ha, 900m2 or 1km2"):
        mapping_unit.parse([text], LEGEND)


def test_a_class_that_the_legend_lacks_is_refused():
    with pytest.raises(CatalogError, match=r"no class 'open wter' in the legend of .*; did you mean 'open water'"):
        mapping_unit.parse(["open wter=1ha"], LEGEND)


def test_a_sieved_map_is_as_the_map_was_but_for_its_small_regions(tmp_path, noisy):
    changes = mapping_unit.write_sieved(noisy, tmp_path / "sieved.tif", ["0.45ha", "2=0.9ha"])
    with rasterio.open(noisy) as before, rasterio.open(tmp_path / "sieved.tif") as after:
        one, other = before.read(1), after.read(1)
        np.testing.assert_array_equal(one == 255, other == 255)
        assert (after.crs, after.transform, after.nodata, after.dtypes) == (before.crs, UTM, 255, before.dtypes)
        assert after.colormap(1)[2] == (0, 100, 200, 255)
        tags = after.tags()
        assert after.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert legend_tag.carried(tags, "map") == LEGEND
    told = json.loads(tags["GEOSEG_GENERALISED"])
    assert told["min_area_m2"] == {"others": 4500.0, "2": 9000.0}
    for each in changes:
        assert each.before_m2 == 900 * (one == each.class_id).sum()
        assert each.after_m2 == 900 * (other == each.class_id).sum()
        assert told["area_m2_before_after"][each.class_name] == [each.before_m2, each.after_m2]
    frame = polygons.trace(tmp_path / "sieved.tif")
    touching = frame[frame.area_m2 < frame.class_id.map({1: 4500, 2: 9000, 3: 4500})]
    others = frame.drop(touching.index)
    for shape in touching.geometry:  # islands in what has no data
        assert others.geometry.intersection(shape).length.max() == 0


def test_polygons_with_a_unit_are_those_of_the_sieved_map(tmp_path, noisy):
    mapping_unit.write_sieved(noisy, tmp_path / "sieved.tif", ["0.45ha"])
    heard = []
    polygons.vectorize(noisy, tmp_path / "direct.gpkg", min_area=["0.45ha"], changed_areas=heard.append, workers=2)
    polygons.vectorize(tmp_path / "sieved.tif", tmp_path / "after.gpkg")
    direct, after = (pyogrio.read_dataframe(tmp_path / f"{name}.gpkg", layer=name) for name in ("direct", "after"))
    assert (direct.geometry.values == after.geometry.values).all()
    assert direct.drop(columns="geometry").equals(after.drop(columns="geometry"))
    assert [each.class_id for each in heard[0]] == [1, 2, 3]
    tags = pyogrio.read_info(tmp_path / "direct.gpkg", layer="direct")["layer_metadata"]
    assert "area_m2_before_after" in tags["GEOSEG_GENERALISED"]
    polygons.vectorize(noisy, tmp_path / "water.gpkg", min_area=["0.45ha"], classes=["open water"])
    water = pyogrio.read_dataframe(tmp_path / "water.gpkg", layer="water")
    assert (water.geometry.values == direct[direct.class_id == 2].geometry.values).all()


def test_a_map_with_a_mask_and_no_nodata_keeps_it(tmp_path):
    labels = np.array([[[1, 1, 2, 2], [1, 3, 2, 2], [1, 1, 0, 0]]], np.uint8)
    mask = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]], bool)
    path = write(tmp_path / "map.tif", labels, UTM, mask=mask)
    mapping_unit.write_sieved(path, tmp_path / "sieved.tif", ["0.1ha"])
    with rasterio.open(tmp_path / "sieved.tif") as file:
        np.testing.assert_array_equal(file.read_masks(1) != 0, mask)
        np.testing.assert_array_equal(file.read(1)[mask], np.where(labels == 3, 1, labels)[0][mask])


def test_a_file_that_exists_or_is_no_tif_is_refused(tmp_path, noisy):
    with pytest.raises(RasterError, match=r"map\.tif exists; name another file, or say --overwrite"):
        mapping_unit.write_sieved(noisy, noisy, ["1ha"])
    with pytest.raises(RasterError, match=r"out\.png: a sieved map is written to \.tif"):
        mapping_unit.write_sieved(noisy, tmp_path / "out.png", ["1ha"])
    mapping_unit.write_sieved(noisy, noisy, ["1ha"], overwrite=True)
    assert [each.name for each in tmp_path.iterdir()] == ["map.tif"]

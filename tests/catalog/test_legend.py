"""The shipped legends and crosswalks: whole, well formed, and true to the files that carry them."""

import numpy as np
import pytest
import rasterio

from geoseg import catalog
from geoseg.catalog.legend import IGNORED

SHIPPED = catalog.shipped()
LEGENDS = SHIPPED.names("legends")
CROSSWALKS = SHIPPED.names("crosswalks")


@pytest.mark.parametrize("name", LEGENDS)
def test_every_legend_can_be_read_and_tells_its_classes_apart(name):
    legend = SHIPPED.legend(name)
    assert legend.ids == tuple(sorted(legend.ids))
    assert len({each.colour for each in legend.classes}) == len(legend)
    if name != "corine-3":
        legend.check_fits_uint8()


@pytest.mark.parametrize(
    ("name", "count"),
    [("nlcd", 16), ("nlcd-level1", 8), ("worldcover", 11), ("dynamic-world", 9), ("corine-1", 5), ("corine-2", 15),
     ("corine-3", 44), ("corine-3-raster", 44), ("landsat-6class", 6), ("raleigh", 7)],
)  # fmt: skip
def test_number_of_classes(name, count):
    assert len(SHIPPED.legend(name)) == count


@pytest.mark.parametrize("name", CROSSWALKS)
def test_every_crosswalk_says_what_becomes_of_every_class(name):
    spec = SHIPPED.shipped.crosswalks[name]
    walk = SHIPPED.crosswalk(name)
    assert name == f"{spec.source}-to-{spec.target}"
    assert set(spec.classes) == set(walk.source.ids)
    assert set(spec.classes.values()) - {None} <= set(walk.target.ids)
    table = walk.table()
    assert all(
        table[each] == (IGNORED if spec.classes[each] is None else spec.classes[each]) for each in walk.source.ids
    )


@pytest.mark.parametrize("name", CROSSWALKS)
def test_what_a_crosswalk_leaves_out_is_explained(name):
    spec = SHIPPED.shipped.crosswalks[name]
    left_out = {each for each, target in spec.classes.items() if target is None}
    assert left_out <= set(spec.lossy)
    assert all(text.endswith(".") and len(text) > 10 for text in spec.lossy.values())


@pytest.mark.parametrize("name", CROSSWALKS)
def test_each_crosswalk_is_found_by_its_legends(name):
    walk = SHIPPED.crosswalk(name)
    assert SHIPPED.crosswalk_between(walk.source, walk.target).name == name


def test_corine_levels_are_the_leading_digits():
    codes = SHIPPED.legend("corine-3").ids
    assert SHIPPED.crosswalk("corine-3-to-corine-2").pairs == tuple((code, code // 10) for code in codes)
    assert SHIPPED.crosswalk("corine-3-to-corine-1").pairs == tuple((code, code // 100) for code in codes)


@pytest.mark.parametrize(
    "target", ["corine-2", "corine-1", "landsat-6class", "nlcd-level1", "worldcover", "dynamic-world"]
)
def test_corine_raster_numbers_agree_with_its_codes(target):
    codes = dict(SHIPPED.crosswalk("corine-3-raster-to-corine-3").pairs)
    direct = dict(SHIPPED.crosswalk(f"corine-3-raster-to-{target}").pairs)
    by_code = dict(SHIPPED.crosswalk(f"corine-3-to-{target}").pairs)
    assert direct == {number: by_code[code] for number, code in codes.items() if code in by_code}


def test_common_landsat_legend_leaves_wetland_out():
    table = SHIPPED.crosswalk("nlcd-to-landsat-6class").table()
    assert table[[11, 21, 24, 31, 41, 43, 52, 71, 81, 82]].tolist() == [1, 2, 2, 3, 4, 4, 5, 5, 6, 6]
    assert table[[90, 95]].tolist() == [IGNORED, IGNORED]


def test_nlcd_levels_agree_with_the_files_of_zion(shared_data):
    with rasterio.open(shared_data / "zion/nlcd2011.tif") as two, rasterio.open(shared_data / "zion/nlcd.tif") as one:
        moved = SHIPPED.crosswalk("nlcd-to-nlcd-level1").table()[two.read(1)]
        assert np.array_equal(moved, one.read(1))


def test_worldcover_ids_and_colours_are_those_of_its_files(shared_data):
    with rasterio.open(shared_data / "maps/ESA_WorldCover_10m_2021_v200_N00E006_Map.tif") as file:
        painted = {id: colour[:3] for id, colour in file.colormap(1).items() if any(colour[:3])}
    assert painted == {each.id: each.rgb for each in SHIPPED.legend("worldcover").classes}

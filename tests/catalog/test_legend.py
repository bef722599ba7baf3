"""The shipped legends and crosswalks: whole, well formed, and true to the files that carry them."""

import unicodedata
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import rasterio
from hypothesis import assume, given
from hypothesis import strategies as st

from geoseg import catalog
from geoseg.catalog.legend import IGNORED, LandClass, Legend
from geoseg.errors import CatalogError

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
     ("corine-3", 44), ("corine-3-raster", 44), ("landsat-6class", 6), ("sentinel2-3class", 3), ("raleigh", 7)],
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


# ------------------------------------------------------------------------------------------- names

BAD = [chr(code) for code in range(0xD800) if unicodedata.category(chr(code)) in ("Cc", "Zl", "Zp")]
BAD += [chr(code) for code in (0xD800, 0xDBFF, 0xDC00, 0xDFFF, 0xFFFD, *range(0xFDD0, 0xFDF0))]
BAD += [chr(plane + last) for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF)]


def test_characters_that_no_map_can_hold_are_refused_in_names():
    assert {"\0", "\n", "\x7f", "\x9f", "\u2028"} <= set(BAD)
    for each in BAD:
        name = f"wet{each}land"
        with pytest.raises(CatalogError, match=rf"class 3 has the character U\+{ord(each):04X} in its name"):
            LandClass(3, name, "#0000ff")
        with pytest.raises(CatalogError, match=rf"a legend has the character U\+{ord(each):04X} in its name"):
            Legend(name, (LandClass(3, "wet", "#0000ff"),))


@given(name=st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp"), exclude_characters="\ufffd")))
def test_any_other_name_is_let_in_and_xml_can_hold_it(name):
    assume(name.strip())
    element = ET.Element("class", name=LandClass(3, name, "#0000ff").name)
    assert ET.fromstring(ET.tostring(element, encoding="utf-8")).get("name") == name


@pytest.mark.parametrize("name", ["\u0915\u094d\u200d\u0937", "\u12a0\u121b\u122d\u129b", "\U0001f33e", "\u0645\u0627"])
def test_names_in_any_script_are_let_in(name):
    assert LandClass(3, name, "#0000ff").name == name

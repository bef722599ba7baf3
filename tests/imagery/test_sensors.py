"""Sensors: real names of products; what each convention gives, from the providers' own lists of bands."""

import pytest

from geoseg.imagery import sensors

RGBN = {"blue": 1, "green": 2, "red": 3, "nir": 4}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("LC08_L2SP_038034_20200815_20200919_02_T1_SR_B4.TIF", ("Landsat 8 or 9", "red")),
        ("LC09_L1TP_038034_20220815_20230401_02_T1_B5.TIF", ("Landsat 8 or 9", "nir")),
        ("LE07_L2SP_016035_20000524_20200918_02_T1_SR_B4.TIF", ("Landsat 4 to 7", "nir")),
        ("LT05_L1TP_016035_19900524_20200918_02_T1_B1.TIF", ("Landsat 4 to 7", "blue")),
        ("T33UWP_20230701T100031_B04_10m.jp2", ("Sentinel-2", "red")),
        ("T33UWP_20230701T100031_B8A_20m.jp2", ("Sentinel-2", "nir08")),
        ("B04.tif", ("Sentinel-2", "red")),
        ("B12.jp2", None),
        ("S2B_33UWP_20230701_B12.tif", ("Sentinel-2", "swir2")),
        ("landsat_b5.tif", ("Landsat 8 or 9", "nir")),
        ("landsat7_b4.tif", ("Landsat 4 to 7", "nir")),
        ("LC08_L2SP_038034_20200815_20200919_02_T1_ST_B10.TIF", None),
        ("LC08_L2SP_038034_20200815_20200919_02_T1_QA_PIXEL.TIF", None),
        ("LC08_L1TP_038034_20200815_20200822_02_T1_B8.TIF", None),
        ("nlcd2011.tif", None),
        ("club4.tif", None),
    ],
)
def test_files_of_one_band_by_their_names(name, expected):
    assert sensors.by_file_name(name) == expected


@pytest.mark.parametrize(
    ("descriptions", "name", "bands"),
    [
        (("B04", "B03", "B02", "B08"), "000.tif", {"red": 1, "green": 2, "blue": 3, "nir": 4}),
        (("SR_B2", "SR_B3", "SR_B4", "SR_B5"), "x.tif", RGBN),
        (("B1", "B2", "B3", "B4"), "LE07_x.tif", RGBN),
        (("Blue", "green ", "RED", "Near Infrared", None), "x.tif", RGBN),
        (("R", "G", "B"), "x.tif", {"red": 1, "green": 2, "blue": 3}),
        (("B5", "B8"), "x.tif", {"rededge1": 1, "nir": 2}),
        (("red", "red"), "x.tif", {"red": 1}),
        ((None, "quality"), "x.tif", None),
        (("band 20",), "x.tif", None),
    ],
)
def test_files_that_name_their_bands(descriptions, name, bands):
    found = sensors.by_descriptions(descriptions, name)
    assert (found and dict(found.bands)) == bands


def test_products_that_are_known_by_name():
    assert dict(sensors.by_product("20170831_172754_101c_3B_AnalyticMS.tif", 4).bands) == RGBN
    assert sensors.by_product("20230101_101010_00_2440_3B_AnalyticMS_SR_8b.tif", 8).bands["nir"] == 8
    assert sensors.by_product("m_4709963_se_14_1_20150926.tif", 4).bands["red"] == 1
    assert sensors.by_product("m_4709963_se_14_1_20150926.tif", 3) is None
    assert sensors.by_product("scene.tif", 4) is None


def test_colours_are_certain_but_a_fourth_band_is_custom():
    rgb = sensors.by_interpretation(("red", "green", "blue"))
    assert rgb.sure
    assert dict(rgb.bands) == {"red": 1, "green": 2, "blue": 3}
    four = sensors.by_interpretation(("blue", "green", "red", "undefined"))
    assert (four.sure, dict(four.bands)) == (False, RGBN)
    assert "nir" not in sensors.by_interpretation(("red", "green", "blue", "alpha")).bands
    assert sensors.by_interpretation(("gray", "undefined", "undefined", "undefined")) is None


@pytest.mark.parametrize(
    ("count", "dtype", "name", "first"),
    [(4, "uint8", "x.tif", "red"), (4, "uint16", "x.tif", "blue"), (4, "uint8", "s2_x.tif", "blue"),
     (3, "uint8", "x.tif", "red"), (8, "uint16", "x.tif", "coastal"), (13, "uint16", "x.tif", "coastal"),
     (12, "uint16", "x.tif", "coastal"), (8, "uint16", "s2_x.tif", None), (5, "uint16", "x.tif", None),
     (1, "uint8", "x.tif", None)],
)  # fmt: skip
def test_the_number_of_bands_is_never_certain(count, dtype, name, first):
    found = sensors.by_count(count, dtype, name)
    assert (None if found is None else next(iter(found.bands))) == first
    assert found is None or (not found.sure and "alone" in found.source and max(found.bands.values()) == count)


def test_of_twelve_bands_cirrus_is_the_one_that_is_missing():
    twelve, thirteen = (sensors.by_count(count, "uint16", "x.tif").bands for count in (12, 13))
    assert thirteen.keys() - twelve.keys() == {"cirrus"}
    assert (twelve["nir"], twelve["swir2"], thirteen["swir2"]) == (8, 12, 13)

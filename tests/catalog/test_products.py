"""Products: known by their names, bands by every name that they go by."""

from __future__ import annotations

import pytest

from geoseg.catalog import Band, Imagery, products
from geoseg.errors import CatalogError


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("a/S2A_MSIL2A_2023.SAFE", True),
        ("a/S2A_MSIL2A_2023.SAFE/", True),
        ("*.SAFE", True),
        ("MTD_MSIL1C.xml", True),
        ("a/MTD_MSIL2A.xml", True),
        ("a.SAFE/b.tif", False),
        ("MTD_TL.xml", False),
        ("a/XMTD_MSIL2A.xml", False),
        ("UNSAFE", False),
    ],
)
def test_products_are_known_by_their_names(path: str, answer: bool) -> None:
    assert products.is_product(path) == answer


def test_no_name_is_that_of_two_bands() -> None:
    names = [name for code in products.BANDS for name in products.names_of(code)]
    assert len(names) == len(set(names))
    assert set(products.listed()) < set(names)
    assert [*products.BANDS] == [f"B{n:02}" for n in range(1, 9)] + ["B8A"] + [f"B{n:02}" for n in range(9, 13)]
    assert products.names_of("") == products.names_of(products.SCENE_CLASSES) == ()


def test_a_band_is_selected_by_any_of_its_names_and_keeps_the_one_asked_for() -> None:
    bands = [Band(name, ("/a.SAFE",), 1, None, 1.0, 0.0, code) for name, code in products.listed().items()]
    layer = Imagery("s", tuple(bands))
    found = layer.select(("swir16", "B8A", "red"), "a model").bands
    assert [(band.name, band.code) for band in found] == [("swir16", "B11"), ("B8A", "B8A"), ("red", "B04")]
    with pytest.raises(CatalogError, match=r"needs band .thermal.; imagery .s. has coastal, blue, .*, swir2\. Add"):
        layer.select(("thermal",), "a model")


def test_a_name_of_the_users_own_goes_before_a_common_one() -> None:
    bands = (
        Band("red", ("/a.SAFE",), 1, None, 1.0, 0.0, "B05"),
        Band("true red", ("/a.SAFE",), 1, None, 1.0, 0.0, "B04"),
    )
    assert Imagery("s", bands).select(("red", "B04"), "a model").bands[0].code == "B05"

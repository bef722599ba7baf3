"""Listing: paths, patterns and products in the stated order."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentinel2_products as made
from strategies import layer

from geoseg.catalog import Band, Imagery, Mask
from geoseg.errors import CatalogError, RasterError
from geoseg.imagery import listing
from geoseg.imagery.sentinel2 import Stored


def band(*files: str, code: str = "", nodata: float | None = None) -> Band:
    return Band("b", files, 1, nodata, 1.0, 0.0, code)


def names(found: tuple[Stored, ...]) -> list[str]:
    return [Path(each.path).name for each in found]


def test_patterns_are_sorted_and_stand_where_they_are_stated(tmp_path: Path) -> None:
    for name in ("b2.tif", "b1.tif", "a.tif", "[x].tif", "deep/c.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    wanted = band(f"{tmp_path}/b*.tif", f"{tmp_path}/a.tif", f"{tmp_path}/[x].tif", f"{tmp_path}/**/c.tif")
    assert names(listing.files(wanted, layer("x"))) == ["b1.tif", "b2.tif", "a.tif", "[x].tif", "c.tif"]
    elsewhere = band("s3://bucket/*.tif", "/vsicurl/http://host/?.tif")
    assert listing.files(elsewhere, layer("x")) == (Stored("s3://bucket/*.tif"), Stored("/vsicurl/http://host/?.tif"))


def test_a_pattern_that_finds_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RasterError, match=r"imagery 'scene' wants files like .*no\*\.tif; there is none"):
        listing.files(band(f"{tmp_path}/no*.tif"), layer("x"))


def test_a_pattern_may_find_products(tmp_path: Path) -> None:
    for seed, baseline in ((1, "04.00"), (2, "03.01")):
        made.write_product(tmp_path, "1C", baseline, seed=seed)
    found = listing.files(band(f"{tmp_path}/*.SAFE", code="B04"), layer("x"))
    assert [(each.scale, each.offset) for each in found] == [(1, 0), (1, -1000)]
    assert all(each.path.endswith("_B04.jp2") for each in found)
    assert "_N0301_" in found[0].path


def test_masks_are_none_one_or_one_for_each(tmp_path: Path) -> None:
    bands = (band("/a.tif", "/b.tif"), band("/c.tif", "/d.tif"))
    assert listing.masks(Imagery("s", bands)) == ()
    assert names(listing.masks(Imagery("s", bands, mask=Mask(band("/m.tif"), (1,))))) == ["m.tif"]
    assert names(listing.masks(Imagery("s", bands, mask=Mask(band("/m.tif", "/n.tif"), (1,))))) == ["m.tif", "n.tif"]
    with pytest.raises(CatalogError, match=r"mask of imagery 's' has 3 files and band 'b' 2; give one for all, or one"):
        listing.masks(Imagery("s", bands, mask=Mask(band("/m.tif", "/n.tif", "/o.tif"), (1,))))


def test_0_means_no_data_in_a_products_bands_unless_the_catalog_says_otherwise() -> None:
    assert listing.known(band("a", code="B04")).nodata == 0
    assert listing.known(band("a", code="B04", nodata=7)).nodata == 7
    assert listing.known(band("a", code="SCL")).nodata is None
    assert listing.known(band("a")).nodata is None

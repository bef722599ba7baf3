"""Attribute table: names of classes inside of a GeoTIFF, at no cost to anything else in it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from painted_maps import LEGEND, Gdal
from rio_cogeo import cog_validate

from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import RasterError
from geoseg.rasters import attribute_table
from geoseg.rasters.vrt import class_names

MANY = Legend("many", tuple(LandClass(id, f"ደን {id} <&>\"' " + "x" * 150, "#102030") for id in range(255)))
GDAL_READS_IT = tuple(map(int, rasterio.__gdal_version__.split(".")[:2])) >= (3, 12)


def table_in(path: Path) -> dict[int, str]:
    """Names in the tag itself, as GDAL 3.12 would find them."""
    held = path.read_bytes()
    start, end = held.index(b"<GDALMetadata>"), held.index(b"</GDALMetadata>")
    items = ET.fromstring(held[start:end] + b"</GDALMetadata>").findall("Item[@role='rat']")
    found = [
        each for each in items if each.get("name") == "DEFAULT_RASTER_ATTRIBUTE_TABLE" and each.get("sample") == "0"
    ]
    assert found
    return class_names(found[0])


def made(path: Path, tags: dict[str, str]) -> Path:
    how = {"width": 600, "height": 600, "count": 1, "dtype": "uint8", "crs": "EPSG:32612"}
    with rasterio.open(path, "w", driver="GTiff", transform=rasterio.Affine(10, 0, 0, 0, -10, 6000), **how) as file:
        file.write((np.arange(360_000, dtype=np.uint32) % 7).astype(np.uint8).reshape(600, 600), 1)
        file.write_colormap(1, {1: (1, 2, 3)})
        file.update_tags(note="kept", **tags)
    out = path.with_name("cog.tif")
    rasterio.shutil.copy(path, out, driver="COG")
    return out


@pytest.mark.parametrize("counts", [None, {1: 5, 7: 2**40}], ids=["bare", "counted"])
@pytest.mark.parametrize("legend", [LEGEND, MANY], ids=lambda each: each.name)
def test_names_lie_in_the_file_and_all_else_is_as_before(
    tmp_path: Path, legend: Legend, counts: dict[int, int] | None
) -> None:
    out = made(tmp_path / "plain.tif", attribute_table.reserved(legend, counts))
    before = out.read_bytes()
    attribute_table.embed(out, legend, counts)
    assert len(out.read_bytes()) == len(before)
    assert table_in(out) == {each.id: each.name for each in legend.classes}
    with rasterio.open(out) as source, rasterio.open(tmp_path / "plain.tif") as plain:
        assert np.array_equal(source.read(1), plain.read(1))
        assert source.tags()["note"] == "kept"
        assert "GEOSEG_RESERVED" not in source.tags()
        assert source.colormap(1)[1] == (1, 2, 3, 255)
    assert cog_validate(out, strict=True) == (True, [], [])
    if GDAL_READS_IT:
        gdal = Gdal(out)
        assert [row["Class"] for row in gdal.table()] == [each.name for each in legend.classes]
        gdal.close()


def test_a_file_without_room_is_refused_and_left_alone(tmp_path: Path) -> None:
    out = made(tmp_path / "plain.tif", attribute_table.reserved(LEGEND, None))
    before = out.read_bytes()
    with pytest.raises(RasterError, match="no room"):
        attribute_table.embed(out, MANY, None)
    assert out.read_bytes() == before


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(RasterError, match="cannot be written"):
        attribute_table.embed(tmp_path / "map.tif", LEGEND, None)

"""View: what a map shows of itself."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import rasterio
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from painted_maps import GRID, LEGEND, classes, painted, write

from geoseg.catalog.legend import Legend
from geoseg.errors import RasterError
from geoseg.grid import Grid, Window
from geoseg.maps import cog, view


def test_the_map_carries_its_legend(made: Path) -> None:
    assert view.legend_of(made) == LEGEND


def test_a_foreign_map_gives_its_attribute_table_or_categories_as_legend(made: Path) -> None:
    bare = made.with_name("bare.tif")
    labels, colours = np.zeros((5, 6), np.uint8), {each.id: each.rgb for each in LEGEND.classes}
    write(bare, labels, Window(0, 0, 5, 6))
    assert view.legend_of(bare) is None
    with rasterio.open(bare, "r+") as source:
        source.write_colormap(1, colours)
    assert view.legend_of(bare) is None
    side = bare.with_name("bare.tif.aux.xml")
    shutil.copy(made.with_name("map.tif.aux.xml"), side)
    by_id = tuple(sorted(LEGEND.classes, key=lambda each: each.id))
    assert view.legend_of(bare) == Legend("bare", by_id)
    root = ET.parse(side).getroot()
    band = root.find("PAMRasterBand")
    table = root.find(".//GDALRasterAttributeTable")
    assert band is not None
    assert table is not None
    band.remove(table)
    side.write_bytes(ET.tostring(root))
    assert view.legend_of(bare) == Legend("bare", by_id)


def test_a_broken_legend_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path / "map.tif", np.zeros((5, 6), np.uint8), Window(0, 0, 5, 6))
    for text in ("{", "[]", json.dumps({"name": "x", "classes": [{"id": -1, "name": "a", "colour": "#000000"}]})):
        with rasterio.open(path, "r+") as source:
            source.update_tags(GEOSEG_LEGEND=text)
        with pytest.raises(RasterError, match="carries a legend that cannot be read"):
            view.legend_of(path)


def test_an_unreadable_map_is_reported(tmp_path: Path) -> None:
    (tmp_path / "map.tif").write_bytes(b"nonsense")
    for read in (view.legend_of, view.overview, view.ground_size):
        with pytest.raises(RasterError, match="cannot be read as a map"):
            read(tmp_path / "map.tif")


def test_overview_is_small_and_holds_only_codes_of_the_map(made: Path, extent: Window) -> None:
    small = view.overview(made, longest_side=130)
    assert small.shape == (130, 110)
    assert set(np.unique(small)) <= set(np.unique(classes(extent)))
    assert np.array_equal(view.overview(made), classes(extent))


def test_overview_of_a_real_worldcover_tile_holds_only_its_codes(shared_data: Path) -> None:
    small = view.overview(shared_data / "maps/ESA_WorldCover_10m_2021_v200_N00E006_Map.tif", 1000)
    assert small.shape == (1000, 1000)
    assert set(np.unique(small)) <= {0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100}


def test_ground_size_is_in_metres(tmp_path: Path) -> None:
    cog.assemble([], GRID, Window(0, 0, 20, 40), None, tmp_path / "utm.tif", tags={})
    assert view.ground_size(tmp_path / "utm.tif") == (20 * 28.5, 40 * 28.5)
    cog.assemble([], Grid.regular("EPSG:4326", 0.1), Window(-605, 0, 10, 10), None, tmp_path / "geo.tif", tags={})
    height, width = view.ground_size(tmp_path / "geo.tif")
    assert height == pytest.approx(111_400, rel=0.01)  # 1 degree at 60 north: 111.4 km by 55.8 km (WGS 84)
    assert width == pytest.approx(55_800, rel=0.01)
    cog.assemble([], Grid.regular("EPSG:2264", 100), Window(0, 0, 10, 10), None, tmp_path / "feet.tif", tags={})
    assert view.ground_size(tmp_path / "feet.tif") == pytest.approx((304.8, 304.8), rel=1e-4)


@pytest.mark.parametrize("damage", [b"", b"<a", b"<PAMDataset>" * 3, "truncate", "number", "short"])
@pytest.mark.sampled(3)
def test_a_damaged_names_file_is_reported_or_gives_no_legend(made: Path, damage: bytes | str) -> None:
    bare = made.with_name("bare.tif")
    write(bare, np.zeros((5, 6), np.uint8), Window(0, 0, 5, 6))
    whole = made.with_name("map.tif.aux.xml").read_bytes()
    if damage == "truncate":
        data = whole[: len(whole) // 2]
    elif damage == "number":
        data = whole.replace(b"<F>0</F>", b"<F>zero</F>")
    elif damage == "short":
        data = whole.replace(b"<F>0</F>", b"").replace(b"<F>built-up</F>", b"")
    else:
        assert isinstance(damage, bytes)
        data = damage
    bare.with_name("bare.tif.aux.xml").write_bytes(data)
    with pytest.raises(RasterError, match=r"bare\.tif\.aux\.xml holds a legend that cannot be read"):
        view.legend_of(bare)


def test_the_legend_of_the_tag_goes_before_that_of_the_names_file(made: Path) -> None:
    side = made.with_name("map.tif.aux.xml")
    side.write_bytes(side.read_bytes().replace(b"water", b"other"))
    assert view.legend_of(made) == LEGEND


@settings(max_examples=share_of(40), deadline=None)
@given(rows=st.integers(1, 90), cols=st.integers(1, 90), longest=st.integers(1, 100))
def test_a_view_is_never_larger_than_asked_and_keeps_its_proportions(
    tmp_path_factory: pytest.TempPathFactory, rows: int, cols: int, longest: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "view.tif"
    path.unlink(missing_ok=True)
    write(path, painted(Window(0, 0, rows, cols)), Window(0, 0, rows, cols))
    small = view.overview(path, longest)
    assert max(small.shape) == min(longest, max(rows, cols))
    row, col = (max(1.0, side * min(1, longest / max(rows, cols))) for side in (rows, cols))
    assert small.shape == (pytest.approx(row, abs=0.51), pytest.approx(col, abs=0.51))
    assert set(np.unique(small)) <= set(np.unique(painted(Window(0, 0, rows, cols))))

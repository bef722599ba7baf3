"""Legend tag: what was written is read back; anything else is refused in one sentence."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from strategies import coordinates, write

from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import RasterError
from geoseg.rasters import legend_tag

letters = st.characters(exclude_categories=["Cc", "Cs", "Cn", "Zl", "Zp"], exclude_characters="\ufffd")
names = st.text(letters, min_size=1, max_size=20).filter(str.strip)
colours = st.integers(0, 0xFFFFFF).map("#{:06x}".format)
legends = st.builds(
    Legend,
    st.text(letters, max_size=9),
    st.lists(
        st.builds(LandClass, st.integers(0, 65535), names, colours),
        min_size=1,
        max_size=5,
        unique_by=(lambda each: each.id, lambda each: each.name),
    ).map(tuple),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "name", "colour"]), inner),
    max_leaves=6,
)


@given(legends)
def test_any_legend_comes_back(legend: Legend) -> None:
    assert legend_tag.carried({"GEOSEG_LEGEND": legend_tag.written(legend)}, "map.tif") == legend


def test_any_legend_comes_back_through_a_file(tmp_path: Path) -> None:
    legend = Legend("odd", (LandClass(3, 'forêt "dense" <&>', "#006400"), LandClass(1, "ውሃ", "#0064c8")))
    path = write(tmp_path / "map.tif", coordinates(3, 4))
    with rasterio.open(path, "r+") as out:
        out.update_tags(GEOSEG_LEGEND=legend_tag.written(legend))
    with rasterio.open(path) as source:
        assert legend_tag.carried(source.tags(), path) == legend


def test_no_item_is_no_legend() -> None:
    assert legend_tag.carried({"AREA_OR_POINT": "Area"}, "map.tif") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        '{"name": "x"}',
        '{"name": "x", "classes": []}',
        '{"name": "x", "classes": 5}',
        '{"name": "x", "classes": [{"id": 1}]}',
        '{"name": "x", "classes": [{"id": 1, "name": 5, "colour": "#000000"}]}',
        '{"name": "x", "classes": [{"id": -1, "name": "a", "colour": "#000000"}]}',
        '{"name": "x", "classes": [{"id": 1, "name": "a", "colour": "#000000", "more": 1}]}',
    ],
)
def test_what_is_no_legend_is_refused(text: str) -> None:
    with pytest.raises(RasterError, match=r"map\.tif carries a legend that cannot be read .*name one of the catalog's"):
        legend_tag.carried({"GEOSEG_LEGEND": text}, "map.tif")


@given(st.fixed_dictionaries({"name": json_values, "classes": json_values}))
def test_any_json_is_a_legend_or_one_sentence(held: dict[str, object]) -> None:
    with suppress(RasterError):  # and no other error
        assert isinstance(legend_tag.carried({"GEOSEG_LEGEND": json.dumps(held)}, "map.tif"), Legend)

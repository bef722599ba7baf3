"""Choice: names and ids as users list them; whatever is listed is found again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg import catalog
from geoseg.catalog import choice
from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import CatalogError

NLCD = catalog.shipped().legend("nlcd")
SMALL = Legend(
    "small", (LandClass(1, "Water", "#0000ff"), LandClass(2, "Roads", "#222222"), LandClass(11, "Ice", "#ffffff"))
)
BOTH = {"map": SMALL, "reference": NLCD}


@given(st.lists(st.sampled_from(NLCD.classes), unique=True), st.randoms(use_true_random=False))
def test_any_list_of_ids_and_names_in_any_case_is_found_again(wanted, random):
    """Names of NLCD hold commas: 'Developed, open space'."""
    listed = ",".join(random.choice([str(c.id), c.name, c.name.upper(), f" {c.name.lower()} "]) for c in wanted)
    assert choice.ids_of(listed, NLCD) == [each.id for each in wanted]


def test_a_name_in_both_legends_is_meant_in_both_and_an_id_in_one_is_meant_there():
    theirs = Legend("theirs", (LandClass(7, "WATER", "#0000ff"), LandClass(9, "rock", "#999999")))
    assert choice.classes("water", {"map": SMALL, "reference": theirs}) == [("map", 1), ("reference", 7)]
    assert choice.classes("9,2", {"map": SMALL, "reference": theirs}) == [("reference", 9), ("map", 2)]


def test_an_id_that_no_legend_has_is_meant_in_each_and_a_side_can_be_said():
    assert choice.classes("99", BOTH) == [("map", 99), ("reference", 99)]
    assert choice.classes("map:99, reference:Developed, open space", BOTH) == [("map", 99), ("reference", 21)]


def test_an_id_that_is_two_classes_is_refused_with_what_to_write():
    with pytest.raises(
        CatalogError, match=r"class 11 is 'Ice' in the map and 'Open water' in the reference; write map:11"
    ):
        choice.classes("11", BOTH)


@pytest.mark.parametrize("text", ["watr", "-1", "70000", "map:watr", "1.5"])
def test_what_is_no_class_is_refused_naming_the_nearest(text):
    with pytest.raises(CatalogError, match=r"no class .* in the legend of the map.* known: Water"):
        choice.classes(text, {"map": SMALL})


def test_without_a_legend_only_ids_are_known():
    assert choice.ids_of("3, 1", None) == [3, 1]
    with pytest.raises(CatalogError, match="names no classes, so 'water' is unknown; name its legend with --legend"):
        choice.ids_of("3,water", None)


def test_of_two_names_that_differ_in_case_alone_the_exact_one_is_taken():
    legend = Legend("case", (LandClass(1, "Water", "#0000ff"), LandClass(2, "water", "#0000fe")))
    assert choice.ids_of("water", legend) == [2]
    assert choice.ids_of("Water", legend) == [1]

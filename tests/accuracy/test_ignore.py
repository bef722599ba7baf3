"""Ignore: what is left out counts as never labelled, in either raster; judged by masking the arrays beforehand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.accuracy import ignore
from geoseg.accuracy.confusion import UNLABELLED, positions
from geoseg.accuracy.ignore import Ignore
from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import CatalogError

MINE = Legend("mine", (LandClass(1, "water", "#0000ff"), LandClass(2, "land", "#00ff00")))
THEIRS = Legend("theirs", (LandClass(10, "Water", "#0000ff"), LandClass(2, "wood", "#00ff00")))
ids = st.frozensets(st.integers(0, 65535), max_size=4)


@given(ids, ids, st.lists(st.sampled_from([UNLABELLED, 1, 2, 10, 300]), min_size=1, max_size=9))
def test_ignored_ids_stand_where_nodata_does_and_no_other_id_moves(ours, theirs, labels):
    left_out = Ignore(ours, theirs)
    for table, legend, gone in zip(left_out.tables(MINE, THEIRS), (MINE, THEIRS), (ours, theirs)):
        masked = np.where(np.isin(labels, list(gone)), UNLABELLED, labels)
        assert np.array_equal(table[np.array(labels)], positions(legend)[masked])


@given(ids, ids, st.lists(st.tuples(st.integers(-1, 65535), st.integers(-1, 65535)), min_size=1))
def test_a_pixel_is_left_out_where_either_raster_has_an_ignored_id(ours, theirs, pairs):
    mapped, reference = np.array(pairs).T
    expected = [a in ours or b in theirs for a, b in pairs]
    assert Ignore(ours, theirs).among(mapped, reference).tolist() == expected


def test_a_text_names_classes_of_either_side():
    assert ignore.read("", MINE, THEIRS) == ignore.NOTHING
    assert ignore.read("WATER", MINE, THEIRS) == Ignore(frozenset({1}), frozenset({10}))
    assert ignore.read("map:2, 77, unknown-ids", MINE, THEIRS) == Ignore(frozenset({2, 77}), frozenset({77}), True)
    with pytest.raises(CatalogError, match="write map:2 or reference:2"):
        ignore.read("2", MINE, THEIRS)
    with pytest.raises(
        CatalogError, match="no class 'wod' in the legend of the map or the reference; did you mean 'wood'"
    ):
        ignore.read("wod", MINE, THEIRS)


@given(st.sampled_from(["map", "reference"]), st.sets(st.integers(100, 65535), min_size=1, max_size=20))
def test_the_advice_leaves_out_just_what_it_is_given_for(side, unknown):
    option, text = ignore.advice(side, sorted(unknown)).split(" ")
    assert option == "--ignore"
    found = ignore.read(text, MINE, THEIRS)
    assert found.unknown if len(unknown) > 12 else getattr(found, side) == unknown

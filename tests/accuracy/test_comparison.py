"""Comparison: laws of bringing two legends onto one, against a dictionary by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg import catalog
from geoseg.accuracy import comparison
from geoseg.accuracy.confusion import fold, positions, tally
from geoseg.catalog.legend import Crosswalk, LandClass, Legend, identity
from geoseg.errors import CatalogError

SHIPPED = catalog.shipped()


def legend_of(name: str, ids) -> Legend:
    return Legend(name, tuple(LandClass(id, f"{name} {id}", "#000000") for id in ids))


IDS = st.lists(st.integers(0, 65535), min_size=1, max_size=9, unique=True)


@st.composite
def crosswalks(draw) -> Crosswalk:
    """Many to one, some classes left out, some lossy."""
    source, target = legend_of("source", draw(IDS)), legend_of("target", draw(IDS))
    carried = draw(st.lists(st.sampled_from(source.ids), unique=True))
    pairs = tuple((each, draw(st.sampled_from(target.ids))) for each in sorted(carried))
    lossy = tuple((each, f"{each} is doubtful") for each in sorted(draw(st.sets(st.sampled_from(source.ids)))))
    return Crosswalk("walk", source, target, pairs, lossy)


@given(crosswalks(), st.booleans(), st.integers(0, 99))
def test_every_pair_of_pixels_is_counted_where_a_dictionary_puts_it(walk: Crosswalk, mapped_is_source: bool, seed: int):
    mapped, reference = (walk.source, walk.target) if mapped_is_source else (walk.target, walk.source)
    noise = np.random.default_rng(seed)
    ours, other = (noise.choice([*each.ids, -1, 44_444], 300) for each in (mapped, reference))
    chosen, direction = comparison.choose(mapped, reference, walk)
    assert direction == ("map to reference" if mapped_is_source else "reference to map")
    target, rows, cols = comparison.join(chosen, direction, mapped, reference)
    assert target == walk.target
    counts = tally(positions(reference)[other], positions(mapped)[ours], len(reference), len(mapped))
    found = fold(counts, rows, cols, len(target))

    carried = dict(walk.pairs)

    def meaning(id: int, legend: Legend) -> int | str:
        if id not in legend.ids:
            return "not labelled"
        return id if legend is walk.target else carried.get(id, "left out")

    matrix, unlabelled, left_out, ignored = np.zeros((len(target),) * 2, int), *np.zeros((2, len(target)), int), 0
    for a, b in zip(other.tolist(), ours.tolist()):
        truth, said = meaning(a, reference), meaning(b, mapped)
        if isinstance(truth, str):
            ignored += 1
            continue
        row = target.ids.index(truth)
        if said == "not labelled":
            unlabelled[row] += 1
        elif said == "left out":
            left_out[row] += 1
        else:
            matrix[row, target.ids.index(said)] += 1
    np.testing.assert_array_equal(found.matrix, matrix)
    np.testing.assert_array_equal(found.unlabelled, unlabelled)
    np.testing.assert_array_equal(found.left_out, left_out)
    assert found.ignored == ignored


@given(crosswalks(), st.booleans(), st.integers(0, 99))
def test_lossy_entries_are_those_of_classes_that_met_a_label(walk: Crosswalk, mapped_is_source: bool, seed: int):
    mapped, reference = (walk.source, walk.target) if mapped_is_source else (walk.target, walk.source)
    noise = np.random.default_rng(seed)
    ours, other = (noise.choice([*each.ids, -1], 8) for each in (mapped, reference))
    counts = tally(positions(reference)[other], positions(mapped)[ours], len(reference), len(mapped))
    found = comparison.lossy_met(walk, counts, "map to reference" if mapped_is_source else "reference to map")
    theirs = ours if mapped_is_source else other
    both = theirs[(ours >= 0) & (other >= 0)]
    wanted = [(f"source {id}", (both == id).sum(), text) for id, text in walk.lossy if (both == id).any()]
    assert list(found) == wanted


@given(IDS)
def test_equal_legends_need_no_crosswalk_and_change_nothing(ids: list[int]):
    legend = legend_of("same", ids)
    twin = legend_of("same", ids)
    for given_one in (None, identity(legend)):
        chosen, direction = comparison.choose(legend, twin, given_one)
        assert (direction, chosen.pairs) == ("same legend", identity(legend).pairs)
        target, rows, cols = comparison.join(chosen, direction, legend, twin)
        assert target == legend
        assert rows.tolist() == cols.tolist() == [*range(len(ids)), len(ids), len(ids)]


def test_legends_that_differ_by_a_name_alone_are_not_the_same():
    one, other = legend_of("one", [1, 2]), legend_of("other", [1, 2])
    with pytest.raises(CatalogError, match=r"the map's legend is 'one' and the reference's 'other'; name a crosswalk"):
        comparison.choose(one, other, None)


@pytest.mark.parametrize(("mapped", "reference"), [("worldcover", "landsat-6class"), ("nlcd", "nlcd")])
def test_a_crosswalk_between_other_legends_is_refused(mapped: str, reference: str):
    walk = SHIPPED.crosswalk("nlcd-to-worldcover")
    with pytest.raises(
        CatalogError,
        match=rf"from legend 'nlcd' to 'worldcover'; the map has legend '{mapped}' and .* '{reference}', so",
    ):
        comparison.choose(SHIPPED.legend(mapped), SHIPPED.legend(reference), walk)


def test_every_shipped_crosswalk_works_in_both_directions():
    for name in SHIPPED.names("crosswalks"):
        walk = SHIPPED.crosswalk(name)
        assert comparison.choose(walk.target, walk.source, walk) == (walk, "reference to map")
        assert comparison.choose(walk.source, walk.target, walk) == (walk, "map to reference")

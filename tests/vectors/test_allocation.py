"""Allocation: numbers of points, judged by the printed example of Olofsson et al. 2014 and by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import CatalogError
from geoseg.vectors import allocation

# Olofsson et al. 2014, table 5 and section 5.1: deforestation, forest gain, stable forest, stable non-forest
PIXELS = {1: 200_000, 2: 150_000, 3: 3_200_000, 4: 6_450_000}
EXPECTED = {1: 0.7, 2: 0.6, 3: 0.9, 4: 0.95}


def test_the_worked_example_of_olofsson_et_al():
    assert allocation.needed(PIXELS, EXPECTED, "optimal", 0.01) == 641
    assert allocation.allocated(PIXELS, 641, "proportional", 2) == {1: 13, 2: 10, 3: 205, 4: 413}
    assert set(allocation.allocated(PIXELS, 640, "equal", 2).values()) == {160}
    optimal = allocation.allocated(PIXELS, 641, "optimal", 2, EXPECTED)
    parts = np.array([0.02 * 0.458, 0.015 * 0.490, 0.32 * 0.3, 0.645 * 0.218])
    np.testing.assert_allclose(list(optimal.values()), 641 * parts / parts.sum(), atol=1)


@pytest.mark.parametrize("how", ["proportional", "equal", "optimal"])
def test_a_sample_of_the_needed_size_has_the_wanted_error_in_simulation(how):
    counts, expected = {1: 40_000, 2: 10_000, 3: 2_000}, {1: 0.9, 2: 0.7, 3: 0.5}
    number = allocation.needed(counts, expected, how, 0.02)
    points = allocation.allocated(counts, number, how, 2, expected)
    assert sum(points.values()) == number
    assert allocation.standard_error(counts, points, expected) == pytest.approx(0.02, rel=0.03)
    random, total = np.random.default_rng(0), sum(counts.values())
    found = sum(
        counts[each] / total * random.binomial(points[each], expected[each], 20_000) / points[each] for each in counts
    )
    assert found.std() == pytest.approx(0.02, rel=0.04)


def test_optimal_needs_no_more_than_any_other():
    counts, expected = {1: 40_000, 2: 10_000, 3: 2_000}, {1: 0.9, 2: 0.7, 3: 0.5}
    needs = {how: allocation.needed(counts, expected, how, 0.01) for how in ("optimal", "proportional", "equal")}
    assert needs["optimal"] == min(needs.values())


@given(
    st.dictionaries(st.integers(0, 254), st.integers(1, 10**9), min_size=1, max_size=9),
    st.integers(1, 5000),
    st.sampled_from(["proportional", "equal"]),
    st.integers(2, 50),
)
def test_points_add_up_to_what_was_asked_where_no_class_is_small(counts, number, how, least):
    given_ = allocation.allocated(counts, number, how, least)
    assert all(min(least, counts[each]) <= points <= counts[each] for each, points in given_.items())
    plain = allocation.allocated(dict.fromkeys(counts, 10**9) | counts, number, how, 0)
    if all(pixels >= number for pixels in counts.values()):
        assert sum(plain.values()) == number
    if how == "proportional" and len(counts) > 1:
        shares = {each: number * pixels / sum(counts.values()) for each, pixels in counts.items()}
        assert all(abs(plain[each] - min(counts[each], shares[each])) <= 1 for each in counts)


def test_expectations_of_single_classes_go_before_those_of_all():
    legend = Legend("two", (LandClass(1, "Roads, paved", "#000000"), LandClass(2, "wood = dark", "#000000")))
    texts = ["roads, paved=0.7", "0.9", "wood = dark=0.6"]
    assert allocation.expectations(texts, [1, 2], legend) == {1: 0.7, 2: 0.6}
    assert allocation.expectations(["2=0.6"], [1, 2], None) == {1: allocation.EXPECTED, 2: 0.6}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("1.0", r"an accuracy of '1.0' was expected; give a number between 0 and 1"),
        ("water=much", r"'water=much' was expected"),
        ("watr=0.5", r"no class 'watr'.*did you mean 'water'"),
        ("sand=0.5", r"the map has no pixel of class 7"),
    ],
)
def test_what_cannot_be_expected_is_one_sentence(text, match):
    legend = Legend("two", (LandClass(1, "water", "#000000"), LandClass(7, "sand", "#000000")))
    with pytest.raises(CatalogError, match=match):
        allocation.expectations([text], [1], legend)

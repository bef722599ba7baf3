"""Estimates: the published examples to the printed digit, and the laws that hold for any sample."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.accuracy.estimates import Z_95, estimate

COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PIXELS = {1: 200_000, 2: 150_000, 3: 3_200_000, 4: 6_450_000}


def points(counts):
    """(map, reference) classes of the points of an error matrix, classes from 1."""
    rows, cols = np.indices(counts.shape) + 1
    return np.repeat(rows, counts.ravel()), np.repeat(cols, counts.ravel())


def printed(estimates, name):
    """Values and margins as the paper prints them."""
    return [(f"{getattr(c, name).value:.2f}", f"{getattr(c, name).margin:.2f}") for c in estimates.classes.values()]


def test_the_example_of_olofsson_2014():
    of_map, truth = points(COUNTS)
    found = estimate(of_map, of_map, truth, PIXELS)
    assert (f"{found.overall_accuracy.value:.3f}", f"{found.overall_accuracy.margin:.3f}") == ("0.947", "0.018")
    assert printed(found, "users_accuracy") == [("0.88", "0.07"), ("0.73", "0.10"), ("0.93", "0.04"), ("0.96", "0.02")]
    assert printed(found, "producers_accuracy") == [
        ("0.75", "0.21"),
        ("0.85", "0.25"),
        ("0.93", "0.03"),
        ("0.96", "0.02"),
    ]
    hectares = sum(PIXELS.values()) * 0.09
    share = found.classes[1].share
    assert (round(share.value * hectares), round(share.margin * hectares)) == (21_158, 6_158)


def test_the_example_of_stehman_2014_where_strata_are_not_the_maps_classes():
    truth = "AAAAACBABC ABBBBBAABB CCCCCDDBBA DDDDDDDCCB".replace(" ", "")
    of_map = "AAAAAAABBB ABBBBBBBBB BBCCCCCCBB DDDDDDDDDD".replace(" ", "")
    ids = {letter: number for number, letter in enumerate("ABCD", 1)}
    strata = np.repeat([1, 2, 3, 4], 10)
    sizes = {1: 40_000, 2: 30_000, 3: 20_000, 4: 10_000}
    found = estimate(strata, [ids[each] for each in of_map], [ids[each] for each in truth], sizes)
    a, b = found.classes[1], found.classes[2]
    assert [f"{x:.4f}" for x in (a.users_accuracy.value, a.users_accuracy.standard_error)] == ["0.7419", "0.1646"]
    assert [f"{x:.4f}" for x in (b.producers_accuracy.value, b.producers_accuracy.standard_error)] == [
        "0.7941",
        "0.1166",
    ]
    assert a.f1.value == pytest.approx(46 / 66)
    assert a.iou.value == pytest.approx(23 / 43)
    assert (f"{found.overall_accuracy.value:.2f}", f"{a.share.value:.2f}") == ("0.63", "0.35")


SAMPLES = st.integers(2, 4).flatmap(
    lambda k: st.lists(st.tuples(st.integers(1, k), st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=30).map(
        lambda some: [*some, *((h, 1, 2) for h in range(1, k + 1)), *((h, 2, 2) for h in range(1, k + 1))]
    )
)


@given(SAMPLES, st.lists(st.floats(0.1, 1e9), min_size=4, max_size=4))
def test_shares_sum_to_one_and_accuracies_are_those_of_the_matrix(sample, areas):
    strata, of_map, truth = zip(*sample)
    found = estimate(strata, of_map, truth, {h: areas[h - 1] for h in set(strata)})
    matrix, ids = found.matrix, list(found.classes)
    assert matrix.sum() == pytest.approx(1)
    assert np.trace(matrix) == pytest.approx(found.overall_accuracy.value)
    assert sum(each.share.value for each in found.classes.values()) == pytest.approx(1)
    for at, each in enumerate(ids):
        both, row, col = matrix[at, at], matrix[at].sum(), matrix[:, at].sum()
        one = found.classes[each]
        for estimated, over, under in (
            (one.users_accuracy, both, row),
            (one.producers_accuracy, both, col),
            (one.f1, 2 * both, row + col),
            (one.iou, both, row + col - both),
        ):
            if under == 0:
                assert np.isnan(estimated.value)
            else:
                assert estimated.value == pytest.approx(over / under, abs=1e-12)


def test_intervals_cover_what_they_should():
    """Of many samples of one known ground, 95 % intervals hold the truth about 95 % of the time."""
    random = np.random.default_rng(5)
    sizes = {1: 0.3, 2: 0.6, 3: 0.1}
    mix = {1: [0.8, 0.15, 0.05], 2: [0.1, 0.85, 0.05], 3: [0.2, 0.2, 0.6]}
    joint = np.array([np.array(mix[h]) * size for h, size in sizes.items()])  # (map = stratum, reference)
    wanted = {
        "share": joint.sum(axis=0)[0],
        "users_accuracy": mix[1][0],
        "producers_accuracy": joint[0, 0] / joint[:, 0].sum(),
        "f1": 2 * joint[0, 0] / (joint[0].sum() + joint[:, 0].sum()),
        "iou": joint[0, 0] / (joint[0].sum() + joint[:, 0].sum() - joint[0, 0]),
    }
    inside = dict.fromkeys(wanted, 0)
    strata = np.repeat([1, 2, 3], 150)
    for _ in range(400):
        truth = np.concatenate([random.choice([1, 2, 3], 150, p=mix[h]) for h in sizes])
        one = estimate(strata, strata, truth, sizes).classes[1]
        for name, value in wanted.items():
            low, high = getattr(one, name).interval
            inside[name] += low <= value <= high
    assert all(0.92 <= count / 400 <= 0.98 for count in inside.values()), inside


@pytest.mark.parametrize("strata", [[1, 1, 2], [1, 1, 3, 3], [1, 1]])
def test_strata_with_too_few_points_are_refused(strata):
    with pytest.raises(ValueError, match="points"):
        estimate(strata, strata, strata, {1: 1.0, 2: 1.0})


def test_the_margin_is_that_of_a_normal_distribution():
    found = estimate([1] * 4, [1, 1, 1, 2], [1, 1, 2, 2], {1: 1.0}).overall_accuracy
    assert found.margin == Z_95 * found.standard_error
    assert found.standard_error == pytest.approx(np.sqrt(np.var([1, 1, 0, 1], ddof=1) / 4))

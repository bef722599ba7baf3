"""Confusion: the measures against two other libraries, and the laws of counting."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics

from geoseg.accuracy.confusion import (
    allocation_disagreement,
    balanced_accuracy,
    confused,
    confusion,
    f1,
    frequency_weighted_iou,
    iou,
    kappa,
    mean_iou,
    pixel_accuracy,
    precision,
    quantity_disagreement,
    recall,
)
from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import CatalogError

MEANS = (
    mean_iou,
    pixel_accuracy,
    frequency_weighted_iou,
    balanced_accuracy,
    kappa,
    quantity_disagreement,
    allocation_disagreement,
)
IDS = (3, 7, 0, 41)
LEGEND = Legend("four", tuple(LandClass(id, f"class {id}", "#000000") for id in IDS))


@st.composite
def pairs(draw):
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    labels = arrays(np.int32, shape, elements=st.sampled_from((*IDS, -1)))
    return draw(labels), draw(labels)


@pytest.mark.slow
@given(pairs())
def test_measures_equal_scikit_learn(pair):
    mapped, reference = pair
    counted = confusion(mapped, reference, LEGEND)
    both = (mapped >= 0) & (reference >= 0)
    if not both.any():
        assert not counted.matrix.any()
        return
    truth, said = reference[both], mapped[both]
    assert np.array_equal(counted.matrix, metrics.confusion_matrix(truth, said, labels=IDS))
    options = {"labels": IDS, "average": None}
    found = counted.matrix.sum(0) + counted.matrix.sum(1) > 0  # scikit-learn cannot say NaN for Jaccard
    ours, theirs = iou(counted.matrix), metrics.jaccard_score(truth, said, zero_division=0, **options)
    assert np.array_equal(np.isnan(ours), ~found)
    np.testing.assert_allclose(ours[found], theirs[found], rtol=1e-12)
    for measure, judge in (
        (precision, metrics.precision_score),
        (recall, metrics.recall_score),
        (f1, metrics.f1_score),
    ):
        judged = judge(truth, said, zero_division=np.nan, **options)
        np.testing.assert_allclose(measure(counted.matrix), judged, rtol=1e-12)
    assert pixel_accuracy(counted.matrix) == pytest.approx(metrics.accuracy_score(truth, said), rel=1e-12)
    present = [id for id, there in zip(IDS, found) if there]
    mean = metrics.jaccard_score(truth, said, labels=present, average="macro", zero_division=0)
    assert mean_iou(counted.matrix) == pytest.approx(mean, rel=1e-12)
    weighted = metrics.jaccard_score(truth, said, labels=present, average="weighted", zero_division=0)
    assert frequency_weighted_iou(counted.matrix) == pytest.approx(weighted, rel=1e-12)
    known = np.isfinite(judged_recall := metrics.recall_score(truth, said, zero_division=np.nan, **options))
    assert balanced_accuracy(counted.matrix) == pytest.approx(judged_recall[known].mean(), rel=1e-12)
    if len(present) > 1:
        assert kappa(counted.matrix) == pytest.approx(metrics.cohen_kappa_score(truth, said), abs=1e-12)
    else:
        assert math.isnan(kappa(counted.matrix))


@given(pairs())
def test_disagreement_is_that_of_quantity_and_that_of_allocation(pair):
    """By the sums over classes of the paper's equations 2 to 5, in exact fractions."""
    matrix = confusion(*pair, LEGEND).matrix
    total = int(matrix.sum())
    if not total:
        assert math.isnan(quantity_disagreement(matrix))
        assert math.isnan(allocation_disagreement(matrix))
        return
    shares = [[Fraction(each, total) for each in row] for row in matrix.tolist()]
    of_map = [sum(row[g] for row in shares) for g in range(4)]
    of_reference = [sum(shares[g]) for g in range(4)]
    quantity = sum(abs(a - b) for a, b in zip(of_map, of_reference)) / 2
    allocation = sum(2 * min(of_map[g] - shares[g][g], of_reference[g] - shares[g][g]) for g in range(4)) / 2
    assert quantity_disagreement(matrix) == pytest.approx(float(quantity), rel=1e-12)
    assert allocation_disagreement(matrix) == pytest.approx(float(allocation), rel=1e-12)
    assert quantity + allocation == 1 - sum(shares[g][g] for g in range(4))


def test_kappa_is_right_where_nearly_all_is_one_class():
    """In exact fractions: products of billions of pixels are beyond 64 bits, and 1 - p is nearly nothing."""
    matrix = np.array([[4 * 10**9, 3], [5, 7]])
    total = int(matrix.sum())
    chance = Fraction(sum(a * b for a, b in zip(matrix.sum(0).tolist(), matrix.sum(1).tolist())), total**2)
    agreed = Fraction(int(np.trace(matrix)), total)
    assert kappa(matrix) == pytest.approx(float((agreed - chance) / (1 - chance)), rel=1e-12)


def test_the_most_confused_pairs_come_first():
    matrix = np.array([[50, 2, 9], [7, 40, 0], [9, 0, 3]])
    assert confused(matrix, 3) == [(0, 2), (2, 0), (1, 0)]
    assert confused(matrix, 99) == [(0, 2), (2, 0), (1, 0), (0, 1)]


@given(pairs())
def test_iou_equals_torchmetrics(pair):
    from torchmetrics.functional.classification import multiclass_jaccard_index  # slow to load

    mapped, reference = pair
    both = (mapped >= 0) & (reference >= 0)
    matrix = confusion(mapped, reference, LEGEND).matrix
    if not both.any():
        return
    place = {id: i for i, id in enumerate(IDS)}
    said, truth = (torch.tensor([place[id] for id in each[both].tolist()]) for each in (mapped, reference))
    theirs = multiclass_jaccard_index(said, truth, num_classes=len(IDS), average="none").numpy()
    np.testing.assert_allclose(np.nan_to_num(iou(matrix)), theirs, rtol=1e-6)


@given(pairs(), st.data())
def test_counts_add_up_over_any_split(pair, data):
    mapped, reference = pair
    row = data.draw(st.integers(0, mapped.shape[0]))
    col = data.draw(st.integers(0, mapped.shape[1]))
    whole = confusion(mapped, reference, LEGEND)
    quarters = [(r, c) for r in (slice(0, row), slice(row, None)) for c in (slice(0, col), slice(col, None))]
    parts = [confusion(mapped[each], reference[each], LEGEND) for each in quarters]
    total = parts[0] + parts[1] + parts[2] + parts[3]
    assert np.array_equal(total.matrix, whole.matrix)
    assert np.array_equal(total.unlabelled, whole.unlabelled)
    assert total.ignored == whole.ignored
    assert whole.matrix.sum() + whole.unlabelled.sum() + whole.ignored == mapped.size
    assert whole.matrix.dtype == np.int64


def test_nine_tenths_background_called_all_background():
    """Worked on paper: accuracy 90 %, IoU 90 % and 0 %, mean 45 %."""
    legend = Legend("two", (LandClass(0, "background", "#000000"), LandClass(1, "thing", "#ff0000")))
    reference = np.zeros((10, 10), np.uint8)
    reference[0] = 1
    matrix = confusion(np.zeros((10, 10), np.uint8), reference, legend).matrix
    assert pixel_accuracy(matrix) == 0.9
    assert mean_iou(matrix) == 0.45
    assert frequency_weighted_iou(matrix) == pytest.approx(0.81)
    assert iou(matrix).tolist() == [0.9, 0.0]
    assert recall(matrix).tolist() == [1.0, 0.0]
    assert math.isnan(precision(matrix)[1])


def test_a_class_found_in_neither_is_nan_and_not_in_the_mean():
    matrix = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    assert np.isnan(iou(matrix)).tolist() == [False, False, True]
    assert np.isnan(f1(matrix)).tolist() == [False, False, True]
    assert mean_iou(matrix) == pytest.approx((0.75 + 0.8) / 2)


def test_nothing_compared_is_nan_never_zero_or_one():
    empty = np.zeros((2, 2), np.int64)
    assert all(math.isnan(measure(empty)) for measure in MEANS)


def test_reference_is_ignored_and_map_nodata_is_counted():
    counted = confusion(np.array([[3, -1, -1, 7]]), np.array([[3, 3, -1, -1]]), LEGEND)
    assert counted.matrix.sum() == 1
    assert counted.unlabelled.tolist() == [1, 0, 0, 0]
    assert counted.ignored == 2


def test_unknown_ids_are_refused_by_name():
    with pytest.raises(
        CatalogError, match=r"the map holds id 5, 9, which legend 'four' lacks \(its ids are 3, 7, 0, 41"
    ):
        confusion(np.array([[5, 9]]), np.array([[3, 3]]), LEGEND)


def test_shapes_must_be_equal():
    with pytest.raises(ValueError, match=r"shape \(1, 2\) cannot be compared with a reference of \(2, 1\)"):
        confusion(np.array([[3, 3]]), np.array([[3], [3]]), LEGEND)

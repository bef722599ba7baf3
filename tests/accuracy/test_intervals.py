"""Intervals: judged by scikit-learn on resampled pixels, by closed forms, and by how often they hold the truth."""

import numpy as np
import pytest
from scipy import fft, special
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from geoseg.accuracy import intervals
from geoseg.accuracy.blocks import Blocks
from geoseg.accuracy.intervals import FEWEST, LEVEL, REPLICATES, SEED
from geoseg.grid import Window


def blocks_of(ours, other, edge, classes=2):
    """Whole blocks of two arrays of class numbers; -1 is no data."""
    rows, cols = (n // edge for n in ours.shape)
    known = (ours >= 0) & (other >= 0)

    def summed(mask):
        return (mask & known).reshape(rows, edge, cols, edge).sum((1, 3))

    masks = [(lambda k: (ours == k) & (other == k)), (lambda k: other == k), (lambda k: ours == k)]
    sums = np.stack([np.stack([summed(of(k)) for k in range(classes)], -1) for of in masks], 2)
    return Blocks(edge, Window(0, 0, rows, cols), sums.astype(np.int64), np.zeros((rows, cols), np.int64))


def noise(shape=(60, 80), wrong=0.2, classes=2, seed=0):
    made = np.random.default_rng(seed)
    other = made.integers(0, classes, shape)
    return np.where(made.random(shape) < wrong, (other + 1) % classes, other), other


@pytest.mark.slow
def test_intervals_are_quantiles_of_scikit_learns_scores_of_blocks_drawn_with_replacement():
    ours, other = noise(classes=3)
    found = intervals.of(blocks_of(ours, other, 10, 3), given=True)
    assert (found.block, found.blocks, found.why_not, found.chosen) == (10, 48, "", False)
    parts = [each.reshape(6, 10, 8, 10).swapaxes(1, 2).reshape(48, 100) for each in (ours, other)]
    drawn = np.random.default_rng(SEED).integers(0, 48, (REPLICATES, 48))[:300]
    judges = {
        "iou": lambda a, b: jaccard_score(b, a, average=None),
        "precision": lambda a, b: precision_score(b, a, average=None),
        "recall": lambda a, b: recall_score(b, a, average=None),
        "f1": lambda a, b: f1_score(b, a, average=None),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "REPLICATES", 300)
        few = intervals.of(blocks_of(ours, other, 10, 3), given=True)
    t = special.stdtrit(47, 0.975) * np.sqrt(48 / 47)
    tails = special.ndtr([-t, t])
    for name, judge in judges.items():
        scores = np.array([judge(*(each[chosen].ravel() for each in parts)) for chosen in drawn])
        np.testing.assert_allclose(few.classes[name], np.quantile(scores, tails, axis=0).T, rtol=1e-12)
    means = [jaccard_score(*(each[chosen].ravel() for each in parts[::-1]), average="macro") for chosen in drawn]
    np.testing.assert_allclose(few.overall["mean_iou"], np.quantile(means, tails), rtol=1e-12)


def test_the_same_blocks_give_the_same_intervals_and_how_many_are_drawn_at_once_does_not_matter(monkeypatch):
    small = blocks_of(*noise(), 10)
    one = intervals.of(small, given=True)
    monkeypatch.setattr(intervals, "_AT_ONCE", 5000)
    two = intervals.of(small, given=True)
    assert one.overall == two.overall
    assert all(np.array_equal(one.classes[name], two.classes[name]) for name in one.classes)


def test_an_interval_of_independent_errors_is_the_binomial_one():
    ours, other = noise((400, 400), 0.2)
    low, high = intervals.of(blocks_of(ours, other, 8), given=False).overall["pixel_accuracy"]
    share = (ours == other).mean()
    half = 1.96 * np.sqrt(0.2 * 0.8 / ours.size)
    assert low < share < high
    assert high - low == pytest.approx(2 * half, rel=0.35)


def test_errors_in_patches_make_intervals_wider_by_as_much_as_patches_are_large():
    """Patches of 16 x 16 alike pixels: as many independent ones as patches."""
    patches, other = noise((40, 40), 0.2)
    ours, other = (np.kron(each, np.ones((16, 16), int)) for each in (patches, other))
    found = intervals.of(blocks_of(ours, other, 8), given=False)
    low, high = found.overall["pixel_accuracy"]
    assert found.block >= 4 * 16
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.2 * 0.8 / 1600), rel=0.3)


def test_the_correlogram_is_numpys_correlation():
    small = blocks_of(*noise(), 5)
    errors = small.wrong - small.compared * (small.wrong.sum() / small.compared.sum())
    found = intervals.correlogram(errors, small.compared > 0)
    for lag in (1, 3):
        pairs = np.concatenate([(errors[lag:] * errors[:-lag]).ravel(), (errors[:, lag:] * errors[:, :-lag]).ravel()])
        assert found[lag - 1] == pytest.approx(pairs.mean() / (errors**2).mean(), rel=1e-12)
    assert np.isnan(intervals.correlogram(errors * 0, small.compared > 0)).all()


@pytest.mark.parametrize(
    ("correlations", "blocks"),
    [([0.7, 0.4, 0.0], 2.75), ([0.0], 0.9), ([-0.8, 0.5], 0.5), ([0.5, 0.5], 3.0), ([np.nan], 0.9), ([0.1], 1.0)],
)
def test_errors_hang_together_until_their_correlation_fades(correlations, blocks):
    assert intervals.reach(np.array(correlations)) == pytest.approx(blocks)


# ------------------------------------------------------------------------------ where there is no interval


def test_too_few_blocks_give_no_interval_and_say_why():
    found = intervals.of(blocks_of(*noise((10 * (FEWEST - 1), 10)), 10), given=True)
    assert found.block == 0
    assert found.why_not == "the compared pixels make 19 blocks of 10 pixels, and 20 are needed"
    assert np.isnan(list(found.overall.values())).all()
    assert all(np.isnan(each).all() for each in found.classes.values())
    assert intervals.of(blocks_of(*noise((10 * FEWEST, 10)), 10), given=True).why_not == ""


def test_errors_that_hang_together_all_over_give_no_interval_and_say_why():
    ours, other = noise((4, 4), 0.5)
    found = intervals.of(blocks_of(*(np.kron(each, np.ones((64, 64), int)) for each in (ours, other)), 8), given=False)
    assert found.why_not.startswith("errors hang together over such a distance that")


def test_blocks_without_data_are_not_drawn():
    ours, other = noise((60, 200))
    ours[:, 100:] = -1
    half = intervals.of(blocks_of(ours, other, 10), given=True)
    same = intervals.of(blocks_of(ours[:, :100], other[:, :100], 10), given=True)
    assert half.blocks == same.blocks == 60
    assert half.overall == same.overall


def test_a_class_in_few_blocks_has_no_interval_nor_has_one_that_is_nowhere():
    ours, other = noise()
    ours[:5, :5] = other[:5, :5] = 2
    found = intervals.of(blocks_of(ours, other, 10, 4), given=True)
    assert np.isfinite(found.classes["iou"][:2]).all()
    assert np.isnan(found.classes["iou"][2:]).all()
    assert np.isfinite(found.overall["mean_iou"]).all()


@pytest.mark.parametrize("side", [40, 400])
def test_a_perfect_map_has_no_interval_rather_than_one_from_1_to_1_and_says_why(side):
    _, other = noise((side, side))
    found = intervals.of(blocks_of(other, other, 8), given=False)
    assert np.isnan(list(found.overall.values())).all()
    assert np.isnan(found.classes["iou"]).all()
    assert found.why_not == "map and reference agree on every compared pixel"


# ------------------------------------------------------------------------------------------------ coverage

SIDE, CLASS, ERROR = 512, 0.3, 0.15
"""Pixels; share of class 1; share of pixels that are wrong."""


def fields(made, reach_px, smooth):
    """Two independent standard normal fields, (2, row, col), correlated over a distance."""
    wide = SIDE * 5 // 4
    cycles = np.hypot(*np.meshgrid(fft.fftfreq(wide), fft.fftfreq(wide), indexing="ij"))
    scaled = (np.pi * cycles * reach_px) ** 2
    gain = np.exp(-scaled) if smooth else (1 + 4 * scaled) ** -0.75  # Gaussian or exponential correlation
    white = made.standard_normal((wide, wide)) + 1j * made.standard_normal((wide, wide))
    found = fft.ifft2(fft.fft2(white) * gain)[:SIDE, :SIDE] / np.sqrt((gain**2).mean())
    return found.real, found.imag


@pytest.mark.slow
@pytest.mark.parametrize(("reach_px", "smooth"), [(3, False), (6, False), (8, True)])
def test_a_95_percent_interval_holds_the_truth_in_92_to_98_of_100_simulated_maps(reach_px, smooth):
    """The truth is that of the process which makes class and errors, not of one map."""
    hit, missed, false = CLASS * (1 - ERROR), CLASS * ERROR, (1 - CLASS) * ERROR
    other_hit = (1 - CLASS) * (1 - ERROR)
    truth = {"iou": hit / (hit + missed + false), "recall": 1 - ERROR, "precision": hit / (hit + false)}
    mean = (truth["iou"] + other_hit / (other_hit + missed + false)) / 2
    runs, held = 300, dict.fromkeys((*truth, "mean_iou", "pixel_accuracy"), 0)
    for seed in range(runs):
        is_class, is_wrong = fields(np.random.default_rng([seed, reach_px]), reach_px, smooth)
        other = (is_class < special.ndtri(CLASS)).astype(int)
        ours = np.where(is_wrong < special.ndtri(ERROR), 1 - other, other)
        found = intervals.of(blocks_of(ours, other, 8), given=False)
        pairs = {name: found.classes[name][1] for name in truth} | dict(found.overall)
        for name, aim in (truth | {"mean_iou": mean, "pixel_accuracy": 1 - ERROR}).items():
            assert np.isfinite(pairs[name]).all()
            held[name] += pairs[name][0] <= aim <= pairs[name][1]
    assert LEVEL == 0.95
    assert {name: 0.92 <= count / runs <= 0.98 for name, count in held.items()} == dict.fromkeys(held, True), held

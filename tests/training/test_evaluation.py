"""Evaluation: scores are those of the pixels together, intervals those of accuracy, samples spread evenly."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from labelled_scenes import loaded

from geoseg.accuracy import intervals
from geoseg.accuracy.blocks import Blocks
from geoseg.catalog.legend import LandClass, Legend
from geoseg.grid import Window
from geoseg.models import networks, receptive_field
from geoseg.training import evaluation, scoring
from geoseg.training.division import BEYOND, DIVISIONS, TEST, TRAIN, VALIDATION
from geoseg.training.scenes import LabelledScene

LEGEND = Legend("plain", tuple(LandClass(at, name, "#000000") for at, name in enumerate(("green", "water", "soil"))))


def plain(scores):
    """Without intervals."""
    return {key: each for key, each in scores.items() if key != "intervals"}


def test_unseen_scores_leave_validation_out(folder):
    network = networks.build({"name": "compact", "width": 2, "depth": 1}, 2, 3).eval()
    field = receptive_field.probe(network, 2)
    scene = loaded(folder, {"west": 0.5})
    found = evaluation.evaluate(network, field, [scene], LEGEND).scores
    assert set(found["scene"]) == {DIVISIONS[each] for each in (VALIDATION, TEST, BEYOND)}
    assert found["all unseen"]["pixels"] == sum(found["scene"][DIVISIONS[each]]["pixels"] for each in (TEST, BEYOND))
    assert DIVISIONS[TRAIN] not in found["scene"]
    assert plain(found["all validation"]) == found["scene"]["validation"]


@pytest.mark.slow
def test_scores_of_all_scenes_are_those_of_their_pixels_together(folder):
    network = networks.build({"name": "compact", "width": 2, "depth": 1}, 2, 3).eval()
    field = receptive_field.probe(network, 2)
    west, whole = loaded(folder, {"west": 0.5}), loaded(folder)
    matrices = {
        (at, kind): scoring.confusion(network, field, each, kind, 3)
        for at, each in enumerate((west, whole)) for kind in (VALIDATION, TEST, BEYOND)
    }  # fmt: skip
    west, whole = replace(west, name="west"), replace(whole, name="whole")
    found = evaluation.evaluate(network, field, [west, whole], LEGEND).scores
    assert set(found) == {"west", "whole", "all validation", "all unseen"}
    assert set(found["whole"]) == {"validation", "test"}
    chosen_on = matrices[0, VALIDATION] + matrices[1, VALIDATION]
    assert plain(found["all validation"]) == scoring.scores_of(chosen_on, LEGEND)
    unseen = matrices[0, TEST] + matrices[0, BEYOND] + matrices[1, TEST]
    assert plain(found["all unseen"]) == scoring.scores_of(unseen, LEGEND)


class ByFirstBand(torch.nn.Module):
    """Its scores are the bands themselves."""

    stride = 1

    def __init__(self):
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(1))

    def forward(self, pixels):
        return pixels * self.one


def noisy(extent, seed, name="s"):
    """A scene of patches whose first bands say the class, with errors in clumps."""
    random = np.random.default_rng(seed)
    labels = np.kron(random.integers(0, 3, (-(-extent.height // 7), -(-extent.width // 7))), np.ones((7, 7), int))
    labels = labels[: extent.height, : extent.width].astype(np.int16)
    pixels = np.eye(3, dtype=np.float32)[labels].transpose(2, 0, 1)
    clumps = np.kron(random.random((-(-extent.height // 5), -(-extent.width // 5))) < 0.3, np.ones((5, 5), bool))
    wrong = clumps[: extent.height, : extent.width]
    pixels = np.where(wrong, pixels[[1, 2, 0]], pixels)
    labels[random.random(labels.shape) < 0.1] = -1
    division = np.where(np.arange(extent.width) < extent.width // 3, VALIDATION, TEST).astype(np.uint8)
    return LabelledScene(name, extent, pixels, labels, np.tile(division, (extent.height, 1)), 1.0)


FIELD = receptive_field.Field(0, 1, "bounded")


def test_intervals_are_those_of_accuracy_on_the_same_blocks():
    extent = Window(-32, 64, 480, 640)
    scene = noisy(extent, 0)
    found = evaluation.evaluate(ByFirstBand().eval(), FIELD, [scene], LEGEND)
    mapped = scene.pixels.argmax(0)
    sums = np.zeros((30, 40, 3, 3), np.int64)
    for row in range(30):
        for col in range(40):
            at = np.s_[16 * row : 16 * row + 16, 16 * col : 16 * col + 16]
            known = (scene.labels[at] >= 0) & (scene.division[at] == TEST)
            truth, made = scene.labels[at][known], mapped[at][known]
            for kind, each in enumerate((truth[truth == made], truth, made)):
                sums[row, col, kind] = np.bincount(each, minlength=3)
    blocks = Blocks(16, Window(-2, 4, 30, 40), sums, np.zeros((30, 40), np.int64))
    expected = intervals.of(blocks, given=False)
    said = found.scores["all unseen"]["intervals"]
    assert expected.blocks > 30
    assert said["block_px"] == expected.block
    assert said["pixel_accuracy"] == pytest.approx(expected.overall["pixel_accuracy"], abs=1e-4)
    assert said["mean_iou"] == pytest.approx(expected.overall["mean_iou"], abs=1e-4)
    for at, name in enumerate(LEGEND.names):
        assert said["iou"][name] == pytest.approx(expected.classes["iou"][at], abs=1e-4)
        low, high = said["iou"][name]
        assert low < found.scores["all unseen"]["iou"][name] < high


def test_two_scenes_alike_are_known_more_closely_than_one():
    scenes = [noisy(Window(0, 0, 400, 400), seed, f"s{seed}") for seed in range(4)]
    wide = []
    for some in (scenes[:1], scenes):
        low, high = evaluation.evaluate(ByFirstBand().eval(), FIELD, some, LEGEND).scores["all unseen"]["intervals"][
            "pixel_accuracy"
        ]
        wide.append(high - low)
    assert 0.35 < wide[1] / wide[0] < 0.75


def test_where_there_are_too_few_blocks_it_says_why():
    found = evaluation.evaluate(ByFirstBand().eval(), FIELD, [noisy(Window(0, 0, 40, 40), 0)], LEGEND)
    assert set(found.scores["all unseen"]["intervals"]) == {"why_not"}


@pytest.mark.parametrize("most", [10**9, 1000, 77])
def test_samples_are_every_so_manieth_pixel_of_a_group(monkeypatch, most):
    monkeypatch.setattr(evaluation, "_SAMPLE", most)
    scenes = [noisy(Window(0, 0, 300, 290), 1), noisy(Window(9, 9, 50, 60), 2, "t")]
    found = evaluation.evaluate(ByFirstBand().eval(), FIELD, scenes, LEGEND)
    for group, divisions in evaluation.GROUPS.items():
        total = sum(int(each.counts(kind, 3).sum()) for each in scenes for kind in divisions)
        sample = found.samples[group]
        assert len(sample.labels) == -(-total // -(-total // most))
        assert found.matrices[group].sum() == total
        right = (sample.scores.argmax(1) == sample.labels).mean()
        assert right == pytest.approx(np.trace(found.matrices[group]) / total, abs=0.2)


def test_windows_add_up_to_the_matrices():
    scenes = [noisy(Window(0, 0, 600, 290), 1)]
    found = evaluation.evaluate(ByFirstBand().eval(), FIELD, scenes, LEGEND)
    for group, divisions in evaluation.GROUPS.items():
        within = [each for each in found.windows if each.division in divisions]
        assert sum(each.pixels for each in within) == found.matrices[group].sum()
        assert sum(each.right for each in within) == np.trace(found.matrices[group])

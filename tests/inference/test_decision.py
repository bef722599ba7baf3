"""Decision: the best class that may be predicted, its share, and none where that is too small."""

from dataclasses import replace

import pytest
import torch
from model_folders import IDS

from geoseg.inference.decision import Decision, as_bytes
from geoseg.inference.options import Options

SCORES = torch.tensor([[0.5, 0.1, 0.2], [0.3, 0.3, 0.2], [0.2, 0.6, 0.6]])[None, :, None]  # (1, class, 1, col)
WHOLE = torch.ones(1, 1, 3, dtype=torch.bool)


@pytest.mark.parametrize(
    ("asked", "labels", "sure"),
    [
        ({}, [3, 200, 200], [127, 152, 152]),
        ({"classes": (3, 7)}, [3, 7, 3], [127, 76, 51]),  # of equal ones the first
        ({"classes": (7,)}, [7, 7, 7], [76, 76, 51]),
        ({"thresholds": ((3, 0.5), (200, 0.7))}, [3, 255, 255], [127, 255, 255]),
        ({"classes": (3, 7), "thresholds": ((7, 0.5),)}, [3, 255, 3], [127, 255, 51]),
    ],
    ids=str,
)
def test_worked_by_hand(crop, asked, labels, sure):
    decide = Decision(replace(crop, options=Options(**asked)), torch.device("cpu"))
    found = decide(SCORES, SCORES, WHOLE)
    assert [each.flatten().tolist() for each in found] == [labels, sure]
    assert {each.dtype for each in found} == {torch.uint8}


def test_layers_are_those_of_the_shares(crop):
    """Entropy by SciPy, the rest worked by hand."""
    entropy = pytest.importorskip("scipy.stats").entropy
    predict = replace(crop, also=("probabilities", "entropy", "margin"))
    *_, shares, unsure, margin = Decision(predict, torch.device("cpu"))(SCORES, SCORES, WHOLE)
    assert shares[0, :, 0].T.tolist() == [[127, 76, 51], [25, 76, 152], [51, 51, 152]]
    assert margin.flatten().tolist() == [51, 76, 102]
    wanted = [round(float(entropy(SCORES[0, :, 0, at], base=3)) * 254) for at in range(3)]
    assert unsure.flatten().tolist() == wanted
    predict = replace(predict, options=Options(classes=(3, 7), thresholds=((7, 0.5),)))
    _, _, shares, unsure, margin = Decision(predict, torch.device("cpu"))(SCORES, SCORES, WHOLE)
    assert shares[0, :, 0].T.tolist() == [[127, 76], [255, 255], [51, 51]]
    assert unsure.flatten().tolist() == [wanted[0], 255, wanted[2]]  # of all classes
    assert margin.flatten().tolist() == [51, 255, 0]


@pytest.mark.parametrize(
    ("shares", "wanted"), [([1.0, 0, 0], 0), ([1, 1, 1], 254), ([0, 0, 0], 0), ([0.9, 0.9, 0], 160)]
)
def test_entropy_is_a_part_of_the_largest_possible(crop, shares, wanted):
    values = torch.tensor(shares, dtype=torch.float32)[None, :, None, None]
    found = Decision(replace(crop, also=("entropy",)), torch.device("cpu"))(values, values, WHOLE[..., :1])
    assert found[2].item() == wanted  # log 2 / log 3 of 254


def test_where_none_is_wanted_there_is_none(crop):
    decide = Decision(crop, torch.device("cpu"))
    labels, sure = decide(SCORES, SCORES, torch.tensor([[[True, False, True]]]))
    assert labels.flatten().tolist() == [IDS[0], 255, IDS[2]]
    assert sure.flatten().tolist() == [127, 255, 152]


def test_shares_become_bytes():
    assert as_bytes(torch.tensor([0.0, 0.5, 1.0, 1.01, torch.nan])).tolist() == [0, 127, 254, 254, 0]

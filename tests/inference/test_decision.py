"""Decision: the best class that may be predicted, its share, and none where that is too small."""

from dataclasses import replace

import pytest
import torch
from model_folders import IDS

from geoseg.inference.decision import Decision, as_bytes
from geoseg.inference.options import Options

SCORES = torch.tensor([[0.5, 0.1, 0.2], [0.3, 0.3, 0.2], [0.2, 0.6, 0.6]])[None, :, None]  # (1, class, 1, col)


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
    found = decide(SCORES, SCORES, torch.ones(1, 1, 3, dtype=torch.bool))
    assert [each.flatten().tolist() for each in found] == [labels, sure]
    assert {each.dtype for each in found} == {torch.uint8}


def test_where_none_is_wanted_there_is_none(crop):
    decide = Decision(crop, torch.device("cpu"))
    labels, sure = decide(SCORES, SCORES, torch.tensor([[[True, False, True]]]))
    assert labels.flatten().tolist() == [IDS[0], 255, IDS[2]]
    assert sure.flatten().tolist() == [127, 255, 152]


def test_shares_become_bytes():
    assert as_bytes(torch.tensor([0.0, 0.5, 1.0, 1.01, torch.nan])).tolist() == [0, 127, 254, 254, 0]

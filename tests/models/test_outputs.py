"""Outputs: whatever a network gives, the label is its framework's, and the share its probability."""

import pytest
import torch
from pydantic import ValidationError

from geoseg.catalog.card import Output
from geoseg.errors import ModelError
from geoseg.models.outputs import Scored, as_scores, shares_of

LOGITS = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(0))


def both(found, output, classes):
    scores = as_scores(found, output, classes)
    return scores.argmax(dim=1), shares_of(scores, output.kind)


@pytest.mark.parametrize(
    ("kind", "found", "shares"),
    [
        ("logits", LOGITS, LOGITS.softmax(dim=1)),
        ("sigmoid", LOGITS, LOGITS.sigmoid()),
        ("probabilities", LOGITS.softmax(dim=1), LOGITS.softmax(dim=1)),
        ("labels", LOGITS.argmax(dim=1), None),
        ("labels", LOGITS.argmax(dim=1, keepdim=True).float(), None),
    ],
)
def test_labels_and_shares_of_each_kind(kind, found, shares):
    labels, given = both(found, Output(kind=kind), 4)
    assert torch.equal(labels, LOGITS.argmax(dim=1))
    if shares is not None:
        assert torch.allclose(given, shares)
    else:
        assert torch.equal(given.amax(dim=1), torch.ones(2, 5, 6))


@pytest.mark.parametrize("kind", ["sigmoid", "probabilities"])
def test_one_channel_speaks_of_the_second_of_two_classes(kind):
    one = LOGITS[:, :1]
    found = one if kind == "sigmoid" else one.sigmoid()
    labels, shares = both(found, Output(kind=kind, channels=1), 2)
    assert torch.equal(labels, (one[:, 0] > 0).long())
    assert torch.allclose(shares[:, 1], one[:, 0].sigmoid())
    assert torch.allclose(shares.sum(dim=1), torch.ones(2, 5, 6))


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_probabilities_beyond_0_to_1_are_not_taken_for_shares(bad):
    found = torch.full((1, 2, 2, 2), 0.5)
    found[0, 0, 1, 1] = bad
    shares = shares_of(found, "probabilities")
    assert shares.isnan().any(dim=1).tolist() == [[[False, False], [False, True]]]


@pytest.mark.parametrize(
    ("output", "found", "sentence"),
    [
        (Output(), torch.zeros(1, 3, 2, 2), r"shape \(1, 3, 2, 2\); its card asks for 4 channels"),
        (Output(), torch.zeros(1, 2, 2), "its card asks for 4 channels"),
        (Output(kind="labels"), torch.full((1, 2, 2), 4), "labels from 4 to 4; with 4 classes"),
        (Output(kind="labels"), torch.full((1, 2, 2), 0.5), "they must be whole numbers from 0 to 3"),
        (Output(kind="labels"), torch.zeros(1, 4, 2, 2), r"must give \(batch, row, col\)"),
    ],
)
def test_what_does_not_fit_the_card_is_refused(output, found, sentence):
    with pytest.raises(ModelError, match=sentence):
        Scored(lambda _: found, output, 4)(torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize(("kind", "channels", "classes"), [("logits", 1, 2), ("sigmoid", 1, 3), ("sigmoid", 2, 3)])
def test_channels_that_cannot_stand_for_the_classes_are_refused(kind, channels, classes):
    with pytest.raises(ValueError, match="give one channel for each class"):
        Output(kind=kind, channels=channels).check(classes)
    with pytest.raises(ValidationError):
        Output(kind="softmax")

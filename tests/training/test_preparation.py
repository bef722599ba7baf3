"""Preparation: what a training begins with is there, and the same each time."""

import torch

from geoseg.training import preparation, recipe


def test_a_training_is_prepared_alike_each_time(folder):
    spec = recipe.read(folder / "training.yaml")
    made = []
    for _ in range(2):
        torch.manual_seed(spec.seed)
        made.append(preparation.prepared(spec))
    one, other = made
    assert (one.field, one.legend, one.split.said) == (other.field, other.legend, other.split.said)
    assert [each.name for each in one.split.scenes] == ["scene"]
    weights = [each.network.state_dict() for each in made]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])

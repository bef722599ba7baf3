"""Examples: windows from the worst to the best, and what they show is what the network makes of them."""

import numpy as np
import pytest
from labelled_scenes import loaded
from PIL import Image

from geoseg.catalog.legend import NODATA
from geoseg.grid import Window
from geoseg.models import loading, receptive_field
from geoseg.training import evaluation, examples
from geoseg.training.division import BEYOND, TEST, VALIDATION
from geoseg.training.evaluation import Looked


def looked(right, pixels=100, division=TEST):
    return Looked(0, division, Window(right, pixels, 10, 10), pixels, right)


def test_worst_best_and_those_between_are_chosen_of_unseen_windows_with_enough_labels():
    windows = [looked(each) for each in range(0, 100, 3)] + [looked(1, 20), looked(99, 100, VALIDATION)]
    assert [each.right for each in examples.chosen(windows)] == [0, 33, 66, 99]
    assert [each.right for each in examples.chosen(windows[5:6])] == [15]
    assert [each.division for each in examples.chosen([looked(5, 100, VALIDATION)])] == [VALIDATION]
    assert examples.chosen([]) == []


@pytest.mark.slow
def test_what_is_shown_adds_up_to_what_was_scored(trained):
    folder, _, model = trained
    network, card = loading.load(model, "cpu"), model.card
    field = receptive_field.Field(card.halo, card.stride, card.field)
    scene = loaded(folder, {"west": 0.6}, buffer=8)
    found = evaluation.evaluate(network, field, [scene], card.legend)
    windows = examples.chosen(found.windows)
    shown = examples.shown(network, field, [scene], card.legend, card.bands, found.windows)
    assert len(windows) >= 1
    assert {each.division for each in found.windows} == {VALIDATION, TEST, BEYOND}
    for each, window in zip(shown, found.windows):
        assert (each.wrong == 0).sum() == window.right
        assert (each.wrong != NODATA).sum() == window.pixels
        assert (each.labels[each.wrong == 0] == each.reference[each.wrong == 0]).all()
        assert (each.labels[each.wrong == 1] != each.reference[each.wrong == 1]).all()
        assert set(np.unique(each.reference)) <= {1, 2, 3, NODATA}
        assert each.image.shape == (*window.window.shape, 4)
    for name in ("examples", "confusion", "reliability"):
        with Image.open(folder / "tiny" / f"{name}.png") as picture:
            assert min(picture.size) > 300

"""Trained: the pictures show the legend's colours, and errors where they are."""

import numpy as np
import pytest
from PIL import Image

from geoseg.catalog.legend import LandClass, Legend
from geoseg.report import trained
from geoseg.report.trained import Example

COLOURS = ("#1f77b4", "#2ca02c", "#d6a419")
LEGEND = Legend("plain", tuple(LandClass(at + 1, name, COLOURS[at]) for at, name in enumerate(("sea", "$wood$", "海"))))


def share(path, colour):
    """Of the pixels of a picture, those of a colour."""
    wanted = tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))
    with Image.open(path) as picture:
        return (np.array(picture.convert("RGB")) == wanted).all(axis=2).mean()


@pytest.mark.slow
def test_examples_show_reference_network_and_errors(tmp_path):
    reference = np.ones((40, 40), np.uint8)
    reference[20:] = 2
    labels = np.where(np.arange(40) < 10, np.uint8(3), reference)
    wrong = (labels != reference).astype(np.uint8)
    wrong[:5] = 255
    image = np.full((40, 40, 4), 200, np.uint8)
    trained.examples([Example("one", image, reference, labels, wrong)] * 2, LEGEND, tmp_path / "a.png")
    shares = [share(tmp_path / "a.png", each) for each in (*COLOURS, "#d7d7d7")]
    assert all(each > 0.01 for each in shares)
    assert shares[0] == pytest.approx(shares[1], rel=0.2)
    assert shares[2] < 0.4 * shares[0]


def test_a_confusion_names_each_class_in_its_colour(tmp_path):
    trained.confusion(np.array([[5, 1, 0], [0, 9, 1], [0, 0, 0]]), LEGEND, tmp_path / "a.png")
    assert all(share(tmp_path / "a.png", each) > 0.001 for each in COLOURS)


def test_reliability_is_drawn_with_empty_bins(tmp_path):
    some = (np.array([np.nan, 0.4, 0.9]), np.array([np.nan, 0.5, 0.7]), np.array([0, 10, 30]), 0.12)
    trained.reliability([("as it is", *some), ("divided by 2", *some)], tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size[0] > 500

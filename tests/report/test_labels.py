"""Labels in axes: colours, extent and key; a new figure where none is given."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from geoseg.catalog.legend import NODATA, LandClass, Legend
from geoseg.report import labels

TWO = Legend("two", (LandClass(1, "water", "#0000ff"), LandClass(7, "_land", "#00ff00")))


def test_each_class_has_its_colour_and_a_row_of_the_key():
    axes = labels.draw(np.array([[1, 7, 7], [NODATA, 9, 1]], np.uint8), TWO, Figure().subplots(), names=("x", "y"))
    wanted = [
        [(0, 0, 255, 255), (0, 255, 0, 255), (0, 255, 0, 255)],
        [(0, 0, 0, 0), (255, 0, 255, 255), (0, 0, 255, 255)],
    ]
    assert axes.images[0].get_array().tolist() == [[list(each) for each in row] for row in wanted]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["water", "_land", "not in the legend", "no data"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x", "y")


@pytest.mark.parametrize("extent", [None, (0.0, 30.0, 100.0, 120.0)])
def test_it_lies_on_its_ground(extent):
    axes = labels.draw(np.ones((2, 3), np.uint8), TWO, Figure().subplots(), extent=extent)
    assert tuple(axes.images[0].get_extent()) == (extent or (-0.5, 2.5, 1.5, -0.5))


def test_without_axes_there_is_a_new_figure():
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    axes = labels.draw(np.ones((2, 3), np.uint8), TWO)
    assert axes.figure.number in pyplot.get_fignums()
    pyplot.close(axes.figure)

"""Squares: pictures whose pixels are matplotlib's colours of the numbers."""

import base64
import io

import matplotlib
import numpy as np
import pytest
from PIL import Image

from geoseg.report import squares

BLOCKS = {
    "edge_pixels": 8, "edge_m": 240.0, "first_row": 3, "first_column": 4, "rows": 3, "columns": 4,
    "compared": [0, 0, 0, 0, 0, 10, 0, 20, 0, 4, 5, 0],
    "differing": [0, 0, 0, 0, 0, 1, 0, 10, 0, 0, 5, 0],
    "mean_iou": [None, None, None, None, None, 0.8, None, 0.25, None, 1.0, 0.0, None],
}  # fmt: skip


def test_only_the_part_that_was_compared_is_shown_and_gaps_stay_gaps():
    differing, iou = squares.arrays({"blocks": BLOCKS}).values()
    np.testing.assert_array_equal(differing, [[0.1, np.nan, 0.5], [0.0, 1.0, np.nan]])
    np.testing.assert_array_equal(iou, [[0.8, np.nan, 0.25], [1.0, 0.0, np.nan]])


def test_pictures_have_matplotlibs_colours_and_say_in_words_what_they_show():
    _, iou = squares.pictured({"blocks": BLOCKS})
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(iou["url"].partition(",")[2]))))
    times = image.shape[1] // 3
    small = image[::times, ::times]
    wanted = matplotlib.colormaps["cividis"](np.array([[0.8, 0, 0.25], [1.0, 0.0, 0]]), bytes=True)
    wanted[[0, 1], [1, 2]] = 0
    np.testing.assert_array_equal(small, wanted)
    assert iou["text"] == (
        "mean IoU of the classes that occur, by blocks of 8 × 8 px (240 m): 0.000 to 1.000, "
        "half of the blocks below 0.525"
    )


@pytest.mark.parametrize("scores", [{}, {"blocks": None}, {"blocks": BLOCKS | {"compared": [0] * 12}}])
def test_where_nothing_is_known_of_blocks_nothing_is_shown(scores):
    assert squares.arrays(scores) == {}
    assert squares.pictured(scores) == []

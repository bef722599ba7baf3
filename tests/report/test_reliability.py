"""Reliability: what is drawn are the numbers of accuracy.json."""

import pytest
from matplotlib.patches import Rectangle

from geoseg.report import reliability

SCORES = {
    "reliability": {
        "pixels": 10, "expected_calibration_error": 0.1,
        "bins": {
            "low": [0.0, 0.5], "high": [0.5, 1.0], "pixels": [0, 10], "confidence": [None, 0.8], "accuracy": [None, 0.7]
        },
        "coverage": {"threshold": [0.9, 0.7], "share": [0.4, 1.0], "accuracy": [0.75, 0.7]},
    }
}  # fmt: skip


def test_bars_and_curve_are_the_numbers_and_empty_bins_have_no_bar():
    found = reliability.drawn(SCORES)
    (bar,) = found["bars"]
    assert (bar["left"], bar["width"], bar["height"], bar["at"]) == pytest.approx((50, 50, 70, 80))
    assert found["curve"] == "40.00,25.00 100.00,30.00"
    assert found["text"] == "80 % sure, 70 % right (100.0% of the pixels)"
    assert "of the 40% most confident pixels 75.0% agree" in found["curve_text"]


def test_figures_hold_the_same_numbers():
    above, below = reliability.diagram(SCORES).axes
    assert [each.get_height() for each in above.patches if isinstance(each, Rectangle)] == [0.7]
    assert [each.get_height() for each in below.patches] == [1.0]
    (line,) = reliability.curve(SCORES).axes[0].lines
    assert line.get_xydata().tolist() == [[0.4, 0.75], [1.0, 0.7]]


@pytest.mark.parametrize("scores", [{}, {"reliability": None}, {"reliability": {"pixels": 0}}])
def test_without_confidence_nothing_is_drawn(scores):
    assert reliability.drawn(scores) is None

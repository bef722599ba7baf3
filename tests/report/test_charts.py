"""Charts: figures that are whole and the same each time."""

import io
import xml.etree.ElementTree as ET

import pytest
from PIL import Image

from geoseg.report import charts

NAMES = ("areas", "iou", "confusion", "confusion_of_map", "differing", "block_iou", "reliability", "coverage")
BLOCKS = {"edge_pixels": 8, "edge_m": 240.0, "rows": 1, "columns": 2}
BLOCKS |= {"compared": [5, 9], "differing": [1, 0], "mean_iou": [0.5, 1.0]}
RELIABILITY = {
    "pixels": 10, "expected_calibration_error": 0.1,
    "bins": {
        "low": [0.0, 0.5], "high": [0.5, 1.0], "pixels": [0, 10], "confidence": [None, 0.8], "accuracy": [None, 0.7]
    },
    "coverage": {"threshold": [0.9, 0.7], "share": [0.4, 1.0], "accuracy": [0.75, 0.7]},
}  # fmt: skip
FACTS = {
    "classes": [
        {"name": name, "colour": "#336699", "area_m2": 2e6 * at, "pixels": at}
        for at, name in enumerate(["<b>$x", "ሰማይ", "c"])
    ]
}
SCORES = {
    "classes": {"<b>$x": {"iou": 0.5, "iou_interval": [0.4, 0.6]}, "ሰማይ": {"iou": None}, "c": {"iou": 1.0}},
    "blocks": BLOCKS,
    "reliability": RELIABILITY,
    "confusion": {"classes": ["<b>$x", "ሰማይ", "c"], "pixels": [[3, 1, 0], [0, 2, 0], [0, 0, 9]]},
}


@pytest.mark.slow
def test_figures_are_the_same_each_time_and_whole():
    made = charts.charts(FACTS, SCORES)
    assert set(made) == {f"{name}.{kind}" for name in NAMES for kind in ("png", "svg")}
    again = charts.charts(FACTS, None)
    assert {name: made[name] for name in again} == again
    for name, data in made.items():
        if name.endswith("svg"):
            assert ET.fromstring(data).tag == "{http://www.w3.org/2000/svg}svg"
        else:
            Image.open(io.BytesIO(data)).verify()


def test_without_scores_there_are_areas_alone():
    assert set(charts.charts(FACTS, None)) == {"areas.png", "areas.svg"}


def test_bars_bear_the_names_of_their_classes_also_when_drawn():
    figure = charts._bars(
        [("<b>$x$", "#336699", 0.5, [0.4, 0.6]), ("", "#336699", None, None), ("c", "#000000", 1.0, None)], ""
    )
    figure.savefig(io.BytesIO(), format="png")
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["<b>$x$", "", "c"]
    assert not any(text.get_parse_math() for text in figure.axes[0].get_yticklabels())

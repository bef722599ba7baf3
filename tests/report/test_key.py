"""Key: shares, colours, and names in the order of the legend."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.figure import Figure

from geoseg.catalog.legend import NODATA, LandClass, Legend
from geoseg.report import fonts, key
from geoseg.report.figures import HATCH, Inches

LEGEND = Legend(
    "four",
    (
        LandClass(0, "water", "#0064c8"),
        LandClass(2, "_trees $\\alpha$ and $x", "#006400"),
        LandClass(5, "land mostly farmed, with large areas of natural vegetation", "#fa8c00"),
        LandClass(9, "snow", "#12ab34"),
    ),
)


def test_key_lists_shares_of_classified_pixels_from_counts() -> None:
    rows = key.rows({0: 1, 2: 999, 5: 1000, 9: 0, 77: 2000, NODATA: 9999}, LEGEND, NODATA, has_nodata=True)
    assert [(name.split()[0], share) for name, share, _ in rows] == [
        ("water", "< 0.1 %"),
        ("_trees", "25.0 %"),
        ("land", "25.0 %"),
        ("not", "50.0 %"),
        ("no", ""),
    ]
    assert rows[-1][2] == HATCH


def test_nothing_classified_gives_a_key_of_nodata_alone() -> None:
    assert [name for name, _, _ in key.rows({NODATA: 5}, LEGEND, NODATA, has_nodata=True)] == ["no data"]
    assert key.rows({}, LEGEND, NODATA, has_nodata=False) == []
    assert key.size([])[0] > 0


def test_long_names_are_wrapped_and_make_the_key_higher() -> None:
    counts = {5: 1, 0: 1}
    for characters, lines in ((1000, 1), (30, 2)):
        rows = key.rows(counts, LEGEND, NODATA, has_nodata=False, characters=characters)
        assert rows[1][0].count("\n") + 1 == lines
        assert all(len(line) <= characters for line in rows[1][0].split("\n"))
    low, wide = key.size(key.rows(counts, LEGEND, NODATA, has_nodata=False))
    high, narrow = key.size(key.rows(counts, LEGEND, NODATA, has_nodata=False, characters=30))
    assert high > low
    assert narrow < wide


@given(st.dictionaries(st.integers(0, 300), st.integers(0, 10**12)))
def test_shares_make_up_all_that_is_classified(counts: dict[int, int]) -> None:
    rows = key.rows(counts, LEGEND, NODATA, has_nodata=False)
    exact = [float(share[:-2]) for _, share, _ in rows if share != "< 0.1 %"]
    small = len(rows) - len(exact)
    if any(pixels for value, pixels in counts.items() if value != NODATA):
        assert sum(exact) == pytest.approx(100, abs=0.05 * len(rows) + 0.05 * small)
    assert len(rows) <= len(LEGEND) + 1


@given(arrays(np.uint16, (3, 4), elements=st.integers(0, 400)))
def test_each_pixel_has_its_class_s_colour_and_only_nodata_is_transparent(labels: np.ndarray) -> None:
    image = key.coloured(labels, LEGEND, NODATA)
    known = {each.id: (*each.rgb, 255) for each in LEGEND.classes} | {NODATA: (0, 0, 0, 0)}
    for label, pixel in zip(labels.ravel().tolist(), image.reshape(-1, 4).tolist()):
        assert tuple(pixel) == known.get(label, (255, 0, 255, 255))


@given(arrays(np.int32, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.integers(-3, 9)))
def test_counts_are_numpy_s(labels: np.ndarray) -> None:
    counts = key.count(labels)
    assert sum(counts.values()) == labels.size
    assert all((labels == value).sum() == pixels for value, pixels in counts.items())


def test_columns_fit_into_the_width() -> None:
    rows = key.rows(dict.fromkeys(LEGEND.ids, 1), LEGEND, NODATA, has_nodata=True, characters=20)
    assert key.columns(rows, 0.1)[0] == 1
    counts = [key.columns(rows, width)[0] for width in (3, 8, 14, 30)]
    heights = [key.columns(rows, width)[1] for width in (3, 8, 14, 30)]
    assert counts == sorted(counts)
    assert heights == sorted(heights, reverse=True)
    assert counts[-1] > 4


def test_names_that_matplotlib_would_leave_out_are_drawn() -> None:
    sheet = Inches(Figure(figsize=(9, 5)))
    rows = key.rows({2: 1, 9: 1}, LEGEND, NODATA, has_nodata=False)
    key.draw_columns(sheet, rows, 2, 2.0)
    (drawn,) = sheet.figure.legends
    assert [text.get_text() for text in drawn.get_texts()] == [LEGEND.classes[1].name, "snow"]
    assert [patch.get_facecolor()[:3] for patch in drawn.get_patches()] == [
        tuple(value / 255 for value in LEGEND.classes[index].rgb) for index in (1, 3)
    ]


def test_a_class_is_called_by_its_name_or_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_families", lambda characters: ("DejaVu Sans",))
    assert key.label(LandClass(3, "forêt, лес", "#006400")) == "forêt, лес"
    assert key.label(LandClass(3, "ደን", "#006400")) == "class 3"

"""Figures: sizes in inches, round lengths, whole files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.image import imread

from geoseg.report import figures
from geoseg.report.figures import Inches


@given(st.floats(1e-6, 1e9))
def test_a_round_length_is_the_longest_that_fits(most):
    length = figures.round_length(most)
    assert length <= most < 2.5001 * length
    assert f"{length:.10e}"[0] in "125"
    assert float(f"{length:.12e}"[1:14]) == 0


@pytest.mark.parametrize("most", [1000.0, np.nextafter(1000, 0), 1e-5, np.nextafter(1e-5, 0), 5e15])
def test_a_round_length_at_a_power_of_ten(most):
    assert 0 < figures.round_length(most) <= most


@given(st.floats(0.1, 1e5), st.floats(0.1, 1e5), st.floats(1, 20))
def test_a_panel_keeps_its_proportions_unless_it_would_be_a_thread(height, width, side):
    found = figures.fit((height, width), side)
    assert max(found) == pytest.approx(side)
    assert min(found) >= side / 6 * (1 - 1e-12)
    if max(height, width) <= 6 * min(height, width):
        assert found[0] / found[1] == pytest.approx(height / width)


def test_axes_lie_where_they_are_put_to_the_pixel(tmp_path):
    sheet = Inches(Figure(figsize=(4, 3)))
    image = np.full((5, 7, 3), (10, 200, 30), np.uint8)
    figures.draw(sheet.axes(1.0, 0.5, 2.0, 1.5), image)
    figures.save(sheet.figure, tmp_path / "figure.png")
    pixels = (imread(tmp_path / "figure.png")[..., :3] * 255).round().astype(int)
    assert pixels.shape == (600, 800, 3)
    rows, cols = np.nonzero((pixels == (10, 200, 30)).all(axis=2))
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == pytest.approx((200, 499, 200, 599), abs=2)


@pytest.mark.parametrize(("ground_m", "label"), [(3_000, "1 km"), (14_999, "2 km"), (200, "50 m"), (1.5, "0.5 m")])
def test_a_scale_bar_is_as_long_as_it_says(ground_m, label):
    sheet = Inches(Figure(figsize=(10, 3)))
    sheet.scale_bar(ground_m, 1.0, 8.0, 0.5)
    (text,) = sheet.figure.texts
    assert text.get_text() == label
    number, unit = label.split()
    metres = float(number) * {"km": 1000, "m": 1}[unit]
    left, _, width, _ = sheet.figure.axes[0].get_position().bounds
    assert (left * 10, width * 10) == pytest.approx((1.0, metres / ground_m * 8))


def test_an_empty_text_is_none():
    sheet = Inches(Figure(figsize=(10, 3)))
    sheet.text(0, 0, "")
    assert sheet.figure.texts == []


def test_a_figure_is_the_same_file_each_time(tmp_path):
    for name in ("a.png", "b.png"):
        sheet = Inches(Figure(figsize=(2, 2)))
        sheet.text(0.1, 0.1, "$x$ лес")
        figures.save(sheet.figure, tmp_path / name)
    assert Path(tmp_path / "a.png").read_bytes() == Path(tmp_path / "b.png").read_bytes()

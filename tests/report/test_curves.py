"""Curves: drawn with gaps, and in the legend's colours."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from geoseg.catalog.legend import LandClass, Legend
from geoseg.report import curves, fonts

LEGEND = Legend("two", (LandClass(1, "_a $", "#12ab34"), LandClass(2, "ውሃ", "#fa8c00")))
ROWS = [
    {"epoch": float(epoch), "loss": 3.0 / epoch, "mean_iou": epoch / 9, "iou _a $": epoch / 10, "iou ውሃ": epoch / 8}
    for epoch in range(1, 6)
]


def drawn(monkeypatch: pytest.MonkeyPatch, out: Path, rows: list[dict[str, float]] = ROWS, **how: object) -> Figure:
    """The figure, also saved."""
    figures: list[Figure] = []
    real = curves.save
    monkeypatch.setattr(curves, "save", lambda figure, path: (figures.append(figure), real(figure, path)))
    curves.learning_curves(rows, out, **how)
    return figures[0]


def names(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[1].get_legend().get_texts()]


@pytest.mark.slow
def test_learning_curves_bear_gaps_one_epoch_and_odd_names(tmp_path: Path) -> None:
    rows = [
        {"epoch": 1.0, "loss": 2.0, "mean_iou": float("nan"), "iou _a $": float("nan")},
        {"epoch": 2.0, "loss": 1.0, "mean_iou": 0.5, "iou _a $": 0.5},
    ]
    for count in (1, 2):
        curves.learning_curves(rows[:count], tmp_path / "curves.png")
        assert imread(tmp_path / "curves.png").shape[1] == 2200


def test_classes_have_the_legends_colours_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_families", lambda characters: ("DejaVu Sans",))
    figure = drawn(monkeypatch, tmp_path / "curves.png", legend=LEGEND)
    lines = figure.axes[1].get_lines()
    assert [line.get_color() for line in lines[:3]] == ["#12ab34", "#fa8c00", "black"]
    np.testing.assert_allclose(lines[1].get_ydata(), [row["iou ውሃ"] for row in ROWS])
    assert names(figure) == ["_a $", "class 2", "mean"]
    image = (imread(tmp_path / "curves.png")[..., :3] * 255).round().astype(np.uint8)
    assert (image == np.array([0x12, 0xAB, 0x34], np.uint8)).all(axis=2).sum() > 50


def test_without_a_legend_names_are_made_legible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_families", lambda characters: ("DejaVu Sans",))
    assert names(drawn(monkeypatch, tmp_path / "curves.png")) == ["_a $", "??", "mean"]


def test_the_best_epoch_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(monkeypatch, tmp_path / "curves.png").axes[1].get_title() == "best: 0.556 in epoch 5"


def test_both_losses_are_drawn_where_both_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = [2.5, 1.5, float("nan"), 0.5, 0.75]
    rows = [{**row, "validation_loss": loss} for row, loss in zip(ROWS, losses)]
    axes = drawn(monkeypatch, tmp_path / "curves.png", rows).axes[0]
    training, validation = axes.get_lines()
    np.testing.assert_allclose(training.get_ydata(), [row["loss"] for row in ROWS])
    np.testing.assert_allclose(validation.get_ydata(), losses)
    assert training.get_linestyle() != validation.get_linestyle()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training", "validation"]


def test_curves_are_drawn_without_validation_loss_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = drawn(monkeypatch, tmp_path / "curves.png").axes[0]
    assert len(axes.get_lines()) == 1
    assert axes.get_ylabel() == "loss"

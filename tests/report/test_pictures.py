"""Pictures: looked at by their pixels."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from geoseg.catalog.legend import NODATA, LandClass, Legend
from geoseg.errors import LedgerError
from geoseg.report import fonts, pictures
from geoseg.report.stretch import stretched

LEGEND = Legend(
    "four",
    (
        LandClass(0, "water", "#0064c8"),
        LandClass(2, "_trees $\\alpha$ and $x", "#006400"),
        LandClass(5, "land mostly farmed, with large areas of natural vegetation, 水", "#fa8c00"),
        LandClass(9, "snow", "#12ab34"),
    ),
)
LABELS = np.repeat(np.repeat(np.array([[0, 0, 2], [5, 2, NODATA]], np.uint8), 40, axis=0), 30, axis=1)


def shares_of_colours(path: Path) -> dict[str, float]:
    """Share of the picture that has each colour exactly."""
    image = (imread(path)[..., :3] * 255).round().astype(np.uint8).reshape(-1, 3)
    return {
        each.colour: float((image == np.array(each.rgb, np.uint8)).all(axis=1).mean()) for each in LEGEND.classes
    } | {"magenta": float((image == np.array([255, 0, 255], np.uint8)).all(axis=1).mean())}


def test_quicklook_shows_the_classes_present_in_their_colours(tmp_path: Path) -> None:
    pictures.quicklook(LABELS, LEGEND, tmp_path / "map.png", title="a $ b", attribution="somebody's " * 30)
    shares = shares_of_colours(tmp_path / "map.png")
    assert shares["#12ab34"] == shares["magenta"] == 0
    # two water pixels to two of trees to one of the third, but for their patches in the key and the frame
    assert shares["#0064c8"] == pytest.approx(shares["#006400"], rel=0.03)
    assert shares["#fa8c00"] == pytest.approx(shares["#006400"] / 2, rel=0.03)
    assert shares["#0064c8"] > 0.1


def test_a_value_outside_the_legend_is_shown_not_hidden(tmp_path: Path) -> None:
    labels = LABELS.copy()
    labels[:40, :30] = 77
    pictures.quicklook(labels, LEGEND, tmp_path / "map.png")
    assert shares_of_colours(tmp_path / "map.png")["magenta"] > 0.05


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1)])
@pytest.mark.parametrize("fill", [2, NODATA])
@pytest.mark.sampled(3)
def test_any_shape_can_be_drawn(tmp_path: Path, shape: tuple[int, int], fill: int) -> None:
    labels = np.full(shape, fill, np.uint8)
    pictures.quicklook(labels, LEGEND, tmp_path / "map.png", ground_m=(shape[0] * 0.3, shape[1] * 1234.5))
    pictures.panels([("a", labels)], LEGEND, tmp_path / "panels.png", ground_m=(shape[0] * 0.3, shape[1] * 1234.5))
    assert min(imread(tmp_path / "map.png").shape[:2]) > 300
    assert (shares_of_colours(tmp_path / "map.png")["#006400"] > 0.02) == (fill == 2)


def test_ground_size_sets_the_proportions(tmp_path: Path) -> None:
    labels = np.full((50, 50), 2, np.uint8)
    pictures.quicklook(labels, LEGEND, tmp_path / "map.png", ground_m=(1000.0, 2000.0))
    image = (imread(tmp_path / "map.png")[..., :3] * 255).round().astype(int)
    green = (image == [0, 100, 0]).all(axis=2)[:, : image.shape[1] // 2]
    height, width = green.any(axis=1).sum(), (imread(tmp_path / "map.png")[..., 1] < 0.5).any(axis=0).sum()
    assert height == pytest.approx(800, abs=4)  # 4 of 8 inches at 200 per inch
    assert width > 1500


@pytest.mark.slow
def test_panels_take_images_and_maps_of_different_size(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).normal(size=(3, 31, 45))
    pixels[:, :5] = np.nan
    shown = [("image", stretched(pixels)), ("map", LABELS), ("reference", LABELS[::2, ::2])]
    pictures.panels(shown, LEGEND, tmp_path / "panels.png", attribution="somebody", ground_m=(10_000, 12_000))
    one = tmp_path / "one.png"
    pictures.panels(shown[1:2], LEGEND, one)
    both, alone = imread(tmp_path / "panels.png").shape, imread(one).shape
    assert both[1] == pytest.approx(3 * alone[1], rel=0.1)
    assert shares_of_colours(tmp_path / "panels.png")["#fa8c00"] > 0.03


def test_a_name_that_no_font_writes_becomes_the_id_and_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    legend = Legend("mixed", (LandClass(0, "ውሃ", "#0064c8"), LandClass(2, "trees", "#006400")))
    monkeypatch.setattr(fonts, "_families", lambda characters: ("DejaVu Sans",))  # as if no Ethiopic font were there
    texts: list[str] = []
    real = pictures.save

    def save(figure: Figure, out: Path) -> None:
        texts.extend(text.get_text() for text in figure.findobj(Text))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            FigureCanvasAgg(figure).draw()
        real(figure, out)

    monkeypatch.setattr(pictures, "save", save)
    pictures.quicklook(LABELS, legend, tmp_path / "map.png", title="ሰማይ by x", attribution="ሰ")
    pictures.panels([("ሰማይ", LABELS)], legend, tmp_path / "panels.png")
    assert texts.count("class 0") == texts.count("trees") == 2
    assert {"??? by x", "?", "???"} <= set(texts)
    assert not any(0x1200 <= ord(each) < 0x1380 for text in texts for each in text)


@pytest.mark.skipif(os.name != "posix", reason="umasks are POSIX")
@pytest.mark.parametrize("umask", [0o022, 0o027])
def test_the_umask_says_who_may_see_a_picture(tmp_path: Path, umask: int) -> None:
    old = os.umask(umask)
    try:
        pictures.quicklook(LABELS, LEGEND, tmp_path / "map.png")
    finally:
        os.umask(old)
    assert (tmp_path / "map.png").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "map.png"
    out.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(LedgerError, match=r"no space left to write .*map\.png"):
        pictures.quicklook(LABELS, LEGEND, out)
    assert out.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["map.png"]


@pytest.mark.slow
def test_drawing_needs_no_display_and_no_global_state(tmp_path: Path) -> None:
    program = f"""
        import sys
        import numpy as np
        from geoseg.report import pictures
        from geoseg.catalog.legend import LandClass, Legend
        legend = Legend("one", (LandClass(0, "water", "#0064c8"),))
        pictures.quicklook(np.zeros((9, 9), np.uint8), legend, {str(tmp_path / "map.png")!r})
        print("matplotlib.pyplot" in sys.modules)
    """
    bare = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=bare | {"MPLBACKEND": "tkagg"})
    assert done.stdout.strip() == "False"

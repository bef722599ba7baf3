"""Report: pictures, looked at by their pixels."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from geoseg.catalog.legend import NODATA, LandClass, Legend
from geoseg.errors import LedgerError
from geoseg.report import pictures

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


def test_key_lists_shares_of_classified_pixels_from_counts() -> None:
    rows = pictures._key({0: 1, 2: 999, 5: 1000, 9: 0, 77: 2000, NODATA: 9999}, LEGEND, NODATA, True)
    assert [(name.split()[0], share) for name, share, _ in rows] == [
        ("water", "< 0.1 %"),
        ("_trees", "25.0 %"),
        ("land", "25.0 %"),
        ("not", "50.0 %"),
        ("no", ""),
    ]


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1)])
@pytest.mark.parametrize("fill", [2, NODATA])
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


def test_panels_take_images_and_maps_of_different_size(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).normal(size=(3, 31, 45))
    pixels[:, :5] = np.nan
    shown = [("image", pictures.stretched(pixels)), ("map", LABELS), ("reference", LABELS[::2, ::2])]
    pictures.panels(shown, LEGEND, tmp_path / "panels.png", attribution="somebody", ground_m=(10_000, 12_000))
    one = tmp_path / "one.png"
    pictures.panels(shown[1:2], LEGEND, one)
    both, alone = imread(tmp_path / "panels.png").shape, imread(one).shape
    assert both[1] == pytest.approx(3 * alone[1], rel=0.1)
    assert shares_of_colours(tmp_path / "panels.png")["#fa8c00"] > 0.03


def test_stretched_cuts_the_tails_and_leaves_nodata_transparent() -> None:
    band = np.arange(1000.0).reshape(25, 40)
    pixels = np.stack([band, -band, np.full_like(band, 7.0)])
    pixels[1, 3, 4] = np.nan
    image = pictures.stretched(pixels)
    assert image.shape == (25, 40, 4)
    assert image[3, 4].tolist() == [0, 0, 0, 0]
    assert image[..., 3].sum() == 255 * 999
    low, high = np.nanpercentile(np.delete(band.ravel(), 3 * 40 + 4), (2, 98))
    assert (image[..., 0][(band > high)] == 255).all()
    assert (image[..., 0][(band < low)] == 0).all()
    assert (image[20, :, 0] >= image[10, :, 0]).all()
    assert not pictures.stretched(np.full((3, 4, 5), np.nan)).any()


def test_learning_curves_bear_gaps_one_epoch_and_odd_names(tmp_path: Path) -> None:
    rows = [
        {"epoch": 1.0, "loss": 2.0, "mean_iou": float("nan"), "iou _a $": float("nan")},
        {"epoch": 2.0, "loss": 1.0, "mean_iou": 0.5, "iou _a $": 0.5},
    ]
    for count in (1, 2):
        pictures.learning_curves(rows[:count], tmp_path / "curves.png")
        assert imread(tmp_path / "curves.png").shape[1] == 2200


def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "map.png"
    out.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(LedgerError, match=r"no space left to write .*map\.png"):
        pictures.quicklook(LABELS, LEGEND, out)
    assert out.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["map.png"]


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

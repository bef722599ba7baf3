"""Divisions: labels in their colours, frames around what is held out, and as many scenes as fit."""

import matplotlib.image
import numpy as np
import pytest

from geoseg.catalog.legend import LandClass, Legend
from geoseg.report.divisions import Drawn, divisions

LEGEND = Legend("two", (LandClass(1, "forest", "#00ff00"), LandClass(7, "湖", "#0000ff")))


def scene(name, shape=(80, 90)):
    labels, division = np.zeros(shape, np.int16), np.zeros(shape, np.uint8)
    labels[:, shape[1] // 2 :] = 1
    labels[:10] = -1
    division[20:50, 10:40], division[20:50, 50:80] = 1, 2
    return Drawn(name, labels, division)


@pytest.mark.slow
@pytest.mark.parametrize(
    "count", [3, pytest.param(1, marks=pytest.mark.slow), pytest.param(30, marks=pytest.mark.slow)]
)
def test_scenes_are_drawn_in_the_legends_colours_with_frames(tmp_path, count):
    divisions([scene(f"s{n}") for n in range(count)], LEGEND, tmp_path / "a.png")
    picture = (matplotlib.image.imread(tmp_path / "a.png")[..., :3] * 255).round().astype(int).reshape(-1, 3)
    colours = {tuple(each) for each in np.unique(picture, axis=0).tolist()}
    assert {(0, 255, 0), (0, 0, 255), (230, 159, 0), (204, 0, 0)} <= colours


def test_a_large_scene_is_drawn_small(tmp_path):
    divisions([scene("large", (5000, 7000))], LEGEND, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 200_000

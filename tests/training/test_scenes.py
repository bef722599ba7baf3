"""Scenes: labels of the reference on the scene's grid, and a division that depends on position and seed alone."""

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from labelled_scenes import loaded

from geoseg import catalog, imagery
from geoseg.errors import JobError
from geoseg.grid import Window
from geoseg.training import scenes
from geoseg.training.recipe import ChipsSpec
from geoseg.training.scenes import BEYOND, TEST, TRAIN, VALIDATION


def test_labels_are_indices_in_the_legend_and_only_where_there_are_data(folder):
    scene = loaded(folder)
    with rasterio.open(folder / "truth.tif") as file:
        codes = file.read(1)
    expected = np.full((96, 112), -1)
    for code, place in ((10, 1), (20, 2), (30, 0)):  # water, soil and green stand second, third and first
        expected[:, :100][codes == code] = place
    expected[40:50, 60:70] = -1
    np.testing.assert_array_equal(scene.labels, expected)
    assert np.isnan(scene.pixels[:, 40:50, 60:70]).all()


def test_pixels_are_normalised_as_they_are_when_mapped(folder):
    known = catalog.read(folder / "data_catalog.yaml")
    opened = imagery.open(known.imagery("scene").select(("nir", "red"), "test"))
    found = imagery.statistics(opened)
    values = imagery.read(opened, opened.grid, opened.window)
    mean, std = (np.array(each, np.float32)[:, None, None] for each in (found.mean, found.std))
    np.testing.assert_array_equal(loaded(folder).pixels, (values - mean) / std)
    np.testing.assert_array_equal(loaded(folder, normalisation="none").pixels, values)


@given(
    row=st.integers(-500, 500), col=st.integers(-500, 500), dy=st.integers(0, 30), dx=st.integers(0, 30),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_the_division_of_a_pixel_depends_on_its_position_alone(row, col, dy, dx, seed):
    cut = ChipsSpec(square=16)
    whole = scenes.divide(Window(row, col, 64, 80), {}, cut, seed)
    inner = Window(row + dy, col + dx, 20, 30)
    np.testing.assert_array_equal(scenes.divide(inner, {}, cut, seed), whole[inner.within(Window(row, col, 64, 80))])


def test_squares_are_divided_in_the_stated_shares():
    found = scenes.divide(Window(0, 0, 4000, 4000), {}, ChipsSpec(square=16, validation=0.2, test=0.1), 0)
    shares = np.bincount(found.ravel(), minlength=4) / found.size
    np.testing.assert_allclose(shares, [0.7, 0.2, 0.1, 0], atol=0.01)


@pytest.mark.parametrize(
    ("side", "kept"),
    [("west", np.s_[:, :28]), ("east", np.s_[:, 84:]), ("north", np.s_[:24]), ("south", np.s_[72:])],
)
def test_nothing_beyond_a_part_is_learnt_or_seen(folder, side, kept):
    scene = loaded(folder, {side: 0.25})
    inside = np.zeros((96, 112), bool)
    inside[kept] = True
    np.testing.assert_array_equal(scene.division == BEYOND, ~inside)
    assert np.isnan(scene.seen()[:, ~inside]).all()
    np.testing.assert_array_equal(scene.seen()[:, inside], scene.pixels[:, inside])


def test_counts_are_those_of_the_labels(folder):
    scene = loaded(folder, {"west": 0.5})
    for division in (TRAIN, VALIDATION, TEST, BEYOND):
        inside = scene.labels[scene.division == division]
        assert scene.counts(division, 3).tolist() == [int((inside == index).sum()) for index in range(3)]
    assert sum(scene.counts(each, 3).sum() for each in range(4)) == (scene.labels >= 0).sum()


def test_fixed_numbers_are_taken_from_the_pixels(folder):
    plain = loaded(folder, normalisation="none")
    opened = imagery.open(catalog.read(folder / "data_catalog.yaml").imagery("scene").select(("nir", "red"), "test"))
    fixed = scenes.Normalisation(kind="fixed", mean=(1000.0, 50.0), std=(500.0, 10.0))
    assert scenes.centre(opened, fixed) == ((1000.0, 50.0), (500.0, 10.0))
    assert scenes.centre(opened, scenes.Normalisation()) == ((0.0, 0.0), (1.0, 1.0))
    found = imagery.statistics(opened)
    assert scenes.centre(opened, scenes.Normalisation(kind="scene")) == (found.mean, found.std)
    assert plain.pixels.dtype == np.float32


def test_a_scene_that_memory_does_not_hold_is_refused_unread(folder, monkeypatch):
    monkeypatch.setattr(scenes, "_MOST_BYTES", 96 * 112 * 11 - 1)
    with pytest.raises(JobError, match=r"takes 0 GB in memory, more than the 0 GB that training uses; cut out a"):
        loaded(folder)

"""Checking labels: counts are those of the rasters, shifted labels are noticed, and what is fine is left in peace."""

import re

import numpy as np
import pytest
import rasterio
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_scenes import RECIPE, loaded
from small_jobs import geoseg

from geoseg.training import checking, recipe
from geoseg.training.division import TEST, TRAIN, VALIDATION


def test_pixels_and_scenes_are_counted_by_class_and_division(folder):
    found = checking.check(recipe.read(folder / "training.yaml"))
    (scene,) = found.scenes
    for at, row in enumerate(found.rows):
        assert row[0] == found.legend.names[at]
        for kind, pixels, scenes in zip((TRAIN, VALIDATION, TEST), row[1::2], row[2::2]):
            assert pixels == ((scene.labels == at) & (scene.division == kind)).sum()
            assert scenes == int(pixels > 0)
    _, rows = checking.table(found)
    assert rows[-1][1] == sum(row[1] for row in found.rows)


@settings(max_examples=share_of(25), deadline=None)
@given(st.integers(0, 99), st.integers(-4, 4), st.integers(-4, 4))
def test_labels_that_lie_off_are_told_by_how_much(seed, down, right):
    random = np.random.default_rng(seed)
    kinds = np.kron(random.integers(0, 3, (16, 16)), np.ones((9, 11), int))
    means = np.array([[100, 400, 900], [50, 300, 2000]], float)
    pixels = means[:, kinds] + random.normal(0, 60, (2, *kinds.shape))
    pixels[:, 40:50, 60:70] = np.nan
    labels = np.roll(kinds, (-down, -right), (0, 1))
    assert checking.shift_of(pixels, labels) == (down, right)


@pytest.mark.parametrize("pixels", [np.full((2, 80, 80), 5.0), np.random.default_rng(0).normal(0, 1, (2, 80, 80))])
def test_where_the_imagery_has_no_edges_nothing_is_said(pixels):
    labels = np.kron(np.random.default_rng(1).integers(0, 3, (10, 10)), np.ones((8, 8), int))
    assert checking.shift_of(pixels, labels) == (0, 0)


def test_a_reference_three_pixels_off_is_noted_and_the_true_one_is_not(folder):
    assert not [each for each in checking.check(recipe.read(folder / "training.yaml")).notes if "fit it better" in each]
    with rasterio.open(folder / "truth.tif", "r+") as file:
        file.write(np.roll(file.read(1), -3, 1), 1)
    notes = checking.check(recipe.read(folder / "training.yaml")).notes
    assert (
        "labels of imagery 'scene' would fit it better 3 pixels right; check the CRS and the geotransform of both"
        in notes
    )


def test_a_class_without_labels_is_noted(folder):
    with rasterio.open(folder / "truth.tif", "r+") as file:
        codes = file.read(1)
        file.write(np.where(codes == 20, np.uint8(10), codes), 1)
    notes = checking.check(recipe.read(folder / "training.yaml")).notes
    assert "class 'soil' has no label at all; correct the crosswalk, or take it out of the legend" in notes


@pytest.mark.rendered
def test_the_command_prints_the_table_and_draws_a_picture(folder, monkeypatch):
    monkeypatch.chdir(folder)
    answer = geoseg("labels", "check", "training.yaml", "--out", "labels.png")
    assert answer.code == 0, answer
    rows = {each.split("\t")[0]: each.split("\t")[1:] for each in answer.out.splitlines() if "\t" in each}
    assert int(rows["water"][0]) == loaded(folder, buffer=8).counts(TRAIN, 3)[1]
    assert (folder / "labels.png").read_bytes()[:4] == b"\x89PNG"
    assert not (folder / "tiny").exists()


def test_a_wrong_spec_is_refused_as_by_training(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "training.yaml").write_text(RECIPE.replace("size: 16", "size: 17"))
    answer = geoseg("labels", "check", "training.yaml")
    assert answer.code == 2
    assert re.search("chips.size is 17; the network takes multiples of 2", answer.err)


def test_scenes_read_by_windows_are_checked_and_drawn_as_those_in_memory(folder, monkeypatch):
    spec = recipe.read(folder / "training.yaml")
    monkeypatch.setattr(checking, "EDGE", 30)  # every fourth row and column
    held, read = (checking.check(spec.model_copy(update={"memory": memory})) for memory in (10**9, 0))
    assert (held.rows, held.notes) == (read.rows, read.notes)
    for one, two in zip(held.drawn, read.drawn):
        np.testing.assert_array_equal(one.labels, held.scenes[0].labels[::4, ::4])
        np.testing.assert_array_equal(two.labels, one.labels)
        np.testing.assert_array_equal(two.division, held.scenes[0].division[::4, ::4])


def test_of_a_large_scene_the_square_that_most_is_learnt_from_is_looked_at(folder, monkeypatch):
    monkeypatch.setattr(checking, "_SQUARE", 64)
    scene = loaded(folder)
    window = checking._telling(scene)
    assert max(window.shape) <= 64
    assert scene.window.holds(window)

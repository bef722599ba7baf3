"""Folder: a model folder is whole or no model, and its card reads back as it was written."""

import csv

import numpy as np
import pytest
import safetensors.torch
import shapely
import torch
import yaml
from affine import Affine
from labelled_scenes import loaded
from model_folders import write_model
from rasterio import features

from geoseg.catalog.card import read_model
from geoseg.errors import ModelError
from geoseg.grid import Grid, Window
from geoseg.storage.store import Store
from geoseg.training import fit, recipe
from geoseg.training import folder as folders
from geoseg.training.division import DIVISIONS, TEST, TRAIN, VALIDATION, Squares, divide
from geoseg.training.recipe import ChipsSpec
from geoseg.training.scenes import LabelledScene

ROWS = [{"epoch": 1.0, "loss": 0.75, "mean_iou": 0.123456789}, {"epoch": 2.0, "loss": 0.5, "mean_iou": 0.5}]


def divided(division, window):
    """A scene without pixels, for its areas alone."""
    return LabelledScene("scene", window, np.zeros(0), np.zeros(0), division, 1.0)


def test_a_card_reads_back_as_it_was_written(tmp_path):
    model = write_model(
        tmp_path / "one", title="\u12a0\u121b\u122d\u129b: 1", scores={"a": {"b": 0.5}}, training={"x": [1, None]}
    )
    (tmp_path / "one" / "card.yaml").write_bytes(folders.dump(model.card))
    assert read_model(tmp_path / "one").card == model.card


def test_all_is_written_and_the_card_last(tmp_path, monkeypatch):
    model = write_model(tmp_path / "one")
    data = safetensors.torch.save({"a": torch.ones(2)})
    store = Store(str(tmp_path / "two"))
    order, put = [], Store.put

    def noted(self, name, *args, **options):
        order.append(name)
        return put(self, name, *args, **options)

    monkeypatch.setattr(Store, "put", noted)
    folders.write(store, model.card, data, ROWS)
    assert order[-1] == "card.yaml"
    assert (tmp_path / "two" / "weights.safetensors").read_bytes() == data
    with (tmp_path / "two" / "learning_curves.csv").open() as file:
        assert [each["mean_iou"] for each in csv.DictReader(file)] == ["0.123457", "0.5"]


def test_a_folder_half_written_is_no_model(tmp_path, monkeypatch):
    model = write_model(tmp_path / "one")

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folders.curves, "learning_curves", fail)
    with pytest.raises(OSError, match="No space left"):
        folders.write(Store(model.folder), model.card, b"other weights", ROWS)
    with pytest.raises(ModelError, match=r"has no card\.yaml"):
        read_model(model.folder)


def test_areas_are_the_pixels_that_were_learnt_from_and_held_out(folder):
    grid = Grid("EPSG:32633", (30.0, 0, 500_000.0, 0, -30.0, 4_000_000.0), 7, -3)
    window = Window(7, -3, 96, 112)  # the grid's own corner
    division = divide(window, {"west": 0.6}, Squares(16, 0.2, 0.2, 3, 1))
    areas = folders.areas_of(divided(division, window), grid)
    assert areas.crs == "EPSG:32633"
    transform = Affine(30, 0, 500_000, 0, -30, 4_000_000)
    for kind, name in ((TRAIN, "train"), (VALIDATION, "validation"), (TEST, "test")):
        boxes = [(shapely.box(*edges), 1) for edges in getattr(areas, name)]
        drawn = features.rasterize(boxes, window.shape, transform=transform)  # GDAL's idea of the same rectangles
        np.testing.assert_array_equal(drawn == 1, division == kind)


def test_small_pixels_keep_their_edges():
    grid = Grid("EPSG:4326", (0.00025, 0, 10.0, 0, -0.00025, 50.0))
    window = Window(1, 1, 4, 3)
    areas = folders.areas_of(divided(np.zeros((4, 3), np.uint8), window), grid)
    assert areas.train == ((10.00025, 49.99875, 10.001, 49.99975),)


def test_a_division_of_very_many_pieces_is_given_by_its_bounds(monkeypatch):
    monkeypatch.setattr(folders, "MOST_AREAS", 10)
    grid = Grid("EPSG:32633", (10.0, 0, 0.0, 0, -10.0, 0.0))
    division = np.full((20, 20), VALIDATION, np.uint8)
    division[2:12:2, 5:15:2] = TRAIN
    areas = folders.areas_of(divided(division, Window(0, 0, 20, 20)), grid)
    assert areas.train == ((50.0, -110.0, 140.0, -20.0),)
    assert areas.validation == ((0.0, -200.0, 200.0, 0.0),)
    assert areas.test == ()


@pytest.mark.slow
def test_the_card_says_what_was_seen(folder):
    model = fit.train(
        recipe.read(folder / "training.yaml").model_copy(update={"epochs": 1, "chips": ChipsSpec(size=16, square=16)})
    )
    history = model.card.training
    scene = loaded(folder, buffer=8)
    (said,) = history["scenes"]
    counts = {name: scene.counts(kind, 3) for kind, name in enumerate(DIVISIONS)}
    assert said["labelled_pixels"] == {name: int(each.sum()) for name, each in counts.items()}
    for at, name in enumerate(("green", "water", "soil")):
        assert history["labelled_pixels"][name] == {kind: int(each[at]) for kind, each in counts.items()}
    chips = history["recipe"]["chips"]
    assert (chips["square"], chips["buffer"]) == (16, 8)
    assert "within 8 pixels of what is held out are not learnt from" in history["division"]
    (areas,) = model.card.areas
    assert sum((right - left) * (top - bottom) for left, bottom, right, top in areas.train) == 900 * int(
        (scene.division == TRAIN).sum()
    )


def test_lists_of_rectangles_take_few_lines_of_a_card(tmp_path):
    areas = {"crs": "EPSG:32633", "train": [[float(at), 0.0, at + 1.0, 1.0] for at in range(60)]}
    model = write_model(tmp_path / "one", training={"scenes": [{"imagery": "a", "areas": areas}], "list": [1, 2]})
    text = folders.dump(model.card).decode()
    assert len(text.splitlines()) < len(folders.dump(write_model(tmp_path / "two").card).decode().splitlines()) + 25
    assert yaml.safe_load(text)["training"] == model.card.training

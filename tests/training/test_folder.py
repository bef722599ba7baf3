"""Folder: a model folder is whole or no model, and its card reads back as it was written."""

import csv

import pytest
import safetensors.torch
import torch
from model_folders import write_model

from geoseg.catalog.card import read_model
from geoseg.errors import ModelError
from geoseg.storage.store import Store
from geoseg.training import folder as folders

ROWS = [{"epoch": 1.0, "loss": 0.75, "mean_iou": 0.123456789}, {"epoch": 2.0, "loss": 0.5, "mean_iou": 0.5}]


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

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folders.curves, "learning_curves", fail)
    with pytest.raises(OSError, match="No space left"):
        folders.write(Store(model.folder), model.card, b"other weights", ROWS)
    with pytest.raises(ModelError, match=r"has no card\.yaml"):
        read_model(model.folder)

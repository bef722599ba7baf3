"""Card: all that a run needs to know of a model, checked at the door."""

import copy

import pytest
import yaml
from model_folders import CARD

from geoseg.catalog.card import ModelCard, Normalisation, read_model
from geoseg.errors import ModelError


def folder_with(tmp_path, **changes):
    """A model folder whose card differs from CARD; None takes a key away."""
    card = {key: value for key, value in {**copy.deepcopy(CARD), **changes}.items() if value is not None}
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(card))
    return tmp_path


def test_a_card_says_all_that_a_run_needs(tmp_path):
    model = read_model(folder_with(tmp_path))
    assert model.weights == tmp_path / "weights.safetensors"
    assert model.card.bands == ("red", "nir")
    assert model.card.legend.name == "two"
    assert [each.colour for each in model.card.legend.classes] == ["#0000ff", "#00ff00"]
    assert model.card.normalisation == Normalisation(kind="none")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"bands": []}, "list each band once, at least one"),
        ({"bands": ["red", "red"]}, "list each band once"),
        ({"bands": "red"}, 'bands: input should be a list, found "red"'),
        ({"halo": None}, "key 'halo' is missing"),
        ({"halo": 12}, "halo 12 and window 64 must be multiples of the stride 8"),
        ({"window": 60}, "halo 16 and window 60 must be multiples"),
        ({"stride": 0}, "stride and window are at least 1"),
        ({"field": "wide"}, "field: input should be 'bounded' or 'image-wide'"),
        ({"classes": []}, "legend 'two' has no classes"),
        ({"classes": [{"id": 255, "name": "water", "colour": "#0000ff"}]}, "maps store ids 0 to 254"),
        ({"classes": [{"id": 1, "name": "water", "colour": "blue"}]}, "colour 'blue'; write it as '#rrggbb'"),
        ({"classes": [CARD["classes"][0], {**CARD["classes"][0]}]}, "uses id 1 twice"),
        ({"weights": {"file": "../weights.safetensors", "sha256": "0" * 64}}, "lies in the model folder itself"),
        ({"weights": {"file": "weights.safetensors", "sha256": "abc"}}, "64 hexadecimal digits"),
        ({"normalisation": {"kind": "fixed"}}, "mean and std belong to the kinds 'fixed' and 'dynamic-world'"),
        (
            {"normalisation": {"kind": "scene", "mean": [0, 0], "std": [1, 1]}},
            "mean and std belong to the kinds 'fixed' and 'dynamic-world'",
        ),
        ({"normalisation": {"kind": "fixed", "mean": [0], "std": [1]}}, "one mean and one std for each band"),
        ({"normalisation": {"kind": "fixed", "mean": [0, 0], "std": [1, 0]}}, "each std must be positive"),
        ({"halos": 3}, "unknown key 'halos'; did you mean 'halo'?"),
        ({"normalisation": {"kind": "percentile"}}, "percentiles belong to the kind 'percentile', and only to it"),
        (
            {"normalisation": {"kind": "percentile", "percentiles": [98, 2]}},
            "percentiles are 98 and 2; give two from 0 to 100, the lower one first",
        ),
        ({"temperature": 0}, "temperature: input should be greater than 0"),
        ({"temperature": 2, "output": {"kind": "labels"}}, "temperature divides logits, and output.kind is 'labels'"),
        ({"normalisation": {"knd": "none"}}, "unknown key 'normalisation.knd'; did you mean 'kind'?"),
    ],
)
def test_a_wrong_card_is_refused_in_one_sentence(tmp_path, changes, sentence):
    with pytest.raises(ModelError) as caught:
        read_model(folder_with(tmp_path, **changes))
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "card.yaml"))


def test_a_folder_without_a_card_is_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"has no card\.yaml; a model is a folder"):
        read_model(tmp_path)


def test_a_card_survives_being_written_and_read(tmp_path):
    card = read_model(folder_with(tmp_path)).card
    assert ModelCard.model_validate(yaml.safe_load(yaml.safe_dump(card.model_dump(mode="json")))) == card


SQUARE = [0.0, 0.0, 30.0, 30.0]


@pytest.mark.parametrize(
    ("areas", "sentence"),
    [
        ({"crs": "EPSG:32612", "trian": [SQUARE]}, "training.scenes.areas.trian: Extra inputs are not permitted"),
        ({"crs": "EPSG:32612", "train": [[0, 0, 30]]}, "training.scenes.areas.train.0"),
        (
            {"crs": "EPSG:32612", "train": [[0, 30, 30, 0]]},
            "an area is left, bottom, right, top; found 0.0, 30.0, 30.0",
        ),
        ({"crs": "EPSG:32612", "test": [[0, 0, float("inf"), 1]]}, "an area is left, bottom, right, top"),
        ({"crs": "Utah"}, "crs: 'Utah' is no CRS that PROJ knows"),
        ({"train": [SQUARE]}, "training.scenes.areas.crs: Field required"),
        ("everywhere", "training.scenes.areas: Input should be a valid dictionary"),
    ],
)
def test_wrong_areas_are_refused_in_one_sentence(tmp_path, areas, sentence):
    with pytest.raises(ModelError) as caught:
        read_model(folder_with(tmp_path, training={"scenes": [{"imagery": "a", "areas": areas}]}))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_areas_are_read_scene_by_scene(tmp_path):
    areas = {"crs": "EPSG:32612", "train": [SQUARE, [30, 0, 60, 30]], "test": [[0, 30, 30, 60]]}
    scenes = [{"imagery": "a", "areas": areas}, {"imagery": "b"}, "a word", {"areas": {"crs": "EPSG:4326"}}]
    first, second = read_model(folder_with(tmp_path, training={"scenes": scenes})).card.areas
    assert first.train == ((0, 0, 30, 30), (30, 0, 60, 30))
    assert (first.validation, first.test) == ((), ((0, 30, 30, 60),))
    assert (second.crs, second.train) == ("EPSG:4326", ())


@pytest.mark.parametrize(
    "training", [{}, {"scenes": "all"}, {"scenes": [1, None]}, {"scenes": {"a": 1}}, {"epochs": 3}]
)
def test_a_history_that_says_nothing_of_areas_is_free(tmp_path, training):
    assert read_model(folder_with(tmp_path, training=training)).card.areas == ()

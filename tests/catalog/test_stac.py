"""STAC: a card comes back from its item as it was, and items are what the extension's schema asks for.

What the published schemas (mlm 1.3.0 and 1.4.0, raster 1.1.0, file 2.1.0) require of keys, types and patterns is
written out below, since they are fetched from the network else; pystac and its extension read the item too.
"""

import copy
import json
import re

import pystac
import pytest
from model_folders import CARD
from pystac.extensions.mlm import ItemMLMExtension
from strategies import NORTH_UP

from geoseg import catalog
from geoseg.catalog import stac
from geoseg.catalog.card import ModelCard
from geoseg.errors import ModelError

SHA256 = "ab" * 32
CARDS = {
    "plain": {},
    "fixed": {"normalisation": {"kind": "fixed", "mean": [1.5, 2], "std": [3, 0.1]}},
    "scene": {"normalisation": {"kind": "scene"}, "temperature": 1.5},
    "percentile": {"normalisation": {"kind": "percentile", "percentiles": [2, 98]}, "gsd_m": 10, "gsd_tolerance": 0.5},
    "formula": {"normalisation": {"kind": "dynamic-world", "mean": [1, 2], "std": [3, 4]}},
    "labels": {"output": {"kind": "labels"}, "architecture": {"name": "onnx"}},
    "sigmoid": {"output": {"kind": "sigmoid", "channels": 1, "name": "main"}, "field": "image-wide"},
    "odd name": {"name": "3 Küsten/2024", "title": "Coasts", "licence": "CC-BY-4.0"},
    "radiometry": {"radiometry": {"what": "bytes", "low": 0, "high": 255}, "measured": {"halo": 16}},
    "dtype": {"radiometry": {"dtype": "uint16"}, "gsd_m": 10},
    "dtype and radiometry": {"radiometry": {"what": "bytes", "low": 0, "high": 255, "dtype": "float32"}},
    "smp": {"architecture": {"name": "smp", "arch": "Unet", "encoder": "resnet18", "decoder_channels": [8, 4]}},
    "areas": {
        "training": {
            "scenes": [
                {
                    "imagery": "a",
                    "areas": {
                        "crs": "EPSG:32612",
                        "train": [[NORTH_UP.c, NORTH_UP.f - 5000, NORTH_UP.c + 9000, NORTH_UP.f]],
                    },
                }
            ]
        }
    },
}


def card_of(**keys):
    weights = {"file": "weights.safetensors", "sha256": SHA256}
    return ModelCard.model_validate({**CARD, "weights": weights, **keys})


def through_json(card):
    return json.loads(json.dumps(stac.item_of(card, f"sub/{card.weights.file}", 1234)))


@pytest.mark.parametrize("kind", CARDS)
def test_a_card_comes_back_from_its_item(kind):
    card = card_of(**CARDS[kind])
    found = stac.described(through_json(card), "item.json")
    lower = tuple(each.model_copy(update={"colour": each.colour.upper()}) for each in card.classes)
    assert found.card == card.model_copy(update={"classes": lower})
    assert (found.href, found.sha256) == ("sub/weights.safetensors", SHA256)
    assert found.draft.normalisation == card.normalisation


def test_shipped_models_come_back_too():
    known = catalog.shipped()
    for name in known.names("models"):
        card = known.model(name).card
        found = stac.described(through_json(card), name).card
        assert found.legend == card.legend
        assert found.model_copy(update={"classes": card.classes}) == card


@pytest.mark.parametrize("kind", CARDS)
def test_items_are_as_the_schemas_ask(kind):
    item = through_json(card_of(**CARDS[kind]))
    assert item["type"] == "Feature"
    assert {"stac_version", "id", "geometry", "bbox", "properties", "links", "assets"} <= item.keys()
    assert stac.MLM in item["stac_extensions"]
    assert any(
        re.fullmatch(r"https://stac-extensions\.github\.io/raster/v1(\.[0-9]+){2}/schema\.json", each)
        for each in item["stac_extensions"]
    )
    properties = item["properties"]
    assert properties["datetime"] is None
    assert {"start_datetime", "end_datetime"} <= properties.keys()  # where there is no datetime
    assert {"mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output"} <= properties.keys()
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]", properties["mlm:name"])
    assert properties["mlm:framework"] in ("PyTorch", "ONNX")
    for each in properties["mlm:input"]:
        assert {"name", "bands", "variables", "input"} <= each.keys()
        structure(each["input"])
        scaled(each["value_scaling"])
    for each in properties["mlm:output"]:
        assert {"name", "tasks", "result"} <= each.keys()
        structure(each["result"])
        for one in each["classification:classes"]:
            assert isinstance(one["value"], int)
            assert re.fullmatch("[0-9A-Za-z-_]+", one["name"])
            assert re.fullmatch("[0-9A-F]{6}", one["color_hint"])
        after = each["post_processing_function"]
        assert after is None or {"format", "expression"} <= after.keys()
    models = [each for each in item["assets"].values() if "mlm:model" in each["roles"]]
    assert len(models) == 1
    assert models[0]["mlm:artifact_type"]
    assert re.fullmatch("1220[0-9a-f]{64}", models[0]["file:checksum"])
    assert [each["name"] for each in models[0]["raster:bands"]] == properties["mlm:input"][0]["bands"]
    west, south, east, north = item["bbox"]
    assert -180 <= west < east <= 180
    assert -90 <= south < north <= 90


def structure(said):
    assert {"shape", "dim_order", "data_type"} <= said.keys()
    assert all(isinstance(each, int) and each >= -1 for each in said["shape"])
    assert len(said["shape"]) == len(said["dim_order"]) == len(set(said["dim_order"]))
    assert all(re.fullmatch("[a-z-_]+", each) for each in said["dim_order"])
    assert said["data_type"] in ("float32", "int64")


def scaled(said):
    needed = {"z-score": {"mean", "stddev"}, "processing": {"format", "expression"}}
    assert said is None or said
    assert all(needed[each["type"]] <= each.keys() for each in said or ())


def test_an_item_covers_where_the_model_was_trained():
    left, bottom, right, top = through_json(card_of(**CARDS["areas"]))["bbox"]
    assert -114 < left < right < -110
    assert 37 < bottom < top < 39
    assert (right - left, top - bottom) == (pytest.approx(0.103, abs=0.005), pytest.approx(0.046, abs=0.005))
    assert through_json(card_of())["bbox"] == [-180, -90, 180, 90]


def test_pystac_and_its_model_extension_read_an_item():
    item = pystac.Item.from_dict(through_json(card_of()))
    said = ItemMLMExtension.ext(item)
    assert (said.mlm_name, [str(each) for each in said.tasks]) == ("tiny", ["semantic-segmentation"])
    assert said.input[0].input.dim_order == ["batch", "channel", "height", "width"]
    assert len(said.output[0].classes) == len(card_of().classes)


# ---------------------------------------------------------------------------------- items of other makers

THEIRS = {
    "type": "Feature",
    "stac_version": "1.0.0",
    "stac_extensions": ["https://stac-extensions.github.io/mlm/v1.3.0/schema.json"],
    "id": "fields",
    "geometry": None,
    "properties": {
        "datetime": "2024-01-01T00:00:00Z",
        "license": "MIT",
        "mlm:name": "Fields",
        "mlm:architecture": "segmentation_models_pytorch.decoders.unet.model.Unet",
        "mlm:hyperparameters": {"encoder_name": "resnet18"},
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:input": [
            {
                "name": "in",
                "bands": ["B4", {"name": "B8A"}, "thermal", "x1"],
                "input": {
                    "shape": [-1, 4, 64, 64],
                    "dim_order": ["batch", "channel", "height", "width"],
                    "data_type": "float32",
                },
                "value_scaling": [{"type": "min-max", "minimum": 100, "maximum": 3000}],
            }
        ],
        "mlm:output": [
            {
                "name": "out",
                "tasks": ["semantic-segmentation"],
                "result": {
                    "shape": [-1, 2, 64, 64],
                    "dim_order": ["batch", "class", "height", "width"],
                    "data_type": "float32",
                },
                "classification:classes": [{"value": 0, "name": "other"}, {"value": 1, "name": "field"}],
                "post_processing_function": {"format": "python", "expression": "torch.sigmoid"},
            }
        ],
    },
    "links": [],
    "assets": {
        "paper": {"href": "https://example.com", "roles": ["publication"]},
        "model": {
            "href": "https://example.com/fields.pth",
            "roles": ["mlm:model"],
            "eo:bands": [{"name": "x1", "common_name": "pan"}],
            "raster:bands": [{"name": "B4", "spatial_resolution": 20}, {"name": "B8A", "spatial_resolution": 10}],
        },
    },
}


def theirs(**keys):
    item = copy.deepcopy(THEIRS)
    for path, value in keys.items():
        held, *parts = item, *path.split("__")
        for part in parts[:-1]:
            held = held[int(part) if part.isdigit() else part.replace("_", ":", 1)]
        held[parts[-1].replace("_", ":", 1) if parts[-1].startswith("mlm") else parts[-1]] = value
    return item


def test_an_item_of_another_maker_is_a_draft():
    found = stac.described(theirs(), "item.json")
    draft = found.draft
    assert (found.card, found.sha256, found.href) == (None, None, "https://example.com/fields.pth")
    assert draft.bands == ("red", "nir08", "thermal", "pan")
    assert draft.normalisation.kind == "fixed"
    assert (draft.normalisation.mean, draft.normalisation.std) == ((100,) * 4, (2900,) * 4)
    assert draft.output.kind == "sigmoid"
    assert draft.architecture == {"name": "smp", "arch": "Unet", "encoder": "resnet18"}
    assert (draft.gsd_m, draft.licence, draft.legend_name) == (10, "MIT", "fields")
    assert [(each.id, each.name) for each in draft.classes] == [(0, "other"), (1, "field")]
    assert len({each.colour for each in draft.classes}) == 2


@pytest.mark.parametrize(
    ("types", "dtype"),
    [
        (["uint16"] * 2, "uint16"),
        (["uint8", "uint16"], None),
        (["float32"] * 2, None),
        (["other"] * 2, None),
        ([7], None),
    ],
)
def test_the_type_of_its_imagery_is_taken_where_it_says_one(types, dtype):
    item = theirs(assets__model__raster_bands=[{"name": f"B{at}", "data_type": each} for at, each in enumerate(types)])
    item["assets"]["model"]["raster:bands"] = item["assets"]["model"].pop("raster_bands")
    expected = stac.described(item, "item.json").draft.radiometry
    assert (None if expected is None else expected.dtype) == dtype


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (7, "x is no STAC item of a model that can be read"),
        ({}, "KeyError: 'properties'"),
        ({**THEIRS, "stac_extensions": []}, "x is a STAC item without the Machine Learning Model extension"),
        ({**THEIRS, "assets": {}}, "x is no STAC item of a model"),
        (theirs(properties__mlm_tasks=["detection"]), "x is a model for detection; geoseg maps with"),
        (theirs(properties__mlm_input=[]), "x is no STAC item of a model"),
        (
            theirs(properties__mlm_input=THEIRS["properties"]["mlm:input"] * 2),
            "x takes more than one picture",
        ),
        (
            theirs(properties__mlm_input__0__value_scaling=[{"type": "clip", "minimum": 0, "maximum": 1}]),
            "x scales its values by clip, which geoseg does not know for 4 bands; write a draft",
        ),
        (
            theirs(properties__mlm_input__0__value_scaling=[{"type": "z-score", "mean": 0, "stddev": 1}] * 3),
            "x scales its values by z-score",
        ),
    ],
    ids=range(9),
)
def test_what_is_no_model_is_refused_in_one_sentence(item, said):
    with pytest.raises(ModelError) as caught:
        stac.described(item, "x")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)

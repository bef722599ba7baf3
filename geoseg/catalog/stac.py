"""STAC: a model's card as an item of the Machine Learning Model extension, and what such an item says of a model.

Plain data on both sides. What the extension has words for (bands, scaling, classes, output) is said in them alone; the
rest of a card stands under `geoseg:card`, and items of other makers do without. https://github.com/stac-extensions/mlm
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import shapely
from odc.geo.geom import Geometry
from pydantic import ValidationError

from geoseg.catalog import products
from geoseg.catalog.card import AreasSpec, ClassSpec, DataType, Draft, ModelCard, Normalisation, Output, Weights
from geoseg.errors import ModelError
from geoseg.grid import project, read_crs
from geoseg.quantities import counted

MLM = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"
_RASTER = "https://stac-extensions.github.io/raster/v1.1.0/schema.json"
_FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
_OURS = "geoseg:card"
_REST = {
    *("architecture", "output", "temperature", "radiometry", "gsd_tolerance", "stride", "halo", "field", "window"),
    *("legend_name", "training", "scores", "measured"),
}
"""Keys of a card that the extension has no words for."""
_KINDS = {
    "": ("PyTorch", "safetensors", "application/octet-stream; application=safetensors"),
    "onnx": ("ONNX", "onnx", "application/octet-stream; application=onnx"),
    "exported": ("PyTorch", "torch.export.save", "application/octet-stream; application=pytorch"),
}
"""Framework, type of artefact and of media, by the name of an architecture; '' is any other."""
_AFTER = {"logits": "torch.softmax", "sigmoid": "torch.sigmoid"}
"""What makes shares of an output, by its kind."""
_SHA256 = "1220"
"""How a multihash says that 32 bytes of SHA-256 follow."""
_WORLD = (-180.0, -90.0, 180.0, 90.0)
_GOLDEN = 0.618034


@dataclass(frozen=True, slots=True)
class Described:
    """What an item says of a model."""

    draft: Draft
    href: str
    """Where its weights are, relative to the item or an address."""
    sha256: str | None
    """Of the weights, where it says so."""
    card: ModelCard | None
    """The whole card, where geoseg wrote the item."""


def item_of(card: ModelCard, href: str, size: int) -> dict[str, Any]:
    """A model as a STAC item.

    It covers where the model was trained, as its card says, else the whole Earth, and any time.

    Parameters
    ----------
    card : ModelCard
        Of the model.
    href : str
        Where its weights are, relative to the item.
    size : int
        Of the weights, bytes.
    """
    framework, artifact, media = _KINDS.get(str(card.architecture.get("name")), _KINDS[""])
    left, bottom, right, top = box = _box(card.areas)
    corners = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
    properties: dict[str, Any] = {
        "datetime": None,
        "start_datetime": "1900-01-01T00:00:00Z",
        "end_datetime": "9999-12-31T23:59:59Z",
        "title": card.title or card.name,
        "license": card.licence or "other",
        "mlm:name": _name(card.name),
        "mlm:architecture": _architecture(card),
        "mlm:framework": framework,
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:input": [_input(card)],
        "mlm:output": [_output(card)],
        _OURS: _rest(card),
    }
    bands: list[dict[str, Any]] = [{"name": each} for each in card.bands]
    if card.radiometry is not None and card.radiometry.dtype is not None:
        bands = [{**each, "data_type": card.radiometry.dtype} for each in bands]
    if card.gsd_m is not None:
        properties["gsd"] = card.gsd_m
        bands = [{**each, "spatial_resolution": card.gsd_m} for each in bands]
    asset = {
        "href": href,
        "title": f"Weights of {card.name}",
        "type": media,
        "roles": ["mlm:model", "mlm:weights"],
        "mlm:artifact_type": artifact,
        "file:size": size,
        "file:checksum": _SHA256 + card.weights.sha256,
        "raster:bands": bands,
    }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [MLM, _RASTER, _FILE],
        "id": card.name,
        "bbox": list(box),
        "geometry": {"type": "Polygon", "coordinates": [corners]},
        "properties": properties,
        "links": [],
        "assets": {"model": asset},
    }


def described(item: Any, where: str) -> Described:
    """What an item says of a model.

    Parameters
    ----------
    item : Any
        As JSON has it.
    where : str
        What messages call it, a path say.

    Raises
    ------
    ModelError
        If it is no item of the extension, describes no network that labels pixels, or is scaled in unknown ways.
    """
    try:
        return _described(item, where)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, StopIteration) as error:
        if isinstance(error, ModelError):
            raise
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else f"{type(error).__name__}: {error}"
        raise ModelError(f"{where} is no STAC item of a model that can be read ({said[:200]})") from None


def _described(item: Mapping[str, Any], where: str) -> Described:
    properties = item["properties"]
    if not any("/mlm/" in each or "mlm-extension" in each for each in item.get("stac_extensions", ())):
        raise ModelError(f"{where} is a STAC item without the Machine Learning Model extension; give a model's item")
    if not {"semantic-segmentation", "segmentation"} & set(properties["mlm:tasks"]):
        tasks = ", ".join(map(str, properties["mlm:tasks"]))
        raise ModelError(f"{where} is a model for {tasks}; geoseg maps with models for semantic-segmentation")
    (taken, *more), (given, *_) = properties["mlm:input"], properties["mlm:output"]
    if more or len(taken["input"]["dim_order"]) != 4:
        raise ModelError(f"{where} takes more than one picture; geoseg gives (batch, channel, height, width) once")
    model = next(each for each in item["assets"].values() if "mlm:model" in each.get("roles", ()))
    checksum = str(model.get("file:checksum", ""))
    sha256 = checksum.removeprefix(_SHA256) if re.fullmatch(_SHA256 + "[0-9a-f]{64}", checksum) else None
    bands = tuple(_band(each, properties, model) for each in taken["bands"])
    rest = dict(properties.get(_OURS, {}))
    said = {
        "name": item["id"],
        "title": properties.get("title", ""),
        "bands": bands,
        "normalisation": _normalisation(taken.get("value_scaling"), len(bands), where),
        "gsd_m": properties.get("gsd") or _finest(model),
        "classes": _classes(given),
        "licence": "" if properties.get("license") in (None, "other") else properties["license"],
    }
    if dtype := _dtype(model, ours=bool(rest)):
        said["radiometry"] = {"what": "", **rest.pop("radiometry", {}), "dtype": dtype}
    if said["title"] == said["name"]:
        said["title"] = ""
    if rest:
        weights = Weights(file=str(model["href"]).rsplit("/", 1)[-1], sha256=str(sha256))
        card = ModelCard(**{**rest, **said}, weights=weights)
        known = {key: value for key, value in card if key in Draft.model_fields}
        return Described(Draft(**known), str(model["href"]), sha256, card)
    draft = Draft(**said, legend_name=item["id"], output=_kind(given), architecture=_smp(properties))
    return Described(draft, str(model["href"]), sha256, None)


# ------------------------------------------------------------------------------------------- as an item


def _rest(card: ModelCard) -> dict[str, Any]:
    """What of a card the extension has no words for."""
    rest = card.model_dump(mode="json", exclude_none=True, include=_REST)
    rest.get("radiometry", {}).pop("dtype", None)
    return rest


def _box(areas: Sequence[AreasSpec]) -> tuple[float, float, float, float]:
    """Around all that was learnt from, longitude and latitude, rounded outwards to a thousandth of a degree."""
    found = []
    for each in areas:
        for edges in each.train:
            shape = shapely.box(*edges)
            size = max(edges[2] - edges[0], edges[3] - edges[1])
            found.append(project(Geometry(shape, read_crs(each.crs, "areas.crs")), "EPSG:4326", size / 32).geom)
    if not found:
        return _WORLD
    left, bottom, right, top = shapely.total_bounds(found).tolist()
    return (left // 0.001 / 1000, bottom // 0.001 / 1000, -(-right // 0.001) / 1000, -(-top // 0.001) / 1000)


def _name(text: str) -> str:
    """A name of letters, digits, '_', '-', '.' and blanks that begins with a letter, as the extension asks."""
    plain = re.sub(r"[^A-Za-z0-9_.\- ]+", "-", text).strip("_.- ")
    return plain if re.fullmatch(r"[A-Za-z].+[A-Za-z0-9]", plain) else f"model-{plain}".rstrip("-")


def _architecture(card: ModelCard) -> str:
    named = card.architecture
    return " ".join(str(named[key]) for key in ("name", "arch", "encoder") if key in named)


def _shape(card: ModelCard, *channels: int) -> list[int]:
    side = card.window + 2 * card.halo
    return [-1, *channels, side, side]


def _input(card: ModelCard) -> dict[str, Any]:
    numbers = card.normalisation
    scaling: list[dict[str, Any]] | None = None
    if numbers.kind == "fixed":
        pairs = zip(numbers.mean or (), numbers.std or ())
        scaling = [{"type": "z-score", "mean": mean, "stddev": std} for mean, std in pairs]
    elif numbers.kind != "none":
        said = numbers.model_dump(mode="json", exclude_none=True)
        scaling = [{"type": "processing", "format": "geoseg", "expression": said}]
    return {
        "name": "pixels",
        "bands": list(card.bands),
        "variables": [],
        "input": {
            "shape": _shape(card, len(card.bands)),
            "dim_order": ["batch", "channel", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": scaling,
        "resize_type": None,
        "pre_processing_function": None,
    }


def _output(card: ModelCard) -> dict[str, Any]:
    labels, after = card.output.kind == "labels", _AFTER.get(card.output.kind)
    channels = [] if labels else [card.output.channels or len(card.classes)]
    return {
        "name": card.output.name or "classes",
        "tasks": ["semantic-segmentation"],
        "bands": [],
        "variables": [],
        "result": {
            "shape": _shape(card, *channels),
            "dim_order": ["batch", *(["class"] if channels else []), "height", "width"],
            "data_type": "int64" if labels else "float32",
        },
        "classification:classes": [
            {
                "value": each.id,
                "name": re.sub(r"[^0-9A-Za-z_-]+", "-", each.name).strip("-") or f"class-{each.id}",
                "title": each.name,
                "description": each.name,
                "color_hint": each.colour.removeprefix("#").upper(),
            }
            for each in card.classes
        ],
        "post_processing_function": None if after is None else {"format": "python", "expression": after},
    }


# ----------------------------------------------------------------------------------------- from an item


def _band(said: Any, properties: Mapping[str, Any], asset: Mapping[str, Any]) -> str:
    """A band's common name: what the item says of it, what Sentinel-2's code stands for, or its own name."""
    name = str(said["name"] if isinstance(said, Mapping) else said)
    for held in (properties, asset):
        for each in (*held.get("eo:bands", ()), *held.get("bands", ())):
            common = each.get("common_name") or each.get("eo:common_name")
            if each.get("name") == name and common:
                return str(common)
    code = re.sub(r"^B(\d)$", r"B0\1", name.upper())
    return next(iter(products.names_of(code)), name)


def _normalisation(said: Any, bands: int, where: str) -> Normalisation:
    if not said:
        return Normalisation()
    kinds = {each["type"] for each in said}
    if kinds == {"processing"} and len(said) == 1 and said[0].get("format") == "geoseg":
        return Normalisation(**said[0]["expression"])
    each_band = list(said) * (bands if len(said) == 1 else 1)
    if kinds == {"z-score"} and len(each_band) == bands:
        pairs = [(each["mean"], each["stddev"]) for each in each_band]
    elif kinds == {"min-max"} and len(each_band) == bands:
        pairs = [(each["minimum"], each["maximum"] - each["minimum"]) for each in each_band]
    else:
        raise ModelError(
            f"{where} scales its values by {', '.join(sorted(map(str, kinds)))}, which geoseg does not know for "
            f"{counted(bands, 'band')}; write a draft with 'normalisation', and add the weights with geoseg models add"
        )
    mean, std = zip(*pairs)
    return Normalisation(kind="fixed", mean=mean, std=std)


def _finest(asset: Mapping[str, Any]) -> float | None:
    found = [each["spatial_resolution"] for each in asset.get("raster:bands", ()) if each.get("spatial_resolution")]
    return float(min(found)) if found else None


def _dtype(asset: Mapping[str, Any], *, ours: bool) -> str | None:
    """Type of the numbers in the imagery's files; other makers call floats so what the network takes of integers."""
    found = {each.get("data_type") for each in asset.get("raster:bands", ())}
    said = found.pop() if len(found) == 1 else None
    known = get_args(DataType) if ours else [each for each in get_args(DataType) if "int" in each]
    return said if said in known else None


def _classes(given: Mapping[str, Any]) -> tuple[ClassSpec, ...]:
    """The classes; those without a colour get hues as far apart as may be."""
    listed = given.get("classification:classes") or given["classification_classes"]
    found = []
    for at, each in enumerate(listed):
        hint = each.get("color_hint") or each.get("color-hint")
        red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(at * _GOLDEN % 1, 0.6, 0.8))
        colour = f"#{hint}" if hint else f"#{red:02x}{green:02x}{blue:02x}"
        name = str(each.get("title") or each.get("name") or f"class {each['value']}")
        found.append(ClassSpec(id=each["value"], name=name, colour=colour))
    return tuple(found)


def _kind(given: Mapping[str, Any]) -> Output:
    if len(given["result"]["shape"]) == 3:
        return Output(kind="labels")
    after = str((given.get("post_processing_function") or {}).get("expression", "")).lower()
    kind: Literal["logits", "sigmoid"] = "sigmoid" if "sigmoid" in after else "logits"
    return Output(kind=kind)


def _smp(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The architecture where it is one of segmentation-models-pytorch and the encoder is said; else {}."""
    said = " ".join(str(properties.get(f"mlm:{key}", "")) for key in ("architecture", "framework"))
    held = properties.get("mlm:hyperparameters", {})
    encoder = held.get("encoder_name") or held.get("encoder")
    arch = re.split(r"[.\s]", str(properties["mlm:architecture"]))[-1]
    return {"name": "smp", "arch": arch, "encoder": encoder} if "segmentation_models" in said and encoder else {}

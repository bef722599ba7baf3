"""Kinds: which of geoseg's YAML files a path is, told from its ending and its keys, where another was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from geoseg.errors import GeosegError

Kind = Literal["job", "catalog", "training"]
_NAMES = {
    "job": "a job spec",
    "catalog": "a catalog",
    "training": "a training spec",
    "card": "the card of a model",
}
_KEYS: dict[str, frozenset[str]] = {
    "job": frozenset({"model", "region", "grid", "outputs", "inference", "cluster", "memory_per_worker"}),
    "catalog": frozenset({"imagery", "references", "legends", "crosswalks", "models", "regions"}),
    "training": frozenset(
        {"scenes", "chips", "epochs", "learning_rate", "class_weight", "legend", "bands", "architecture"}
    ),
    "card": frozenset({"architecture", "weights", "bands", "legend_name", "halo", "stride", "classes"}),
}
_COMMANDS = {
    "job": "geoseg plan or run",
    "catalog": "geoseg catalog",
    "training": "geoseg train",
}
_RASTERS = (".tif", ".tiff", ".vrt", ".jp2", ".img", ".png", ".nc")
_VECTORS = (".gpkg", ".shp", ".geojson", ".fgb", ".parquet")
_WEIGHTS = (".safetensors", ".onnx", ".pt", ".pth", ".pt2")


def check_path(path: Path, wanted: Kind, error: type[GeosegError]) -> None:
    """Refuse what cannot be a YAML file, and say what to give instead; one that is not there passes.

    Parameters
    ----------
    path : Path
        What was given.
    wanted : {'job', 'catalog', 'training'}
        What it should be.
    error : type
        Kind of error that is raised.
    """
    name, ending = _NAMES[wanted], path.suffix.lower()
    give = f"give {name}, a YAML file"
    if path.is_dir():
        raise error(f"{path} is {_folder(path, wanted)}; {give}{_inside(path, wanted)}")
    if ending in _RASTERS:
        raise error(
            f"{path} is a raster, not {name}; {give}: 'geoseg init {path}' writes a catalog and a job for a scene"
        )
    for endings, what in ((_VECTORS, "a vector file"), (_WEIGHTS, "the weights of a model"), ((".py",), "a program")):
        if ending in endings:
            raise error(f"{path} is {what}, not {name}; {give}, see docs/{_page(wanted)}")


def check_keys(data: Any, path: Path, wanted: Kind, error: type[GeosegError]) -> None:
    """Refuse another of geoseg's YAML files by its keys, and say what it is for.

    Parameters
    ----------
    data : object
        What the file holds.
    path : Path
        What messages call it.
    wanted : {'job', 'catalog', 'training'}
        What it should be.
    error : type
        Kind of error that is raised.
    """
    found = kind_of(data)
    if found in (None, wanted):
        return
    use = f"; it is for {_COMMANDS[found]}" if found in _COMMANDS else ""
    beside = path.parent / "data_catalog.yaml"
    there = f", for instance {beside}" if wanted == "catalog" and beside.is_file() and beside != path else ""
    raise error(f"{path} is {_NAMES[str(found)]}, not {_NAMES[wanted]}{use}; give {_NAMES[wanted]}{there}")


def kind_of(data: Any) -> str | None:
    """'job', 'catalog', 'training' or 'card', by the keys that only one of them has; None where they do not say."""
    if not isinstance(data, Mapping):
        return None
    if "imagery" in data and not isinstance(data["imagery"], Mapping) and "model" in data:
        return "job"
    score = {kind: len(keys & data.keys()) for kind, keys in _KEYS.items()}
    if isinstance(data.get("imagery"), str):
        score["catalog"] -= 1
    best = max(score, key=lambda kind: score[kind])
    return best if score[best] and sum(each == score[best] for each in score.values()) == 1 else None


def _folder(path: Path, wanted: Kind) -> str:
    if (path / "job.json").is_file():
        return "the folder of a job that was run" + (
            ", not its job spec; 'geoseg resume' goes on with it" if wanted == "job" else ""
        )
    return "a model folder" if (path / "card.yaml").is_file() else "a folder"


def _inside(path: Path, wanted: Kind) -> str:
    """A YAML file in the folder that may be meant."""
    names = {"job": ("job.yaml", "*.yaml"), "catalog": ("data_catalog.yaml",), "training": ("train*.yaml",)}[wanted]
    others = ("data_catalog.yaml", "card.yaml") if wanted == "job" else ()
    found = [each for name in names for each in sorted(path.glob(name)) if each.name not in others]
    return f", {found[0]} say" if found else ""


def _page(wanted: Kind) -> str:
    return {"job": "job.md", "catalog": "catalog.md", "training": "training.md"}[wanted]

"""Checkpoint: all that a training needs to go on after it was killed, as one safetensors file; never a pickle.

It is written whole or not at all. Tensors are stored under dotted names, all else as JSON in the file's header.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from geoseg.errors import ModelError
from geoseg.storage.store import Store
from geoseg.training.recipe import Recipe
from geoseg.training.scenes import LabelledScene

NAME = "checkpoint.safetensors"
"""In the model folder, until the model is whole."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A training after a whole epoch."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    """Tensors by name, in groups such as the network's, the optimiser's."""
    facts: Mapping[str, Any]
    """Plain data: rows of the learning curves, state of the generators."""


def identity(recipe: Recipe, scenes: Sequence[LabelledScene], device: str) -> str:
    """What must be the same for a training to go on: the recipe, all pixels, labels and divisions, torch, the device.

    Parameters
    ----------
    recipe
        What changes no weight does not matter: paths, title, memory, readers, what it is compared with.
    scenes
        As they are learnt from.
    device
        'cpu' or 'cuda'.
    """
    free = {"catalog", "out", "title", "licence", "split", "memory", "readers", "baseline"}
    asked = recipe.model_dump(mode="json", exclude=free)
    digest = hashlib.sha256(json.dumps([asked, torch.__version__, device], sort_keys=True).encode())
    for scene in scenes:
        digest.update(scene.survey().digest)
    return digest.hexdigest()


def save(store: Store, found: Checkpoint, of: str) -> None:
    """Write a checkpoint, replacing an older one.

    Parameters
    ----------
    store
        The model folder.
    found
        The training.
    of
        Its `identity`.
    """
    flat = {
        f"{group}.{name}": each.detach().cpu().contiguous().clone()
        for group, tensors in found.tensors.items()
        for name, each in tensors.items()
    }
    store.put(NAME, safetensors.torch.save(flat, {"of": of, "facts": json.dumps(found.facts)}))


def load(store: Store, of: str, *, overwrite: bool = False) -> Checkpoint | None:
    """The checkpoint of a training; None where there is none.

    Parameters
    ----------
    store, of
        As for `save`.
    overwrite
        Take no notice of another training's, or a damaged one.

    Raises
    ------
    ModelError
        If it is that of another training, or damaged.
    """
    if not store.exists(NAME):
        return None
    path = store.path(NAME)
    try:
        with safetensors.safe_open(path, "pt") as file:
            said = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
        facts = json.loads(said["facts"])
    except (safetensors.SafetensorError, KeyError, ValueError, OSError) as error:
        if overwrite:
            return None
        raise ModelError(f"{path} is no checkpoint of a training: {error}; start over with overwrite") from error
    if said.get("of") != of:
        if overwrite:
            return None
        raise ModelError(
            f"{store.root} holds the checkpoint of a training with another spec, other imagery or labels, or another "
            "torch; name another folder, or start over with overwrite"
        )
    groups: dict[str, dict[str, Tensor]] = {}
    for name, each in tensors.items():
        group, _, rest = name.partition(".")
        groups.setdefault(group, {})[rest] = each
    return Checkpoint(groups, facts)

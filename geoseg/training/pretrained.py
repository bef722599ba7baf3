"""Pretrained: weights of an encoder from a local safetensors file, known by its hash; nothing is downloaded.

Names may be those of segmentation-models-pytorch, or of torchvision and timm, whose layers its encoders keep.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor, nn

from geoseg.errors import JobError, ModelError
from geoseg.models import weights
from geoseg.training import layers
from geoseg.training.recipe import Recipe

_PREFIXES = ("encoder.", "model.", "module.", "backbone.")


def taken(network: nn.Module, recipe: Recipe) -> None:
    """Give the encoder of a network the weights of the recipe's file; its input layer is matched by names of bands.

    Tensors of the file that the encoder lacks, such as the head of a classifier, are left out.

    Parameters
    ----------
    network
        Freshly built for the recipe.
    recipe
        With `pretrained`.

    Raises
    ------
    JobError
        If the network is none of segmentation-models-pytorch.
    ModelError
        If the file cannot be read, is another one, or lacks a tensor or has one of another shape.
    """
    assert recipe.pretrained is not None
    if recipe.architecture.get("name") != "smp":
        raise JobError(
            f"'pretrained' is for encoders of architecture smp, and this one is {recipe.architecture.get('name')}; "
            "leave it out, or go on from a whole model with 'start'"
        )
    encoder = network.get_submodule("encoder")
    found = _read(Path(recipe.pretrained.file), recipe.pretrained.sha256)
    state = {}
    inputs = layers.of_bands(recipe.architecture, len(recipe.bands), 1)
    for name, each in encoder.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        given = _named(name, found, recipe.pretrained.file)
        if f"encoder.{name}" in inputs:
            given = layers.other_bands(name, given, recipe.pretrained.bands, recipe.bands)
        if given.shape != each.shape:
            raise ModelError(
                f"{recipe.pretrained.file}: {name} is {tuple(given.shape)}, but encoder "
                f"{recipe.architecture.get('encoder')!r} has {tuple(each.shape)}; are they its weights?"
            )
        state[name] = given.to(each.dtype)
    encoder.load_state_dict(state, strict=False)


def _read(path: Path, sha256: str) -> dict[str, Tensor]:
    if path.suffix.lower() != ".safetensors":
        raise ModelError(f"{path}: pretrained weights are *.safetensors; convert them")
    try:
        if path.stat().st_size > weights.LARGEST:
            raise ModelError(f"{path} has more than {weights.LARGEST / 1e9:.0f} GB, the most that is read")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}; check pretrained.file") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256.lower():
        raise ModelError(f"{path} has sha256 {found}, not {sha256}; fetch it again or correct pretrained.sha256")
    weights.check_header(path, data, len(data))
    try:
        return safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is no safetensors file: {error}; fetch it again") from error


def _named(name: str, found: dict[str, Tensor], path: str) -> Tensor:
    """The tensor of a file that goes by a name, with or without a prefix on either side."""
    plain = [name, *(name.removeprefix(prefix) for prefix in _PREFIXES if name.startswith(prefix))]
    for each in (*plain, *(prefix + short for prefix in _PREFIXES for short in plain)):
        if each in found:
            return found[each]
    raise ModelError(f"{path} lacks tensor {name!r} of the encoder; are they its weights?")

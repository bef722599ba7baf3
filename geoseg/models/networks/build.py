"""Build: an architecture as a model card states it becomes a network with fresh weights."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.overrides import TorchFunctionMode

from geoseg.catalog.yaml import Spec, nearest, parse
from geoseg.errors import ModelError
from geoseg.models.networks.compact import Compact
from geoseg.models.networks.dynamic_world import DynamicWorld

NAMES = ("compact", "smp", "dynamic-world")
"""Architectures that are built here; `onnx` and `exported` are read by modules of `geoseg.models` of their own."""
_REFUSED = ("encoder_name", "encoder_weights", "in_channels", "classes", "activation", "aux_params", "kwargs", "self")


class CompactSpec(Spec):
    """`architecture: {name: compact, ...}`."""

    name: Literal["compact"]
    width: int = Field(24, ge=1, le=512)
    depth: int = Field(3, ge=1, le=6)
    dropout: float = Field(0.0, ge=0, lt=1)
    stem: int = Field(1, ge=1, le=8)


class DynamicWorldSpec(Spec):
    """`architecture: {name: dynamic-world}`."""

    name: Literal["dynamic-world"]


def build(architecture: Mapping[str, Any], bands: int, classes: int, *, most_bytes: int | None = None) -> nn.Module:
    """A network with random weights, in training mode; nothing is downloaded.

    Parameters
    ----------
    architecture
        `{name: compact, width: 24, depth: 3, dropout: 0.0, stem: 1}`, all but the name optional;
        `{name: dynamic-world}`; or
        `{name: smp, arch: Unet, encoder: resnet18, ...}` with any further argument that the class of
        segmentation-models-pytorch takes (its weights always start random).
    bands, classes
        Channels in and out.
    most_bytes
        Bytes that its weights may take; a network that needs more is refused before they are taken.

    Returns
    -------
    torch.nn.Module
        float32 (batch, band, row, col) to scores (batch, class, row, col).

    Raises
    ------
    ModelError
        For an unknown name or key (the nearest known one is named) or a value that cannot be used.
    """
    if most_bytes is not None:
        _check_room(architecture, bands, classes, most_bytes)
    if bands < 1 or classes < 1:
        raise ModelError(f"a network needs at least one band and one class, got {bands} and {classes}")
    name = architecture.get("name")
    if name == "compact":
        spec = parse(CompactSpec, dict(architecture), "architecture", ModelError)
        return Compact(bands, classes, spec.width, spec.depth, spec.dropout, spec.stem)
    if name == "dynamic-world":
        parse(DynamicWorldSpec, dict(architecture), "architecture", ModelError)
        return DynamicWorld(bands, classes)
    if name == "smp":
        return _build_smp(dict(architecture), bands, classes)
    if name is None:
        raise ModelError(f"architecture has no name; {nearest('', NAMES)}")
    raise ModelError(f"no architecture is called {name!r}; {nearest(str(name), NAMES)}")


def _check_room(architecture: Mapping[str, Any], bands: int, classes: int, most_bytes: int) -> None:
    """Refuse a network of more than some bytes, which is counted on torch's meta device, where tensors have no memory.

    Checked with torch 2.15 and segmentation-models-pytorch 0.6: all of its encoders and decoders, and an encoder of
    each family in timm that it takes, can be made there.
    """
    with torch.device("meta"), _StepsOnCpu():
        network = build(architecture, bands, classes)
    needed = sum(each.nbytes for each in (*network.parameters(), *network.buffers()))
    if needed > most_bytes:
        raise ModelError(
            f"the architecture needs {needed / 1e6:.1f} MB, more than the {most_bytes / 1e6:.1f} MB that its weights "
            "file can fill; are the weights those of this architecture?"
        )


class _StepsOnCpu(TorchFunctionMode):
    """Keeps `torch.linspace` on the CPU: Mix Transformers read its few numbers back, which the meta device cannot."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch."""
        here = {"device": "cpu"} if func is torch.linspace else {}
        return func(*args, **{**(kwargs or {}), **here})


def stride_of(network: Any) -> int:
    """Rows and columns of the network's input must be multiples of this many pixels.

    Parameters
    ----------
    network
        One that has an attribute `stride`, or an encoder that has one; 1 for those that have neither.
    """
    for owner in (network, getattr(network, "encoder", None)):
        for name in ("stride", "output_stride"):
            if isinstance(found := getattr(owner, name, None), int):
                return found
    return 1


def encoder_of(network: nn.Module) -> tuple[str, ...]:
    """Names of the submodules that make features of pixels: what a network for other classes can keep.

    Parameters
    ----------
    network
        From `build`.

    Raises
    ------
    ModelError
        If it has no such part.
    """
    for names in (("encoders", "downs"), ("encoder",)):
        if all(isinstance(getattr(network, name, None), nn.Module) for name in names):
            return names
    raise ModelError(f"{type(network).__name__} has no encoder of its own; train all of it alike, with encoder_rate: 1")


def _build_smp(architecture: dict[str, Any], bands: int, classes: int) -> nn.Module:
    import segmentation_models_pytorch as smp  # several seconds, and only for these architectures

    shapes = {shape.__name__: shape for shape in smp.MODEL_ARCHITECTURES_MAPPING.values()}
    arch, encoder = architecture.get("arch"), architecture.get("encoder", "resnet34")
    if arch not in shapes:
        raise ModelError(f"architecture smp has no arch {arch!r}; {nearest(str(arch), tuple(shapes))}")
    encoders = tuple(smp.encoders.get_encoder_names())
    if encoder not in encoders and not str(encoder).startswith("tu-"):
        raise ModelError(f"architecture smp has no encoder {encoder!r}; {nearest(str(encoder), encoders)}")
    options = {key: value for key, value in architecture.items() if key not in ("name", "arch", "encoder")}
    known = tuple(key for key in inspect.signature(shapes[arch].__init__).parameters if key not in _REFUSED)
    for key in options:
        if key not in known:
            raise ModelError(f"architecture smp {arch}: unknown key {key!r}; {nearest(key, ('encoder', *known))}")
    try:
        return shapes[arch](encoder_name=encoder, encoder_weights=None, in_channels=bands, classes=classes, **options)
    except ModelError:
        raise
    except Exception as error:  # smp and timm raise many kinds for options that do not go together
        said = " ".join(str(error).split())
        raise ModelError(f"architecture smp cannot build {arch} with encoder {encoder!r}: {said}") from error

"""Loading: a model folder becomes a network on a device, once per process.

Size, hash, names, shapes and numbers of the weights are checked before use.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from geoseg.catalog.card import Model
from geoseg.errors import ModelError
from geoseg.models import devices, exported, networks, onnx_graph, outputs, weights
from geoseg.process import keep_freed_memory, kept

KEPT = 8
"""Networks that a process keeps: those used last."""

Network = Callable[[Tensor], Tensor]
"""float32 (batch, band, row, col) to scores (batch, class, row, col)."""


def load(model: Model, device: str) -> Network:
    """A model's network in evaluation mode on a device; each process loads it once, whichever thread asks first.

    Parameters
    ----------
    model
        Its card and weights file; networks are kept by the hash of the weights and what the card says of the network.
    device
        Where it shall run, as `devices.available` gives it.

    Raises
    ------
    ModelError
        If the weights file is missing, is a pickle, is not what the card's sha256 says, does not fit the
        architecture, or holds a weight that is not finite.
    """
    networks_here = kept(_Networks)
    card = model.card
    shape = (
        json.dumps(card.architecture, sort_keys=True),
        len(card.bands),
        len(card.classes),
        card.stride,
        card.output.model_dump_json(),
    )
    key = (card.weights.sha256.lower(), device, *shape)
    with networks_here.lock:
        network = networks_here.by_key.pop(key, None)
        if network is None:
            network = _load(model, device)
        while len(networks_here.by_key) >= KEPT:
            networks_here.by_key.pop(next(iter(networks_here.by_key)))
        networks_here.by_key[key] = network
        return network


def load_asked(model: Model, asked: str) -> Network:
    """`load` on the device that a user asked for.

    Parameters
    ----------
    model
        As for `load`.
    asked
        'auto', 'cpu', 'cuda' or 'cuda:<number>'.

    Raises
    ------
    ModelError
        If it cannot be loaded or the device is not there, be it for torch or, where the model is an ONNX graph, for
        onnxruntime; with 'auto' that runs on the CPU.
    """
    network = load(model, devices.available(asked))
    graph = getattr(network, "network", None)
    if asked not in ("auto", "cpu") and isinstance(graph, onnx_graph.Onnx) and not graph.on_gpu:
        raise ModelError(
            f"inference.device is {asked!r}, but {onnx_graph.NO_GPU}, or choose 'cpu' or 'auto' for {model.card.name!r}"
        )
    return network


def ready(model: Model, device: str) -> None:
    """Load a model where this process will run it, so that the first block need not.

    Parameters
    ----------
    model, device
        As for `load_asked`.

    Raises
    ------
    ModelError
        As for `load_asked`.
    """
    load_asked(model, device)


class _Networks:
    """Networks of this process, the one used last at the end."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.by_key: dict[tuple[str | int, ...], Network] = {}


def _load(model: Model, device: str) -> Network:
    card, size = model.card, weights.size_of(model)
    keep_freed_memory()
    name, channels = card.architecture.get("name"), card.output.channels or len(card.classes)
    if name == "onnx":
        return outputs.Scored(onnx_graph.open_graph(model, weights.read(model), device), card.output, len(card.classes))
    if name == "exported":
        program = exported.open_program(model, weights.read(model), device)
        return outputs.Scored(program, card.output, len(card.classes))
    # Their weights' file bounds what a card can make us allocate, and the network what a file can make us read.
    room = max(1_000_000, 2 * size)
    network = networks.build(card.architecture, len(card.bands), channels, most_bytes=room)
    needed = sum(each.nbytes for each in network.state_dict().values())
    if size > needed + weights.LARGEST_HEADER + 8:
        raise ModelError(
            f"{model.weights} has {size / 1e9:.1f} GB, but the network of its card fills {needed / 1e9:.1f} GB; "
            f"are they those of {card.architecture}?"
        )
    data = weights.read(model)
    stride = networks.stride_of(network)
    if card.stride % stride:
        raise ModelError(
            f"the card of model {card.name!r} says stride {card.stride}, but its network needs multiples of {stride}; "
            "correct the card"
        )
    network.load_state_dict(_checked(model, data, network.state_dict()))
    if card.output.kind != "logits":
        network = outputs.Scored(network, card.output, len(card.classes))
    network.eval().requires_grad_(False)
    return network.to(device).to(memory_format=torch.channels_last)


def _checked(model: Model, data: bytes, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a safetensors file, which must be exactly those of the network, and finite."""
    path, advice = model.weights, f"are they those of {model.card.architecture}?"
    weights.check_header(path, data, len(data))
    try:
        tensors = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is no safetensors file: {error}; fetch it again") from error
    for name in sorted(wanted.keys() | tensors.keys()):
        if name not in tensors:
            raise ModelError(f"{path} lacks tensor {name!r}, which the network has; {advice}")
        if name not in wanted:
            raise ModelError(f"{path} has tensor {name!r}, which the network lacks; {advice}")
        found, needed = tensors[name], wanted[name]
        if found.shape != needed.shape or found.dtype != needed.dtype:
            raise ModelError(
                f"{path}: tensor {name!r} is {found.dtype} {tuple(found.shape)}, "
                f"but the network has {needed.dtype} {tuple(needed.shape)}; {advice}"
            )
        if not found.isfinite().all():
            raise ModelError(
                f"{path}: tensor {name!r} holds numbers that are not finite; train or fetch the model again"
            )
    return tensors

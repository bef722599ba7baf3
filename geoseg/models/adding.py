"""Adding: weights as people have them become a model folder; what a card must say of the network is measured.

Formats: the SavedModel of Dynamic World; safetensors or a pickled state dict (read without running anything in it) of
an architecture; a folder that segmentation-models-pytorch saved; ONNX; exported graphs, which must be trusted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from geoseg.catalog.card import ClassSpec, Draft, Model, ModelCard, Normalisation, Radiometry, Weights, dump
from geoseg.catalog.legend import Legend
from geoseg.errors import ModelError
from geoseg.models import loading, networks, receptive_field, tensorflow_checkpoint, weights

_CORE = 256
"""Pixels of a core where the network leaves the choice."""
_STRIDES = (1, 2, 4, 8, 16, 32, 64)
_PREFIXES = ("module.", "model.", "network.", "net.")
"""What training frameworks put before the names of tensors."""
DYNAMIC_WORLD_BANDS = ("blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "swir1", "swir2")
_DYNAMIC_WORLD_LOGS = (
    (1.7417268007636313, 2.023298706048351),
    (1.7261204997060209, 2.038905204308012),
    (1.6798346251414997, 2.179592821212937),
    (1.7734969472909623, 2.2890068333026603),
    (2.289154079164943, 2.6171674549378166),
    (2.382939712192371, 2.773418590375327),
    (2.3828939530384052, 2.7578332604178284),
    (2.1952484264967844, 2.789092484314204),
    (1.554812948247501, 2.4140534947492487),
)
"""(mean, std) of ln(1 + x / 200) of each band; github.com/google/dynamicworld, single_image_runner."""


@dataclass(frozen=True, slots=True)
class Added:
    """A model that is ready to be written."""

    card: ModelCard
    weights: bytes
    beside: Mapping[str, bytes] = field(default_factory=dict)
    """Further files of the folder, by name."""


def dynamic_world(folder: Path, legend: Legend) -> Added:
    """Dynamic World, from the SavedModel that Google publishes.

    Parameters
    ----------
    folder
        Where `git clone https://github.com/google/dynamicworld` or a copy of its folder `model` is.
    legend
        Its nine classes.

    Raises
    ------
    ModelError
        If there is no such SavedModel or its tensors are not those of the network.
    """
    inside = [folder / each for each in ("", "forward", "model/forward", "variables/..")]
    found = next((each for each in inside if (each / "variables" / "variables.index").is_file()), None)
    if found is None:
        raise ModelError(
            f"{folder} holds no variables/variables.index; name the folder 'model/forward' of "
            "https://github.com/google/dynamicworld"
        )
    tensors = tensorflow_checkpoint.tensors(found / "variables")
    network = networks.build({"name": "dynamic-world"}, len(DYNAMIC_WORLD_BANDS), len(legend))
    numbered = [tensors.get(f"variables/{at}/.ATTRIBUTES/VARIABLE_VALUE") for at in range(len(tensors))]
    state, at = network.state_dict(), 0
    for name, parts in networks.dynamic_world_order(network):
        for part in parts:
            value = None if at >= len(numbered) else numbered[at]
            at += 1
            wanted = state[f"{name}.{part}"]
            turned = None if value is None else torch.from_numpy(value.copy())
            if turned is not None and turned.ndim == 4:  # (row, col, in, out), or (row, col, channel, 1)
                turned = turned.permute((2, 3, 0, 1) if wanted.shape[1] == 1 else (3, 2, 0, 1))
            if turned is None or turned.shape != wanted.shape:
                raise ModelError(
                    f"{found} is another network than Dynamic World's of 2022: its tensor {at - 1} does not fit"
                )
            state[f"{name}.{part}"] = turned.contiguous()
    network.load_state_dict(state)
    mean, std = zip(*_DYNAMIC_WORLD_LOGS)
    draft = Draft(
        name="dynamic-world",
        title="Dynamic World: nine classes of land cover from nine Sentinel-2 bands, 10 m",
        architecture={"name": "dynamic-world"},
        bands=DYNAMIC_WORLD_BANDS,
        normalisation=Normalisation(kind="dynamic-world", mean=mean, std=std),
        radiometry=Radiometry(what="reflectance x 10,000", low=-500, high=20_000, dark=900, bright=100),
        gsd_m=10.0,
        legend_name=legend.name,
        classes=tuple(ClassSpec(id=each.id, name=each.name, colour=each.colour) for each in legend.classes),
        licence="Apache-2.0",
        training={
            "source": "Brown et al. 2022, Dynamic World, Near real-time global 10 m land use land cover mapping, "
            "Scientific Data 9:251; weights converted from google/dynamicworld, model/forward",
            "variables_sha256": hashlib.sha256(
                (found / "variables" / "variables.data-00000-of-00001").read_bytes()
            ).hexdigest(),
        },
    )
    above = (folder, *folder.parents[:2])
    notices = [each / name for each in above for name in ("NOTICE", "LICENSE") if (each / name).is_file()]
    return _measured(
        draft, network, _safetensors(network), {each.name: each.read_bytes() for each in reversed(notices)}
    )


def from_file(source: Path, draft: Draft) -> Added:
    """A model from weights as they are.

    Parameters
    ----------
    source
        *.safetensors, *.pt, *.pth, *.onnx, *.pt2, or a folder that segmentation-models-pytorch saved.
    draft
        What only a person can say of it.

    Raises
    ------
    ModelError
        If the file cannot be used, does not fit the draft, or the draft contradicts what is measured.
    """
    if source.is_dir():
        return _pretrained(source, draft)
    kind = source.suffix.lower()
    if kind in (".onnx", ".pt2"):
        name = "onnx" if kind == ".onnx" else "exported"
        asked = {"name": name, **{key: value for key, value in draft.architecture.items() if key != "name"}}
        return _graph(source, draft.model_copy(update={"architecture": asked}))
    if kind not in (".safetensors", ".pt", ".pth", ".bin"):
        raise ModelError(
            f"{source} is of no kind that can be added; give *.safetensors, a state dict as *.pt or *.pth, *.onnx, "
            "*.pt2, or a folder that segmentation-models-pytorch saved"
        )
    if draft.architecture.get("name") in (None, "onnx", "exported"):
        raise ModelError(
            f"{source} holds tensors and no network; say whose in the draft's architecture: name: smp, ..."
        )
    return _from_tensors(source, _tensors(source), draft)


def write(added: Added, folder: Path, *, overwrite: bool = False) -> Model:
    """Write a model folder. Without a card it is no model, so the card comes last.

    Parameters
    ----------
    added
        What to write.
    folder
        Where; made where it is not there.
    overwrite
        Whether a model that is there is replaced.

    Raises
    ------
    ModelError
        If the folder holds a model, or cannot be written.
    """
    card = folder / "card.yaml"
    if card.exists() and not overwrite:
        raise ModelError(f"{folder} holds a model; name another folder with --out, or replace it with --overwrite")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        card.unlink(missing_ok=True)
        for name, data in (*added.beside.items(), (added.card.weights.file, added.weights)):
            (folder / name).write_bytes(data)
        part = folder / ".card.yaml.part"
        part.write_bytes(dump(added.card))
        part.replace(card)
    except OSError as error:
        raise ModelError(f"{folder} cannot be written: {error.strerror}; name another folder with --out") from error
    return Model(str(folder), added.card)


def _pretrained(folder: Path, draft: Draft) -> Added:
    """A folder of segmentation-models-pytorch's save_pretrained: config.json and model.safetensors."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        kind = config.get("_model_class")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder} has no config.json of a saved network; name the file of weights instead") from error
    if not isinstance(kind, str):
        whose = ", ".join(map(str, config.get("architectures", ()))) or "another library"
        raise ModelError(
            f"{folder} was saved by {whose}, not by segmentation-models-pytorch; export the network to ONNX, and add it"
        )
    if config.get("activation") is not None:
        raise ModelError(f"{folder} ends in activation {config['activation']!r}; save the network with activation=None")
    left = ("encoder_name", "encoder_weights", "in_channels", "classes", "activation", "aux_params")
    options = {key: value for key, value in config.items() if key not in left and key[0] != "_" and value is not None}
    architecture = {"name": "smp", "arch": kind, "encoder": config.get("encoder_name", "resnet34"), **options}
    for key, found, wanted in (
        ("in_channels", config.get("in_channels", 3), len(draft.bands)),
        ("classes", config.get("classes", 1), draft.output.channels or len(draft.classes)),
    ):
        if found != wanted:
            raise ModelError(f"{folder} has {key} {found}, and the draft stands for {wanted}; correct the draft")
    file = next((each for each in ("model.safetensors", "pytorch_model.bin") if (folder / each).is_file()), None)
    if file is None:
        raise ModelError(f"{folder} has no model.safetensors; save the network again")
    known = draft.model_copy(update={"architecture": architecture})
    return _from_tensors(folder / file, _tensors(folder / file), known)


def _from_tensors(source: Path, tensors: Mapping[str, Tensor], draft: Draft) -> Added:
    room = 2 * sum(each.nbytes for each in tensors.values()) + 1_000_000
    channels = draft.output.channels or len(draft.classes)
    network = networks.build(draft.architecture, len(draft.bands), channels, most_bytes=room)
    wanted = network.state_dict()
    named = _without_prefix(tensors, wanted)
    for name, value in wanted.items():
        if name not in named:
            raise ModelError(
                f"{source} lacks tensor {name!r} of {draft.architecture}; correct the draft's architecture"
            )
        if named[name].shape != value.shape:
            raise ModelError(
                f"{source}: tensor {name!r} is {tuple(named[name].shape)}, but the network of the draft has "
                f"{tuple(value.shape)}; correct its architecture, bands or classes"
            )
        if not named[name].isfinite().all():
            raise ModelError(f"{source}: tensor {name!r} holds numbers that are not finite; train or fetch it again")
    if more := sorted(named.keys() - wanted.keys()):
        raise ModelError(f"{source} has tensor {more[0]!r}, which {draft.architecture} lacks; correct the draft")
    network.load_state_dict({name: named[name].to(value.dtype) for name, value in wanted.items()})
    return _measured(draft, network, _safetensors(network))


def _graph(source: Path, draft: Draft) -> Added:
    """An ONNX file or exported graph, taken as it is."""
    try:
        size = source.stat().st_size
        if size > weights.LARGEST:
            raise ModelError(
                f"{source} has {size / 1e9:.1f} GB; weights files have at most {weights.LARGEST / 1e9:.0f} GB"
            )
        data = source.read_bytes()
    except OSError as error:
        raise ModelError(f"{source} cannot be read: {error.strerror}; check the path") from error
    held = Weights(file=source.name, sha256=hashlib.sha256(data).hexdigest())
    side_free = draft.card(held, receptive_field.Field(0, 1, "image-wide"), _CORE)
    network = loading.load(Model(str(source.parent), side_free), "cpu")
    return _measured(draft, network, data, file=source.name)


def _measured(
    draft: Draft,
    network: Callable[[Tensor], Tensor],
    data: bytes,
    beside: Mapping[str, bytes] | None = None,
    file: str = "weights.safetensors",
) -> Added:
    side = getattr(network, "side", None)
    found = _field(network, draft, side)
    held = Weights(file=file, sha256=hashlib.sha256(data).hexdigest())
    core = _CORE if side is None else side - 2 * found.halo
    return Added(draft.card(held, found, -(-core // found.stride) * found.stride), data, beside or {})


def _field(network: Callable[[Tensor], Tensor], draft: Draft, side: int | None) -> receptive_field.Field:
    """The field at the draft's stride or the network's own; of a graph, at the smallest at which it is bounded."""
    bands = len(draft.bands)
    if draft.stride is not None:
        return receptive_field.probe(network, bands, draft.stride, side)
    if receptive_field.is_torch(network):
        return receptive_field.probe(network, bands)
    wide, trouble = None, None
    for stride in _STRIDES:
        if side is not None and side % stride:
            break
        try:
            found = receptive_field.probe(network, bands, stride, side)
        except ModelError:
            raise
        except Exception as error:  # onnxruntime and torch raise many kinds for sides that a graph does not take
            trouble = error
            continue
        if found.kind == "bounded":
            return found
        wide = found
    if wide is None:
        said = " ".join(str(trouble).split())[:200]
        raise ModelError(f"the network takes no window of a multiple of {_STRIDES[-1]} pixels: {said}")
    return wide


def _tensors(source: Path) -> dict[str, Tensor]:
    try:
        size = source.stat().st_size
        if size > weights.LARGEST:
            raise ModelError(
                f"{source} has {size / 1e9:.1f} GB; weights files have at most {weights.LARGEST / 1e9:.0f} GB"
            )
        if source.suffix.lower() == ".safetensors":
            with source.open("rb") as opened:
                weights.check_header(source, opened.read(8 + weights.LARGEST_HEADER), size)
            return safetensors.torch.load_file(source)
        found = torch.load(source, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{source} cannot be read: {error.strerror}; check the path") from error
    except ModelError:
        raise
    except Exception as error:  # pickle, zip and torch raise many kinds for what they cannot or will not read
        raise ModelError(
            f"{source} is no state dict that can be read without running code in it; save network.state_dict() as "
            f"safetensors ({' '.join(str(error).split())[:120]})"
        ) from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found or not all(isinstance(each, Tensor) for each in found.values()):
        raise ModelError(f"{source} holds no state dict, which is tensors by name; save network.state_dict()")
    return found


def _size(source: Path) -> int:
    size = source.stat().st_size
    if size > weights.LARGEST:
        most = f"{weights.LARGEST / 1e9:.0f} GB"
        raise ModelError(f"{source} has {size / 1e9:.1f} GB; weights files have at most {most}")
    return size


def _without_prefix(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    named = dict(tensors)
    for _ in range(3):  # frameworks wrap each other
        for prefix in _PREFIXES:
            if named and not wanted.keys() & named.keys() and all(name.startswith(prefix) for name in named):
                named = {name.removeprefix(prefix): value for name, value in named.items()}
    return named


def _safetensors(network: Any) -> bytes:
    return safetensors.torch.save({name: value.contiguous() for name, value in network.state_dict().items()})

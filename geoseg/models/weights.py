"""Weights: a model's network, read once per process and put on a device.

Weights are safetensors, or an ONNX file where the card says `architecture: {name: onnx}`, inside the model folder.
Size, hash, names, shapes and numbers are checked before use. Pickles are refused unread, nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from geoseg.catalog.card import Model
from geoseg.errors import ModelError
from geoseg.models import networks

LARGEST = 4_000_000_000
"""Bytes; a larger weights file is refused unread."""
_LARGEST_HEADER = 16_000_000
_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib", ".npy", ".npz")
_KEPT = 4
"""Networks that a process keeps."""

Network = Callable[[Tensor], Tensor]
"""float32 (batch, band, row, col) to scores (batch, class, row, col)."""

_lock = threading.Lock()
_loaded: dict[tuple[str | int, ...], Network] = {}


def load(model: Model, device: str) -> Network:
    """A model's network in evaluation mode on a device; each process loads it once, whichever thread asks first.

    Raises
    ------
    ModelError
        If the weights file is missing, is a pickle, is not what the card's sha256 says, does not fit the
        architecture, or holds a weight that is not finite.
    """
    card = model.card
    shape = (json.dumps(card.architecture, sort_keys=True), len(card.bands), len(card.classes), card.stride)
    key = (card.weights.sha256.lower(), device, *shape)
    with _lock:
        if key not in _loaded:
            while len(_loaded) >= _KEPT:
                _loaded.pop(next(iter(_loaded)))
            _loaded[key] = _load(model, device)
        return _loaded[key]


def ready(model: Model, device: str) -> None:
    """Load a model where this process will run it, so that the first block need not.

    Raises
    ------
    ModelError
        If it cannot be loaded or the device is not there.
    """
    load(model, place(device))


def gpus() -> int:
    """CUDA devices that torch can use here."""
    return torch.cuda.device_count()


def place(device: str) -> str:
    """The device meant here and now.

    Raises
    ------
    ModelError
        If it is not there.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    check_device(device)
    found = torch.cuda.device_count() if device != "cpu" else 1
    if int(device.partition(":")[2] or 0) >= found:
        raise ModelError(
            f"inference.device is {device!r}, but torch finds {found} CUDA devices here; "
            "choose 'cpu' or 'auto', or install a torch that knows this GPU"
        )
    return device


def check_device(device: str) -> None:
    """Refuse a text that names no kind of device; whether it is there, `place` says."""
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()) or device == "cpu:":
        raise ModelError(f"inference.device is {device!r}; choose 'auto', 'cpu', 'cuda' or 'cuda:<number>'")


@contextmanager
def reproducible(device: str) -> Iterator[None]:
    """On a GPU: the same kernels each time and no shortened floats; a CPU needs nothing."""
    if device == "cpu":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _load(model: Model, device: str) -> Network:
    card, size = model.card, _size(model)
    if card.architecture.get("name") == "onnx":
        return _load_onnx(model, _read(model))
    # Their weights' file bounds what a card can make us allocate, and the network what a file can make us read.
    room = max(1_000_000, 2 * size)
    network = networks.build(card.architecture, len(card.bands), len(card.classes), most_bytes=room)
    needed = sum(each.nbytes for each in network.state_dict().values())
    if size > needed + _LARGEST_HEADER + 8:
        raise ModelError(
            f"{model.weights} has {size / 1e9:.1f} GB, but the network of its card fills {needed / 1e9:.1f} GB; "
            f"are they those of {card.architecture}?"
        )
    data = _read(model)
    stride = networks.stride_of(network)
    if card.stride % stride:
        raise ModelError(
            f"the card of model {card.name!r} says stride {card.stride}, but its network needs multiples of {stride}; "
            "correct the card"
        )
    network.load_state_dict(_checked(model, data, network.state_dict()))
    network.eval().requires_grad_(False)
    return network.to(device).to(memory_format=torch.channels_last)


@dataclass(frozen=True, slots=True)
class Onnx:
    """An ONNX graph as a network; runs on the CPU, one window at a time."""

    session: Any
    """onnxruntime.InferenceSession."""
    side: int | None
    """The only edge of a window that it takes, in pixels; None: any."""

    def __call__(self, pixels: Tensor) -> Tensor:
        """Scores (B, class, H, W) of (B, band, H, W) pixels."""
        name = self.session.get_inputs()[0].name
        windows = pixels.contiguous().cpu().numpy()
        scores = [torch.from_numpy(self.session.run(None, {name: each[None]})[0]) for each in windows]
        return torch.cat(scores).to(pixels.device)


def _load_onnx(model: Model, data: bytes) -> Network:
    try:
        import onnxruntime  # an extra, and only these models need it
    except ImportError as error:
        raise ModelError(f"{model.weights} needs onnxruntime; install it with: pip install 'geoseg[onnx]'") from error
    if b"\x0a\x08location" in data:  # the key by which a tensor names the file that holds it
        raise ModelError(f"{model.weights} keeps tensors in other files; export it with all of them inside")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's kinds have no parent of their own
        raise ModelError(f"{model.weights} is no ONNX file that runs here: {' '.join(str(error).split())}") from error
    bands, classes = len(model.card.bands), len(model.card.classes)
    ends = [*session.get_inputs(), *session.get_outputs()]
    shapes = [list(each.shape) for each in ends]
    fits = len(ends) == 2 and all(each.type == "tensor(float)" and len(each.shape) == 4 for each in ends)
    if not fits or any(isinstance(shape[1], int) and shape[1] != n for shape, n in zip(shapes, (bands, classes))):
        raise ModelError(
            f"{model.weights} has inputs and outputs of shapes {shapes}; its card asks for one float32 input "
            f"(1, {bands}, row, col) and one output (1, {classes}, row, col)"
        )
    edges = {each for each in shapes[0][2:] if isinstance(each, int)}
    if len(edges) > 1:
        raise ModelError(
            f"{model.weights} takes windows of {shapes[0][2:]} pixels; windows are square, so export it anew"
        )
    return Onnx(session, edges.pop() if edges else None)


def _size(model: Model) -> int:
    """Bytes of a weights file, whose beginning and name are checked before it is read."""
    path = model.weights
    if path.suffix.lower() in _PICKLES:
        raise _pickled(path)
    if path.suffix.lower() not in (".safetensors", ".onnx"):
        raise ModelError(f"{path}: weights are *.safetensors or *.onnx; convert them")
    if path.exists() and not path.is_file():
        raise ModelError(f"{path} is no plain file, but a folder, pipe or device; name a *.safetensors file")
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise ModelError(f"{path} has {size / 1e9:.1f} GB; weights files have at most {LARGEST / 1e9:.0f} GB")
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise _unreadable(path, error) from error
    if start[:2] == b"PK" or (start[:1] == b"\x80" and start[1:2] <= b"\x05"):
        raise _pickled(path)
    if path.suffix.lower() == ".safetensors":
        _check_header(path, start, size)
    return size


def _check_header(path: Path, start: bytes, size: int) -> None:
    header = int.from_bytes(start, "little")
    if len(start) < 8 or header > min(size - 8, _LARGEST_HEADER):
        raise ModelError(f"{path} is no safetensors file: its header claims {header} bytes of {size}; fetch it again")


def _read(model: Model) -> bytes:
    """The bytes of a weights file, which are those that its card names."""
    path, weights = model.weights, model.card.weights
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    found = hashlib.sha256(data).hexdigest()
    if found != weights.sha256.lower():
        raise ModelError(
            f"{path} has sha256 {found}, but the card says {weights.sha256}; "
            "it is another file or damaged, so fetch it again or correct the card"
        )
    return data


def _unreadable(path: Path, error: OSError) -> ModelError:
    return ModelError(f"{path} cannot be read: {error.strerror}; check weights.file in the model's card.yaml")


def _pickled(path: Path) -> ModelError:
    return ModelError(f"{path} is a pickle, which can run code when it is read; convert the weights to *.safetensors")


def _checked(model: Model, data: bytes, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a safetensors file, which must be exactly those of the network, and finite."""
    path, advice = model.weights, f"are they those of {model.card.architecture}?"
    _check_header(path, data[:8], len(data))
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

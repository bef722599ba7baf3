"""Weights: a model's weights file is what its card says, checked without torch and without running anything.

Weights are safetensors, or an ONNX file or exported graph where the card's architecture says so, inside the model
folder. Pickles are refused unread, nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from geoseg.catalog.card import Model
from geoseg.errors import ModelError

LARGEST = 4_000_000_000
"""Bytes; a larger weights file is refused unread."""
LARGEST_HEADER = 16_000_000
"""Bytes of a safetensors file's header."""
_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib", ".npy", ".npz")


def size_of(model: Model) -> int:
    """Bytes of a weights file, whose name, kind, size and beginning are checked; it is not read further.

    Raises
    ------
    ModelError
        If the file is missing, too large, a pickle or of another kind, or claims a header that it cannot hold.
    """
    path = model.weights
    if path.suffix.lower() in _PICKLES:
        raise _pickled(path)
    if path.suffix.lower() not in (".safetensors", ".onnx", ".pt2"):
        raise ModelError(f"{path}: weights are *.safetensors, *.onnx or *.pt2; convert them")
    if path.suffix.lower() == ".pt2" and model.card.architecture.get("name") != "exported":
        raise ModelError(
            f"{path} is an exported graph; say so on its card: architecture: {{name: exported, trust: true}}"
        )
    if path.exists() and not path.is_file():
        raise ModelError(f"{path} is no plain file, but a folder, pipe or device; name a *.safetensors file")
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise ModelError(f"{path} has {size / 1e9:.1f} GB; weights files have at most {LARGEST / 1e9:.0f} GB")
        with path.open("rb") as file:
            start = file.read(8)
            header = file.read(LARGEST_HEADER) if path.suffix.lower() == ".safetensors" else b""
    except OSError as error:
        raise _unreadable(path, error) from error
    zipped = start[:2] == b"PK" and path.suffix.lower() != ".pt2"  # an exported graph is a zip archive
    if zipped or (start[:1] == b"\x80" and start[1:2] <= b"\x05"):
        raise _pickled(path)
    if path.suffix.lower() == ".safetensors":
        check_header(path, start + header, size)
    return size


def check_hash(model: Model) -> None:
    """Refuse a weights file whose sha256 is not that on the card; reads it in pieces.

    Raises
    ------
    ModelError
        If it is another file or cannot be read.
    """
    try:
        with model.weights.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(model.weights, error) from error
    _same(model, found)


def read(model: Model) -> bytes:
    """The bytes of a weights file, which are those that its card names.

    Raises
    ------
    ModelError
        If it is another file or cannot be read.
    """
    try:
        data = model.weights.read_bytes()
    except OSError as error:
        raise _unreadable(model.weights, error) from error
    _same(model, hashlib.sha256(data).hexdigest())
    return data


def check_header(path: Path, start: bytes, size: int) -> None:
    """Refuse a safetensors file whose header does not fit into it, or describes less or more than it holds.

    Parameters
    ----------
    path
        Names it in the message.
    start
        Its first bytes: 8 that state the header's length, and the header.
    size
        Bytes of the file.
    """
    length = int.from_bytes(start[:8], "little")
    if len(start) < 8 or length > min(size - 8, LARGEST_HEADER):
        raise ModelError(f"{path} is no safetensors file: its header claims {length} bytes of {size}; fetch it again")
    try:
        tensors = json.loads(start[8 : 8 + length])
        ends = [each["data_offsets"][1] for name, each in tensors.items() if name != "__metadata__"]
        described = 8 + length + max(ends, default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} is no safetensors file: its header is no list of tensors; fetch it again") from error
    if described != size:
        raise ModelError(
            f"{path} is no safetensors file: its header describes {described} bytes, but it has {size}; fetch it again"
        )


def _same(model: Model, found: str) -> None:
    wanted = model.card.weights.sha256
    if found != wanted.lower():
        raise ModelError(
            f"{model.weights} has sha256 {found}, but the card says {wanted}; "
            "it is another file or damaged, so fetch it again or correct the card"
        )


def _unreadable(path: Path, error: OSError) -> ModelError:
    return ModelError(f"{path} cannot be read: {error.strerror}; check weights.file in the model's card.yaml")


def _pickled(path: Path) -> ModelError:
    return ModelError(f"{path} is a pickle, which can run code when it is read; convert the weights to *.safetensors")

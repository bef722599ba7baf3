"""Trial: whether a model's network can be loaded, found out without torch in this process.

The weights file is checked here. Whether its tensors are those of the network on the card only the network can tell:
where torch is not loaded yet, a process of its own loads it and reports. A network that passed is noted in the
account's cache folder by its hash, its card and the versions of geoseg and torch, and not loaded again for that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import platformdirs

from geoseg import __version__
from geoseg.catalog.card import Model, ModelCard
from geoseg.errors import ModelError
from geoseg.models import weights
from geoseg.process import kept

LONGEST_S = 600.0
"""Time that loading may take."""
_LIBRARIES = {"compact": 0, "onnx": 120_000_000}
"""Bytes that an architecture's own libraries take once they are imported; those of smp's take more."""
_SMP = 220_000_000
_FACTS = {"architecture", "weights", "bands", "classes", "stride", "halo", "field", "output"}
"""Of the card, all that a trial depends on."""


@dataclass(frozen=True, slots=True)
class Passed:
    """What a trial finds out."""

    side: int | None
    """The only edge of a window that the network takes, pixels; None: any multiple of the card's stride."""
    window_bytes: int | None = None
    """Memory that labelling one window takes on a CPU; None where it is not known."""
    loaded_bytes: int = 0
    """Memory that the network and its libraries take once it is loaded."""


def check(model: Model, side: int = 0, precision: str = "float32") -> Passed:
    """Refuse a model whose network cannot be loaded, and find out what it takes.

    Parameters
    ----------
    model : Model
        Its card and weights.
    side : int
        Edge of the windows that it shall label, pixels; 0: what they take is not asked.
    precision : str
        'float32', 'bfloat16' or 'float16'.

    Raises
    ------
    ModelError
        What `loading.load` says of it; or that its process ended without a word, or took too long.
    """
    weights.size_of(model)
    weights.check_hash(model)
    if "torch" in sys.modules:
        return _load(model, side, precision)
    note = platformdirs.user_cache_path("geoseg") / "models" / f"{_key(model, side, precision)}.json"
    with suppress(OSError, ValueError, TypeError):
        return Passed(**json.loads(note.read_text("utf-8")))
    passed = _elsewhere(model, side, precision)
    with suppress(OSError):  # a cache that cannot be written costs the same time again
        note.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=note.parent)
        os.write(handle, json.dumps(asdict(passed)).encode())
        os.close(handle)
        Path(name).replace(note)
    return passed


def main() -> None:
    """Load the model that stdin describes and print what came of it; run by `check` in a process of its own."""
    asked = json.load(sys.stdin)
    try:
        model = Model(asked["folder"], ModelCard.model_validate(asked["card"]))
        found = asdict(_load(model, asked["side"], asked["precision"]))
    except ModelError as error:
        found = {"error": str(error)}
    print(json.dumps(found))


class _Known:
    """What this process has found out of networks."""

    def __init__(self) -> None:
        self.bytes: dict[str, int | None] = {}
        self.bounded: set[str] = set()


def _load(model: Model, side: int, precision: str) -> Passed:
    from geoseg.models import activations, loading  # load torch, which is here already or in its own process

    network, name = loading.load(model, "cpu"), model.card.architecture.get("name", "")
    known = kept(_Known)
    if model.card.field == "bounded" and (whole := _key(model, 0, "")) not in known.bounded:
        _check_field(model, network)
        known.bounded.add(whole)
    if side and (key := _key(model, side, precision)) not in known.bytes:
        known.bytes[key] = activations.peak_bytes(network, len(model.card.bands), side, precision)
    return Passed(
        getattr(network, "side", None),
        known.bytes[key] if side else None,
        _LIBRARIES.get(name, _SMP) + 2 * weights.size_of(model),
    )


def _check_field(model: Model, network: Any) -> None:
    """Refuse a network that looks farther than its card says: its map would depend on where windows are cut."""
    from geoseg.models import receptive_field

    card = model.card
    try:
        found = receptive_field.looks_beyond(
            network, len(card.bands), card.stride, card.halo, getattr(network, "side", None)
        )
    except ModelError:
        raise
    except Exception as error:  # torch and onnxruntime raise many kinds for windows that a network does not take
        said = " ".join(str(error).split())[:300]
        raise ModelError(f"the network of {model.weights} fails on a window that fits its card: {said}") from error
    if found is not None:
        halo = -(-found // card.stride) * card.stride
        raise ModelError(
            f"the network of model {card.name!r} looks {found} pixels around a core or farther, but its card says halo "
            f"{card.halo}; correct the card (halo: {halo} or more, or field: image-wide), which "
            "'geoseg models check' measures"
        )


def _elsewhere(model: Model, side: int, precision: str) -> Passed:
    card = model.card.model_dump(mode="json", by_alias=True)
    asked = {"folder": model.folder, "card": card, "side": side, "precision": precision}
    command = [sys.executable, "-c", "from geoseg.models.trial import main; main()"]
    paths = os.pathsep.join(path for path in sys.path if path)
    try:
        done = subprocess.run(
            command,
            input=json.dumps(asked).encode(),
            capture_output=True,
            timeout=LONGEST_S,
            env={**os.environ, "PYTHONPATH": paths},
            check=False,
        )
        found = json.loads(done.stdout.splitlines()[-1]) if done.stdout else None
    except subprocess.TimeoutExpired:
        raise ModelError(f"the network of {model.weights} did not load within {LONGEST_S:.0f} s") from None
    if found is None:
        last = (done.stderr.decode(errors="replace").splitlines() or ["no word"])[-1][:200]
        raise ModelError(
            f"the network of {model.weights} cannot be loaded: the process that tried ended with status "
            f"{done.returncode} ({last}); is there enough memory?"
        )
    if "error" in found:
        raise ModelError(found["error"])
    return Passed(**found)


def _key(model: Model, side: int, precision: str) -> str:
    card = model.card
    facts = [
        side,
        precision,
        card.model_dump(mode="json", include=_FACTS),
        __version__,
        version("torch"),
        sys.version,
    ]
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

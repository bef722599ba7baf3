"""Checking: a model is tried out, and what its card says is compared with what is measured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geoseg.catalog.card import Model
from geoseg.errors import ModelError
from geoseg.imagery import Statistics
from geoseg.inference.member import numbers_of
from geoseg.models import activations, devices, loading, receptive_field
from geoseg.models.networks import parameters_of
from geoseg.models.normalisation import LINEAR, normalised
from geoseg.models.outputs import shares_of
from geoseg.process import cores
from geoseg.quantities import counted, plain

_LEAST_S = 1.0
"""Seconds for which windows are timed."""
AGREE = 0.999
"""Share of labels that must agree for a reduced precision to be called safe."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was measured."""

    what: str
    found: str
    trouble: str = ""
    """What is wrong, one sentence."""
    facts: tuple[tuple[str, Any], ...] = ()
    """What goes onto the card, by key."""


def check(
    model: Model, pixels: np.ndarray | None = None, statistics: Statistics | None = None, device: str = "auto"
) -> Iterator[Finding]:
    """Findings one by one, as they are made.

    Parameters
    ----------
    model : Model
        What to try.
    pixels : (band, side, side) float32, optional
        Physical values of some imagery, `side_of(model)` pixels each way; noise where there are none.
    statistics : Statistics, optional
        Of that imagery, for cards that normalise by them.
    device : str
        As for a predictor.

    Raises
    ------
    ModelError
        If the network cannot be loaded, or fails on a window that fits its card.
    """
    card, name = model.card, devices.available(device)
    network = loading.load_asked(model, device)
    held = torch.nn.Module() if not isinstance(network, torch.nn.Module) else network
    size = model.weights.stat().st_size
    count = parameters_of(held)
    yield Finding("weights", f"{size / 1e6:.1f} MB" + (f", {count:,} parameters, all finite" if count else ""))
    window = _window(model, pixels, statistics).to(name)
    scores = _run(model, network, window)
    yield Finding(
        "output",
        f"{card.output.kind}, {counted(scores.shape[1], 'channel')} over {scores.shape[2]} x {scores.shape[3]} pixels",
        "" if scores.isfinite().all() else "some scores are not finite; look at the weights and the normalisation",
    )
    yield _field(model, loading.load(model, "cpu"))
    yield _effective(model, network, window, scores, "noise" if pixels is None else "imagery")
    if card.architecture.get("name") != "onnx":  # onnxruntime takes the numbers that the graph says
        for precision in ("bfloat16", "float16"):
            yield _precision(model, network, window, scores, precision)
    taken = activations.peak_bytes(network, len(card.bands), window.shape[-1], "float32")
    yield Finding(
        "memory",
        "not known for graphs" if taken is None else f"{taken / 1e6:.0f} MB for a window of {window.shape[-1]} pixels",
        facts=() if taken is None else (("window_bytes", taken),),
    )
    yield _speed(model, network, window, name)


def side_of(model: Model) -> int:
    """Pixels of the edge of a card's window with its halo."""
    side = model.card.window + 2 * model.card.halo
    return int(getattr(loading.load(model, "cpu"), "side", None) or side)


def _window(model: Model, pixels: np.ndarray | None, statistics: Statistics | None) -> Tensor:
    """(1, band, side, side) float32, as the network takes it."""
    card, side = model.card, side_of(model)
    if pixels is None:
        noise = torch.rand(1, len(card.bands), side, side, generator=torch.Generator().manual_seed(0))
        return 2 * noise - 1 if card.normalisation.kind in LINEAR else noise
    if pixels.shape != (len(card.bands), side, side):
        raise ModelError(f"the sample has shape {pixels.shape}; give ({len(card.bands)}, {side}, {side})")
    mean, std = (torch.tensor(each)[:, None, None] for each in numbers_of(model, statistics))
    return normalised(card.normalisation.kind, torch.from_numpy(pixels), mean, std)[None].float()


@torch.inference_mode()
def _run(model: Model, network: Any, window: Tensor, precision: str = "float32") -> Tensor:
    dtype: torch.dtype = getattr(torch, precision)
    side = window.shape[-1]
    try:
        with torch.autocast(window.device.type, dtype, enabled=dtype != torch.float32):
            scores: Tensor = network(window.contiguous(memory_format=torch.channels_last)).float()
    except ModelError:
        raise
    except Exception as error:  # torch and onnxruntime raise many kinds
        said = " ".join(str(error).split())[:200]
        raise ModelError(
            f"the network of model {model.card.name!r} fails on a window of {side} x {side} pixels: {said}"
        ) from error
    wanted = (1, len(model.card.classes), side, side)
    if tuple(scores.shape) != wanted:
        raise ModelError(
            f"the network of model {model.card.name!r} gives {tuple(scores.shape)} for a window of {side} x {side} "
            f"pixels; a map needs {wanted}"
        )
    return scores


def _field(model: Model, network: Any) -> Finding:
    card = model.card
    found = receptive_field.probe(network, len(card.bands), card.stride, getattr(network, "side", None))
    facts = (("field", found.kind), ("halo", found.halo))
    if found.kind == "image-wide":
        trouble = "" if card.field == "image-wide" else "the card says field: bounded; write field: image-wide"
        return Finding("receptive field", "the whole window: no halo makes maps independent of windows", trouble, facts)
    said = f"{found.halo} pixels beyond a core, stride {found.stride}; the card says halo {card.halo}, {card.field}"
    trouble = "" if found.halo <= card.halo or card.field == "image-wide" else f"the card's halo must be {found.halo}"
    return Finding("receptive field", said, trouble, facts)


def _effective(model: Model, network: Any, window: Tensor, scores: Tensor, sample: str) -> Finding:
    """The halo from which on no label of a sample's core changes."""
    card, side = model.card, window.shape[-1]
    if getattr(network, "side", None) is not None or side <= 2 * card.halo:
        return Finding("effective halo", "not measured: the network takes windows of one size only")
    middle = slice(card.halo, side - card.halo)
    wanted = scores[0, :, middle, middle].argmax(dim=0)
    shares = {}
    for halo in sorted({_down(card.halo * part / 8, card.stride) for part in range(8)}):
        cut = slice(card.halo - halo, side - card.halo + halo)
        try:
            found = _run(model, network, window[:, :, cut, cut])[0]
        except ModelError:  # a deep network may have nothing left of a window that small
            continue
        inner = slice(halo, found.shape[-1] - halo)
        shares[halo] = float((found[:, inner, inner].argmax(dim=0) != wanted).float().mean())
    enough = min(
        (halo for halo in shares if all(shares[each] == 0 for each in shares if each >= halo)), default=card.halo
    )
    told = ", ".join(f"{halo} px: {100 * share:.2g} %" for halo, share in shares.items() if share)
    found_text = f"on {sample}, labels stop changing at {enough} px" + (f" (they differ at {told})" if told else "")
    return Finding("effective halo", found_text, facts=((f"effective_halo_on_{sample}", enough),))


def _precision(model: Model, network: Any, window: Tensor, scores: Tensor, precision: str) -> Finding:
    try:
        found = _run(model, network, window, precision)
    except ModelError as error:
        return Finding(precision, f"does not run here: {error}")
    share = float((found.argmax(dim=1) == scores.argmax(dim=1)).float().mean())
    sure = float((shares_of(found, model.card.output.kind) - shares_of(scores, model.card.output.kind)).abs().max())
    safe = "" if share >= AGREE else f"; less than {100 * AGREE:g} %, so stay with float32"
    said = f"{100 * share:.3f} % of labels as in float32, shares differ by up to {sure:.2g}{safe}"
    return Finding(precision, said, facts=((f"{precision}_agreement", round(share, 6)),))


def _speed(model: Model, network: Any, window: Tensor, name: str) -> Finding:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as windows are labelled
    try:
        _run(model, network, window)
        passes, begin = 0, time.perf_counter()
        while (taken := time.perf_counter() - begin) < _LEAST_S or not passes:
            _run(model, network, window).argmax(dim=1).cpu()
            passes += 1
    finally:
        torch.set_num_threads(threads)
    side, core = window.shape[-1], max(window.shape[-1] - 2 * model.card.halo, 1)
    rate = passes * core**2 / taken / 1e6
    where = f"one of {counted(cores(), 'core')}" if name == "cpu" else name
    return Finding("speed", f"{plain(rate, 3)} Mpx/s on {where}: cores of {core} pixels in windows of {side}")


def _down(pixels: float, stride: int) -> int:
    return int(pixels) // stride * stride

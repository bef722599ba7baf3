"""Exported graphs: what `torch.export.save` wrote. Reading one can run code, so a card must say that it is trusted."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geoseg.catalog.card import Model
from geoseg.errors import ModelError


@dataclass(frozen=True, slots=True)
class Exported:
    """An exported graph as a network, one window at a time."""

    program: Any
    """torch.nn.Module."""
    side: int | None
    """The only edge of a window that it takes, in pixels; None: any."""
    output: str | None
    """Which entry of what it gives is asked for: a key, or a position."""
    batch: int | None
    """Windows that it takes at once; None: any."""

    def __call__(self, pixels: Tensor) -> Tensor:
        """What it gives, (B, ...), for (B, band, H, W) pixels."""
        parts = [pixels] if self.batch is None else list(pixels.split(1))
        return torch.cat([self._chosen(self.program(each.contiguous())) for each in parts])

    def _chosen(self, found: Any) -> Tensor:
        if isinstance(found, dict):
            if self.output not in found:
                raise ModelError(f"the graph gives {', '.join(map(str, found))}; name one as output.name on its card")
            found = found[self.output]
        elif isinstance(found, list | tuple):
            at = 0 if self.output is None and len(found) == 1 else self.output
            if not str(at).isdigit() or int(str(at)) >= len(found):
                raise ModelError(
                    f"the graph gives {len(found)} outputs; name one as output.name on its card, from '0' on"
                )
            found = found[int(str(at))]
        if not isinstance(found, Tensor):
            raise ModelError(f"the graph gives {type(found).__name__}, no tensor; export it anew")
        return found


def open_program(model: Model, data: bytes, device: str) -> Exported:
    """The graph of a *.pt2 file that fits its card.

    Parameters
    ----------
    model
        Its card must say `trust: true`.
    data
        The bytes of its weights file, whose hash is the card's.
    device
        Where it shall run.

    Raises
    ------
    ModelError
        If the card does not trust it, torch cannot read it, or it does not fit the card.
    """
    card = model.card
    if card.architecture.get("trust") is not True:
        raise ModelError(
            f"{model.weights} is an exported graph, and reading one can run code; if you trust where it comes from, "
            "say so on its card: architecture: {name: exported, trust: true}"
        )
    if set(card.architecture) - {"name", "trust"}:
        raise ModelError(f"architecture exported takes 'trust' and no more, found {sorted(card.architecture)}")
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise ModelError(f"{model.weights} is no exported graph: it is cut short or of another format")
    try:
        program = torch.export.load(io.BytesIO(data))
        (asked,) = program.graph_signature.user_inputs
        shape = next(each.meta["val"].shape for each in program.graph.nodes if each.name == asked)
        module = program.module().to(device)
    except Exception as error:  # torch raises many kinds for what it cannot read
        said = (" ".join(str(error).split()) or type(error).__name__)[:200]
        raise ModelError(
            f"{model.weights} is no exported graph that torch {torch.__version__} reads: {said}"
        ) from error
    if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != len(card.bands)):
        raise ModelError(
            f"{model.weights} takes an array of shape {tuple(map(str, shape))}; its card asks for "
            f"(1, {len(card.bands)}, row, col)"
        )
    batch, _, rows, cols = (each if isinstance(each, int) else None for each in shape)
    if rows != cols or batch not in (None, 1):
        raise ModelError(
            f"{model.weights} takes {batch or 'any number of'} windows of {rows} x {cols} pixels; "
            "windows are square and come one by one, so export it anew"
        )
    return Exported(module, rows, card.output.name, batch)

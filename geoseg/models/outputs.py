"""Outputs: whatever a network gives becomes scores of classes, and the share of each class.

A score that is higher than another's makes its class the label; shares lie between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from geoseg.catalog.card import Output
from geoseg.errors import ModelError

_SLACK = 1e-3
"""How far beyond 0 to 1 a probability may be by rounding."""


def as_scores(found: Tensor, output: Output, classes: int) -> Tensor:
    """Scores (batch, class, row, col) from what a network gave.

    Parameters
    ----------
    found
        Floats (batch, channel, row, col), or whole numbers (batch, row, col) or (batch, 1, row, col) for labels.
    output
        What the card says of it.
    classes
        How many the card has.

    Raises
    ------
    ModelError
        If it has another shape, or labels beyond the classes.
    """
    if output.kind == "labels":
        labels = found[:, 0] if found.ndim == 4 and found.shape[1] == 1 else found
        if labels.ndim != 3:
            raise ModelError(f"a network that gives labels must give (batch, row, col); it gave {tuple(found.shape)}")
        whole = labels.long()
        if not bool(((whole >= 0) & (whole < classes) & (whole == labels)).all()):
            raise ModelError(
                f"the network gave labels from {float(labels.min()):g} to {float(labels.max()):g}; with {classes} "
                f"classes on the card they must be whole numbers from 0 to {classes - 1}"
            )
        return nn.functional.one_hot(whole, classes).movedim(-1, 1).to(torch.float32)
    channels = output.channels or classes
    if found.ndim != 4 or found.shape[1] != channels:
        raise ModelError(
            f"the network gave an array of shape {tuple(found.shape)}; its card asks for {channels} channels"
        )
    if channels == classes:
        return found
    first = 1 - found if output.kind == "probabilities" else -found
    return torch.cat([first, found], dim=1)


def shares_of(scores: Tensor, kind: str) -> Tensor:
    """Shares (batch, class, row, col) of scores; NaN where probabilities lie beyond 0 to 1.

    Parameters
    ----------
    scores
        As `as_scores` gives them.
    kind
        Of the card's output.
    """
    if kind == "logits":
        return scores.softmax(dim=1)
    if kind == "sigmoid":
        return scores.sigmoid()
    inside = ((scores >= -_SLACK) & (scores <= 1 + _SLACK)).all(dim=1, keepdim=True)
    return torch.where(inside, scores.clamp(0, 1), torch.nan)


class Scored(nn.Module):
    """A network whose output is made scores.

    Parameters
    ----------
    network
        Float (batch, band, row, col) to what `as_scores` takes.
    output
        What the card says of it.
    classes
        How many the card has.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], output: Output, classes: int) -> None:
        super().__init__()
        self.network, self.output, self.classes = network, output, classes
        self.side: int | None = getattr(network, "side", None)
        self.graph = not isinstance(network, nn.Module)
        """Whether it was made elsewhere, as an ONNX file or exported graph."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Scores (batch, class, row, col)."""
        return as_scores(self.network(pixels), self.output, self.classes)

"""Decision: scores and shares of the classes become a label and its confidence for each pixel, and what else is asked.

Shares are bytes, 0..254 for 0..1. All is computed pixel by pixel and class by class in one order, so that no byte
depends on which pixels are decided together.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from geoseg.catalog.legend import NODATA

if TYPE_CHECKING:
    from geoseg.inference.predictor import Predictor

STEPS = 254
"""Of a share as a byte: 0..254 for 0..1."""


class Decision:
    """What a predictor makes of scores on a device.

    Parameters
    ----------
    predictor : Predictor
        Its legend and options.
    device : torch.device
        Where the scores lie.
    """

    def __init__(self, predictor: Predictor, device: torch.device) -> None:
        ids, options = predictor.model.card.legend.ids, predictor.options
        kept = options.classes or ids
        least = dict(options.thresholds)
        self._ids = torch.tensor(kept, dtype=torch.uint8, device=device)
        self._kept = torch.tensor([ids.index(each) for each in kept], device=device) if options.classes else None
        self._layers = [
            {"probabilities": _same, "entropy": _entropy, "margin": _margin}[each] for each in predictor.also
        ]
        self._least = torch.tensor([least.get(each, 0.0) for each in kept], device=device) if least else None

    def layers(self, shape: tuple[int, ...]) -> list[Tensor]:
        """Arrays without any label, for what a call gives.

        Parameters
        ----------
        shape : tuple of int
            (row, col).
        """
        sizes = [shape, shape, *((len(self._ids), *shape) if each is _same else shape for each in self._layers)]
        return [torch.full(size, NODATA, dtype=torch.uint8, device=self._ids.device) for size in sizes]

    def __call__(self, scores: Tensor, shares: Tensor, wanted: Tensor) -> list[Tensor]:
        """Labels and confidence (window, row, col) uint8, 255 where none is wanted or the class's share is too small.

        What the predictor is asked for besides follows, in the order of its `also`: probabilities of the classes that
        may be predicted (window, class, row, col); entropy of all shares, as a part of the largest possible; margin,
        by which the best share exceeds the second of those that may be predicted.

        Parameters
        ----------
        scores : (window, class, row, col)
            The highest of a class that may be predicted makes its label.
        shares : (window, class, row, col)
            Of the same classes, 0..1.
        wanted : (window, row, col) bool
            Pixels that get a label.
        """
        everything = shares
        if self._kept is not None:
            scores, shares = scores[:, self._kept], shares[:, self._kept]
        best, share = scores.argmax(dim=1), shares.amax(dim=1)
        if self._least is not None:
            wanted = wanted & (share >= self._least[best])
        found = [torch.where(wanted, self._ids[best], NODATA), torch.where(wanted, as_bytes(share), NODATA)]
        for layer in self._layers:
            values = as_bytes(layer(everything if layer is _entropy else shares))
            found.append(torch.where(wanted if values.ndim == 3 else wanted[:, None], values, NODATA))
        return found


def as_bytes(shares: Tensor) -> Tensor:
    """Shares of 0..1 as 0..254, rounded; what is no number as 0."""
    return (shares * STEPS).round().clamp(0, STEPS).nan_to_num(0.0).to(torch.uint8)


def _same(shares: Tensor) -> Tensor:
    return shares


def _margin(shares: Tensor) -> Tensor:
    if shares.shape[1] == 1:
        return shares[:, 0]
    best = shares.topk(2, dim=1).values
    return best[:, 0] - best[:, 1]


def _entropy(shares: Tensor) -> Tensor:
    """Shannon's entropy of shares that are made to add up to 1, divided by that of equal ones; 0 for a single class."""
    count = shares.shape[1]
    total = shares[:, 0].double()
    for each in range(1, count):
        total = total + shares[:, each]
    found = torch.zeros_like(total)
    for each in range(count):
        part = (shares[:, each] / total.clamp(min=torch.finfo(torch.float32).tiny)).contiguous()
        found = found - torch.xlogy(part, part)
    return found / math.log(max(2, count))

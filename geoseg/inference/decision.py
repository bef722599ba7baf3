"""Decision: scores and shares of the classes become a label and its confidence for each pixel."""

from __future__ import annotations

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
        self._least = torch.tensor([least.get(each, 0.0) for each in kept], device=device) if least else None

    def __call__(self, scores: Tensor, shares: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Labels and confidence (window, row, col) uint8, 255 where none is wanted or the class's share is too small.

        Parameters
        ----------
        scores : (window, class, row, col)
            The highest of a class that may be predicted makes its label.
        shares : (window, class, row, col)
            Of the same classes, 0..1.
        wanted : (window, row, col) bool
            Pixels that get a label.
        """
        if self._kept is not None:
            scores, shares = scores[:, self._kept], shares[:, self._kept]
        best, share = scores.argmax(dim=1), shares.amax(dim=1)
        if self._least is not None:
            wanted = wanted & (share >= self._least[best])
        return torch.where(wanted, self._ids[best], NODATA), torch.where(wanted, as_bytes(share), NODATA)


def as_bytes(shares: Tensor) -> Tensor:
    """Shares of 0..1 as 0..254, rounded; what is no number as 0."""
    return (shares * STEPS).round().clamp(0, STEPS).nan_to_num(0.0).to(torch.uint8)

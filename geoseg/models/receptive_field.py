"""Receptive field: how far around a pixel a network looks, in pixels, measured on the network itself.

A pixel that is not a number makes each score that is computed from it not a number, whatever the weights, whether
means or maxima are taken, and also where the gradient is 0. Rows and columns are probed one after the other on long
thin strips, so that even a wide field costs little memory.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from geoseg.errors import ModelError
from geoseg.models.networks.build import stride_of
from geoseg.models.networks.compact import seeded

LONGEST = 4096
"""A field that fills a strip of this many pixels counts as image-wide."""
WIDE_HALO = 64
"""Halo given to an image-wide network, for which no halo is enough."""
_ACROSS = 64  # pixels: width of the strips
_WIDER = 16  # strides: width for networks that halve further inside and fail on thin strips


@dataclass(frozen=True, slots=True)
class Field:
    """How far a network looks."""

    halo: int
    """Pixels beyond a core of whole strides that can change its scores, rounded up to the stride."""
    stride: int
    """Cores, halo and windows are multiples of this many pixels."""
    kind: Literal["bounded", "image-wide"]
    """image-wide: no halo makes the scores independent of the window."""


def probe(network: nn.Module, bands: int) -> Field:
    """Measure a network's receptive field; the network itself is left as it is.

    A network is image-wide when its field fills every strip tried, or when its scores change with the length
    of the strip although the field does not (interpolation that depends on the size, for instance).

    Parameters
    ----------
    network
        Float (batch, band, row, col) to (batch, class, row, col).
    bands
        Bands it takes.

    Returns
    -------
    Field
        Halo in pixels, stride and kind.

    Raises
    ------
    ModelError
        If the network fails on strips that are multiples of its stride.
    """
    stride = stride_of(network)
    own = copy.deepcopy(network).eval().requires_grad_(False).cpu().double()
    try:
        return _probe(own, _Strip(bands, stride, _up(_ACROSS, stride)))
    except RuntimeError:  # torch's, for windows that are too small
        try:
            return _probe(own, _Strip(bands, stride, _WIDER * stride))
        except RuntimeError as error:
            raise ModelError(f"the network fails on windows of {_WIDER * stride} pixels: {error}") from error


@dataclass(frozen=True, slots=True)
class _Strip:
    """How strips are cut."""

    bands: int
    stride: int
    across: int
    """Their width in pixels."""

    def pixels(self, axis: int, length: int) -> Tensor:
        """Random (1, band, row, col) float64; `length` pixels long along an axis."""
        rows, cols = (length, self.across) if axis == 2 else (self.across, length)
        return _random((1, self.bands, rows, cols), 0)


def _probe(network: nn.Module, strip: _Strip) -> Field:
    most, stride = 0, strip.stride
    for axis in (2, 3):
        found = _field_along(axis, network, strip)
        if found is None or not _same_in_any_length(axis, network, strip, _up(found, stride)):
            return Field(_up(WIDE_HALO, stride), stride, "image-wide")
        most = max(most, found)
    return Field(_up(most, stride), stride, "bounded")


def _field_along(axis: int, network: nn.Module, strip: _Strip) -> int | None:
    """Pixels beyond a cell of one stride that its scores depend on; None where that never ends."""
    stride = strip.stride
    length = _up(128, 8 * stride)
    while length <= max(LONGEST, 8 * stride):
        by_marks = _beyond(_marked(axis, network, strip, length), stride)
        by_gradient = None if by_marks is None else _beyond(_sloped(axis, network, strip, length), stride)
        if by_marks is not None and by_gradient is not None:
            return max(by_marks, by_gradient)
        length *= 2
    return None


def _marked(axis: int, network: nn.Module, strip: _Strip, length: int) -> Tensor:
    """Which scores along a strip, (length,) bool, are computed from the cell amid it.

    Scores of one cell lie as far from the pixels of another as its pixels do from the other's scores, for a network
    does the same to each cell.
    """
    pixels = strip.pixels(axis, length)
    scores = {}
    with torch.no_grad():
        for value in (float("nan"), 1e3, 1e6):
            pixels.narrow(axis, length // 2, strip.stride).copy_(strip.pixels(axis, strip.stride) * value)
            scores[value] = network(pixels)
            marked = scores[value].isnan()
            if marked.any():
                break
        else:  # it puts a number where it meets none, so all that changes with a number counts
            marked = scores[1e3] != scores[1e6]
    return marked[0].any(dim=0).any(dim=3 - axis)


def _sloped(axis: int, network: nn.Module, strip: _Strip, length: int) -> Tensor:
    """Which pixels along a strip, (length,) bool, change the scores of the cell amid it by the gradient.

    The sum over a whole cell takes in each phase of the stride, and cores are made of whole cells.
    """
    pixels = strip.pixels(axis, length).requires_grad_()
    scores = network(pixels).narrow(axis, length // 2, strip.stride)
    if not scores.requires_grad:  # nothing in it can be differentiated
        return torch.zeros(length, dtype=torch.bool)
    (gradient,) = torch.autograd.grad((scores * _random(scores.shape, 1)).sum(), pixels)
    return (gradient[0] != 0).any(dim=0).any(dim=3 - axis)


def _beyond(touched: Tensor, stride: int) -> int | None:
    """How far what is touched goes beyond the cell amid a strip; None where it meets an end of the strip."""
    cell, found = len(touched) // 2, touched.nonzero().flatten()
    if not len(found):  # all units are dead here: the scores depend on nothing
        return 0
    first, last = int(found.min()), int(found.max())
    if first == 0 or last == len(touched) - 1:
        return None
    return max(cell - first, last + 1 - (cell + stride), 0)


def _same_in_any_length(axis: int, network: nn.Module, strip: _Strip, halo: int) -> bool:
    """Whether a cell with just its halo scores as it does within a strip three times as long."""
    stride = strip.stride
    near = 2 * halo + stride
    pixels = strip.pixels(axis, _up(3 * near, stride))
    start = _up(near, stride)
    with torch.no_grad():
        whole = network(pixels).narrow(axis, start + halo, stride)
        alone = network(pixels.narrow(axis, start, near)).narrow(axis, halo, stride)
    return bool(torch.allclose(whole, alone, rtol=1e-7, atol=1e-9))


def _random(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.rand(shape, generator=seeded(seed), dtype=torch.float64)


def _up(number: int, step: int) -> int:
    return -(-number // step) * step

"""Reach: how far around a pixel a network looks, measured on the network itself.

The support of the gradient of a network whose weights are all positive is exactly what an output can depend
on, for nothing cancels. Rows and columns are probed one after the other on long thin strips, so that even a
wide field costs little memory.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from geoseg.models.networks.build import stride_of
from geoseg.models.networks.compact import seeded

LONGEST = 4096
"""A field that fills a strip of this many pixels counts as image-wide."""
WIDE_HALO = 64
"""Halo given to an image-wide network, for which no halo is enough."""
_ACROSS = 64  # width of the strips: some networks pad less than their kernels and fail on thinner ones


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
    """Measure a network's reach; the network itself is left as it is.

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
    """
    stride = stride_of(network)
    own = copy.deepcopy(network).eval().cpu().double()
    positive = _positive(own)
    reach = 0
    for axis in (2, 3):
        found = _reach_along(axis, positive, own, bands, stride)
        if found is None or not _same_in_any_length(axis, own, bands, stride, _up(found, stride)):
            return Field(_up(WIDE_HALO, stride), stride, "image-wide")
        reach = max(reach, found)
    return Field(_up(reach, stride), stride, "bounded")


def _reach_along(axis: int, positive: nn.Module, own: nn.Module, bands: int, stride: int) -> int | None:
    """Pixels beyond a cell of one stride that its scores depend on; None where that never ends."""
    length = _up(128, 8 * stride)
    while length <= max(LONGEST, 8 * stride):
        most = _beyond(axis, positive, bands, stride, length)
        real = None if most is None else _beyond(axis, own, bands, stride, length)
        if most is not None and real is not None:
            return max(most, real)
        length *= 2
    return None


def _beyond(axis: int, network: nn.Module, bands: int, stride: int, length: int) -> int | None:
    """Reach of the cell amid a strip; None where it meets an end of the strip.

    The sum over a whole cell takes in each phase of the stride, and cores are made of whole cells.
    """
    cell = length // 2
    pixels = _strip(axis, bands, stride, length).requires_grad_()
    scores = network(pixels).narrow(axis, cell, stride)
    (gradient,) = torch.autograd.grad((scores * _random(scores.shape, 1)).sum(), pixels)
    touched = (gradient[0] != 0).any(dim=0).any(dim=3 - axis).nonzero().flatten()
    if not len(touched):  # all its units are dead here: the scores depend on nothing
        return 0
    first, last = int(touched.min()), int(touched.max())
    if first == 0 or last == length - 1:
        return None
    return max(cell - first, last + 1 - (cell + stride), 0)


def _same_in_any_length(axis: int, network: nn.Module, bands: int, stride: int, halo: int) -> bool:
    """Whether a cell with just its halo scores as it does within a strip three times as long."""
    near = 2 * halo + stride
    pixels = _strip(axis, bands, stride, _up(3 * near, stride))
    start = _up(near, stride)
    with torch.no_grad():
        whole = network(pixels).narrow(axis, start + halo, stride)
        alone = network(pixels.narrow(axis, start, near)).narrow(axis, halo, stride)
    return bool(torch.allclose(whole, alone, rtol=1e-7, atol=1e-9))


def _strip(axis: int, bands: int, stride: int, length: int) -> Tensor:
    across = _up(_ACROSS, stride)
    return _random((1, bands, length, across) if axis == 2 else (1, bands, across, length), 0)


def _random(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.rand(shape, generator=seeded(seed), dtype=torch.float64)


def _positive(network: nn.Module) -> nn.Module:
    """A copy with positive averaging weights, and means where it took maxima, so that every path counts."""
    network = copy.deepcopy(network)
    generator = seeded(2)
    with torch.no_grad():
        for each in network.parameters():
            if each.dim() < 2:
                continue
            each.copy_(torch.rand(each.shape, generator=generator, dtype=each.dtype) + 0.5)
            each.div_(each.flatten(1).sum(1).mean())
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
        for name in ("weight", "bias"):
            number = getattr(module, name, None)
            if isinstance(number, nn.Parameter) and number.dim() == 1:
                nn.init.constant_(number, 1.0 if name == "weight" else 0.0)
        for name, child in list(module.named_children()):
            if isinstance(child, nn.MaxPool2d):
                mean = nn.AvgPool2d(child.kernel_size, child.stride, child.padding, ceil_mode=child.ceil_mode)
                setattr(module, name, mean)
    return network


def _up(number: int, step: int) -> int:
    return -(-number // step) * step

"""Receptive field: how far around a pixel a network looks, in pixels, measured on the network itself.

A pixel that is not a number makes each score that is computed from it not a number, whatever the weights, whether
means or maxima are taken, and also where the gradient is 0. Networks that have no gradient (ONNX, exported graphs, any
callable) may take such a pixel for 0, so there all scores that change with a pixel count as well. Rows and columns are
probed one after the other on long thin strips, so that even a wide field costs little memory; a network that takes
windows of one size only is probed on one of those.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
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
_SQUARE = 512  # pixels: edge of the windows for graphs that take only squares
_TRIALS = 3  # with other pixels, where changes of scores are what is seen
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


def probe(network: Callable[[Tensor], Tensor], bands: int, stride: int | None = None, side: int | None = None) -> Field:
    """Measure a network's receptive field; the network itself is left as it is.

    A network is image-wide when its field fills every strip tried, or when its scores change with the length
    of the strip although the field does not (interpolation that depends on the size, for instance).

    Parameters
    ----------
    network
        Float (batch, band, row, col) to (batch, class, row, col); a module is probed in double precision.
    bands
        Bands it takes.
    stride
        Rows and columns are multiples of this many pixels; by default the network's own attribute says it.
    side
        The only edge of a window that it takes, pixels; by default any multiple of the stride.

    Returns
    -------
    Field
        Halo in pixels, stride and kind. With a side, a field as wide as half of it counts as image-wide.

    Raises
    ------
    ModelError
        If the network fails on strips that are multiples of its stride, or does not say its stride.
    """
    stride = stride_of(network) if stride is None else stride
    exact = is_torch(network)
    if isinstance(network, nn.Module) and exact:
        network = copy.deepcopy(network).eval().requires_grad_(False).cpu().double()
    if side is not None:
        return _probe_window(network, _Strip(bands, stride, side, exact))
    try:
        return _probe(network, _Strip(bands, stride, _up(_ACROSS, stride), exact))
    except (RuntimeError, AssertionError):  # torch's, for windows that are too small
        if not exact:  # squares, then, for graphs that take nothing else
            return _probe_window(network, _Strip(bands, stride, _up(_SQUARE, stride), exact))
        try:
            return _probe(network, _Strip(bands, stride, _WIDER * stride, exact))
        except RuntimeError as error:
            raise ModelError(f"the network fails on windows of {_WIDER * stride} pixels: {error}") from error


def looks_beyond(
    network: Callable[[Tensor], Tensor], bands: int, stride: int, halo: int, side: int | None = None
) -> int | None:
    """How far a network looks where that is farther than a halo; None where the halo holds all that it sees.

    A quick trial for each use of a network, in single precision; `probe` finds how far without being told.

    Parameters
    ----------
    network, bands, stride, side
        As for `probe`.
    halo
        What its card says, pixels.
    """
    exact, length = is_torch(network), side or 2 * _up(halo + 4 * stride, stride)
    tries = [side] if side else [_up(_ACROSS, stride), max(_WIDER * stride, length)]
    for across in tries:
        try:
            return _looks_beyond(network, _Strip(bands, stride, across, exact, torch.float32), halo, length)
        except ModelError:
            raise
        except Exception:  # torch and onnxruntime raise many kinds for strips that are too thin, or not square
            if across == tries[-1]:
                raise
            length = max(length, tries[-1])
    raise AssertionError("unreachable")


def _looks_beyond(network: Callable[[Tensor], Tensor], strip: _Strip, halo: int, length: int) -> int | None:
    most = halo
    for axis in (2, 3):
        found = _beyond(_marked(axis, network, strip, length), strip.stride)
        most = max(most, length // 2 if found is None else found)
    return most if most > halo else None


@dataclass(frozen=True, slots=True)
class _Strip:
    """How strips are cut."""

    bands: int
    stride: int
    across: int
    """Their width in pixels."""
    exact: bool
    """Whether the network carries on what is not a number, and has a gradient."""
    dtype: torch.dtype | None = None
    """Of pixels; by default what suits the network."""

    def pixels(self, axis: int, length: int, seed: int = 0) -> Tensor:
        """Random (1, band, row, col); `length` pixels long along an axis."""
        rows, cols = (length, self.across) if axis == 2 else (self.across, length)
        dtype = self.dtype or (torch.float64 if self.exact else torch.float32)
        return _random((1, self.bands, rows, cols), seed).to(dtype)


def _probe(network: Callable[[Tensor], Tensor], strip: _Strip) -> Field:
    most, stride = 0, strip.stride
    for axis in (2, 3):
        found = _field_along(axis, network, strip)
        if found is None or not _same_in_any_length(axis, network, strip, _up(found, stride)):
            return Field(_up(WIDE_HALO, stride), stride, "image-wide")
        most = max(most, found)
    return Field(_up(most, stride), stride, "bounded")


def _probe_window(network: Callable[[Tensor], Tensor], strip: _Strip) -> Field:
    """The field of a network that takes windows of one edge only."""
    stride, side = strip.stride, strip.across
    found = [_beyond(_marked(axis, network, strip, side), stride) for axis in (2, 3)]
    known = [each for each in found if each is not None]
    halo = _up(max(known, default=0), stride)
    if len(known) < len(found) or 2 * halo + stride >= side or not _same_when_moved(network, strip, halo):
        return Field(min(_up(WIDE_HALO, stride), side // 4 // stride * stride), stride, "image-wide")
    return Field(halo, stride, "bounded")


def _same_when_moved(network: Callable[[Tensor], Tensor], strip: _Strip, halo: int) -> bool:
    """Whether scores move along with pixels that move by a stride, but for a halo at the window's edges."""
    stride, side = strip.stride, strip.across
    pixels = _random((1, strip.bands, side + stride, side + stride), 0).to(strip.pixels(2, 1).dtype)
    inner = slice(halo + stride, side - halo)
    with torch.no_grad():
        here = network(pixels[..., :side, :side].contiguous())[..., inner, inner]
        there = network(pixels[..., stride:, stride:].contiguous())[
            ..., halo : side - halo - stride, halo : side - halo - stride
        ]
    return bool(torch.allclose(here, there, rtol=1e-3, atol=1e-4))


def _field_along(axis: int, network: Callable[[Tensor], Tensor], strip: _Strip) -> int | None:
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


def _marked(axis: int, network: Callable[[Tensor], Tensor], strip: _Strip, length: int) -> Tensor:
    """Which scores along a strip, (length,) bool, are computed from the cell amid it.

    Scores of one cell lie as far from the pixels of another as its pixels do from the other's scores, for a network
    does the same to each cell.
    """
    marked = torch.zeros(length, dtype=torch.bool)
    for seed in range(1 if strip.exact else _TRIALS):
        pixels = strip.pixels(axis, length, seed)
        before = None
        with torch.no_grad():
            if not strip.exact:
                before = network(pixels)
                if not before.isfinite().all():
                    raise ModelError(
                        "the network gives scores that are not finite for pixels from 0 to 1; are its weights damaged?"
                    )
            for value in (float("nan"), 1e3, 1e6):
                cell = strip.pixels(axis, strip.stride, seed) * value
                pixels.narrow(axis, _amid(length, strip.stride), strip.stride).copy_(cell)
                scores = network(pixels)
                touched = scores.isnan()
                if strip.exact and touched.any():
                    return marked | touched[0].any(dim=0).any(dim=3 - axis)
                if before is not None:  # what changes with a number counts
                    touched = touched | (scores != before)
                    marked |= touched[0].any(dim=0).any(dim=3 - axis)
                before = None if math.isnan(value) and strip.exact else scores
    return marked


def _sloped(axis: int, network: Callable[[Tensor], Tensor], strip: _Strip, length: int) -> Tensor:
    """Which pixels along a strip, (length,) bool, change the scores of the cell amid it by the gradient.

    The sum over a whole cell takes in each phase of the stride, and cores are made of whole cells.
    """
    if not strip.exact:
        return torch.zeros(length, dtype=torch.bool)
    pixels = strip.pixels(axis, length).requires_grad_()
    scores = network(pixels).narrow(axis, _amid(length, strip.stride), strip.stride)
    if not scores.requires_grad:  # nothing in it can be differentiated
        return torch.zeros(length, dtype=torch.bool)
    (gradient,) = torch.autograd.grad((scores * _random(scores.shape, 1)).sum(), pixels)
    return (gradient[0] != 0).any(dim=0).any(dim=3 - axis)


def _amid(length: int, stride: int) -> int:
    """Where the cell amid a strip begins: a whole number of strides from its edge."""
    return length // 2 // stride * stride


def _beyond(touched: Tensor, stride: int) -> int | None:
    """How far what is touched goes beyond the cell amid a strip; None where it meets an end of the strip."""
    cell, found = _amid(len(touched), stride), touched.nonzero().flatten()
    if not len(found):  # all units are dead here: the scores depend on nothing
        return 0
    first, last = int(found.min()), int(found.max())
    if first == 0 or last == len(touched) - 1:
        return None
    return max(cell - first, last + 1 - (cell + stride), 0)


def _same_in_any_length(axis: int, network: Callable[[Tensor], Tensor], strip: _Strip, halo: int) -> bool:
    """Whether a cell with just its halo scores as it does within a strip three times as long."""
    stride = strip.stride
    near = 2 * halo + stride
    pixels = strip.pixels(axis, _up(3 * near, stride))
    start = _up(near, stride)
    with torch.no_grad():
        whole = network(pixels).narrow(axis, start + halo, stride)
        alone = network(pixels.narrow(axis, start, near)).narrow(axis, halo, stride)
    rtol, atol = (1e-7, 1e-9) if strip.exact else (1e-3, 1e-4)
    return bool(torch.allclose(whole, alone, rtol=rtol, atol=atol))


def is_torch(network: Callable[[Tensor], Tensor]) -> bool:
    """Whether a network, and what it wraps, is a torch module, which carries on what is not a number."""
    return isinstance(network, nn.Module) and isinstance(getattr(network, "network", network), nn.Module)


def _random(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.rand(shape, generator=seeded(seed), dtype=torch.float64)


def _up(number: int, step: int) -> int:
    return -(-number // step) * step

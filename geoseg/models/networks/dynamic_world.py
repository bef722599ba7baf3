"""Dynamic World: Google's network for near real-time land cover from Sentinel-2, after its published graph.

Inverted residual blocks at half resolution, Mish throughout, and a softmax over features of unit length; nothing in it
looks at the whole window. Weights come from the published TensorFlow SavedModel (`geoseg models add dynamic-world`).
Source: Brown et al. 2022, Dynamic World, Near real-time global 10 m land use land cover mapping, Scientific Data 9:251.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from geoseg.errors import ModelError

_EPSILON = 1e-3  # of batch normalisation, as Keras has it
_TENT = (0.125, 0.375, 0.375, 0.125)  # the weights of TensorFlow's antialiased bilinear halving


class DynamicWorld(nn.Module):
    """The network of Dynamic World.

    Parameters
    ----------
    bands, classes
        Channels in and out; 9 and 9 for the published weights.
    """

    stride = 2
    tent: Tensor

    def __init__(self, bands: int, classes: int) -> None:
        super().__init__()
        self.stem = _step(bands, 64, 3)
        self.first = _Block(64, 96, 96)
        self.second = _Block(96, 144, 144)
        self.skip = nn.Sequential(_step(64, 48, 1), _step(48, 48, 3, groups=48))
        self.third = _Block(192, 144, 144)
        self.head = nn.Conv2d(144, classes, 1)
        self.register_buffer(
            "tent", torch.outer(torch.tensor(_TENT), torch.tensor(_TENT))[None, None], persistent=False
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Scores (batch, class, row, col) of (batch, band, row, col) pixels; rows and columns are even."""
        rows, cols = pixels.shape[-2:]
        if rows % 2 or cols % 2:
            raise ModelError(f"the network takes even numbers of pixels, got {rows} x {cols}; pad the window")
        x = self._half(self.stem(pixels))
        inner = self.second(self.first(x))
        x = self.third(torch.cat([inner, self.skip(x)], dim=1))
        x = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = x * torch.rsqrt(x.square().sum(dim=1, keepdim=True).clamp(min=1e-12))
        scores: Tensor = self.head(x)
        return scores

    def _half(self, x: Tensor) -> Tensor:
        """Half the rows and columns; at the edges, what lies beyond does not count."""
        channels, rows, cols = x.shape[1:]
        x = nn.functional.conv2d(
            x, self.tent.to(x.dtype).expand(channels, 1, 4, 4), stride=2, padding=1, groups=channels
        )
        missing = 1 - _TENT[0]
        for axis, edge in ((2, rows // 2), (3, cols // 2)):
            share = torch.ones(edge, dtype=x.dtype, device=x.device)
            share[0] *= missing
            share[-1] *= missing
            x = x / share.view(-1, *(1,) * (3 - axis))
        return x


def dynamic_world_order(network: nn.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Modules in the order in which the published SavedModel numbers its variables, each with the names of its tensors.

    Parameters
    ----------
    network
        A `DynamicWorld`.
    """
    names = ["stem.0", "stem.1"]
    for block, between in (("first", ()), ("second", ("skip.0.0", "skip.0.1")), ("third", ())):
        names += [f"{block}.steps.{step}.{part}" for step in range(5) for part in (0, 1)]
        names += [*between, f"{block}.steps.5.0", f"{block}.around.0", f"{block}.steps.5.1", f"{block}.around.1"]
        names += ["skip.1.0", "skip.1.1"] if block == "second" else []
    for name in (*names, "head"):
        convolves = isinstance(network.get_submodule(name), nn.Conv2d)
        yield name, ("weight", "bias") if convolves else ("weight", "bias", "running_mean", "running_var")


class _Mish(nn.Module):
    """x tanh(softplus(x)), Misra 2019, in the published graph's order of operations."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.tanh(nn.functional.softplus(x))


class _Block(nn.Module):
    """Three depthwise convolutions between pointwise ones, and a pointwise way around them."""

    def __init__(self, channels_in: int, inner: int, channels: int) -> None:
        super().__init__()
        self.steps = nn.Sequential(
            _step(channels_in, inner, 1),
            _step(inner, inner, 3, groups=inner),
            _step(inner, inner, 1),
            _step(inner, inner, 3, groups=inner),
            _step(inner, inner, 1),
            _step(inner, channels, 3, groups=inner),
        )
        self.around = _step(channels_in, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, row, col) of the same rows and columns."""
        inner: Tensor = self.steps(x)
        around: Tensor = self.around(x)
        return inner + around


def _step(channels_in: int, channels: int, edge: int, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, edge, padding=edge // 2, groups=groups),
        nn.BatchNorm2d(channels, eps=_EPSILON),
        _Mish(),
    )

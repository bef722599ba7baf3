"""Compact: geoseg's own encoder-decoder, small enough for a CPU, with a bounded receptive field.

Convolutions, BatchNorm and upsampling only: nothing in it looks at the whole window, so a halo of some dozen to a few
hundred pixels makes a tiled map equal to one made in a single piece.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from geoseg.errors import ModelError


class Compact(nn.Module):
    """A fully convolutional encoder-decoder with added (not stacked) skips.

    Parameters
    ----------
    bands, classes
        Channels in and out.
    width
        Channels at full resolution; level l has (l + 1) x width.
    depth
        Number of halvings; the stride is stem x 2 ** depth.
    dropout
        Share of the deepest level's channels dropped in training.
    stem
        Edge of the squares of pixels that are taken as one at the start, each pixel a channel; the scores are brought
        back to full resolution bilinearly. 2 sees twice as far for a quarter of the work, for labels that are coarse.
    """

    def __init__(self, bands: int, classes: int, width: int, depth: int, dropout: float = 0.0, stem: int = 1) -> None:
        super().__init__()
        widths = [width * (level + 1) for level in range(depth + 1)]
        self.stride = stem * 2**depth
        self.gather = nn.PixelUnshuffle(stem) if stem > 1 else nn.Identity()
        self.spread = nn.Upsample(scale_factor=stem, mode="bilinear") if stem > 1 else nn.Identity()
        self.encoders = nn.ModuleList([_twice(bands * stem**2, widths[0]), *(_twice(w, w) for w in widths[1:])])
        self.downs = nn.ModuleList(_down(a, b) for a, b in pairwise(widths))
        self.drop = nn.Dropout2d(dropout)
        self.ups = nn.ModuleList(_up(b, a) for a, b in pairwise(widths))
        self.decoders = nn.ModuleList(_once(w, w) for w in widths[:-1])
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Scores of (B, band, H, W) pixels; H and W are multiples of the stride, W0 = width."""
        rows, cols = pixels.shape[-2:]
        if rows % self.stride or cols % self.stride:
            raise ModelError(
                f"the network takes multiples of {self.stride} pixels, got {rows} x {cols}; pad the window"
            )
        kept = []
        x = self.encoders[0](self.gather(pixels))  # (B, W0, H, W); below, H and W are those of the squares of a stem
        for down, encoder in zip(self.downs, self.encoders[1:]):
            kept.append(x)
            x = encoder(down(x))  # (B, (l + 1) W0, H / 2^l, W / 2^l) at level l = 1 .. depth
        x = self.drop(x)  # (B, (depth + 1) W0, H / stride, W / stride)
        for up, decoder, skip in zip(reversed(self.ups), reversed(self.decoders), reversed(kept)):
            x = decoder(up(x) + skip)  # (B, (l + 1) W0, H / 2^l, W / 2^l) at level l = depth - 1 .. 0
        scores: Tensor = self.spread(self.head(x))  # (B, class, H, W) of the pixels
        return scores


def _once(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),  # (B, channels, h, w)
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


def _twice(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(_once(channels_in, channels), _once(channels, channels))


def _down(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 2, stride=2, bias=False),  # (B, channels, h / 2, w / 2)
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


def _up(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 1),  # (B, channels, h, w)
        nn.Upsample(scale_factor=2, mode="nearest"),  # (B, channels, 2 h, 2 w)
    )


def parameters_of(network: nn.Module) -> int:
    """Number of trained numbers."""
    return sum(each.numel() for each in network.parameters())


def seeded(seed: int) -> torch.Generator:
    """A generator of its own, so that the caller's random state is left alone."""
    return torch.Generator().manual_seed(seed)

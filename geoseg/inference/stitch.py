"""Stitch: the scores of a tile's windows become one label and confidence for each pixel, and what else is asked for.

`crop`: a pixel is labelled by the window whose core it lies in. `blend`: by all windows that see it, each weighted by
how far the pixel is from its edge, added in the lattice's order. Windows are addressed by their cores on the lattice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from geoseg.errors import PredictionError
from geoseg.grid import Tile, Window, cut
from geoseg.inference.decision import Decision
from geoseg.inference.device import Device
from geoseg.inference.trimming import Trimming
from geoseg.models.devices import reproducible
from geoseg.models.normalisation import normalised
from geoseg.models.outputs import shares_of

if TYPE_CHECKING:
    from geoseg.inference.member import Member
    from geoseg.inference.predictor import Predictor


def label(predictor: Predictor, pixels: np.ndarray, tile: Tile) -> tuple[np.ndarray, ...]:
    """Labels, confidence and other layers of a tile; see `Predictor.__call__`.

    Parameters
    ----------
    predictor : Predictor
        What is run.
    pixels : (band, row, col) float32
        Physical values over `tile.read`, NaN where there is no data.
    tile : Tile
        Where they lie.
    """
    device = Device(predictor)
    with torch.inference_mode(), reproducible(str(device.torch)):
        stitching = _Stitching(predictor, device, pixels, tile)
        stitching.crop() if predictor.stitch == "crop" else stitching.blend()
        return tuple(each.cpu().numpy() for each in stitching.layers)


class _Stitching:
    """A tile on its device; arrays cover `tile.read`."""

    def __init__(self, predictor: Predictor, device: Device, pixels: np.ndarray, tile: Tile) -> None:
        self.predictor, self.device, self.tile = predictor, device, tile
        self.core, self.halo = predictor.core, predictor.halo
        raw = torch.from_numpy(np.require(pixels, np.float32, ["C", "W"])).to(device.torch)  # (band, row, col)
        known = raw.isfinite()
        self.members = predictor.members
        self.pixels = _normalised(self.members, raw)
        self.kinds = {card.output.kind for card in predictor.cards}
        self.whole = known.all(dim=0)  # (row, col)
        self.wanted = torch.zeros_like(self.whole)
        self.wanted[self._at(tile.keep)] = self.whole[self._at(tile.keep)]
        self.decide = Decision(predictor, device.torch)
        self.trimming = Trimming(predictor, device)
        self.layers = self.decide.layers(tuple(self.whole.shape))

    def crop(self) -> None:
        """Each window labels its own core, or what of it is kept and has data."""
        bad = self.whole.new_zeros(())
        for parts, found, wrong in self.device.in_order(self._crop, self._cores(self.wanted, 0)):
            for layer, values in zip(self.layers, found):
                for part, value in zip(parts, values):
                    layer[(..., *self._at(part))] = value
            bad |= wrong
        self._refuse(bad)

    def blend(self) -> None:
        """Each window adds its weighted shares to all cores that it sees, always in the lattice's row-major order."""
        rings, weight = self.predictor.rings, _weight(self.core, self.halo).to(self.device.torch)  # (side, side)
        sums: dict[int, Tensor] = {}  # of each row of cores that windows still add to: (class + 1, core, col)
        for cores, shares in self.device.in_order(self._shares, self._cores(self.whole, rings)):
            for core, share in zip(cores, shares):
                for row in [row for row in sums if row + rings * self.core < core.row]:
                    self._settle(row, sums.pop(row))
                self._add(sums, core, torch.cat([share, torch.ones_like(share[:1])]) * weight)
        for row, total in sums.items():
            self._settle(row, total)

    def _cores(self, pixels: Tensor, rings: int) -> list[Window]:
        """Cores of the tile, and `rings` more around it, that hold at least one of these pixels."""
        around = self.tile.cores.grown(rings * self.core)
        tiled = pixels[self._at(around)].unflatten(1, (-1, self.core)).unflatten(0, (-1, self.core))
        holding = tiled.any(dim=3).any(dim=1).flatten().tolist()  # of (row, core, col, core)
        return [core for core, any_pixel in zip(cut(around, self.core), holding) if any_pixel]

    @torch.inference_mode()
    def _crop(self, cores: list[Window]) -> tuple[list[Window], list[Tensor], Tensor]:
        parts = [self.trimming.part(core, self.wanted[self._at(core)]) for core in cores]
        scores, shares = self._found(parts, self.halo)
        wanted = torch.stack([self.wanted[self._at(part)] for part in parts])
        bad = (~(scores.isfinite() & shares.isfinite()).all(dim=1) & wanted).any()
        return parts, self.decide(scores, shares, wanted), bad

    @torch.inference_mode()
    def _shares(self, cores: list[Window]) -> tuple[list[Window], Tensor]:
        scores, shares = self._found(cores, 0)
        return cores, _whole(scores, shares)  # (window, class, side, side)

    def _found(self, parts: list[Window], cut_off: int) -> tuple[Tensor, Tensor]:
        """Scores and shares (window, class, row, col) of parts and their halo, less so much on each side.

        Of several models both are the mean of their shares, no number where one of their scores is none.
        """
        if len(self.members) == 1:
            return self._found_by(0, parts, cut_off)
        total = _whole(*self._found_by(0, parts, cut_off))
        for member in self.device.members[1:]:
            total = total + _whole(*self._found_by(member, parts, cut_off))
        mean = total / len(self.members)
        return mean, mean

    def _found_by(self, member: int, parts: list[Window], cut_off: int) -> tuple[Tensor, Tensor]:
        pixels, temperature = self.pixels[member], self.members[member].temperature
        windows = [pixels[(slice(None), *self._at(part.grown(self.halo)))] for part in parts]
        scores = self.device.scores(windows, member)
        down, across = (slice(cut_off, edge - cut_off) for edge in scores.shape[2:])
        scores = scores[:, :, down, across]
        kind = self.members[member].model.card.output.kind
        return scores, shares_of(scores if temperature == 1 else scores / temperature, kind)

    def _add(self, sums: dict[int, Tensor], core: Window, weighted: Tensor) -> None:
        seen = core.grown(self.halo)
        for square in cut(Window(seen.row, 0, seen.height, 1), self.core):
            strip = self._strip(square.row)
            part = strip.meet(seen)
            if part is None or strip.meet(self.tile.cores) is None:
                continue
            if strip.row not in sums:
                sums[strip.row] = weighted.new_zeros((len(weighted), *strip.shape))
            sums[strip.row][(slice(None), *part.within(strip))] += weighted[(slice(None), *part.within(seen))]

    def _settle(self, row: int, total: Tensor) -> None:
        at = self._at(self._strip(row))
        wanted = self.wanted[at]
        shares = total[:-1] / total[-1:]
        self._refuse((~shares.isfinite().all(dim=0) & wanted).any())
        for layer, values in zip(self.layers, self.decide(shares[None], shares[None], wanted[None])):
            layer[(..., *at)] = values[0]

    def _strip(self, row: int) -> Window:
        """The row of the tile's cores that begins at a lattice row."""
        return Window(row, self.tile.cores.col, self.core, self.tile.cores.width)

    def _refuse(self, bad: Tensor) -> None:
        if bool(bad):
            what = "scores that are not finite"
            if "probabilities" in self.kinds:
                what += ", or shares beyond 0 to 1,"
            raise PredictionError(
                f"model {self.predictor.name!r} gave {what} for pixels with data; "
                "look for extreme values in the imagery, or use precision float32"
            )

    def _at(self, window: Window) -> tuple[slice, slice]:
        return window.within(self.tile.read)


def _whole(scores: Tensor, shares: Tensor) -> Tensor:
    """Shares, no number where a score is none: softmax would turn minus infinity into an honest-looking 0."""
    return torch.where(scores.isfinite().all(dim=1, keepdim=True), shares, torch.nan)


def _normalised(members: Sequence[Member], raw: Tensor) -> list[Tensor]:
    """Pixels (band, row, col) as each member takes them; those that take the same share one."""
    made: dict[tuple[object, ...], Tensor] = {}
    keys = [(each.model.card.normalisation.kind, each.mean, each.std) for each in members]
    for kind, *numbers in keys:
        mean, std = (torch.tensor(each, device=raw.device)[:, None, None] for each in numbers)
        if (kind, *numbers) not in made:
            made[kind, *numbers] = normalised(kind, raw, mean, std)
    return [made[key] for key in keys]


def _weight(core: int, halo: int) -> Tensor:
    """Weight of a window's pixels (side, side): 1 amid it, a squared sine over the overlap, nowhere 0."""
    away = torch.arange(core + 2 * halo, dtype=torch.float64) + 0.5
    ramp = torch.sin((torch.minimum(away, away.flip(0)) / max(1, 2 * halo)).clamp(max=1) * torch.pi / 2) ** 2
    return torch.outer(ramp, ramp).float()

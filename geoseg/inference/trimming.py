"""Trimming: a window is computed only as far as its labels are wanted, where that changes no bit of them.

With a halo that covers the receptive field, the scores of a core's part need only that part and its halo. Whether they
come out equal to the last bit depends on the kernels that a processor takes for a shape, so each shape is tried once in
each process, on noise: the scores of the whole window and those of the trimmed one must be the same. A network that
looks farther than its card says fails that trial too.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from geoseg.grid import Window
from geoseg.process import kept

if TYPE_CHECKING:
    from geoseg.inference.device import Device
    from geoseg.inference.predictor import Predictor

_SEEN = 2
"""A shape is tried when it comes for the third time: a trial costs more than one window saves."""
_STEPS = 4
"""Parts are cut in so many steps of a core's edge, so that there are few shapes."""


class Trimming:
    """What of its windows a predictor computes on a device.

    Parameters
    ----------
    predictor : Predictor
        What is run.
    device : Device
        Where.
    """

    def __init__(self, predictor: Predictor, device: Device) -> None:
        field = predictor.field
        self.allowed = (
            device.torch.type == "cpu"
            and predictor.stitch == "crop"
            and field is not None
            and predictor.halo >= field
            and not device.square
        )
        """Elsewhere whole windows are computed."""
        self._device, self._bands = device, len(predictor.model.card.bands)
        self._core, self._halo = predictor.core, predictor.halo
        self._step = -(-self._core // (_STEPS * predictor.stride)) * predictor.stride
        passed = (predictor.precision, predictor.options.tta, self._core, self._halo)
        self._key = (*((card.weights.sha256, str(card.architecture)) for card in predictor.cards), *passed)

    def part(self, core: Window, wanted: Tensor) -> Window:
        """The part of a core that is computed: all of it, or a rectangle that holds what is wanted.

        Parameters
        ----------
        core : Window
            One core.
        wanted : (core, core) bool
            Its pixels that get a label; at least one.
        """
        if not self.allowed:
            return core
        part = self._around(core, wanted)
        return part if part == core or self._is_exact(part.shape) else core

    def _around(self, core: Window, wanted: Tensor) -> Window:
        (top, bottom), (left, right) = (self._span(wanted.any(dim=axis)) for axis in (1, 0))
        return Window(core.row + top, core.col + left, bottom - top, right - left)

    def _span(self, wanted: Tensor) -> tuple[int, int]:
        first, last = (int(each) for each in wanted.nonzero()[[0, -1], 0])
        begin, end = first // self._step * self._step, -(-(last + 1) // self._step) * self._step
        return begin, min(end, self._core)

    def _is_exact(self, shape: tuple[int, int]) -> bool:
        shapes, key = kept(_Shapes), (self._key, shape)
        if self._key in shapes.given_up:
            return False
        found = shapes.exact.get(key)
        if found is None:
            if not shapes.lock.acquire(blocking=False):
                return False  # another thread tries one: the whole window is right meanwhile
            try:
                shapes.seen[key] = shapes.seen.get(key, 0) + 1
                if shapes.seen[key] <= _SEEN:
                    return False
                found = shapes.exact[key] = all(self._try(shape, member) for member in self._device.members)
                if not found:
                    shapes.given_up.add(self._key)  # others may do, but trials that fail cost more than they save
            finally:
                shapes.lock.release()
        return found

    def _try(self, shape: tuple[int, int], member: int) -> bool:
        height, width = shape
        side, inner = self._core + 2 * self._halo, slice(self._halo, self._halo + self._core)
        noise = torch.randn(self._bands, side, side, generator=torch.Generator().manual_seed(0))
        whole = self._device.scores([noise], member)[0, :, inner, inner]
        part = self._device.scores([noise[:, -height - 2 * self._halo :, -width - 2 * self._halo :]], member)[0]
        part = part[:, self._halo : self._halo + height, self._halo : self._halo + width]
        return torch.equal(part, whole[:, -height:, -width:])


class _Shapes:
    """Which shapes of windows give the bits of whole ones, in this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.given_up: set[object] = set()
        self.exact: dict[tuple[object, tuple[int, int]], bool] = {}
        self.seen: dict[tuple[object, tuple[int, int]], int] = {}

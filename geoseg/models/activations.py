"""Activations: the memory that a window takes in a network, found without computing it.

The network runs over tensors that have a shape and no numbers, so that any size takes a moment; what its operations
allocate and let go is added up.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_BUFFERS = 8_000_000
"""What kernels take whatever the window."""
BEYOND = 1.4
"""What a process holds for each byte of tensors: kernels' own buffers and the allocator's gaps. Measured on a CPU for
compact and smp networks at windows of 256 to 2048 in float32 and bfloat16: 1.08 to 1.27."""


def peak_bytes(network: Callable[[Tensor], Tensor], bands: int, side: int, precision: str) -> int | None:
    """Most bytes that one window takes, from its pixels to its labels; None where the network cannot be followed.

    Parameters
    ----------
    network : callable
        A module in evaluation mode, others are not followed; takes float32 (1, band, side, side).
    bands : int
        Bands of the window.
    side : int
        Its edge, pixels.
    precision : str
        'float32', 'bfloat16' or 'float16'.
    """
    if not isinstance(network, nn.Module):
        return None
    dtype: torch.dtype = getattr(torch, precision)
    allocations = _Allocations()
    try:
        with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True), allocations:
            window = torch.empty(1, bands, side, side).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                scores = network(window).float()
            decided = scores.isfinite().all(dim=1), scores.softmax(dim=1).amax(dim=1)
            del decided
    except Exception:  # a network may ask for the numbers themselves, and torch raises many kinds of errors then
        return None
    return int(BEYOND * allocations.peak) + _BUFFERS


class _Allocations(TorchDispatchMode):
    """Adds up the storage that is alive."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._now = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor):
                self._count(each.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._alive:
            self._alive.add(key)
            self._now += size
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self._now -= size

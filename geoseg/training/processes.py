"""Processes: several that train one network together, as torchrun starts them; or this one alone.

Each process draws the whole batch, shows its network a share of it, and gets the loss of the whole: scores are
gathered, statistics of BatchNorm and gradients shared. So several processes do what one would do with all their batches
in one, within rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn

_LONGEST = timedelta(days=2)
"""That processes wait for one of them, which judges the network at the end."""


@dataclass(frozen=True, slots=True)
class Team:
    """The processes of a training."""

    rank: int = 0
    """Number of this one."""
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and tells."""
        return self.rank == 0

    def own(self, batch: np.ndarray) -> np.ndarray:
        """The share of this process in a batch of all, along the first axis."""
        share = len(batch) // self.size
        return batch[self.rank * share : (self.rank + 1) * share]

    def gathered(self, scores: Tensor) -> Tensor:
        """The shares of all processes as one batch; gradients find their way back."""
        found: Tensor = scores if self.size == 1 else _Gathered.apply(scores, self.rank, self.size)
        return found

    def share_statistics(self, network: nn.Module) -> None:
        """Let BatchNorm take mean and variance over the batch of all processes, in place."""
        if self.size > 1:
            for module in network.modules():
                if type(module) is nn.BatchNorm2d:
                    module.__class__ = _SharedNorm

    def mean_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give each process the mean of all processes' gradients, in place."""
        if self.size == 1:
            return
        gradients = [each.grad for each in parameters if each.grad is not None]
        flat = torch.cat([each.flatten() for each in gradients])
        distributed.all_reduce(flat)
        flat /= self.size
        for each, part in zip(gradients, flat.split([each.numel() for each in gradients])):
            each.copy_(part.view_as(each))

    def summed(self, values: np.ndarray, device: torch.device) -> np.ndarray:
        """Numbers of all processes, added up.

        Parameters
        ----------
        values
            float64.
        device
            That the processes talk on.
        """
        if self.size == 1:
            return values
        found = torch.from_numpy(values.copy()).to(device)
        distributed.all_reduce(found)
        return found.cpu().numpy()

    def states(self, state: Tensor) -> dict[str, Tensor]:
        """A small tensor of each process, by a name; 'torch' is that of the first."""
        if self.size == 1:
            return {"torch": state}
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, state)
        return {self.name(rank): each for rank, each in enumerate(found)}

    def name(self, rank: int) -> str:
        """What `states` calls a process.

        Parameters
        ----------
        rank
            Its number.
        """
        return "torch" if rank == 0 else f"torch{rank}"

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            distributed.barrier()


def rank() -> int:
    """Number of this process among those that torchrun started; 0 where it is alone."""
    return int(os.environ.get("RANK", 0)) if _size() > 1 else 0


@contextmanager
def joined(device: str | None) -> Iterator[tuple[Team, torch.device]]:
    """The processes that torchrun started, with the device of this one: gloo between CPUs, NCCL between GPUs.

    Parameters
    ----------
    device
        A torch device; default: a GPU of its own for each process if there are any, else the CPU.
    """
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if _size() == 1:
        yield Team(), where
        return
    if where.type == "cuda" and where.index is None:
        where = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(where)
    distributed.init_process_group("nccl" if where.type == "cuda" else "gloo", timeout=_LONGEST)
    try:
        yield Team(distributed.get_rank(), distributed.get_world_size()), where
    finally:
        distributed.destroy_process_group()


def _size() -> int:
    return int(os.environ.get("WORLD_SIZE", 1))


class _Gathered(torch.autograd.Function):
    """All processes' batches in one; back goes what all of them say of this one's."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, rank: int, size: int) -> Tensor:
        ctx.rank, ctx.share = rank, len(own)
        parts = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(size)]
        distributed.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (whole,) = (each.contiguous().clone() for each in gradients)
        distributed.all_reduce(whole)
        return whole[ctx.rank * ctx.share : (ctx.rank + 1) * ctx.share], None, None


class _Summed(torch.autograd.Function):
    """The sum over all processes, and of their gradients on the way back."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        found = own.clone()
        distributed.all_reduce(found)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (found,) = (each.contiguous().clone() for each in gradients)
        distributed.all_reduce(found)
        return found


class _SharedNorm(nn.BatchNorm2d):
    """BatchNorm over the batches of all processes, which have the same shape; torch's own does so on GPUs alone."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        values = input.float()
        pixels = values.numel() // values.shape[1] * distributed.get_world_size()
        mean = _Summed.apply(values.sum((0, 2, 3))) / pixels
        off = values - mean[:, None, None]
        variance = _Summed.apply(off.square().sum((0, 2, 3))) / pixels
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * pixels / max(1, pixels - 1), share)
        scaled = off * torch.rsqrt(variance + self.eps)[:, None, None]
        found = scaled * self.weight[:, None, None] + self.bias[:, None, None] if self.affine else scaled
        return found.to(input.dtype)

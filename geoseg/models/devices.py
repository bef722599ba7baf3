"""Devices: what a network runs on: the CPU or a CUDA device, named as torch names them ('cpu', 'cuda', 'cuda:1').

torch is loaded where a device is looked for, not where one is named: a job can be planned without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from geoseg.errors import ModelError


def gpus() -> int:
    """CUDA devices that torch can use here."""
    import torch

    return torch.cuda.device_count()


def available(device: str) -> str:
    """The device meant here and now; 'auto' is a CUDA device where there is one, else the CPU.

    Raises
    ------
    ModelError
        If it is not there.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    check_device(device)
    found = torch.cuda.device_count() if device != "cpu" else 1
    if int(device.partition(":")[2] or 0) >= found:
        raise ModelError(
            f"inference.device is {device!r}, but torch finds {found} CUDA devices here; "
            "choose 'cpu' or 'auto', or install a torch that knows this GPU"
        )
    return device


def check_device(device: str) -> None:
    """Refuse a text that names no kind of device; whether it is there, `available` says."""
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()) or device == "cpu:":
        raise ModelError(f"inference.device is {device!r}; choose 'auto', 'cpu', 'cuda' or 'cuda:<number>'")


@contextmanager
def reproducible(device: str) -> Iterator[None]:
    """On a GPU: the same kernels each time and no shortened floats; a CPU needs nothing."""
    if device == "cpu":
        yield
        return
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)

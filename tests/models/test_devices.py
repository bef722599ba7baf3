"""Devices: what is named is there or refused, and settings of torch are put back."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import ModelError
from geoseg.models import devices


def test_auto_is_what_torch_finds():
    assert devices.available("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert devices.available("cpu") == "cpu"
    assert devices.gpus() == torch.cuda.device_count()


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ModelError, match=rf"inference\.device is '{name}', but torch finds 0 CUDA devices here"):
        devices.available(name)


def test_devices_are_numbered_from_0(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [devices.available(name) for name in ("cuda", "cuda:0", "cuda:1")] == ["cuda", "cuda:0", "cuda:1"]
    with pytest.raises(ModelError, match="torch finds 2 CUDA devices"):
        devices.available("cuda:2")


@pytest.mark.parametrize(
    "name", ["tpu", "", "cpu:", "cpu:0x", "cuda:-1", "cuda:a", "cuda:1:2", "CUDA", "auto ", "cuda:\u00b2"]
)
def test_a_text_that_names_no_device_is_refused(name):
    with pytest.raises(ModelError, match=r"choose 'auto', 'cpu', 'cuda' or 'cuda:<number>'"):
        devices.check_device(name)


@given(st.text(max_size=8))
def test_every_name_that_is_let_in_is_one_that_torch_knows(name):
    try:
        devices.check_device(name)
    except ModelError:
        return
    assert torch.device(name).type in ("cpu", "cuda")


@pytest.fixture
def medium():
    """Torch set to something else than we need."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def settings():
    cudnn = torch.backends.cudnn
    return torch.get_float32_matmul_precision(), cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32


def fail_inside(device, seen):
    with devices.reproducible(device):
        seen.append(settings())
        raise KeyError


@pytest.mark.parametrize(("device", "inside"), [("cuda", ("highest", True, False, False)), ("cpu", None)])
def test_settings_are_put_back_whatever_happens(medium, device, inside):
    before, seen = settings(), []
    with pytest.raises(KeyError):
        fail_inside(device, seen)
    assert seen == [inside or before]
    assert settings() == before


def test_naming_a_device_needs_no_torch():
    code = "import sys; from geoseg.models.devices import check_device; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

"""Activations: what a window takes is known without computing it, and covers what the operating system sees."""

import subprocess
import sys

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from geoseg.models import activations
from geoseg.models.networks import build

REAL = """
import sys
import torch
from geoseg.models.networks import build

def status(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))

torch.set_num_threads(1)
network = build({architecture}, 4, 6, most_bytes=10**9).eval()
network.requires_grad_(False).to(memory_format=torch.channels_last)
dtype = torch.{precision}
with torch.inference_mode():
    def label(side):
        window = torch.rand(1, 4, side, side).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            scores = network(window).float()
        return scores.isfinite().all(dim=1), scores.softmax(dim=1).amax(dim=1)
    label(64)
    before = status("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")  # the high-water mark begins anew
    label({side})
    print(status("VmHWM") - before)
"""
ARCHITECTURES = [
    {"name": "compact", "width": 24, "depth": 3},
    {"name": "smp", "arch": "Unet", "encoder": "resnet18"},
    {"name": "smp", "arch": "DeepLabV3Plus", "encoder": "resnet18"},
    {"name": "smp", "arch": "FPN", "encoder": "mobilenet_v2"},
]


def test_one_convolution_takes_its_input_its_output_and_what_the_decision_needs():
    side, classes = 100, 3
    network = nn.Conv2d(2, classes, 1).eval().requires_grad_(False)
    window, scores = 4 * 2 * side**2, 4 * classes * side**2
    found = (activations.peak_bytes(network, 2, side, "float32") - activations._BUFFERS) / activations.BEYOND
    assert window + 2 * scores <= found <= 1.1 * (window + 3 * scores)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.sampled(2)
def test_memory_grows_with_the_windows_area_and_half_precision_takes_less(precision):
    network = smp.Unet("resnet18", encoder_weights=None, in_channels=4, classes=6).eval().requires_grad_(False)
    small, large = (activations.peak_bytes(network, 4, side, precision) - activations._BUFFERS for side in (256, 1024))
    assert large / small == pytest.approx(16, rel=0.15)
    assert precision == "float32" or large < 0.7 * activations.peak_bytes(network, 4, 1024, "float32")


def test_nothing_is_computed_and_the_weights_stay():
    network = nn.Conv2d(1, 2, 3, padding=1).eval()
    before = [each.clone() for each in network.parameters()]
    assert activations.peak_bytes(network, 1, 60_000, "float32") > 60_000**2 * 4 * 3  # more than any machine here has
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters()))


def test_a_network_that_looks_at_the_numbers_or_is_no_module_is_not_followed():
    class Asks(nn.Module):
        def forward(self, x):
            return x if float(x.mean()) > 0 else -x

    assert activations.peak_bytes(Asks(), 1, 64, "float32") is None
    assert activations.peak_bytes(lambda x: x, 1, 64, "float32") is None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark of memory is read from /proc")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("architecture", "side"),
    [(ARCHITECTURES[0], 320), *((each, 1088) for each in ARCHITECTURES)],
    ids=lambda each: each.get("arch", "compact") if isinstance(each, dict) else str(each),
)
def test_the_operating_system_sees_no_more_than_was_told(architecture, side, precision):
    code = REAL.format(architecture=architecture, side=side, precision=precision)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    real = int(done.stdout)
    network = build(architecture, 4, 6, most_bytes=10**9).eval().requires_grad_(False)
    told = activations.peak_bytes(network, 4, side, precision)
    print(f"{real / 1e6:.0f} of {told / 1e6:.0f} MB")
    assert real <= told + 10e6  # threads and the allocator
    assert side == 320 or 0.3 * told < real  # of a small window much fits into what the allocator holds already

"""Build: an architecture's name and keys become a network, or one sentence that names the nearest known."""

import resource
import time

import pytest
import torch

from geoseg.errors import ModelError
from geoseg.models import networks, receptive_field


def test_unknown_names_and_keys_name_the_nearest_known():
    with pytest.raises(ModelError, match="no architecture is called 'compat'; did you mean 'compact'"):
        networks.build({"name": "compat"}, 3, 2)
    with pytest.raises(ModelError, match="architecture has no name"):
        networks.build({"width": 8}, 3, 2)
    with pytest.raises(ModelError, match="unknown key 'widht'; did you mean 'width'"):
        networks.build({"name": "compact", "widht": 8}, 3, 2)
    with pytest.raises(ModelError, match="depth"):
        networks.build({"name": "compact", "depth": 0}, 3, 2)
    with pytest.raises(ModelError, match="at least one band"):
        networks.build({"name": "compact"}, 0, 2)


@pytest.mark.parametrize("bands", [1, 3, 7])
@pytest.mark.parametrize("classes", [1, 2, 9])
def test_channels_in_are_bands_and_channels_out_are_classes(bands, classes):
    network = networks.build({"name": "compact", "width": 2, "depth": 1}, bands, classes).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, bands, 6, 8)).shape == (2, classes, 6, 8)
    assert network.training is False


# ----------------------------------------------------------------------------- room for the weights


def bytes_of(network):
    return sum(each.nbytes for each in (*network.parameters(), *network.buffers()))


@pytest.mark.parametrize("architecture", [{"name": "compact", "width": 3, "depth": 1}, {"name": "compact"}])
def test_a_network_may_take_the_bytes_it_takes_and_not_one_less(architecture):
    needed = bytes_of(networks.build(architecture, 3, 2))
    assert bytes_of(networks.build(architecture, 3, 2, most_bytes=needed)) == needed
    with pytest.raises(ModelError, match=r"needs [\d.]+ MB, more than the [\d.]+ MB that its weights file can fill"):
        networks.build(architecture, 3, 2, most_bytes=needed - 1)


def test_counting_changes_no_weight():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        plain = networks.build({"name": "compact"}, 3, 2)
        torch.manual_seed(1)
        counted = networks.build({"name": "compact"}, 3, 2, most_bytes=10**9)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), counted.parameters(), strict=True))
    assert {each.device.type for each in counted.parameters()} == {"cpu"}


def test_a_network_of_gigabytes_is_refused_before_its_memory_is_taken():
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(ModelError, match=r"needs \d{3,}\.\d MB"):
        networks.build({"name": "compact", "width": 512, "depth": 6}, 4, 6, most_bytes=1_000_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB
    assert time.process_time() - start < 2


# ------------------------------------------------------------------- segmentation-models-pytorch


@pytest.mark.slow
def test_architectures_of_segmentation_models_are_built_by_name():
    small = {"name": "smp", "arch": "Unet", "encoder": "resnet18", "encoder_depth": 3, "decoder_channels": [16, 8, 8]}
    network = networks.build(small, 6, 5).eval()
    assert network(torch.zeros(1, 6, 32, 40)).shape == (1, 5, 32, 40)
    field = receptive_field.probe(network, 6)
    assert (field.stride, field.kind) == (8, "bounded")
    attention = networks.build({**small, "encoder": "efficientnet-b0"}, 3, 2)
    assert receptive_field.probe(attention, 3).kind == "image-wide"


@pytest.mark.slow
def test_what_segmentation_models_lacks_is_refused():
    with pytest.raises(ModelError, match="no arch 'UNet'; did you mean 'Unet'"):
        networks.build({"name": "smp", "arch": "UNet"}, 3, 2)
    with pytest.raises(ModelError, match="no encoder 'resnet19'; did you mean 'resnet1"):
        networks.build({"name": "smp", "arch": "Unet", "encoder": "resnet19"}, 3, 2)
    with pytest.raises(ModelError, match="unknown key 'encoder_weights'"):
        networks.build({"name": "smp", "arch": "Unet", "encoder": "resnet18", "encoder_weights": "imagenet"}, 3, 2)
    with pytest.raises(ModelError, match="cannot build Unet"):
        networks.build({"name": "smp", "arch": "Unet", "encoder": "resnet18", "encoder_depth": 99}, 3, 2)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["Unet", "FPN", "DeepLabV3Plus", "Segformer"])
@pytest.mark.parametrize(
    "encoder", ["resnet18", "mit_b0", "efficientnet-b0", "tu-resnet18", "tu-mobilenetv3_small_100"]
)
def test_networks_of_segmentation_models_are_counted_as_they_are(arch, encoder):
    architecture = {"name": "smp", "arch": arch, "encoder": encoder}
    needed = bytes_of(networks.build(architecture, 3, 2))
    networks.build(architecture, 3, 2, most_bytes=needed)
    with pytest.raises(ModelError, match="that its weights file can fill"):
        networks.build(architecture, 3, 2, most_bytes=needed - 1)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [[10**5] * 5, [2**31] * 5, [2**62] * 5])
def test_absurd_channels_of_segmentation_models_are_refused(channels):
    absurd = {"name": "smp", "arch": "Unet", "encoder": "resnet18", "decoder_channels": channels}
    with pytest.raises(ModelError, match=r"that its weights file can fill|cannot build Unet"):
        networks.build(absurd, 3, 2, most_bytes=10**9)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`timm-` encoders are deprecated")
def test_every_encoder_of_segmentation_models_can_be_counted():
    import segmentation_models_pytorch as smp

    small = {"name": "smp", "arch": "Unet", "encoder_depth": 3, "decoder_channels": [8, 8, 8]}
    for encoder in smp.encoders.get_encoder_names():
        with pytest.raises(ModelError, match="that its weights file can fill"):
            networks.build({**small, "encoder": encoder}, 3, 2, most_bytes=1)

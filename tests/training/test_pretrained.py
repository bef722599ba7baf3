"""Pretrained: the encoder gives what torchvision's gives, and a file that is another one is refused."""

import hashlib

import pytest
import safetensors.torch
import torch
import torchvision

from geoseg.errors import GeosegError
from geoseg.models import networks
from geoseg.training import preparation, pretrained, recipe
from geoseg.training.recipe import PretrainedSpec, Recipe

UNET = {"name": "smp", "arch": "Unet", "encoder": "resnet18"}


def asked(**changes):
    return Recipe.model_validate(
        {"name": "a", "imagery": "a", "reference": "a", "legend": "a", "bands": ["red", "green", "blue"], **changes}
    )


def kept(folder, tensors):
    data = safetensors.torch.save({name: each.contiguous() for name, each in tensors.items()})
    (folder / "encoder.safetensors").write_bytes(data)
    return {"file": str(folder / "encoder.safetensors"), "sha256": hashlib.sha256(data).hexdigest()}


@pytest.mark.slow
@pytest.mark.parametrize("bands", [("red", "green", "blue"), ("nir", "blue", "green", "red")])
def test_an_encoder_with_torchvisions_weights_makes_torchvisions_features(tmp_path, bands):
    torch.manual_seed(0)
    judge = torchvision.models.resnet18(weights=None).eval()
    spec = asked(architecture=UNET, bands=bands, pretrained=kept(tmp_path, judge.state_dict()))
    network = networks.build(UNET, len(bands), 2).eval()
    pretrained.taken(network, spec)
    colours = torch.randn(1, 3, 64, 64)
    of = dict(zip(("red", "green", "blue"), colours[0]))
    pixels = torch.stack([of.get(band, torch.zeros(64, 64)) for band in bands])[None]
    with torch.inference_mode():
        x = judge.maxpool(judge.relu(judge.bn1(judge.conv1(colours))))
        expected = judge.layer4(judge.layer3(judge.layer2(judge.layer1(x))))
        found = network.encoder(pixels)[-1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_what_is_no_weights_of_the_encoder_is_refused(tmp_path):
    network = networks.build(UNET, 3, 2)
    tensors = dict(network.encoder.state_dict())
    lacking = {name: each for name, each in tensors.items() if name != "layer3.0.conv1.weight"}
    with pytest.raises(GeosegError, match=r"lacks tensor 'layer3.0.conv1.weight' of the encoder; are they its weights"):
        pretrained.taken(network, asked(architecture=UNET, pretrained=kept(tmp_path, lacking)))
    other = tensors | {"layer3.0.conv1.weight": torch.zeros(4, 4, 3, 3)}
    with pytest.raises(GeosegError, match=r"conv1.weight is \(4, 4, 3, 3\), but encoder 'resnet18' has \(256, 128"):
        pretrained.taken(network, asked(architecture=UNET, pretrained=kept(tmp_path, other)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"file": "none.safetensors"}, "none.safetensors cannot be read: No such file or directory; check pretrained"),
        ({"file": "encoder.pth"}, r"pretrained weights are \*.safetensors; convert them"),
        ({"sha256": "0" * 64}, "has sha256 .*, not 0000.*; fetch it again or correct pretrained.sha256"),
    ],
)
def test_a_file_that_is_another_one_is_refused(tmp_path, change, said):
    given = kept(tmp_path, {"a": torch.zeros(3)}) | change
    with pytest.raises(GeosegError, match=said):
        pretrained._read(pretrained.Path(given["file"]), given["sha256"])


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"no tensors at all")
    with pytest.raises(GeosegError, match=r"a\.safetensors is no safetensors file"):
        pretrained._read(tmp_path / "a.safetensors", hashlib.sha256(b"no tensors at all").hexdigest())


def test_only_smp_has_encoders_of_this_kind(folder):
    spec = recipe.read(folder / "training.yaml")
    spec = spec.model_copy(update={"pretrained": PretrainedSpec(file="a.safetensors", sha256="0" * 64)})
    with pytest.raises(GeosegError, match="'pretrained' is for encoders of architecture smp, and this one is compact"):
        preparation.prepared(spec)


def test_either_a_whole_model_or_an_encoder():
    with pytest.raises(ValueError, match="give either 'start', a whole model, or 'pretrained'"):
        asked(start={"model": "a"}, pretrained={"file": "a.safetensors", "sha256": "0" * 64})

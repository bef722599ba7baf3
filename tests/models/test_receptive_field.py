"""What networks promise: shapes, a stated reach, and scores that do not depend on where windows are cut."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from geoseg.errors import ModelError
from geoseg.models import networks, receptive_field

SMALL = {"name": "compact", "width": 4, "depth": 2}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Small tensors are quicker on one thread, above all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def small():
    """A network, its field, pixels around one core of it, and their scores."""
    network = seeded(SMALL)
    field = receptive_field.probe(network, 3)
    pixels = np.random.default_rng(0).normal(size=(3, 112, 112)).astype(np.float32)
    return network, field, pixels, scores(network, pixels)


def seeded(architecture, bands=3, classes=4, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = networks.build(architecture, bands, classes)
        for module in network.modules():  # running statistics that are not the identity
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    return network.eval()


def scores(network, pixels):
    with torch.no_grad():
        return network(torch.as_tensor(pixels)[None])[0].numpy()


@pytest.mark.parametrize(("depth", "stride"), [(1, 2), (2, 4), (3, 8)])
def test_scores_have_the_rows_and_columns_of_the_pixels(depth, stride):
    network = seeded({"name": "compact", "width": 4, "depth": depth}, bands=5, classes=7)
    found = scores(network, np.zeros((5, 3 * stride, 7 * stride), np.float32))
    assert found.shape == (7, 3 * stride, 7 * stride)
    assert networks.stride_of(network) == stride


def test_a_window_off_the_stride_is_refused():
    with pytest.raises(ModelError, match="multiples of 4 pixels, got 8 x 10"):
        scores(seeded(SMALL), np.zeros((3, 8, 10), np.float32))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_reach_is_what_adding_up_the_layers_gives(depth):
    # By hand, from the edge of a cell of 2^depth pixels outwards: a 3 x 3 convolution at level l adds 2^l,
    # two on the way down and one on the way up at each level, two at the deepest; halvings add nothing.
    by_hand = sum(3 * 2**level for level in range(depth)) + 2 * 2**depth
    field = receptive_field.probe(networks.build({"name": "compact", "width": 3, "depth": depth}, 2, 2), 2)
    stride = 2**depth
    # The step from one level to the next can start anywhere in a cell, so what is measured may be wider, never
    # by more than a cell of the deepest level.
    assert by_hand <= field.halo < by_hand + 2 * stride
    assert field.halo % stride == 0
    assert (field.stride, field.kind) == (stride, "bounded")


def test_a_network_of_dead_units_has_the_reach_of_its_layers():
    network = networks.build({"name": "compact", "width": 3, "depth": 1}, 2, 2)
    with torch.no_grad():
        network.head.weight.zero_()
    assert receptive_field.probe(network, 2) == receptive_field.probe(
        networks.build({"name": "compact", "width": 3, "depth": 1}, 2, 2), 2
    )


@settings(max_examples=25, deadline=None)
@given(side=st.sampled_from(["above", "below", "left", "right"]), beyond=st.integers(1, 20), along=st.integers(0, 111))
def test_a_pixel_outside_the_halo_changes_no_score_of_the_core(small, side, beyond, along):
    network, field, pixels, before = small
    core = slice(40, 72)
    near, far = core.start - field.halo - beyond, core.stop - 1 + field.halo + beyond
    row, col = {"above": (near, along), "below": (far, along), "left": (along, near), "right": (along, far)}[side]
    changed = pixels.copy()
    changed[:, row, col] += 1000
    after = scores(network, changed)
    assert np.array_equal(before[:, core, core], after[:, core, core])
    assert not np.array_equal(before, after)


def test_a_pixel_at_the_far_end_of_the_field_changes_a_score():
    network = seeded(SMALL).double()
    field = receptive_field.probe(network, 3)
    size, start = field.stride + 2 * field.halo, field.halo
    pixels = np.random.default_rng(0).normal(size=(3, size, size))
    reached = 0
    for distance in range(1, field.halo + 1):
        changed = pixels.copy()
        changed[:, start - distance, :] += 100
        core = slice(start, start + field.stride)
        if not np.array_equal(scores(network, pixels)[:, core, core], scores(network, changed)[:, core, core]):
            reached = distance
    assert field.halo - field.stride < reached <= field.halo


def test_scores_of_windows_with_their_halo_are_those_of_the_whole():
    network = seeded({"name": "compact", "width": 8, "depth": 3}).double()
    field = receptive_field.probe(network, 3)
    core, halo = 5 * field.stride, field.halo
    pixels = np.random.default_rng(1).normal(size=(3, 3 * core + 2 * halo, 2 * core + 2 * halo))
    whole = scores(network, pixels)[:, halo:-halo, halo:-halo]
    for row in range(0, whole.shape[1], core):
        for col in range(0, whole.shape[2], core):
            window = pixels[:, row : row + core + 2 * halo, col : col + core + 2 * halo]
            alone = scores(network, window)[:, halo:-halo, halo:-halo]
            np.testing.assert_allclose(alone, whole[:, row : row + core, col : col + core], rtol=0, atol=1e-12)


def test_probing_leaves_the_network_as_it_was():
    network = seeded(SMALL).train()
    before = {name: each.clone() for name, each in network.state_dict().items()}
    state = torch.random.get_rng_state()
    receptive_field.probe(network, 3)
    assert network.training
    assert all(torch.equal(before[name], each) for name, each in network.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())


class Squeeze(nn.Module):
    """A network that weighs its channels by their mean over the whole window."""

    stride = 1

    def __init__(self):
        super().__init__()
        self.first, self.gate, self.last = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        x = self.first(x)
        return self.last(x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True))))


class Stretch(nn.Module):
    """A network whose upsampling depends on the size of the window though its field is small."""

    stride = 2

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 2, 2, stride=2)

    def forward(self, x):
        return nn.functional.interpolate(self.first(x), scale_factor=2, mode="bilinear", align_corners=True)


@pytest.mark.parametrize("network", [Squeeze(), Stretch()])
def test_a_network_that_looks_at_the_whole_window_is_told_apart(network):
    assert receptive_field.probe(network, 2).kind == "image-wide"


def test_pooling_by_maximum_counts_all_it_looks_at():
    class Pooled(nn.Module):
        stride = 1

        def __init__(self):
            super().__init__()
            self.pool, self.last = nn.MaxPool2d(7, 1, 3), nn.Conv2d(2, 2, 1)

        def forward(self, x):
            return self.last(self.pool(x))

    assert receptive_field.probe(Pooled(), 2) == receptive_field.Field(3, 1, "bounded")


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


@pytest.mark.slow
def test_architectures_of_segmentation_models_are_built_by_name():
    small = {"name": "smp", "arch": "Unet", "encoder": "resnet18", "encoder_depth": 3, "decoder_channels": [16, 8, 8]}
    network = networks.build(small, 6, 5).eval()
    assert scores(network, np.zeros((6, 32, 40), np.float32)).shape == (5, 32, 40)
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

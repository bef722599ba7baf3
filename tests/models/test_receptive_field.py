"""Receptive fields: what is measured is what single pixels change, and windows with their halo score as the whole."""

import numpy as np
import pytest
import torch
from examples import share_of
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


@settings(max_examples=share_of(25), deadline=None)
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


# ------------------------------------------------------------------- judged by changing pixel after pixel


class Chain(nn.Module):
    """Layers one after the other, each of which keeps the size; `stride` halvings are undone at the end."""

    def __init__(self, layers, stride=1):
        super().__init__()
        self.layers, self.stride = nn.ModuleList(layers), stride

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Call(nn.Module):
    """A function as a layer, which no probe can find among a network's modules."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def same(kernel, dilation):
    return dilation * (kernel - 1) // 2


def conv(kernel, dilation):
    return nn.Conv2d(2, 2, kernel, padding=same(kernel, dilation), dilation=dilation)


def pooled(kernel, dilation, **options):
    """A maximum over a dilated square, whose padding may be at most half of the kernel before it is spread."""
    pad = nn.ConstantPad2d(same(kernel, dilation), -1e9)
    return nn.Sequential(pad, nn.MaxPool2d(kernel, 1, dilation=dilation, **options))


def unfolded(kernel, dilation):
    """The same, without any pooling."""

    def largest(x):
        patches = nn.functional.unfold(x, kernel, dilation, same(kernel, dilation))
        return patches.reshape(x.shape[0], x.shape[1], kernel**2, *x.shape[2:]).amax(2)

    return Call(largest)


def lowest(kernel, dilation):
    return Call(lambda x: -nn.functional.max_pool2d(-x, kernel, 1, (kernel - 1) // 2))


def indexed(kernel, dilation):
    """A maximum whose places are asked for too."""
    return Call(lambda x: nn.functional.max_pool2d(x, kernel, 1, (kernel - 1) // 2, return_indices=True)[0])


def powers(kernel, dilation):
    return nn.Sequential(nn.ZeroPad2d(kernel // 2), nn.LPPool2d(2, kernel, 1))


def clipped(kernel, dilation):
    """A gradient that is 0 nearly everywhere."""
    return nn.Sequential(conv(kernel, dilation), nn.Hardtanh(-0.01, 0.01))


def halved(kernel, dilation):
    """Down by a maximum that rounds up, through a convolution, and up again."""
    return nn.Sequential(
        nn.MaxPool2d(2, ceil_mode=True), conv(kernel, dilation), nn.Upsample(scale_factor=2, mode="nearest")
    )


KINDS = [conv, pooled, unfolded, lowest, indexed, powers, clipped, halved]
ONE = st.tuples(st.sampled_from(KINDS), st.sampled_from([1, 3, 5]), st.integers(1, 3))


def changes(network, stride, axis):
    """How far beyond a cell a changed row (or column) can change its scores, tried on many random inputs."""
    random, size, cell = np.random.default_rng(0), 96, 48
    farthest = 0
    for _ in range(6):
        pixels = random.normal(size=(2, size, size // 4) if axis == 1 else (2, size // 4, size))
        core = np.take(scores(network, pixels), range(cell, cell + stride), axis)
        for line in [*range(cell - farthest), *range(cell + stride + farthest, size)]:
            for value in (1e5, -1e5):
                changed = pixels.copy()
                changed[(slice(None),) * axis + (line,)] += value * random.normal(size=1)
                if not np.array_equal(core, np.take(scores(network, changed), range(cell, cell + stride), axis)):
                    farthest = max(farthest, cell - line, line + 1 - cell - stride)
                    break
    return farthest


@pytest.mark.slow
@settings(max_examples=share_of(6), deadline=None)
@given(made=st.lists(ONE, min_size=1, max_size=3), seed=st.integers(0, 99))
def test_the_field_is_what_single_lines_of_pixels_change(made, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [kind(kernel, dilation) for kind, kernel, dilation in made]
    stride = 2 if any(kind is halved for kind, _, _ in made) else 1
    network = Chain(layers, stride).double().eval()
    field = receptive_field.probe(network, 2)
    found = max(changes(network, stride, axis) for axis in (1, 2))
    whole = -(-found // stride) * stride
    assert field.kind == "bounded"
    assert whole <= field.halo
    assert whole == field.halo or clipped in [kind for kind, _, _ in made]  # what is clipped may never change here


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_layer_has_the_field_of_its_kernel(kind):
    wide = {conv: 4, pooled: 4, unfolded: 4, clipped: 4, halved: 8}.get(kind, 2)
    assert receptive_field.probe(Chain([kind(5, 2)], 2 if kind is halved else 1), 2).halo == wide


@pytest.mark.parametrize(
    "layer",
    [
        nn.AdaptiveMaxPool2d(1),
        nn.AdaptiveAvgPool2d(1),
        Call(lambda x: nn.functional.adaptive_max_pool2d(x, 1)),
        Call(lambda x: x.amax((2, 3), keepdim=True)),
        Call(lambda x: nn.functional.softmax(x.flatten(2), 2).view(x.shape).sum((2, 3), keepdim=True)),
    ],
)
def test_a_maximum_over_the_whole_window_is_image_wide(layer):
    assert receptive_field.probe(Chain([Call(lambda x: x + layer(x)), nn.Conv2d(2, 2, 1)]), 2).kind == "image-wide"


def test_pools_of_a_fixed_number_of_cells_are_image_wide():
    cells = Call(lambda x: nn.functional.interpolate(nn.functional.adaptive_max_pool2d(x, 16), x.shape[2:]))
    assert receptive_field.probe(Chain([cells]), 2).kind == "image-wide"


def test_a_network_that_puts_a_number_for_none_is_measured_all_the_same():
    assert receptive_field.probe(Chain([Call(lambda x: torch.nan_to_num(x)), pooled(3, 2)]), 2).halo == 2


def test_a_network_without_any_gradient_is_measured_all_the_same():
    network = Chain([conv(3, 1), Call(lambda x: (x > 0).double().detach())])
    assert receptive_field.probe(network, 2).halo >= 1


def test_a_network_that_halves_further_than_its_stride_is_given_wider_strips():
    inner = Call(lambda x: x + nn.functional.interpolate(nn.functional.max_pool2d(x, 128), x.shape[2:]))
    assert receptive_field.probe(Chain([inner], 64), 2).kind == "image-wide"
    with pytest.raises(ModelError, match=r"the network fails on windows of 16 pixels: .*size"):
        receptive_field.probe(Chain([inner], 1), 2)


# ------------------------------------------------------------------------- networks without a gradient


BOTH = [
    {"name": "compact", "width": 3, "depth": 1},
    {"name": "compact", "width": 3, "depth": 2},
    pytest.param({"name": "dynamic-world"}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("architecture", BOTH, ids=str)
def test_changing_pixels_finds_what_the_gradient_finds(architecture):
    network = seeded(architecture)
    field = receptive_field.probe(network, 3)

    def plain(pixels):  # as an ONNX session: no module, no gradient, and what is no number becomes 0
        with torch.no_grad():
            return network(pixels.nan_to_num(0.0))

    assert receptive_field.probe(plain, 3, field.stride) == field
    side = 2 * field.halo + 8 * field.stride
    assert receptive_field.probe(plain, 3, field.stride, side) == field


@pytest.mark.parametrize("architecture", BOTH, ids=str)
def test_a_halo_that_is_too_small_is_noticed_and_one_that_is_not_is_not(architecture):
    network = seeded(architecture)
    field = receptive_field.probe(network, 3)
    for looks in (network, lambda pixels: network(pixels.nan_to_num(0.0))):
        assert receptive_field.looks_beyond(looks, 3, field.stride, field.halo) is None
        assert receptive_field.looks_beyond(looks, 3, field.stride, field.halo + field.stride) is None
        for less in (0, field.halo - field.stride):
            assert receptive_field.looks_beyond(looks, 3, field.stride, less) > less


@pytest.mark.parametrize("side", [None, 64])
def test_a_callable_that_looks_everywhere_is_image_wide(side):
    def mean_of_all(pixels):
        return pixels + pixels.mean(dim=(2, 3), keepdim=True)

    assert receptive_field.probe(mean_of_all, 2, 1, side).kind == "image-wide"
    assert receptive_field.looks_beyond(mean_of_all, 2, 1, 8, side) > 8


def test_labels_without_shares_have_a_field_too():
    weight = torch.randn(3, 2, 5, 5, generator=torch.Generator().manual_seed(0))

    def labels(pixels):
        found = nn.functional.conv2d(pixels.nan_to_num(0.0), weight, padding=2).argmax(dim=1)
        return nn.functional.one_hot(found, 3).movedim(-1, 1).float()

    assert receptive_field.probe(labels, 2, 1) == receptive_field.Field(2, 1, "bounded")

"""Compact: sizes in and out, its stride, and its number of weights added up by hand."""

from itertools import pairwise

import pytest
import torch

from geoseg.errors import ModelError
from geoseg.models import networks, receptive_field
from geoseg.models.networks.compact import Compact, parameters_of, seeded


def scores(network, pixels):
    with torch.no_grad():
        return network.eval()(pixels[None])[0]


@pytest.mark.parametrize(("depth", "stride"), [(1, 2), (2, 4), (3, 8)])
def test_scores_have_the_rows_and_columns_of_the_pixels(depth, stride):
    network = Compact(5, 7, 4, depth)
    found = scores(network, torch.zeros(5, 3 * stride, 7 * stride))
    assert found.shape == (7, 3 * stride, 7 * stride)
    assert networks.stride_of(network) == stride


@pytest.mark.parametrize(("stem", "depth"), [(2, 1), (2, 2), (4, 1)])
@pytest.mark.sampled(3)
def test_a_stem_sees_as_far_as_its_halo_says(stem, depth):
    network = Compact(3, 4, 4, depth, stem=stem).eval()
    field = receptive_field.probe(network, 3)
    assert (field.stride, field.kind) == (stem * 2**depth, "bounded")
    pixels = torch.rand((3, 320, 320), generator=seeded(0))
    side, halo = 2 * field.stride, field.halo
    first = (160 // field.stride) * field.stride
    around = pixels[:, first - halo : first + side + halo, first - halo : first + side + halo]
    whole = scores(network, pixels)[:, first : first + side, first : first + side]
    found = scores(network, around)[:, halo : halo + side, halo : halo + side]
    assert torch.equal(found.argmax(0), whole.argmax(0))
    torch.testing.assert_close(found, whole)
    assert halo < 160


def test_a_window_off_the_stride_is_refused():
    with pytest.raises(ModelError, match="multiples of 4 pixels, got 8 x 10"):
        scores(Compact(3, 4, 4, 2), torch.zeros(3, 8, 10))


@pytest.mark.parametrize(("bands", "classes", "width", "depth"), [(1, 1, 1, 1), (4, 6, 24, 3), (2, 3, 5, 2)])
def test_number_of_weights_is_that_added_up_by_hand(bands, classes, width, depth):
    levels = [width * (level + 1) for level in range(depth + 1)]
    norms = 2  # a gain and an offset for each channel
    count = 9 * bands * width + norms * width + 9 * width**2 + norms * width  # the first two convolutions
    for shallow, deep in pairwise(levels):
        count += 4 * shallow * deep + norms * deep  # down
        count += 2 * (9 * deep**2 + norms * deep)
        count += deep * shallow + shallow  # up
        count += 9 * shallow**2 + norms * shallow
    assert parameters_of(Compact(bands, classes, width, depth)) == count + width * classes + classes


def test_nothing_but_the_deepest_level_is_dropped_and_only_in_training():
    network = Compact(2, 2, 4, 1, dropout=0.9)
    pixels = torch.rand((2, 8, 8), generator=seeded(0))
    assert torch.equal(scores(network, pixels), scores(network, pixels))
    assert [module.p for module in network.modules() if isinstance(module, torch.nn.Dropout2d)] == [0.9]


def test_a_generator_of_its_own_leaves_the_callers_alone():
    before = torch.random.get_rng_state()
    first, again = (torch.rand(4, generator=seeded(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, torch.rand(4, generator=seeded(4)))
    assert torch.equal(before, torch.random.get_rng_state())

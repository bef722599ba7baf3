"""Dynamic World: the network is the published one, to the last label of a real scene."""

import numpy as np
import pytest
import torch

from geoseg import catalog
from geoseg.errors import ModelError
from geoseg.models import adding, loading, networks, receptive_field
from geoseg.models.networks import DynamicWorld, dynamic_world_order


def test_its_numbers_are_all_that_the_published_network_has():
    network = DynamicWorld(9, 9)
    learnt = sum(each.numel() for each in network.parameters())
    averaged = sum(each.numel() for name, each in network.named_buffers() if "running" in name)
    assert learnt + averaged == 231_209
    named = [f"{name}.{part}" for name, parts in dynamic_world_order(network) for part in parts]
    held = [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]
    assert len(named) == len(set(named)) == 146
    assert sorted(named) == sorted(held)


def test_it_halves_and_doubles_as_torch_does_inside_and_at_edges():
    network = DynamicWorld(2, 2).double()
    x = torch.randn(1, 64, 12, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = torch.nn.functional.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True)
    assert torch.allclose(network._half(x), wanted, atol=1e-12)


def test_odd_windows_are_refused():
    with pytest.raises(ModelError, match="even numbers of pixels, got 7 x 8"):
        networks.build({"name": "dynamic-world"}, 9, 9)(torch.zeros(1, 9, 7, 8))


@pytest.mark.slow
def test_its_field_is_small_and_bounded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        field = receptive_field.probe(DynamicWorld(3, 4), 3)
    # 1 of the stem and 1 of the halving's tent; 9 depthwise steps of 2 pixels; 2 of the doubling
    assert (field.halo, field.stride, field.kind) == (22, 2, "bounded")


@pytest.mark.slow
def test_golden_softmax_of_a_real_scene(shared_data, tmp_path):
    legend = catalog.shipped().legend("dynamic-world")
    added = adding.dynamic_world(shared_data / "dynamic_world", legend)
    assert (added.card.halo, added.card.field) == (22, "bounded")
    network = loading.load(adding.write(added, tmp_path / "model"), "cpu")
    golden = np.load(shared_data / "dynamic_world" / "golden_wroclaw_tf2.21.npz")
    pixels, wanted = (torch.from_numpy(golden[key]).movedim(-1, 1) for key in ("inputs_normalised", "softmax"))
    with torch.inference_mode():
        found = network(pixels).softmax(dim=1)
    assert (found - wanted).abs().max() < 1e-5
    assert torch.equal(found.argmax(dim=1), wanted.argmax(dim=1))
    assert (tmp_path / "model" / "NOTICE").is_file()

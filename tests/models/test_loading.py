"""Loading: nothing but the network that the card describes gets in, and each process loads it once."""

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import safetensors.torch
import torch
from model_folders import changed, swapped, write_model

from geoseg import process
from geoseg.catalog.card import read_model
from geoseg.errors import ModelError
from geoseg.models import loading, networks


@pytest.fixture(autouse=True)
def _nothing_loaded():
    process.renew()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def model(whole, tmp_path):
    return read_model(shutil.copytree(whole.folder, tmp_path / "model"))


def test_a_network_comes_back_ready_and_only_once_per_process(model, monkeypatch):
    loads, read = [], loading._load

    def slow(*args):
        loads.append(threading.get_ident())
        time.sleep(0.2)
        return read(*args)

    monkeypatch.setattr(loading, "_load", slow)
    with ThreadPoolExecutor(4) as pool:
        networks = list(pool.map(lambda _: loading.load(model, "cpu"), range(8)))
    assert len(loads) == 1
    assert all(each is networks[0] for each in networks)
    assert not networks[0].training
    assert not any(each.requires_grad for each in networks[0].parameters())


def test_old_networks_make_room_for_new_ones(model):
    for seed in range(loading.KEPT + 2):
        loading.load(changed(model, lambda tensors: tensors["head.bias"].fill_(seed)), "cpu")  # noqa: B023
    assert len(process.kept(loading._Networks).by_key) == loading.KEPT


@pytest.mark.slow
def test_the_network_that_was_used_last_stays_longest(model):
    other = read_model(shutil.copytree(model.folder, f"{model.folder} 2"))
    first = loading.load(model, "cpu")
    for seed in range(loading.KEPT + 2):
        loading.load(changed(other, lambda tensors: tensors["head.bias"].fill_(seed)), "cpu")  # noqa: B023
        assert loading.load(model, "cpu") is first


def test_what_the_card_says_of_the_network_is_part_of_what_is_kept(model):
    first = loading.load(model, "cpu")
    assert loading.load(swapped(model, title="other words"), "cpu") is first
    assert loading.load(swapped(model, stride=4), "cpu") is not first


def test_a_model_that_failed_to_load_is_tried_again(model):
    data = model.weights.read_bytes()
    model.weights.write_bytes(data[:-1])
    with pytest.raises(ModelError, match=r"its header describes \d+ bytes, but it has \d+"):
        loading.load(model, "cpu")
    model.weights.write_bytes(data)
    assert loading.load(model, "cpu") is loading.load(model, "cpu")


def test_the_network_scores_as_the_one_that_was_saved(model):
    network = networks.build(model.card.architecture, 2, 3).eval()
    network.load_state_dict(safetensors.torch.load_file(model.weights))
    pixels = torch.randn(1, 2, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(loading.load(model, "cpu")(pixels), network(pixels))  # channels_last rounds anew


def test_ready_loads_what_will_run_here(model):
    loading.ready(model, "cpu")
    assert len(process.kept(loading._Networks).by_key) == 1
    with pytest.raises(ModelError, match="torch finds"):
        loading.ready(model, "cuda:99")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("head.bias"), "lacks tensor 'head.bias', which the network has"),
        (lambda t: t.update(more=torch.ones(1)), "has tensor 'more', which the network lacks"),
        (lambda t: t.update({"head.bias": torch.ones(4)}), r"'head.bias' is torch.float32 \(4,\), .* \(3,\)"),
        (lambda t: t.update({"head.bias": torch.ones(3).double()}), "'head.bias' is torch.float64"),
        (lambda t: t["head.bias"].fill_(float("nan")), "'head.bias' holds numbers that are not finite"),
        (lambda t: t["head.weight"].fill_(float("inf")), "'head.weight' holds numbers that are not finite"),
    ],
)
def test_tensors_that_are_not_the_networks_are_refused(model, change, said):
    with pytest.raises(ModelError, match=said):
        loading.load(changed(model, change), "cpu")


def test_a_card_that_contradicts_its_network_is_refused(model):
    with pytest.raises(ModelError, match="says stride 1, but its network needs multiples of 2"):
        loading.load(swapped(model, stride=1), "cpu")
    with pytest.raises(ModelError, match="no architecture is called 'compcat'"):
        loading.load(swapped(model, architecture={"name": "compcat"}), "cpu")

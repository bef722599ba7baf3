"""Device: what runs the network changes no label: batches, threads, a memory that is too small."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from noise import label, network_of, pixels_of, tile_of

from geoseg import process
from geoseg.errors import ModelError, PredictionError
from geoseg.grid import Window
from geoseg.inference import device as device_module
from geoseg.inference.device import Device
from geoseg.models import loading


@pytest.fixture(autouse=True)
def _anew():
    """What one test finds a device's memory to hold is nothing to the next."""
    process.renew()


@pytest.fixture
def batched(monkeypatch):
    """Batches as on a GPU, on the CPU of these tests."""
    monkeypatch.setattr(device_module, "_alone", lambda _: False)


@pytest.mark.parametrize("batch", [0, 1, 2, 5])
def test_a_window_on_a_cpu_passes_alone(crop, batch, monkeypatch):
    network, sizes = network_of(crop), []
    monkeypatch.setattr(loading, "load", lambda *_: lambda x: (sizes.append(len(x)), network(x))[1])
    label(replace(crop, batch=batch, threads=1), pixels_of((48, 48)), Window(0, 0, 48, 48), 3)
    assert sizes == [1] * 9


def test_a_full_device_halves_the_batch_and_changes_no_label(crop, batched, monkeypatch, caplog):
    network, sizes = network_of(crop), []

    def small(x):
        sizes.append(len(x))
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return network(x)

    at = Window(0, 0, 48, 48)
    scene = pixels_of(at.shape)
    wanted = label(crop, scene, at, 3)[0]
    monkeypatch.setattr(loading, "load", lambda *_: small)
    assert np.array_equal(label(replace(crop, batch=8), scene, at, 3)[0], wanted)
    assert sizes[:2] == [8, 4]
    assert set(sizes[2:]) == {2}
    assert "going on with 2" in caplog.text
    assert crop.reduced_batch == 2
    monkeypatch.setattr(loading, "load", lambda *_: lambda x: small(x.repeat(3, 1, 1, 1)))
    with pytest.raises(PredictionError, match="out of memory for a single window"):
        label(replace(crop, batch=8), scene, at, 3)


def test_the_callers_threads_and_gradients_stay_as_they_were(crop):
    before = torch.get_num_threads()
    tile = tile_of(crop, Window(0, 0, 48, 48))
    pixels = pixels_of(tile.read.shape)
    frozen = pixels.copy()
    frozen.setflags(write=False)
    torch.set_num_threads(2)
    try:
        assert np.array_equal(np.stack(crop(pixels, tile)), np.stack(replace(crop, threads=3)(frozen, tile)))
        assert torch.get_num_threads() == 2
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(before)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_a_device_that_is_not_here_is_refused_where_it_is_used(crop):
    elsewhere = replace(crop, device="cuda:99")
    tile = tile_of(elsewhere, Window(0, 0, 16, 16))
    with pytest.raises(ModelError, match=r"torch finds . CUDA devices here"):
        elsewhere(pixels_of(tile.read.shape), tile)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_results_come_in_the_order_of_the_windows(crop, batched, threads):
    device = Device(replace(crop, threads=threads, batch=2))
    cores = [Window(0, 16 * at, 16, 16) for at in range(23)]
    found = list(device.in_order(lambda some: (time.sleep(0.002 * (some[0].col % 5)), some)[1], cores))
    assert [core for some in found for core in some] == cores
    assert [len(some) for some in found] == [2] * 11 + [1]


def test_what_a_window_raises_comes_out_and_leaves_no_thread(crop):
    device = Device(replace(crop, threads=2))
    cores = [Window(0, 16 * at, 16, 16) for at in range(9)]

    def fail(some):
        if some[0].col == 48:
            raise PredictionError("window 3")
        return some

    with pytest.raises(PredictionError, match="window 3"):
        list(device.in_order(fail, cores))
    assert not [each.name for each in threading.enumerate() if each.name.startswith("geoseg-window")]


def test_the_last_batch_is_filled_up_to_the_shape_of_the_others(crop, batched, monkeypatch):
    network, sizes = network_of(crop), []
    monkeypatch.setattr(loading, "load", lambda *_: lambda x: (sizes.append(tuple(x.shape)), network(x))[1])
    device = Device(replace(crop, batch=4))
    windows = [torch.randn(2, device.side, device.side) for _ in range(6)]
    with torch.inference_mode():
        scores = device.scores(windows)
        alone = torch.cat([device.scores([each]) for each in windows])
    assert len(scores) == 6
    assert set(sizes) == {(4, 2, device.side, device.side)}
    assert torch.equal(scores, alone)

"""Turns: windows of several tiles share a CPU; none is overtaken by a later tile's, and no more run than may."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from noise import label, network_of, pixels_of

from geoseg import process
from geoseg.grid import Window
from geoseg.inference.turns import Turns
from geoseg.models import loading


@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize("tiles", [1, 2, 4])
def test_no_more_windows_are_computed_at_once_than_may(most, tiles):
    turns, lock, busy, peak, full = Turns(), threading.Lock(), [0], [0], threading.Event()

    def window(number):
        with turns.window(number, most):
            with lock:
                busy[0] += 1
                peak[0] = max(peak[0], busy[0])
                if tiles == 1 or busy[0] == most:
                    full.set()
            full.wait(60)  # none is done before as many as may are in, however the machine is busy
            time.sleep(0.002)
            with lock:
                busy[0] -= 1

    def tile(_):
        with turns.tile() as number, ThreadPoolExecutor(3) as pool:
            list(pool.map(window, [number] * 8))

    with ThreadPoolExecutor(tiles) as pool:
        list(pool.map(tile, range(tiles)))
    assert busy == [0]
    assert peak[0] <= most
    assert tiles == 1 or peak[0] == most


def test_the_tile_that_began_first_goes_first():
    turns, order = Turns(), []
    with turns.tile() as first, turns.tile() as second:

        def window(number):
            with turns.window(number, 1):
                order.append(number)

        with turns.window(first, 1):
            threads = [threading.Thread(target=window, args=(number,)) for number in (second, second, first, first)]
            for each in threads:
                each.start()
            while len(turns._waiting) < len(threads):
                time.sleep(0.001)
        for each in threads:
            each.join()
    assert order == [first, first, second, second]


def test_what_a_window_raises_lets_the_next_one_in():
    turns = Turns()
    with turns.tile() as number:
        with pytest.raises(ValueError, match="broken"), turns.window(number, 1):
            raise ValueError("broken")
        with turns.window(number, 1):
            pass


def test_tiles_at_the_same_time_give_the_bytes_of_one_after_the_other_and_leave_the_callers_threads(crop, monkeypatch):
    process.renew()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    network, lock, busy, peak, two = network_of(crop), threading.Lock(), [0], [0], threading.Event()

    def counted(x):
        assert torch.get_num_threads() == 1
        with lock:
            busy[0] += 1
            peak[0] = max(peak[0], busy[0])
            if busy[0] == 2:
                two.set()
        two.wait(60)  # the first window is not done before a second is in, however the machine is busy
        scores = network(x)
        with lock:
            busy[0] -= 1
        return scores

    try:
        at = [Window(16 * row, 0, 16, 48) for row in range(6)]
        scene = pixels_of((96, 48))
        pieces = [scene[:, 16 * row : 16 * row + 16] for row in range(6)]
        wanted = [label(crop, piece, each, 1) for piece, each in zip(pieces, at)]
        monkeypatch.setattr(loading, "load", lambda *_: counted)
        predict = replace(crop, threads=2)
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda pair: label(predict, pair[0], pair[1], 1), zip(pieces, at)))
        assert all(np.array_equal(a, b) for a, b in zip(wanted, found))
        assert peak[0] == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)

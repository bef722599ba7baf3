"""Batches: the smallest that was found for a model and a window, whatever the device."""

from geoseg.inference.batches import Batches


def test_the_smallest_batch_of_a_model_and_a_window_is_told():
    found = Batches()
    assert found.smallest("a", 64) == 0
    found.fits |= {("a", "cuda:0", 64): 8, ("a", "cuda:1", 64): 4, ("a", "cuda", 128): 1, ("b", "cuda", 64): 2}
    assert found.smallest("a", 64) == 4
    assert found.smallest("a", 128) == 1
    assert found.smallest("b", 128) == 0

"""What all tests of training share."""

import labelled_scenes
import pytest
import torch


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Small tensors are quicker on one thread, above all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(tmp_path):
    """A folder with a scene, its reference, a catalog and a training spec."""
    return labelled_scenes.make(tmp_path)

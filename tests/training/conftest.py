"""What all tests of training share."""

import shutil

import labelled_scenes
import pytest
import torch
from PIL import Image

from geoseg.catalog.card import read_model
from geoseg.report import figures
from geoseg.training import fit, recipe


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Small tensors are quicker on one thread, above all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _blank(figure, data, **_):
    Image.new("L", (1, 1)).save(data, "png")


@pytest.fixture(autouse=True)
def _pictures(request, monkeypatch):
    """Laying out and rendering its pictures takes a small training twice its own time, so only `rendered` ones are."""
    if not request.node.get_closest_marker("rendered"):
        monkeypatch.setattr(figures.Figure, "savefig", _blank)


@pytest.fixture
def folder(tmp_path):
    """A folder with a scene, its reference, a catalog and a training spec."""
    return labelled_scenes.make(tmp_path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Such a folder after `train`, with all of its pictures; what was heard and the model. To be read, not changed."""
    folder, heard = labelled_scenes.make(tmp_path_factory.mktemp("trained")), []
    spec = recipe.read(folder / "training.yaml")
    model = fit.train(spec, progress=lambda done, total, row: heard.append((done, total, row)))
    return folder, heard, model


@pytest.fixture(scope="session")
def _base(tmp_path_factory):
    folder = labelled_scenes.make(tmp_path_factory.mktemp("base"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures.Figure, "savefig", _blank)
        fit.train(recipe.read(folder / "training.yaml").model_copy(update={"epochs": 1}), folder / "base")
    return folder / "base"


@pytest.fixture
def base(folder, _base):
    """A model folder that was trained for an epoch, in the folder of its own that the test may change."""
    shutil.copytree(_base, folder / "base")
    return read_model(folder / "base")

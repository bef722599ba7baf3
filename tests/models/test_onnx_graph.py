"""ONNX graphs: scores are those of the graph, and nothing but the one file that the card names is opened."""

import shutil
import sys
from typing import ClassVar

import numpy as np
import pytest
import torch
from hand_made_onnx import convolution, endless, number, part, text
from model_folders import swapped, write_model
from small_jobs import geoseg

from geoseg import process
from geoseg.catalog.card import read_model
from geoseg.errors import JobError, ModelError
from geoseg.grid import Tile, Window
from geoseg.inference.predictor import prepare
from geoseg.models import loading, onnx_graph


@pytest.fixture(autouse=True)
def _nothing_loaded():
    process.renew()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def model(whole, tmp_path):
    return read_model(shutil.copytree(whole.folder, tmp_path / "model"))


def onnx(model, data, **keys):
    """The model with an ONNX file in place of its weights."""
    held = {"file": "weights.onnx", "sha256": "0" * 64}
    return swapped(model, data, architecture={"name": "onnx"}, weights=held, stride=1, halo=2, **keys)


@pytest.mark.parametrize("side", [None, 20])
@pytest.mark.parametrize("stitch", ["crop", "blend"])
def test_an_onnx_file_labels_as_its_graph_says(model, side, stitch):
    pytest.importorskip("onnxruntime")
    weight = np.random.default_rng(0).normal(size=(3, 2, 1, 1)).astype("float32")
    predict = prepare(onnx(model, convolution(weight, side)), device="cpu", stitch=stitch, threads=2)
    margin = predict.margin
    pixels = np.random.default_rng(1).normal(size=(2, 32 + 2 * margin, 48 + 2 * margin)).astype("float32")
    tile = Tile(Window(0, 0, 32, 48).grown(margin), predict.core, Window(0, 0, 32, 48))
    labels, confidence = (each[margin:-margin, margin:-margin] for each in predict(pixels, tile))
    scores = np.einsum("cb,brk->crk", weight[:, :, 0, 0], pixels[:, margin:-margin, margin:-margin])
    assert np.array_equal(labels, np.array([3, 7, 200])[scores.argmax(axis=0)])
    share = np.exp(scores.max(axis=0)) / np.exp(scores).sum(axis=0)
    assert np.abs(confidence - share * 254).max() < 0.51


def test_an_onnx_file_that_does_not_fit_its_card_is_refused(model):
    pytest.importorskip("onnxruntime")
    weight = np.zeros((3, 2, 1, 1), "float32")
    with pytest.raises(
        JobError, match=r"takes windows of 24 pixels only; with a halo of 2 inference.window is 20, not 16"
    ):
        prepare(onnx(model, convolution(weight, 24)))
    with pytest.raises(ModelError, match=r"its card asks for one input of floats \(1, 2, row, col\)"):
        prepare(onnx(model, convolution(np.zeros((4, 2, 1, 1), "float32"))))
    with pytest.raises(ModelError, match="is no ONNX file that runs here"):
        prepare(onnx(model, b"not a graph"))


def test_an_onnx_model_without_onnxruntime_says_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"pip install 'geoseg\[onnx\]'"):
        loading.load(onnx(model, b"anything"), "cpu")


# ------------------------------------------------------------------------------ tensors in other files


WEIGHT = np.ones((3, 2, 1, 1), "float32")
ELSEWHERE = part(13, text(1, "location") + text(2, "/etc/passwd")) + number(14, 1)
"""What a tensor holds that is kept in another file."""
TENSOR = text(8, "more") + number(1, 1) + number(2, 1)


def node(*attributes):
    return part(1, text(4, "Constant") + b"".join(part(5, each) for each in attributes))


PLACES = {
    "initializer": lambda tensor: part(7, part(5, tensor)),
    "sparse initializer": lambda tensor: part(7, part(15, part(1, tensor))),
    "indices": lambda tensor: part(7, part(15, part(2, tensor))),
    "attribute": lambda tensor: part(7, node(part(5, tensor))),
    "second attribute": lambda tensor: part(7, node(text(1, "a"), part(10, tensor))),
    "sparse attribute": lambda tensor: part(7, node(part(22, part(1, tensor)))),
    "subgraph": lambda tensor: part(7, node(part(6, part(5, tensor)))),
    "subgraphs in subgraphs": lambda tensor: part(7, node(part(11, node(part(11, node(part(5, tensor))))))),
    "function": lambda tensor: part(25, part(7, part(5, part(5, tensor)))),
    "training": lambda tensor: part(20, part(1, part(5, tensor))),
    "second graph": lambda tensor: part(7, b"") + part(7, part(5, tensor)),
}
"""Everywhere that ONNX keeps tensors."""


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("said", [ELSEWHERE, number(14, 1), part(13, text(1, "offset")), number(14, 1) + number(14, 0)])
def test_a_tensor_in_another_file_is_found_wherever_it_hides(model, place, said):
    pytest.importorskip("onnxruntime")
    graph = onnx(model, convolution(WEIGHT) + PLACES[place](said + TENSOR))
    with pytest.raises(ModelError, match=r"keeps tensors in other files; export it with all of them inside"):
        loading.load(graph, "cpu")


@pytest.mark.parametrize("name", ["location", "external_data", "\x0a\x08location\x12\x0b/etc/passwd"])
def test_a_tensor_may_be_called_as_it_likes(model, name):
    pytest.importorskip("onnxruntime")
    network = loading.load(onnx(model, convolution(WEIGHT, name=name, more=number(14, 0))), "cpu")
    assert network(torch.ones(2, 2, 4, 5)).eq(2).all()


@pytest.mark.parametrize(
    "data", [b"\x0b", b"\x0a\xff", b"\xff" * 20, b"\x3a\x80\x80\x80\x80\x08", b"\x09\x01", b"\x00\x00\x00\x00ORTM"]
)
def test_what_is_no_protobuf_is_refused(model, data):
    pytest.importorskip("onnxruntime")
    with pytest.raises(ModelError, match="is no ONNX file that runs here"):
        loading.load(onnx(model, data), "cpu")


def test_a_graph_of_graphs_without_end_is_refused(model):
    pytest.importorskip("onnxruntime")
    inner = part(5, TENSOR)
    for _ in range(2000):
        inner = node(part(6, inner))
    with pytest.raises(ModelError, match="is no ONNX file that runs here"):
        loading.load(onnx(model, convolution(WEIGHT) + part(7, inner)), "cpu")


def test_a_graph_of_countless_parts_is_refused(model, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnx_graph, "_MOST_FIELDS", 1000)
    with pytest.raises(ModelError, match="has more than 1000 parts"):
        loading.load(onnx(model, b"\x08\x08" * 1001), "cpu")


def test_a_graph_whose_weights_are_no_numbers_is_refused(model):
    pytest.importorskip("onnxruntime")
    with pytest.raises(ModelError, match="gives scores that are not finite for pixels from 0 to 1"):
        prepare(onnx(model, convolution(np.full((3, 2, 1, 1), np.nan, "float32"))))


def test_a_graph_that_loops_for_ever_is_stopped(model, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnx_graph, "LONGEST_S", 0.2)
    network = loading.load(onnx(model, endless(WEIGHT)), "cpu")
    with pytest.raises(ModelError, match=r"weights\.onnx took longer than 0 s for one window and was stopped"):
        network(torch.ones(1, 2, 4, 5))
    said = geoseg("models", "check", model.folder).refusal("ModelError")
    assert "does it loop for ever?" in said


# ---------------------------------------------------------------------------------------------- on a GPU


class Recorded:
    """A session on the CPU that says it has what was asked for, and notes what that was."""

    asked: ClassVar[list[object]] = []
    works: ClassVar[bool] = True

    def __init__(self, data, options, providers):
        Recorded.asked.append(providers)
        self._session = SESSION(data, options, providers=["CPUExecutionProvider"])
        self._named = [each if isinstance(each, str) else each[0] for each in providers]

    def get_providers(self):
        return self._named if Recorded.works else ["CPUExecutionProvider"]

    def __getattr__(self, name):
        return getattr(self._session, name)


try:
    import onnxruntime

    SESSION = onnxruntime.InferenceSession
except ImportError:
    onnxruntime = None


@pytest.fixture
def gpus(monkeypatch):
    """Two CUDA devices, as torch would see them."""
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.fixture
def provided(gpus, monkeypatch):
    """An onnxruntime that has the CUDA provider."""
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", Recorded)
    monkeypatch.setattr(Recorded, "asked", [])
    monkeypatch.setattr(Recorded, "works", True)


@pytest.mark.parametrize(("asked", "number"), [("cpu", None), ("auto", 0), ("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_a_gpu_runs_the_graph_where_onnxruntime_has_its_provider(model, provided, asked, number):
    network = loading.load_asked(onnx(model, convolution(WEIGHT)), asked)
    (given,) = Recorded.asked
    assert given[-1] == "CPUExecutionProvider"
    assert len(given) == 1 + (number is not None)
    if number is not None:
        name, options = given[0]
        assert (name, options["device_id"], options["use_tf32"]) == ("CUDAExecutionProvider", number, 0)
    assert network.network.on_gpu == (number is not None)


@pytest.mark.parametrize("why", ["absent", "broken"])
def test_a_gpu_that_onnxruntime_cannot_use_is_refused_where_it_is_asked_for_by_name(model, request, caplog, why):
    request.getfixturevalue("gpus" if why == "absent" else "provided")
    Recorded.works = False
    graph = onnx(model, convolution(WEIGHT))
    with pytest.raises(ModelError, match="onnxruntime has no CUDA provider") as caught:
        loading.load_asked(graph, "cuda:1")
    assert "\n" not in str(caught.value)
    assert "inference.device is 'cuda:1'" in str(caught.value)
    assert "or choose 'cpu' or 'auto'" in str(caught.value)
    with pytest.raises(ModelError, match="onnxruntime has no CUDA provider"):
        prepare(graph, device="cuda").load()
    caplog.clear()
    process.renew()
    assert loading.load_asked(graph, "auto")(torch.ones(1, 2, 4, 5)).eq(2).all()
    assert "runs on the CPU: onnxruntime has no CUDA provider" in caplog.text


def test_a_device_that_torch_does_not_see_is_refused_as_ever(model):
    if torch.cuda.is_available():
        pytest.skip("there is one here")
    with pytest.raises(ModelError, match="torch finds 0 CUDA devices"):
        loading.load_asked(onnx(model, convolution(WEIGHT)), "cuda")

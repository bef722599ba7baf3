"""ONNX graphs: networks that other frameworks exported, run by onnxruntime on the CPU, or on a GPU where it can."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geoseg.catalog.card import Model
from geoseg.errors import ModelError

LONGEST_S = 600.0
"""Time that a graph may take for a window; one that loops for ever is stopped then."""
_log = logging.getLogger(__name__)
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_TENSOR, _EXTERNAL_DATA, _DATA_LOCATION = "tensor", 13, 14
_PARTS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: _TENSOR, 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: _TENSOR, 6: "graph", 10: _TENSOR, 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: _TENSOR, 2: _TENSOR},
    _TENSOR: {},
}
"""Kind of message by field number inside each kind, as onnx.proto of ONNX 1.20 has them: the way to every tensor."""
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
"""Numbers that a graph may take."""
_MOST_FIELDS = 5_000_000
"""A graph of more fields is refused; large tensors are one field each."""


@dataclass(frozen=True, slots=True)
class Onnx:
    """An ONNX graph as a network, one window at a time."""

    session: Any
    """onnxruntime.InferenceSession."""
    side: int | None
    """The only edge of a window that it takes, in pixels; None: any."""
    output: str
    """Which of its outputs is asked for."""
    name: str = "the graph"
    """What messages call it."""

    @property
    def on_gpu(self) -> bool:
        """Whether onnxruntime runs it on a CUDA device."""
        return _CUDA in self.session.get_providers()

    def __call__(self, pixels: Tensor) -> Tensor:
        """What it gives, (B, ...), for (B, band, H, W) pixels."""
        asked = self.session.get_inputs()[0]
        windows = pixels.contiguous().cpu().numpy().astype(_TYPES[asked.type], copy=False)
        found = [torch.from_numpy(self._run({asked.name: each[None]})) for each in windows]
        return torch.cat(found).to(pixels.device)

    def _run(self, given: dict[str, np.ndarray]) -> Any:
        import onnxruntime

        options, late = onnxruntime.RunOptions(), threading.Event()

        def stop() -> None:
            late.set()
            options.terminate = True

        timer = threading.Timer(LONGEST_S, stop)
        timer.daemon = True
        timer.start()
        try:
            return self.session.run([self.output], given, options)[0]
        except Exception as error:  # onnxruntime's kinds have no parent of their own
            if not late.is_set():
                raise
            raise ModelError(
                f"{self.name} took longer than {LONGEST_S:.0f} s for one window and was stopped; does it loop "
                "for ever? Use a smaller window or another network"
            ) from error
        finally:
            timer.cancel()


def open_graph(model: Model, data: bytes, device: str = "cpu") -> Onnx:
    """The graph of an ONNX file that fits its card.

    Parameters
    ----------
    model
        Its card says how many bands and classes the graph must have.
    data
        The bytes of its weights file; tensors are inside, never in other files.
    device
        'cpu', 'cuda' or 'cuda:<number>'; where onnxruntime cannot use it, the CPU, which is logged.

    Raises
    ------
    ModelError
        If onnxruntime is not installed, cannot run the graph, or the graph does not fit the card.
    """
    try:
        import onnxruntime  # an extra, and only these models need it
    except ImportError as error:
        raise ModelError(f"{model.weights} needs onnxruntime; install it with: pip install 'geoseg[onnx]'") from error
    if _has_tensors_elsewhere(model, data):
        raise ModelError(
            f"{model.weights} keeps tensors in other files; export it with all of them inside "
            "(torch.onnx.export with external_data=False)"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")  # whatever its bytes look like
    try:
        here = onnxruntime.get_available_providers()
        session = onnxruntime.InferenceSession(data, options, providers=_providers(device, here))
    except Exception as error:  # onnxruntime's kinds have no parent of their own
        raise ModelError(f"{model.weights} is no ONNX file that runs here: {' '.join(str(error).split())}") from error
    _check(model, session)
    edges = {each for each in session.get_inputs()[0].shape[2:] if isinstance(each, int)}
    graph = Onnx(session, edges.pop() if edges else None, _output(model, session).name, str(model.weights))
    if device != "cpu" and not graph.on_gpu:
        _log.warning("%s runs on the CPU: %s", model.weights, NO_GPU)
    return graph


NO_GPU = "onnxruntime has no CUDA provider that works here; install onnxruntime-gpu in place of onnxruntime"


def _providers(device: str, here: list[str]) -> list[Any]:
    """What shall run a graph, first choice first; on a GPU the same kernels each time and no shortened floats."""
    if device == "cpu" or _CUDA not in here:
        return [_CPU]
    number = int(device.partition(":")[2] or 0)
    return [(_CUDA, {"device_id": number, "use_tf32": 0, "cudnn_conv_algo_search": "DEFAULT"}), _CPU]


def _check(model: Model, session: Any) -> None:
    """Refuse a graph whose input and output are not those of its card."""
    card, inputs, output = model.card, session.get_inputs(), _output(model, session)
    shapes = [list(each.shape) for each in (*inputs, output)]
    takes = len(inputs) == 1 and inputs[0].type in _TYPES and len(shapes[0]) == 4
    labels = card.output.kind == "labels"
    channels = 1 if labels and len(shapes[-1]) == 4 else card.output.channels or len(card.classes)
    gives = len(shapes[-1]) == 4 or (labels and len(shapes[-1]) == 3)
    if takes and isinstance(shapes[0][1], int):
        takes = shapes[0][1] == len(card.bands)
    if gives and len(shapes[-1]) == 4 and isinstance(shapes[-1][1], int):
        gives = shapes[-1][1] == channels
    if not takes or not gives:
        wanted = "(1, row, col) of labels" if labels else f"(1, {channels}, row, col)"
        raise ModelError(
            f"{model.weights} has inputs and outputs of shapes {shapes}; its card asks for one input of floats "
            f"(1, {len(card.bands)}, row, col) and one output {wanted}"
        )
    if len({each for each in shapes[0][2:] if isinstance(each, int)}) > 1:
        raise ModelError(
            f"{model.weights} takes windows of {shapes[0][2:]} pixels; windows are square, so export it anew"
        )


def _output(model: Model, session: Any) -> Any:
    """The output that the card names, or the only one."""
    found, name = {each.name: each for each in session.get_outputs()}, model.card.output.name
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    if name not in found:
        none = "" if name is None else f", and none is called {name!r}"
        raise ModelError(
            f"{model.weights} has the outputs {', '.join(found)}{none}; name one as output.name on its card"
        )
    return found[name]


def _has_tensors_elsewhere(model: Model, data: bytes) -> bool:
    """Whether any tensor of a graph names a file of its own, which onnxruntime would open."""
    todo, seen = [("model", memoryview(data))], 0
    while todo:
        kind, message = todo.pop()
        for field, value in _fields(model, message):
            seen += 1
            if seen > _MOST_FIELDS:
                raise ModelError(f"{model.weights} has more than {_MOST_FIELDS} parts; export it anew")
            if kind == _TENSOR and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0)):
                return True
            if field in _PARTS[kind] and isinstance(value, memoryview):
                todo.append((_PARTS[kind][field], value))
    return False


def _fields(model: Model, message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a protobuf message, as protobuf.dev/programming-guides/encoding states it."""
    at = 0
    while at < len(message):
        key, at = _varint(model, message, at)
        field, wire = key >> 3, key & 7
        value: int | memoryview
        if wire == 0:
            value, at = _varint(model, message, at)
        elif wire in (1, 2, 5):
            length, at = _varint(model, message, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
            value, at = message[at : at + length], at + length
        else:
            raise _broken(model)
        if at > len(message):
            raise _broken(model)
        yield field, value


def _varint(model: Model, message: memoryview, at: int) -> tuple[int, int]:
    """An integer of seven bits in each byte, the lowest first, and where it ends."""
    value = 0
    for index, byte in enumerate(message[at : at + 10]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, at + index + 1
    raise _broken(model)


def _broken(model: Model) -> ModelError:
    return ModelError(f"{model.weights} is no ONNX file that runs here: it is cut short or of another format")

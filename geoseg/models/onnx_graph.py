"""ONNX graphs: networks that other frameworks exported, run by onnxruntime on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geoseg.catalog.card import Model
from geoseg.errors import ModelError


@dataclass(frozen=True, slots=True)
class Onnx:
    """An ONNX graph as a network; runs on the CPU, one window at a time."""

    session: Any
    """onnxruntime.InferenceSession."""
    side: int | None
    """The only edge of a window that it takes, in pixels; None: any."""

    def __call__(self, pixels: Tensor) -> Tensor:
        """Scores (B, class, H, W) of (B, band, H, W) pixels."""
        name = self.session.get_inputs()[0].name
        windows = pixels.contiguous().cpu().numpy()
        scores = [torch.from_numpy(self.session.run(None, {name: each[None]})[0]) for each in windows]
        return torch.cat(scores).to(pixels.device)


def open_graph(model: Model, data: bytes) -> Onnx:
    """The graph of an ONNX file that fits its card.

    Parameters
    ----------
    model
        Its card says how many bands and classes the graph must have.
    data
        The bytes of its weights file; tensors are inside, never in other files.

    Raises
    ------
    ModelError
        If onnxruntime is not installed, cannot run the graph, or the graph does not fit the card.
    """
    try:
        import onnxruntime  # an extra, and only these models need it
    except ImportError as error:
        raise ModelError(f"{model.weights} needs onnxruntime; install it with: pip install 'geoseg[onnx]'") from error
    if b"\x0a\x08location" in data:  # the key by which a tensor names the file that holds it
        raise ModelError(f"{model.weights} keeps tensors in other files; export it with all of them inside")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's kinds have no parent of their own
        raise ModelError(f"{model.weights} is no ONNX file that runs here: {' '.join(str(error).split())}") from error
    bands, classes = len(model.card.bands), len(model.card.classes)
    ends = [*session.get_inputs(), *session.get_outputs()]
    shapes = [list(each.shape) for each in ends]
    fits = len(ends) == 2 and all(each.type == "tensor(float)" and len(each.shape) == 4 for each in ends)
    if not fits or any(isinstance(shape[1], int) and shape[1] != n for shape, n in zip(shapes, (bands, classes))):
        raise ModelError(
            f"{model.weights} has inputs and outputs of shapes {shapes}; its card asks for one float32 input "
            f"(1, {bands}, row, col) and one output (1, {classes}, row, col)"
        )
    edges = {each for each in shapes[0][2:] if isinstance(each, int)}
    if len(edges) > 1:
        raise ModelError(
            f"{model.weights} takes windows of {shapes[0][2:]} pixels; windows are square, so export it anew"
        )
    return Onnx(session, edges.pop() if edges else None)

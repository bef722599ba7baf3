"""A one-node ONNX file written byte by byte, so that no test needs the onnx package."""

from __future__ import annotations

import numpy as np


def convolution(weight: np.ndarray, side: int | None = None) -> bytes:
    """A graph that convolves (1, band, row, col) with (class, band, 1, 1); rows and cols are `side`, or any."""
    classes, bands = weight.shape[:2]
    node = _text(1, "pixels") + _text(1, "weight") + _text(2, "scores") + _text(4, "Conv")
    tensor = b"".join(_number(1, each) for each in weight.shape) + _number(2, 1) + _text(8, "weight")
    tensor += _bytes(9, weight.astype("<f4").tobytes())
    graph = _bytes(1, node) + _text(2, "graph") + _bytes(5, tensor)
    graph += _bytes(11, _value("pixels", bands, side)) + _bytes(12, _value("scores", classes, side))
    return _number(1, 8) + _bytes(8, _text(1, "") + _number(2, 13)) + _bytes(7, graph)


def _value(name: str, channels: int, side: int | None) -> bytes:
    edges = [_number(1, side) if side else _text(2, each) for each in ("row", "col")]
    dims = [_number(1, 1), _number(1, channels), *edges]
    shape = b"".join(_bytes(1, each) for each in dims)
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, 1) + _bytes(2, shape)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])

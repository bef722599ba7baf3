"""A one-node ONNX file written byte by byte, so that no test needs the onnx package."""

from __future__ import annotations

import numpy as np


def convolution(
    weight: np.ndarray, side: int | None = None, *, name: str = "weight", more: bytes = b"", before: bytes = b""
) -> bytes:
    """A graph that convolves (1, band, row, col) with (class, band, k, k); rows and cols are `side`, or any.

    Its tensor has a name and, beyond its numbers, `more` fields. A node `before` takes 'pixels' and gives 'taken'.
    """
    classes, bands = weight.shape[:2]
    node = text(1, "taken" if before else "pixels") + text(1, name) + text(2, "scores") + text(4, "Conv")
    if weight.shape[2] > 1:  # attribute auto_pad = SAME_UPPER, a string
        node += part(5, text(1, "auto_pad") + text(4, "SAME_UPPER") + number(20, 3))
    tensor = b"".join(number(1, each) for each in weight.shape) + number(2, 1) + text(8, name)
    tensor += part(9, weight.astype("<f4").tobytes()) + more
    graph = (part(1, before) if before else b"") + part(1, node) + text(2, "graph") + part(5, tensor)
    graph += part(11, _value("pixels", bands, side)) + part(12, _value("scores", classes, side))
    return number(1, 8) + part(8, text(1, "") + number(2, 13)) + part(7, graph)


def endless(weight: np.ndarray) -> bytes:
    """The same behind a loop that hands on what it is given, and does not end."""
    body = part(1, text(1, "go") + text(2, "go_on") + text(4, "Identity"))
    body += part(1, text(1, "x") + text(2, "again") + text(4, "Identity")) + text(2, "body")
    count, go, x = _scalar("i", 7), _scalar("go", 9), _value("x", weight.shape[1], None)
    body += part(11, count) + part(11, go) + part(11, x)
    body += part(12, _scalar("go_on", 9)) + part(12, _value("again", weight.shape[1], None))
    loop = text(1, "") + text(1, "") + text(1, "pixels") + text(2, "taken") + text(4, "Loop")
    return convolution(weight, before=loop + part(5, text(1, "body") + part(6, body) + number(20, 5)))


def number(field: int, value: int) -> bytes:
    """A field that holds an integer."""
    return _varint(field << 3) + _varint(value)


def part(field: int, data: bytes) -> bytes:
    """A field that holds a message or bytes."""
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def text(field: int, words: str) -> bytes:
    """A field that holds text."""
    return part(field, words.encode())


def _scalar(name: str, kind: int) -> bytes:
    return text(1, name) + part(2, part(1, number(1, kind) + part(2, b"")))


def _value(name: str, channels: int, side: int | None) -> bytes:
    edges = [number(1, side) if side else text(2, each) for each in ("row", "col")]
    dims = [number(1, 1), number(1, channels), *edges]
    shape = b"".join(part(1, each) for each in dims)
    return text(1, name) + part(2, part(1, number(1, 1) + part(2, shape)))


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])

"""Shapefile: polygons written as .shp, .shx, .dbf, .prj and .cpg, some at a time.

The columns are class_id, class_name, area_m2 and what else is asked for, names in UTF-8. No date but a fixed one is
written, so that equal polygons give equal files. ESRI Shapefile Technical Description (1998); dBASE III.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from geoseg.errors import RasterError
from geoseg.vectors.compiled import compiled
from geoseg.vectors.features import Features

_LOG = logging.getLogger(__name__)
MOST_BYTES = 2**31 - 1
"""Most bytes in a .shp or .dbf that every reader opens."""
_MOST_TEXT = 254
"""Most bytes of a text in a .dbf."""
_ID_WIDTH, _WHOLE_WIDTH, _REAL_WIDTH, _REAL_DECIMALS = 9, 18, 24, 15
"""Characters of the columns, those that GDAL takes."""
_SIZES = {True: (_WHOLE_WIDTH, 0), False: (_REAL_WIDTH, _REAL_DECIMALS)}
_WHOLE = ("pixels",)
"""Columns of whole numbers."""


class ShapefileWriter:
    """A Shapefile that grows; whole when it has been closed."""

    def __init__(
        self, path: Path, names: Mapping[int, str], crs: Any, further: Sequence[str] = (), *, shown: Path | None = None
    ) -> None:
        """Create the files.

        Parameters
        ----------
        path : Path
            The .shp; its folder exists.
        names : mapping of int to str
            Names of the classes that may come; others are called by their number.
        crs : pyproj CRS
            Of the coordinates.
        further : sequence of str
            Columns besides class and area, names of 10 letters at most.
        shown : Path, optional
            How messages call the file.
        """
        self.path, self.shown = path, shown or path
        self.names = {id: self._cut(name) for id, name in names.items()}
        self.width = max([5, *map(len, self.names.values())])
        self.numbers = [(each, *_SIZES[each in _WHOLE]) for each in ("area_m2", *further)]
        self.row_bytes = 1 + _ID_WIDTH + self.width + sum(width for _, width, _ in self.numbers)
        self.count, self.words = 0, 50
        self.box = np.array([np.inf, np.inf, -np.inf, -np.inf])
        with ExitStack() as files:
            self.shp, self.shx, self.dbf = (
                files.enter_context(path.with_suffix(end).open("wb")) for end in (".shp", ".shx", ".dbf")
            )
            path.with_suffix(".prj").write_text(crs.to_wkt("WKT1_ESRI"), encoding="utf-8")
            path.with_suffix(".cpg").write_text("UTF-8", encoding="ascii")
            self._headers()
            self._files = files.pop_all()

    def __enter__(self) -> ShapefileWriter:
        """Closed at the end of the `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is known at the end, unless something failed."""
        with self._files:  # each is closed, also where another finds the disk full
            if kind is None:
                self.dbf.write(b"\x1a")
                self._headers()

    def add(self, features: Features) -> None:
        """Append polygons.

        Raises
        ------
        RasterError
            If the file would be larger than readers can open.
        """
        words, starts = features.records(self.count + 1)
        self.count += len(features)
        size = max(2 * self.words + 4 * len(words), 400 + self.count * self.row_bytes)
        if size > MOST_BYTES:
            raise RasterError(
                f"{self.shown} would take more than the {MOST_BYTES / 1e9:.1f} GB of a Shapefile; write a .gpkg, "
                "or one file per class"
            )
        index = np.empty((len(features), 2), ">i4")
        index[:, 0] = self.words + 2 * starts[:-1]
        index[:, 1] = 2 * np.diff(starts) - 4
        self.shp.write(words.astype("<i4", copy=False).data)
        self.shx.write(index.tobytes())
        self.dbf.write(self._rows(features).data)
        self.words += 2 * len(words)
        boxes = features.boxes
        self.box[:2] = np.minimum(self.box[:2], boxes[:, :2].min(axis=0))
        self.box[2:] = np.maximum(self.box[2:], boxes[:, 2:].max(axis=0))

    def _cut(self, name: str) -> bytes:
        text = name.encode()
        if len(text) <= _MOST_TEXT:
            return text
        _LOG.warning("%s: the class name %r is cut at %d bytes, the most of a Shapefile", self.shown, name, _MOST_TEXT)
        return text[:_MOST_TEXT].decode(errors="ignore").encode()

    def _rows(self, features: Features) -> np.ndarray:
        rows = np.full((len(features), self.row_bytes), ord(" "), np.uint8)
        ids, which = np.unique(features.class_ids, return_inverse=True)
        texts = [self.names.get(id, str(id).encode()) for id in ids.tolist()]
        labels = [f"{id:{_ID_WIDTH}}".encode() + text.ljust(self.width) for id, text in zip(ids.tolist(), texts)]
        table = np.frombuffer(b"".join(labels), np.uint8).reshape(len(ids), -1)
        rows[:, 1 : 1 + table.shape[1]] = table[which]
        at = 1 + table.shape[1]
        for name, width, decimals in self.numbers:
            values = features.areas_m2 if name == "area_m2" else features.columns[name].astype(np.float64)
            _print_decimals(values, rows, at, width, decimals)
            at += width
        return rows

    def _headers(self) -> None:
        box = self.box if self.count else np.zeros(4)
        for file, words in ((self.shp, self.words), (self.shx, 50 + 4 * self.count)):
            file.seek(0)
            file.write(np.array([9994, 0, 0, 0, 0, 0, words], ">i4").tobytes())
            file.write(np.array([1000, 5], "<i4").tobytes() + np.array([*box, 0, 0, 0, 0], "<f8").tobytes())
        self.dbf.seek(0)
        columns = (b"class_id", b"N", _ID_WIDTH, 0), (b"class_name", b"C", self.width, 0)
        numbers = [(name.encode(), b"N", width, decimals) for name, width, decimals in self.numbers]
        fields = b"".join(
            name.ljust(11, b"\0") + kind + bytes(4) + bytes([width, decimals]) + bytes(14)
            for name, kind, width, decimals in (*columns, *numbers)
        )
        length = np.array([32 + len(fields) + 1, self.row_bytes], "<i2").tobytes()
        date = bytes([95, 7, 26])  # GDAL's when it is told none
        self.dbf.write(b"\x03" + date + np.array([self.count], "<i4").tobytes() + length + bytes(20) + fields + b"\r")


@compiled
def _print_decimals(values: np.ndarray, rows: np.ndarray, col: int, width: int, decimals: int) -> None:
    """Print numbers of 0 or more flush right, with fewer decimals where they need the room, whole ones without."""
    for row in range(len(values)):
        value = values[row]
        whole = np.int64(value)
        digits, rest = 1, whole // 10
        while rest > 0:
            digits += 1
            rest //= 10
        shown = min(decimals, max(width - 1 - digits, 0))
        scale = np.int64(1)
        for _ in range(shown):
            scale *= 10
        part = np.int64(np.rint((value - whole) * scale))
        if part == scale:
            whole, part = whole + 1, np.int64(0)
        at = col + width - 1
        for _ in range(shown):
            rows[row, at] = 48 + part % 10
            part //= 10
            at -= 1
        if decimals > 0:
            rows[row, at] = 46  # the point
            at -= 1
        first = at
        while whole > 0 or at == first:
            rows[row, at] = 48 + whole % 10
            whole //= 10
            at -= 1

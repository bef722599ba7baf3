"""Arrow: polygons as record batches of class_id, class_name, area_m2 and WKB; GeoParquet, GeoPackage and FlatGeobuf.

GeoParquet 1.1 with a column of boxes; the others are written by GDAL, which takes batches as they come.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyogrio
from pyarrow import parquet

from geoseg.vectors.features import Features

_COLUMNS = [pa.field("class_id", pa.int32()), pa.field("class_name", pa.string()), pa.field("area_m2", pa.float64())]
_GEOMETRY = pa.field("geometry", pa.binary())
_WHOLE = ("pixels",)
"""Columns of whole numbers; other further ones are float64."""
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_BOX = pa.field("bbox", pa.struct([pa.field(side, pa.float64()) for side in _SIDES]))
_MOST_POLYGONS, _MOST_POINTS = 65_536, 4_000_000
"""Most in one record batch; a row group of a GeoParquet file is one."""


def schema(further: Sequence[str] = (), *, boxes: bool = False, tags: Mapping[str, str] | None = None) -> pa.Schema:
    """Names and types of the columns.

    Parameters
    ----------
    further : sequence of str
        Columns besides class and area.
    boxes : bool
        Whether there is one of boxes.
    tags : mapping of str to str, optional
        Attributes of the frame that geopandas makes of a GeoParquet file.
    """
    columns = [*_COLUMNS, *(pa.field(name, pa.int64() if name in _WHOLE else pa.float64()) for name in further)]
    metadata = None if tags is None else {"PANDAS_ATTRS": json.dumps(dict(tags))}
    return pa.schema([*columns, _GEOMETRY, *([_BOX] if boxes else [])], metadata=metadata)


def batches(features: Features, names: Mapping[int, str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Polygons as record batches.

    Parameters
    ----------
    features : Features
        The polygons.
    names : mapping of int to str
        Names of classes; others are called by their number.
    schema : pyarrow Schema
        What `schema` makes; further columns are taken from the polygons'.
    """
    for part in features.parts(_MOST_POLYGONS, _MOST_POINTS):
        ids, which = np.unique(part.class_ids, return_inverse=True)
        texts = pa.array([names.get(id, str(id)) for id in ids.tolist()], pa.string())
        buffer, starts = part.wkb()
        if starts[-1] >= 2**31:
            raise OverflowError("a polygon takes more than the 2 GB of an Arrow batch; vectorise parts of the map")
        geometry = pa.Array.from_buffers(
            pa.binary(), len(part), [None, pa.py_buffer(starts.astype(np.int32)), pa.py_buffer(buffer)]
        )
        columns = [pa.array(part.class_ids), texts.take(pa.array(which)), pa.array(part.areas_m2)]
        columns += [pa.array(part.columns[name]) for name in schema.names if name in part.columns]
        columns.append(geometry)
        if _BOX.name in schema.names:
            sides = np.ascontiguousarray(part.boxes.T)
            columns.append(pa.StructArray.from_arrays([pa.array(side) for side in sides], fields=list(_BOX.type)))
        yield pa.record_batch(columns, schema=schema)


class ParquetWriter:
    """A GeoParquet file that grows, one row group for each batch."""

    def __init__(
        self, path: Path, names: Mapping[int, str], crs: Any, tags: Mapping[str, str], further: Sequence[str] = ()
    ) -> None:
        """Create the file.

        Parameters
        ----------
        path : Path
            The .parquet.
        names : mapping of int to str
            Names of classes.
        crs : pyproj CRS
            Of the coordinates.
        tags : mapping of str to str
            Kept as the attributes of the frame that geopandas reads.
        further : sequence of str
            Columns besides class and area.
        """
        self.names, self.crs = names, crs
        self.box = np.array([np.inf, np.inf, -np.inf, -np.inf])
        self.schema = schema(further, boxes=True, tags=tags)
        self.file = parquet.ParquetWriter(path, self.schema, compression="zstd")

    def __enter__(self) -> ParquetWriter:
        """Closed at the end of the `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is known at the end."""
        try:
            if kind is None:
                self.file.add_key_value_metadata({"geo": json.dumps(self._geo())})
        finally:
            self.file.close()

    def add(self, features: Features) -> None:
        """Append polygons."""
        for batch in batches(features, self.names, self.schema):
            self.file.write_batch(batch)
        boxes = features.boxes
        self.box[:2] = np.minimum(self.box[:2], boxes[:, :2].min(axis=0))
        self.box[2:] = np.maximum(self.box[2:], boxes[:, 2:].max(axis=0))

    def _geo(self) -> Mapping[str, Any]:
        """GeoParquet 1.1.0, https://geoparquet.org/releases/v1.1.0/."""
        column = {
            "encoding": "WKB",
            "geometry_types": ["Polygon"],
            "crs": self.crs.to_json_dict(),
            "orientation": "counterclockwise",
            "bbox": self.box.tolist(),
            "covering": {"bbox": {side: ["bbox", side] for side in _SIDES}},
        }
        return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


class GdalWriter:
    """A GeoPackage or FlatGeobuf file that GDAL writes in a thread of its own, a few batches behind."""

    def __init__(
        self,
        path: Path,
        names: Mapping[int, str],
        crs: Any,
        tags: Mapping[str, str],
        driver: str,
        layer: str,
        further: Sequence[str] = (),
    ) -> None:
        """Begin the file.

        Parameters
        ----------
        path : Path
            The file.
        names : mapping of int to str
            Names of classes.
        crs : pyproj CRS
            Of the coordinates.
        tags : mapping of str to str
            Metadata of the layer, where the format has any.
        driver : str
            GDAL's.
        layer : str
            Name of the layer.
        further : sequence of str
            Columns besides class and area.
        """
        if "CPL_LOG" not in os.environ:  # what goes wrong is raised; GDAL would also print it, a line for each attempt
            pyogrio.set_gdal_config_options({"CPL_LOG": os.devnull})
        self.names, self.schema = names, schema(further)
        self.waiting: queue.Queue[pa.RecordBatch | None] = queue.Queue(2)
        self.error: BaseException | None = None
        options: dict[str, Any] = {"layer_metadata": dict(tags)} if driver == "GPKG" else {}
        options |= {"RFC7946": "YES"} if driver == "GeoJSON" else {}
        how = {"driver": driver, "layer": layer, "geometry_name": "geometry", "geometry_type": "Polygon"}
        self.thread = threading.Thread(target=self._write, args=(path, {**how, "crs": crs.to_wkt(), **options}))
        self.thread.start()

    def __enter__(self) -> GdalWriter:
        """Closed at the end of the `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until all is written."""
        self.waiting.put(None)
        self.thread.join()
        if kind is None and self.error is not None:
            raise self.error

    def add(self, features: Features) -> None:
        """Append polygons."""
        for batch in batches(features, self.names, self.schema):
            if self.error is not None:
                raise self.error
            self.waiting.put(batch)

    def _write(self, path: Path, how: Mapping[str, Any]) -> None:
        ended = False

        def taken() -> Iterator[pa.RecordBatch]:
            nonlocal ended
            while (batch := self.waiting.get()) is not None:
                yield batch
            ended = True

        try:
            pyogrio.write_arrow(pa.RecordBatchReader.from_batches(self.schema, taken()), path, **how)
        except BaseException as error:
            self.error = error
            while not ended:  # else `add` would wait for room
                ended = self.waiting.get() is None

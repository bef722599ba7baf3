"""Raster attribute table: values, names and colours of classes as GDAL writes them, beside a map or in it.

GDAL reads a table inside of a GeoTIFF, in the tag GDAL_METADATA, since 3.12 and writes one there since then. So that
a map tells its names without a file beside it, the table is written by hand: GDAL is given an item of the same length,
which is overwritten in the finished file, so that nothing in it moves. Older versions skip it.
"""

from __future__ import annotations

import mmap
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

from geoseg.catalog.legend import Legend
from geoseg.errors import RasterError

_ITEM = "GEOSEG_RESERVED"
_OPEN, _CLOSE = f'<Item name="{_ITEM}">'.encode(), b"</Item>"
_REAL = b'<Item name="DEFAULT_RASTER_ATTRIBUTE_TABLE" sample="0" role="rat">'


def element(legend: Legend, counts: Mapping[int, int] | None) -> ET.Element:
    """The table, by which QGIS and ArcGIS know values, names and colours.

    Parameters
    ----------
    legend : Legend
        Its classes are the rows, by id.
    counts : mapping or None
        Pixels of each class, for a column more.
    """
    table = ET.Element("GDALRasterAttributeTable", tableType="thematic")
    # Types: 0 integer, 1 real, 2 text. Usages: 5 the value, 2 its name, 6 7 8 red green blue, 1 pixel count.
    columns = [("Value", 0, 5), ("Class", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8)]
    if counts is not None:
        columns.append(("Count", 1, 1))  # a real, since the table's integers have 32 bits
    for index, column in enumerate(columns):
        field = ET.SubElement(table, "FieldDefn", index=str(index))
        for tag, text in zip(("Name", "Type", "Usage"), column):
            ET.SubElement(field, tag).text = str(text)
    for index, each in enumerate(sorted(legend.classes, key=lambda each: each.id)):
        cells = [each.id, each.name, *each.rgb]
        if counts is not None:
            cells.append(counts.get(each.id, 0))
        row = ET.SubElement(table, "Row", index=str(index))
        for cell in cells:
            ET.SubElement(row, "F").text = str(cell)
    return table


def reserved(legend: Legend, counts: Mapping[int, int] | None) -> dict[str, str]:
    """The metadata item to write a map with, so that `embed` finds room in it.

    Parameters
    ----------
    legend, counts
        As for `element`, and the same as for `embed`.
    """
    return {_ITEM: "." * (len(_filled(legend, counts)) - len(_OPEN) - len(_CLOSE))}


def embed(path: Path, legend: Legend, counts: Mapping[int, int] | None) -> None:
    """Write the table into a GeoTIFF that has the item of `reserved`, where this stands.

    Parameters
    ----------
    path : Path
        The file, closed.
    legend, counts
        As for `reserved`.

    Raises
    ------
    RasterError
        If the room is not there, or the file cannot be written.
    """
    text = _filled(legend, counts)
    try:
        with path.open("r+b") as file:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
                at = held.find(_OPEN)
                end = at + len(text)
                if at < 0 or held[end - len(_CLOSE) : end] != _CLOSE:
                    raise RasterError(f"{path}: there is no room for the names of its classes; please report this")
            file.seek(at)
            file.write(text)
    except (OSError, ValueError) as error:
        raise RasterError(f"{path} cannot be written ({error}); check its folder and the space left") from error


def _filled(legend: Legend, counts: Mapping[int, int] | None) -> bytes:
    # Plain ASCII, with references for all else: nothing then depends on how a reader decodes the tag.
    return _REAL + ET.tostring(element(legend, counts), encoding="us-ascii") + _CLOSE

"""Style: the colours and names of polygons as QGIS reads them, one fill for each class. XML bytes; no files."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable

from geoseg.catalog.legend import LandClass, Legend

_STRANGE = "#ff00ff"
"""Colour of an id that the legend lacks."""


def qgis_style(legend: Legend, ids: Iterable[int]) -> bytes:
    """A QGIS 3 style (QML) that fills polygons by their `class_id`, without outlines.

    Parameters
    ----------
    legend : Legend
        Names and colours.
    ids : iterable of int
        Classes that occur; they are listed in the legend's order, then those that it lacks by their number.

    Returns
    -------
    bytes
        What a `.qml` or the `styleQML` of a GeoPackage holds.
    """
    left = set(ids)
    classes = [each for each in legend.classes if each.id in left]
    classes += [LandClass(id, str(id), _STRANGE) for id in sorted(left - set(legend.ids))]
    root = ET.Element("qgis", version="3.22.0", styleCategories="Symbology")
    renderer = ET.SubElement(
        root,
        "renderer-v2",
        type="categorizedSymbol",
        attr="class_id",
        symbollevels="0",
        enableorderby="0",
        forceraster="0",
    )
    categories = ET.SubElement(renderer, "categories")
    symbols = ET.SubElement(renderer, "symbols")
    for index, each in enumerate(classes):
        ET.SubElement(
            categories, "category", value=str(each.id), symbol=str(index), label=each.name, render="true", type="long"
        )
        _add_fill(symbols, str(index), each)
    ET.SubElement(root, "blendMode").text = "0"
    ET.SubElement(root, "featureBlendMode").text = "0"
    ET.SubElement(root, "layerGeometryType").text = "2"  # polygons
    doctype = b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    return doctype + bytes(ET.tostring(root, encoding="utf-8"))


def _add_fill(symbols: ET.Element, name: str, each: LandClass) -> None:
    symbol = ET.SubElement(symbols, "symbol", type="fill", name=name, alpha="1", clip_to_extent="1", force_rhr="0")
    # "class" is a word of Python's, so these attributes come as a mapping.
    layer = ET.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "pass": "0", "locked": "0"})
    facts = {"color": ",".join(map(str, (*each.rgb, 255))), "style": "solid", "outline_style": "no"}
    options = ET.SubElement(layer, "Option", type="Map")
    for key, value in facts.items():
        ET.SubElement(options, "Option", name=key, type="QString", value=value)
    for key, value in facts.items():  # QGIS before 3.20 knows these alone
        ET.SubElement(layer, "prop", k=key, v=value)

"""Style: colours and names of polygons for QGIS and map servers, one fill for each class. XML bytes; no files."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable

from geoseg.catalog.legend import LandClass, Legend

_STRANGE = "#ff00ff"
"""Colour of an id that the legend lacks."""


_SE, _SLD, _OGC = (f"http://www.opengis.net/{each}" for each in ("se", "sld", "ogc"))


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
    classes = _classes(legend, ids)
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


def sld_style(legend: Legend, ids: Iterable[int], layer: str) -> bytes:
    """The same as a Styled Layer Descriptor 1.1, which map servers and other GIS programs read.

    OGC 05-078r4 (the descriptor) and 05-077r4 (its symbols).

    Parameters
    ----------
    legend, ids
        As in `qgis_style`.
    layer : str
        Name of the layer that is styled.

    Returns
    -------
    bytes
        What a `.sld` or the `styleSLD` of a GeoPackage holds.
    """
    for prefix, space in (("se", _SE), ("", _SLD), ("ogc", _OGC)):
        ET.register_namespace(prefix, space)
    root = ET.Element(f"{{{_SLD}}}StyledLayerDescriptor", version="1.1.0")
    named = ET.SubElement(root, f"{{{_SLD}}}NamedLayer")
    ET.SubElement(named, f"{{{_SE}}}Name").text = layer
    user = ET.SubElement(named, f"{{{_SLD}}}UserStyle")
    ET.SubElement(user, f"{{{_SE}}}Name").text = "land cover"
    rules = ET.SubElement(user, f"{{{_SE}}}FeatureTypeStyle")
    for each in _classes(legend, ids):
        rule = ET.SubElement(rules, f"{{{_SE}}}Rule")
        ET.SubElement(rule, f"{{{_SE}}}Name").text = each.name
        ET.SubElement(ET.SubElement(rule, f"{{{_SE}}}Description"), f"{{{_SE}}}Title").text = each.name
        equal = ET.SubElement(ET.SubElement(rule, f"{{{_OGC}}}Filter"), f"{{{_OGC}}}PropertyIsEqualTo")
        ET.SubElement(equal, f"{{{_OGC}}}PropertyName").text = "class_id"
        ET.SubElement(equal, f"{{{_OGC}}}Literal").text = str(each.id)
        fill = ET.SubElement(ET.SubElement(rule, f"{{{_SE}}}PolygonSymbolizer"), f"{{{_SE}}}Fill")
        colour = "#{:02x}{:02x}{:02x}".format(*each.rgb)
        ET.SubElement(fill, f"{{{_SE}}}SvgParameter", name="fill").text = colour
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _classes(legend: Legend, ids: Iterable[int]) -> list[LandClass]:
    """Those that occur, in the legend's order, then those that it lacks."""
    left = set(ids)
    known = [each for each in legend.classes if each.id in left]
    return known + [LandClass(id, str(id), _STRANGE) for id in sorted(left - set(legend.ids))]


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

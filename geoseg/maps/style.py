"""Style: the colours and names of a map as QGIS reads them from a `.qml` beside it. XML bytes; no files."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from geoseg.catalog.legend import Legend

_CONFIDENCE = ((0.0, "#440154"), (0.25, "#3b528b"), (0.5, "#21918c"), (0.75, "#5ec962"), (1.0, "#fde725"))
"""Viridis, which loses nothing in grey and to the colour-blind."""


def qgis_style(legend: Legend) -> bytes:
    """A legend as a QGIS style (QML); QGIS 3 applies `map.qml` to `map.tif` or `map.vrt` beside it."""
    root, renderer = _style("paletted")
    palette = ET.SubElement(renderer, "colorPalette")
    for each in legend.classes:
        ET.SubElement(palette, "paletteEntry", value=str(each.id), color=each.colour, alpha="255", label=each.name)
    return _written(root)


def confidence_style() -> bytes:
    """The style (QML) of a map of confidence, whose values QGIS shows as 0..1: from dark violet to yellow."""
    root, renderer = _style("singlebandpseudocolor")
    renderer.set("classificationMin", "0")
    renderer.set("classificationMax", "1")
    shader = ET.SubElement(
        ET.SubElement(renderer, "rastershader"),
        "colorrampshader",
        colorRampType="INTERPOLATED",
        classificationMode="1",
        minimumValue="0",
        maximumValue="1",
        clip="0",
    )
    for value, colour in _CONFIDENCE:
        ET.SubElement(shader, "item", value=f"{value:g}", color=colour, alpha="255", label=f"{value:g}")
    return _written(root)


def _style(kind: str) -> tuple[ET.Element, ET.Element]:
    """The outermost element and the renderer of band 1."""
    root = ET.Element("qgis", version="3.22.0", styleCategories="Symbology", hasScaleBasedVisibilityFlag="0")
    pipe = ET.SubElement(root, "pipe")
    renderer = ET.SubElement(pipe, "rasterrenderer", type=kind, band="1", opacity="1", alphaBand="-1", nodataColor="")
    ET.SubElement(renderer, "rasterTransparency")
    ET.SubElement(pipe, "brightnesscontrast", brightness="0", contrast="0", gamma="1")
    ET.SubElement(pipe, "huesaturation", saturation="0", grayscaleMode="0", colorizeOn="0")
    ET.SubElement(pipe, "rasterresampler", maxOversampling="2")
    ET.SubElement(root, "blendMode").text = "0"
    return root, renderer


def _written(root: ET.Element) -> bytes:
    doctype = b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    return doctype + bytes(ET.tostring(root, encoding="utf-8"))

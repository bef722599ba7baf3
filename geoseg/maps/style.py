"""Style: a map's colours and names as QGIS reads them from a `.qml` beside it. XML bytes; no files."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from geoseg.catalog.legend import Legend


def qgis_style(legend: Legend) -> bytes:
    """A legend as a QGIS style (QML); QGIS 3 applies `map.qml` to `map.tif` or `map.vrt` beside it."""
    root = ET.Element("qgis", version="3.22.0", styleCategories="Symbology", hasScaleBasedVisibilityFlag="0")
    pipe = ET.SubElement(root, "pipe")
    renderer = ET.SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1", nodataColor=""
    )
    ET.SubElement(renderer, "rasterTransparency")
    palette = ET.SubElement(renderer, "colorPalette")
    for each in legend.classes:
        ET.SubElement(palette, "paletteEntry", value=str(each.id), color=each.colour, alpha="255", label=each.name)
    ET.SubElement(pipe, "brightnesscontrast", brightness="0", contrast="0", gamma="1")
    ET.SubElement(pipe, "huesaturation", saturation="0", grayscaleMode="0", colorizeOn="0")
    ET.SubElement(pipe, "rasterresampler", maxOversampling="2")
    ET.SubElement(root, "blendMode").text = "0"
    doctype = b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    return doctype + bytes(ET.tostring(root, encoding="utf-8"))

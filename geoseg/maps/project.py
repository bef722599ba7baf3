"""Project: the files of a job as a QGIS project (`.qgz`) in which each has its style. Bytes; no files.

Paths are relative to the project, so the folder may be moved as a whole.
"""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

from odc.geo.crs import CRS

from geoseg.grid import Grid, Window


@dataclass(frozen=True, slots=True)
class Layer:
    """A file as QGIS lists it."""

    name: str
    source: str
    """Path relative to the project; for one layer of a GeoPackage with `|layername=...` behind it."""
    style: bytes
    """QML."""
    vector: bool = False
    shown: bool = False


def qgis_project(title: str, layers: Sequence[Layer], grid: Grid, extent: Window) -> bytes:
    """A project for QGIS 3, which opens at the map.

    Parameters
    ----------
    title : str
        What the window is called.
    layers : sequence of Layer
        The topmost first.
    grid, extent : Grid, Window
        Of the map; the project has its CRS.

    Returns
    -------
    bytes
        The `.qgz`: equal arguments give equal bytes.
    """
    wkt = CRS(grid.crs).to_wkt()
    root = ET.Element("qgis", version="3.22.0", projectname=title)
    ET.SubElement(root, "title").text = title
    _add_crs(ET.SubElement(root, "projectCrs"), wkt)
    tree, held = ET.SubElement(root, "layer-tree-group"), ET.SubElement(root, "projectlayers")
    for index, layer in enumerate(layers):
        id = f"geoseg_layer_{index:02}"  # QGIS gives a new one to a layer whose id has ten letters or less
        provider = "ogr" if layer.vector else "gdal"
        checked = "Qt::Checked" if layer.shown else "Qt::Unchecked"
        told = {"source": f"./{layer.source}", "providerKey": provider, "checked": checked, "expanded": "1"}
        ET.SubElement(tree, "layer-tree-layer", told, id=id, name=layer.name)
        shape = {"type": "vector", "geometry": "Polygon"} if layer.vector else {"type": "raster"}
        element = ET.SubElement(held, "maplayer", shape)
        for tag, text in (("id", id), ("datasource", f"./{layer.source}"), ("layername", layer.name)):
            ET.SubElement(element, tag).text = text
        ET.SubElement(element, "provider", encoding="UTF-8").text = provider
        _add_crs(ET.SubElement(element, "srs"), wkt)
        element.extend(ET.fromstring(layer.style))
    properties = ET.SubElement(root, "properties")
    ET.SubElement(ET.SubElement(properties, "Paths"), "Absolute", type="bool").text = "false"
    # Without it the project has no CRS.
    ET.SubElement(ET.SubElement(properties, "SpatialRefSys"), "ProjectionsEnabled", type="int").text = "1"
    box = dict(zip(("xmin", "ymin", "xmax", "ymax"), (repr(float(x)) for x in grid.geobox(extent).boundingbox)))
    canvas = ET.SubElement(root, "mapcanvas", name="theMapCanvas")
    shown = ET.SubElement(canvas, "extent")
    for tag, text in box.items():
        ET.SubElement(shown, tag).text = text
    _add_crs(ET.SubElement(canvas, "destinationsrs"), wkt)
    view = ET.SubElement(ET.SubElement(root, "ProjectViewSettings"), "DefaultViewExtent", box)
    _add_crs(view, wkt)
    return _zipped(ET.tostring(root, encoding="utf-8"))


def _add_crs(parent: ET.Element, wkt: str) -> None:
    ET.SubElement(ET.SubElement(parent, "spatialrefsys"), "wkt").text = wkt


def _zipped(project: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo("map.qgs")  # dated 1980
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n" + project)
    return out.getvalue()

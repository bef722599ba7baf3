"""Styles: what QGIS is told of a map."""

import xml.etree.ElementTree as ET

import pytest

from geoseg import catalog
from geoseg.maps import style

SHIPPED = catalog.shipped()
LEGENDS = SHIPPED.names("legends")


@pytest.mark.parametrize("name", LEGENDS)
def test_the_style_lists_every_class_for_qgis(name):
    legend = SHIPPED.legend(name)
    text = style.qgis_style(legend)
    assert text.startswith(b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>")
    renderer = ET.fromstring(text).find("pipe/rasterrenderer")
    assert renderer is not None
    assert (renderer.get("type"), renderer.get("band")) == ("paletted", "1")
    entries = [(int(e.attrib["value"]), e.get("label"), e.get("color")) for e in renderer.iter("paletteEntry")]
    assert entries == [(each.id, each.name, each.colour) for each in legend.classes]

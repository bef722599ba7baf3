"""Styles: what QGIS reads of a map."""

import xml.etree.ElementTree as ET

import pytest
from painted_maps import GRID, LEGEND, block_of, painted, write
from qgis_judge import shown

from geoseg import catalog
from geoseg.catalog.legend import LandClass, Legend
from geoseg.grid import Window
from geoseg.maps import cog, style

SHIPPED = catalog.shipped()
LEGENDS = SHIPPED.names("legends")
ODD = ['<a & "b">', "]]>", "ሰማይ", "water's edge", "{x}"]


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


def test_confidence_runs_from_nothing_to_all_in_growing_lightness():
    text = style.confidence_style()
    renderer = ET.fromstring(text).find("pipe/rasterrenderer")
    assert renderer is not None
    assert renderer.get("type") == "singlebandpseudocolor"
    items = [(float(each.attrib["value"]), each.attrib["color"]) for each in renderer.iter("item")]
    assert [value for value, _ in items] == [0, 0.25, 0.5, 0.75, 1]
    lightness = [
        sum(w * int(colour[i : i + 2], 16) for w, i in zip((0.3, 0.59, 0.11), (1, 3, 5))) for _, colour in items
    ]
    assert lightness == sorted(lightness)


def test_a_style_bears_any_name():
    legend = Legend("odd", tuple(LandClass(id, name, "#010203") for id, name in enumerate(ODD)))
    labels = [each.get("label") for each in ET.fromstring(style.qgis_style(legend)).iter("paletteEntry")]
    assert labels == ODD


@pytest.mark.slow
def test_qgis_shows_maps_as_the_styles_say(made):
    confidence = made.with_name("confidence.tif")
    window = Window(0, 0, 40, 50)
    block = block_of(write(made.with_name("block.tif"), painted(window), window), window)
    cog.assemble([block], GRID, window, None, confidence, tags={}, scale=cog.CONFIDENCE_SCALE)
    made.with_suffix(".qml").write_bytes(style.qgis_style(LEGEND))
    confidence.with_suffix(".qml").write_bytes(style.confidence_style())
    labels, values = shown(made, confidence)
    assert labels == {
        "valid": True,
        "kind": "paletted",
        "rows": [[each.id, each.colour, each.name] for each in LEGEND.classes],
    }
    assert (values["valid"], values["kind"]) == (True, "singlebandpseudocolor")
    assert [row[0] for row in values["rows"]] == [0, 0.25, 0.5, 0.75, 1]

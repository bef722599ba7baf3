"""QGIS itself as judge: how it would show a file that a user drops on it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

_PYTHON = "/usr/bin/python3"  # QGIS's bindings belong to the system's Python
_PROGRAM = """
import json, sys
from qgis.core import QgsApplication, QgsRasterLayer, QgsVectorLayer
app = QgsApplication([], False)
app.initQgis()
found = []
for path in sys.argv[1:]:
    if path.endswith((".tif", ".vrt")):
        layer = QgsRasterLayer(path, "x")
        renderer = layer.renderer()
        kind = renderer.type()
        if kind == "paletted":
            rows = [[each.value, each.color.name(), each.label] for each in renderer.classes()]
        elif kind == "singlebandpseudocolor":
            items = renderer.shader().rasterShaderFunction().colorRampItemList()
            rows = [[each.value, each.color.name(), each.label] for each in items]
        else:
            rows = []
    else:
        layer = QgsVectorLayer(path.removesuffix("+sld"), "x", "ogr")
        if path.endswith("+sld"):
            assert layer.loadSldStyle(path.rpartition(".")[0] + ".sld")[1], path
        renderer = layer.renderer()
        kind = renderer.type()
        rows = []
        if kind == "categorizedSymbol":
            kind += " " + renderer.classAttribute()
            rows = [[each.value(), each.symbol().color().name(), each.label()] for each in renderer.categories()]
        elif kind == "RuleRenderer":
            rules = renderer.rootRule().children()
            rows = [[each.filterExpression(), each.symbol().color().name(), each.label()] for each in rules]
    found.append({"valid": layer.isValid(), "kind": kind, "rows": rows})
print(json.dumps(found))
"""


_PROJECT = """
import json, sys
from qgis.core import QgsApplication, QgsMapRendererParallelJob, QgsMapSettings, QgsProject, QgsReferencedRectangle
from qgis.PyQt.QtCore import QSize
app = QgsApplication([], False)
app.initQgis()
project = QgsProject.instance()
found = {"read": project.read(sys.argv[1]), "title": project.title(), "crs": project.crs().authid(), "layers": []}
view = project.viewSettings().defaultViewExtent()
found["view"] = [view.xMinimum(), view.yMinimum(), view.xMaximum(), view.yMaximum()]
for each in project.layerTreeRoot().findLayers():
    layer = each.layer()
    renderer = layer.renderer()
    entries = renderer.classes() if renderer.type() == "paletted" else []
    entries = renderer.categories() if renderer.type() == "categorizedSymbol" else entries
    labels = [entry.label() if callable(entry.label) else entry.label for entry in entries]
    found["layers"].append([each.name(), layer.isValid(), renderer.type(), each.isVisible(), labels])
settings = QgsMapSettings()
settings.setLayers([each.layer() for each in project.layerTreeRoot().findLayers() if each.isVisible()])
settings.setDestinationCrs(project.crs())
settings.setExtent(view)
settings.setOutputSize(QSize(400, 400))
job = QgsMapRendererParallelJob(settings)
job.start()
job.waitForFinished()
job.renderedImage().save(sys.argv[2])
print(json.dumps(found))
"""


def project_shown(path: Path, picture: Path) -> dict[str, Any]:
    """How QGIS opens a project: its CRS, view and layers; what a user sees then is drawn to `picture`."""
    found: dict[str, Any] = _asked(_PROJECT, path, picture)
    return found


def shown(*paths: Path) -> list[dict[str, Any]]:
    """For each file whether QGIS can open it, how it draws it, and (value, colour, label) of each class."""
    found: list[dict[str, Any]] = _asked(_PROGRAM, *paths)
    return found


def _asked(program: str, *arguments: Path) -> Any:
    try:
        subprocess.run([_PYTHON, "-c", "import qgis.core"], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("QGIS is not installed; it is a judge, not a part")
    command = [_PYTHON, "-c", program, *map(str, arguments)]
    bare = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "GDAL", "PROJ"))}
    done = subprocess.run(command, capture_output=True, text=True, env=bare | {"QT_QPA_PLATFORM": "offscreen"})
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])

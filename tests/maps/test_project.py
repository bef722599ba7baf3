"""Project: what a user sees who opens it in QGIS, judged by QGIS."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from painted_maps import GRID, LEGEND
from PIL import Image
from qgis_judge import project_shown
from small_jobs import SmallJob

from geoseg.grid import Grid, Window
from geoseg.maps.project import Layer, qgis_project
from geoseg.maps.style import qgis_style

EXTENT = Window(10, 20, 300, 400)


def test_equal_projects_are_equal_bytes_and_name_no_absolute_path() -> None:
    layers = [Layer("land cover <&>", "map.tif", qgis_style(LEGEND), shown=True)]
    project = qgis_project('Köln "2020"', layers, GRID, EXTENT)
    assert project == qgis_project('Köln "2020"', layers, GRID, EXTENT)
    with zipfile.ZipFile(io.BytesIO(project)) as archive:
        assert archive.namelist() == ["map.qgs"]
        text = archive.read("map.qgs").decode()
    assert "<datasource>./map.tif</datasource>" in text
    assert "file:" not in text


@pytest.mark.slow
@pytest.mark.parametrize("vectors", ["gpkg", "fgb", "shp"])
def test_qgis_opens_the_project_of_a_job_in_a_folder_that_was_moved(tmp_path: Path, vectors: str) -> None:
    job = SmallJob.write(tmp_path / "here")
    asked = {"confidence": True, "vectors": [vectors], "project": True, "quicklook": False, "report": False}
    job.job(outputs=asked)
    assert job.run().code == 0
    moved = shutil.move(job.out, tmp_path / "elsewhere")
    found = project_shown(Path(moved, "map.qgz"), tmp_path / "seen.png")
    assert found["read"]
    assert found["title"].startswith("Land cover of scene")
    assert found["crs"] == "EPSG:32612"
    polygons, confidence, cover = found["layers"]
    assert polygons[:4] == ["land cover, polygons", True, "categorizedSymbol", False]
    assert confidence == ["confidence", True, "singlebandpseudocolor", False, []]
    assert cover[:4] == ["land cover", True, "paletted", True]
    assert set(polygons[4]) <= set(cover[4])
    seen = np.asarray(Image.open(tmp_path / "seen.png").convert("RGB"))
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) >= 2  # more than one class is drawn
    west, south, east, north = found["view"]
    assert (east - west, north - south) == (50 * 30, 40 * 30)


def test_a_geographic_grid_is_told_by_its_definition() -> None:
    grid = Grid("EPSG:4326", (0.001, 0.0, 8.0, 0.0, -0.001, 50.0))
    with zipfile.ZipFile(io.BytesIO(qgis_project("x", [], grid, EXTENT))) as archive:
        assert b"GEOG" in archive.read("map.qgs")

"""The page on Python: every block of code runs, in order, in a folder as the tutorial leaves it."""

import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine
from farm import Farm

from geoseg import catalog
from geoseg.rasters import legend_tag

pytestmark = pytest.mark.filterwarnings(r"ignore:Use `@` matmul:PendingDeprecationWarning:(odc\.geo|rioxarray)\..*")
PAGE = (Path(__file__).parents[2] / "docs/python.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
CLUSTER = 'Client("tcp://host:8786")'


def raster(path, pixels, **facts):
    shape = dict(zip(("count", "height", "width"), pixels.shape))
    place = {"crs": "EPSG:32633", "transform": Affine(30, 0, 500000, 0, -30, 5300000)}
    with rasterio.open(
        path, "w", driver="GTiff", dtype=pixels.dtype, photometric="MINISBLACK", **shape, **place
    ) as out:
        out.write(pixels)
        out.update_tags(**facts)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    lake = np.array([60, 50, 30, 10], np.uint8)[:, None, None] * np.ones((4, 80, 45), np.uint8)
    meadow = np.array([60, 80, 60, 180], np.uint8)[:, None, None] * np.ones((4, 80, 45), np.uint8)
    noise = random.integers(0, 9, (4, 80, 90), np.uint8)
    raster(tmp_path / "scene.tif", np.concatenate([lake, meadow], axis=2) + noise)
    legend = legend_tag.written(catalog.shipped().legend("landsat-6class"))
    raster(tmp_path / "truth.tif", random.integers(1, 7, (1, 80, 90), np.uint8), GEOSEG_LEGEND=legend)
    bands = {"blue": 1, "green": 2, "red": 3, "nir": 4}
    (tmp_path / "data_catalog.yaml").write_text(
        yaml.safe_dump({"imagery": {"mine": {"files": "scene.tif", "bands": bands}}})
    )
    job = {
        "imagery": "mine",
        "model": "landsat-6class",
        "outputs": {"vectors": ["gpkg"], "quicklook": False, "confidence": True},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def ran(blocks):
    """The names that the blocks left, run one after the other."""
    names = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    return names


def test_every_block_runs_and_leaves_what_it_says(folder, capsys):
    names = ran(block for block in BLOCKS if CLUSTER not in block)
    said = capsys.readouterr().out
    with rasterio.open("job/map.tif") as made, rasterio.open("labels.tif") as written:
        assert np.array_equal(made.read(1), written.read(1))
        assert np.array_equal(made.read(1)[:64, :64], names["corner"].values)
    assert set(names["summary"].outputs) >= {"map.tif", "confidence.tif", "vectors/map.gpkg"}
    assert {"forest.gpkg", "scored"} <= {path.name for path in folder.iterdir()}
    assert "no imagery is called 'nine'" in said


def test_the_table_lists_every_attribute_of_labels(folder):
    labels = ran(BLOCKS[:3])["labels"]
    listed = set(re.findall(r"`(\w+)`", "".join(line for line in PAGE.splitlines() if line.startswith("| `"))))
    assert set(labels.attrs) | {"_FillValue"} == (listed | {"long_name"}) - {"_"}  # says the same for every map


@pytest.mark.slow
def test_a_job_is_handed_to_a_cluster(folder, capsys):
    (block,) = [each for each in BLOCKS if CLUSTER in each]
    farm = Farm(folder)
    try:
        farm.scale(1)
        ran([BLOCKS[0], block.replace("tcp://host:8786", farm.address)])
    finally:
        farm.end()
    assert " finished " in capsys.readouterr().out
    assert (folder / "submitted/map.tif").is_file()

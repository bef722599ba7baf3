"""Kinds: whatever is given where a YAML file is expected is called by its name."""

from pathlib import Path

import pytest
import yaml

from geoseg.catalog import kinds
from geoseg.errors import CatalogError, JobError

ROOT = Path(__file__).parents[2]
EXAMPLES = {
    "job": {"imagery": "scene", "model": "landsat-6class", "outputs": {}},
    "catalog": {"imagery": {"scene": {"files": "a.tif", "bands": {"red": 1}}}},
    "training": {"name": "n", "bands": ["red"], "legend": "nlcd", "imagery": "scene", "reference": "truth"},
    "card": {"name": "n", "architecture": {}, "weights": {}, "bands": [], "halo": 1, "classes": []},
}


@pytest.mark.parametrize("found", EXAMPLES)
@pytest.mark.parametrize("wanted", ["job", "catalog", "training"])
def test_each_kind_in_place_of_each_other_is_named(found, wanted):
    data, path = EXAMPLES[found], Path("x.yaml")
    assert kinds.kind_of(data) == found
    if found == wanted:
        kinds.check_keys(data, path, wanted, JobError)
        return
    with pytest.raises(JobError, match=r"x.yaml is (a|the) \w+.*, not a .*; give a"):
        kinds.check_keys(data, path, wanted, JobError)


@pytest.mark.parametrize("path", [*ROOT.glob("workflows/**/*.yaml"), ROOT / "data_catalog.yaml"], ids=lambda p: p.name)
def test_every_yaml_file_of_ours_is_recognised_or_unknown_but_never_taken_for_another(path):
    data = yaml.safe_load(path.read_text("utf-8"))
    expected = "catalog" if "catalog" in path.name else "training" if "train" in path.name else "job"
    assert kinds.kind_of(data) in (expected, None)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "text",
        3,
        {},
        {"a": 1},
        {"imagery": "scene", "modell": "m"},
        {"imagery": "s", "regions": "x", "grid": 1},
    ],
)
def test_what_says_too_little_is_left_to_the_check_of_its_keys(data):
    assert kinds.kind_of(data) is None
    kinds.check_keys(data, Path("x.yaml"), "job", JobError)


def test_a_catalog_beside_the_job_is_named(tmp_path):
    (tmp_path / "data_catalog.yaml").write_text("{}")
    with pytest.raises(
        CatalogError, match=r"is a job spec, not a catalog; it is for geoseg plan or run; give .*data_cat"
    ):
        kinds.check_keys(EXAMPLES["job"], tmp_path / "job.yaml", "catalog", CatalogError)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("scene.TIF", "is a raster, not a job spec; give a job spec, a YAML file: 'geoseg init .*scene.TIF' writes"),
        ("map.vrt", "is a raster"),
        ("park.gpkg", "is a vector file"),
        ("weights.safetensors", "is the weights of a model"),
        ("run.py", "is a program, not a job spec; give a job spec, a YAML file, see docs/job.md"),
    ],
)
def test_a_file_of_another_kind_is_named_whether_it_exists_or_not(tmp_path, name, what):
    with pytest.raises(JobError, match=what):
        kinds.check_path(tmp_path / name, "job", JobError)


def test_a_folder_is_named_with_the_file_in_it_that_may_be_meant(tmp_path):
    with pytest.raises(JobError, match=r"is a folder; give a job spec, a YAML file$"):
        kinds.check_path(tmp_path, "job", JobError)
    (tmp_path / "data_catalog.yaml").write_text("{}")
    (tmp_path / "mine.yaml").write_text("{}")
    with pytest.raises(JobError, match=r"mine.yaml say"):
        kinds.check_path(tmp_path, "job", JobError)
    with pytest.raises(CatalogError, match=r"data_catalog.yaml say"):
        kinds.check_path(tmp_path, "catalog", CatalogError)
    (tmp_path / "card.yaml").write_text("{}")
    with pytest.raises(JobError, match="is a model folder"):
        kinds.check_path(tmp_path, "job", JobError)
    (tmp_path / "job.json").write_text("{}")
    with pytest.raises(
        JobError, match="is the folder of a job that was run, not its job spec; 'geoseg resume' goes on with it"
    ):
        kinds.check_path(tmp_path, "job", JobError)

"""Docs: examples parse, every key is described, links lead somewhere."""

import re
from pathlib import Path

import pytest
import yaml

from geoseg.catalog import SHIPPED, read
from geoseg.catalog.card import (
    AreasSpec,
    ClassSpec,
    Draft,
    LegendSpec,
    ModelCard,
    Normalisation,
    Output,
    Radiometry,
    Weights,
    read_model,
)
from geoseg.catalog.entries import (
    BandSpec,
    CatalogSpec,
    CrosswalkSpec,
    ImagerySpec,
    ModelSpec,
    ReferenceSpec,
    RegionSpec,
)
from geoseg.cluster.spec import ClusterSpec
from geoseg.jobs.spec import GridSpec, Inference, JobSpec, Outputs, ReferenceUse
from geoseg.jobs.spec import read as read_job
from geoseg.training.recipe import ChipsSpec, PretrainedSpec, Recipe, SceneSpec, StartSpec

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]


def examples(page: str, start: str) -> list[str]:
    """YAML blocks of a page whose first line begins with `start`."""
    text = (ROOT / page).read_text("utf-8")
    return [block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if block.startswith(start)]


@pytest.mark.parametrize(
    ("page", "shapes"),
    [
        ("catalog.md", [CatalogSpec, ImagerySpec, BandSpec, ReferenceSpec, CrosswalkSpec, ModelSpec, RegionSpec]),
        ("catalog.md", [LegendSpec, ClassSpec]),
        ("job.md", [JobSpec, GridSpec, ReferenceUse, Outputs, Inference, RegionSpec, ClusterSpec]),
        ("model_folder.md", [ModelCard, Weights, Normalisation, Output, Radiometry, ClassSpec, AreasSpec]),
        ("bring_your_own_model.md", [Draft]),
        ("training.md", [Recipe, SceneSpec, ChipsSpec, StartSpec, PretrainedSpec]),
    ],
)
def test_every_key_is_described(page, shapes):
    text = (ROOT / "docs" / page).read_text("utf-8")
    for shape in shapes:
        keys = [field.alias or name for name, field in shape.model_fields.items()]
        assert [key for key in keys if not re.search(rf"\b{key}\b", text)] == []


@pytest.mark.parametrize("page", ["docs/catalog.md", "docs/object_stores.md", "docs/tutorial.md", "README.md"])
def test_catalog_examples_are_catalogs(page, tmp_path):
    for kind in ("imagery:\n", "references:", "legends:", "crosswalks:", "models:", "regions:"):
        for text in examples(page, kind):
            (tmp_path / "data_catalog.yaml").write_text(text)
            read(tmp_path / "data_catalog.yaml")


@pytest.mark.parametrize("page", ["docs/job.md", "docs/tutorial.md", "README.md"])
def test_job_examples_are_jobs(page, tmp_path):
    (tmp_path / "data_catalog.yaml").write_text("{}")
    found = examples(page, "imagery: ")
    assert found
    for text in found:
        (tmp_path / "job.yaml").write_text(text)
        assert read_job(tmp_path / "job.yaml").model == "landsat-6class"


def test_the_cluster_example_is_a_cluster():
    (text,) = examples("docs/job.md", "cluster: ")
    assert ClusterSpec.model_validate(yaml.safe_load(text)["cluster"]).kind == "slurm"


def test_the_card_example_is_a_card():
    (text,), (history,) = (examples("docs/model_folder.md", start) for start in ("name: ", "training:"))
    card = yaml.safe_load(text.replace("0f3c…", "'" + "0" * 64 + "'"))
    ModelCard.model_validate(card)
    (areas,) = ModelCard.model_validate({**card, **yaml.safe_load(history)}).areas
    assert all((areas.train, areas.validation, areas.test))


def test_the_demos_catalog_and_the_example_agree(tmp_path):
    from geoseg import demo

    ours, theirs = yaml.safe_load((ROOT / "data_catalog.yaml").read_text("utf-8")), yaml.safe_load(demo.CATALOG)
    assert ours["regions"] == theirs["regions"]
    assert ours["imagery"]["raleigh"]["bands"] == theirs["imagery"]["raleigh"]["bands"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_a_page_names_exist(page):
    for file, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page.read_text("utf-8")):
        assert (ROOT / file).is_file(), f"{page.name} names {file}"
        assert f"def {name}" in (ROOT / file).read_text("utf-8"), f"{page.name} names {name}"


def test_the_architecture_lists_every_package_and_its_files_exist():
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    tops = {path.name.removesuffix(".py") for path in (ROOT / "geoseg").iterdir() if path.suffix in ("", ".py")}
    assert set(rows) == tops - {"__init__", "__pycache__", "shipped"}
    for name in re.findall(r"`(\w+/[\w/]+\.(?:py|yaml))`", page):
        assert (ROOT / "geoseg" / name).is_file(), f"architecture.md names {name}"


@pytest.mark.parametrize("name", sorted(path.name for path in (SHIPPED / "models").iterdir()))
def test_each_shipped_model_has_a_page_with_the_numbers_of_its_card(name):
    page, card = (ROOT / "docs/models" / f"{name}.md").read_text("utf-8"), read_model(SHIPPED / "models" / name).card
    assert (ROOT / "docs/models" / f"{name}.png").is_file()
    for other in ("README.md", "docs/index.md", "docs/limitations.md"):
        assert f"models/{name}.md" in (ROOT / other).read_text("utf-8"), other
    unseen = card.scores["all unseen"]
    said = [*unseen["iou"].values(), unseen["mean_iou"]]
    rows = [re.findall(r"0\.\d{3}\b", line) for line in page.splitlines() if line.startswith("| ")]
    full = [[float(each) for each in row] for row in rows if len(row) == len(said)]
    assert any(row == pytest.approx(said, abs=6e-4) for row in full)
    assert f"{card.training['parameters']:,} weights" in page
    assert card.licence in page

"""Resolve: a job and its catalog become a plan, and what cannot be is refused before anything runs."""

import json
import re

import numpy as np
import pytest
import rasterio
import yaml
from farm import plan_of
from model_folders import write_model
from painted_scenes import BYTES, resolved, scene
from small_jobs import SmallJob
from strategies import write

from geoseg import catalog
from geoseg.errors import CatalogError, GridError, JobError
from geoseg.jobs import plan as job_plan
from geoseg.jobs import resolve
from geoseg.jobs import spec as job_spec

CLASSES = [{"id": i, "name": f"kind {i}", "colour": f"#{i:02x}5090"} for i in (1, 2, 3)]


@pytest.fixture
def job(tmp_path, model):
    return SmallJob.write(tmp_path / "job", model)


def with_reference(job, **crosswalk):
    """Add a reference in a legend of its own, and a crosswalk to the map's."""
    write(job.folder / "truth.tif", np.ones((1, 40, 50), np.uint8))
    held = job.load("data_catalog.yaml")
    held |= {
        "references": {"truth": {"file": "truth.tif", "legend": "kinds"}},
        "legends": {"kinds": {"classes": CLASSES}, "others": {"classes": [{**CLASSES[0], "name": "other"}]}},
        "crosswalks": {"forth": {"from": "kinds", "to": "three", "classes": {1: 3, 2: 7, 3: 200}, **crosswalk}},
    }
    job.save("data_catalog.yaml", held)
    job.job(reference="truth")


def test_a_plan_holds_what_the_job_and_the_card_say(job):
    plan = plan_of(job)
    card = plan.predictor.model.card
    assert (plan.layout.core, plan.layout.margin) == (card.window, card.halo)
    assert plan.legend == card.legend
    assert plan.layout.extent == plan.scene.window
    assert plan.region is None
    assert plan.grid == plan.scene.grid


@pytest.mark.parametrize(("asked", "edge"), [(16, 16), (33, 32), (1, 16), (100, 96)])
def test_a_block_is_rounded_down_to_whole_cores(job, asked, edge):
    job.job(inference={"block": asked})
    assert plan_of(job).layout.block == edge


def test_a_block_that_memory_does_not_hold_is_refused_with_one_that_it_does(job):
    job.job(inference={"block": 16_000})
    with pytest.raises(
        JobError, match=r"inference.block is 16000 pixels, which needs .*; memory_per_worker leaves 1\.5"
    ):
        plan_of(job)


def test_a_job_of_too_many_blocks_is_refused_with_what_to_do(job):
    job.job(grid={"crs": "EPSG:32612", "resolution": 0.001}, inference={"block": 16})
    with pytest.raises(JobError, match="a job has 10000000 at most, so give a smaller 'region', a coarser 'grid'"):
        plan_of(job)


@pytest.mark.parametrize(
    ("region", "error", "said"),
    [
        ("moon", CatalogError, "no region is called 'moon'"),
        ({"bounds": [0, 0, 10, 10], "crs": "EPSG:32612"}, GridError, "they do not meet"),
        ({"file": "none.gpkg"}, OSError, r"none\.gpkg does not exist"),
    ],
)
def test_a_region_that_cannot_be_is_refused(job, region, error, said):
    job.job(region=region)
    with pytest.raises(error, match=said):
        plan_of(job)


def test_a_region_cuts_the_extent_to_the_pixels_whose_centres_it_may_hold(job):
    whole = plan_of(job)
    left, top = whole.grid.transform_of(whole.layout.extent).c, whole.grid.transform_of(whole.layout.extent).f
    job.job(region={"bounds": [left + 100, top - 500, left + 600, top - 100], "crs": "EPSG:32612"})
    plan = plan_of(job)
    assert whole.layout.extent.holds(plan.layout.extent)
    rows, cols = plan.layout.extent.shape
    assert abs(rows - 400 / 30) <= 1
    assert abs(cols - 500 / 30) <= 1
    assert plan.region is not None


# -------------------------------------------------------------------------------------- references


def test_a_reference_is_joined_by_the_only_crosswalk_or_by_name(job):
    with_reference(job)
    plan, known = plan_of(job), catalog.read(job.folder / "data_catalog.yaml")
    reference, crosswalk = resolve.reference_of(plan.spec, known, plan.legend)
    assert (reference.name, crosswalk.name) == ("truth", "forth")
    job.job(reference={"name": "truth", "crosswalk": "forth"})
    assert resolve.reference_of(plan_of(job).spec, known, plan.legend)[1] == crosswalk


@pytest.mark.parametrize(
    ("crosswalk", "said"),
    [
        ({"from": "others", "classes": {1: 3}}, "leads from 'others' to 'three'; reference 'truth' is in 'kinds'"),
        ({"to": "kinds", "classes": {1: 1}}, "leads from 'kinds' to 'kinds'"),
    ],
)
def test_a_crosswalk_between_other_legends_is_refused_before_the_run(job, crosswalk, said):
    with_reference(job, **crosswalk)
    job.job(reference={"name": "truth", "crosswalk": "forth"})
    with pytest.raises(JobError, match=said):
        plan_of(job)


def test_a_legend_of_the_same_ids_but_other_names_is_another_legend(job, tmp_path):
    with_reference(job)
    other = write_model(
        tmp_path / "other",
        legend_name="trio",
        classes=[{"id": id, "name": f"sort {id}", "colour": "#808080"} for id in (3, 7, 200)],
    )
    held = job.load("data_catalog.yaml")
    held["models"]["other"] = {"path": other.folder}
    job.save("data_catalog.yaml", held)
    job.job(model="other", reference={"name": "truth", "crosswalk": "forth"})
    with pytest.raises(JobError, match="so name another"):
        plan_of(job)


def test_a_reference_without_a_crosswalk_is_refused(job):
    with_reference(job)
    held = job.load("data_catalog.yaml")
    held.pop("crosswalks")
    job.save("data_catalog.yaml", held)
    with pytest.raises(CatalogError, match="no crosswalk leads from legend 'kinds' to 'three'"):
        plan_of(job)


# ------------------------------------------------------------------------------------------- notes


def test_an_image_wide_network_is_noted_with_what_smooths_its_seams(tmp_path):
    write_model(tmp_path / "model", field="image-wide")
    notes = plan_of(SmallJob.write(tmp_path / "job", tmp_path / "model")).notes
    assert any("inference.stitch: blend smooths that" in note for note in notes)


# ------------------------------------------------------------------------- a predictor of one's own


def test_a_callable_of_ones_own_brings_its_halo_and_legend(tmp_path):
    scene(tmp_path)
    plan = resolved(tmp_path, 5)
    assert (plan.layout.core, plan.layout.margin, plan.legend, plan.predictor) == (16, 5, BYTES, None)


@pytest.mark.parametrize(
    ("key", "value"), [("tta", "d4"), ("temperature", 2), ("classes", [1]), ("thresholds", {"water": 0.5})]
)
def test_what_shapes_scores_is_refused_for_a_callable(tmp_path, key, value):
    made = SmallJob.write(tmp_path)
    made.job(inference={key: value})
    with pytest.raises(JobError, match=rf"inference.{key} shapes the scores of a model"):
        resolve.resolve(job_spec.read(tmp_path / "job.yaml"), predict_halo=0, legend=BYTES)


def test_several_models_are_one_ensemble(tmp_path):
    made = SmallJob.write(tmp_path, shape=(20, 20))
    for name, keys in (("second", {}), ("third", {"ids": (1, 2, 3)})):
        write_model(tmp_path / name, seed=len(name), name=name, licence=f"of {name}", **keys)
    made.job(model=["tiny", "second"], outputs={"quicklook": False})
    told = made.plan().out
    assert "mean of the shares of 2 models" in told
    assert told.count("3 classes, weights ") == 2
    assert made.run().code == 0
    page = (made.out / "report.html").read_text("utf-8")
    assert "by tiny + second" in page
    cards = [yaml.safe_load((tmp_path / name / "card.yaml").read_text()) for name in ("model", "second")]
    assert all(card["weights"]["sha256"] in page for card in cards)
    with rasterio.open(made.out / "map.tif") as source:
        tags = source.tags()
    assert tags["GEOSEG_MODEL"] == "tiny + second"
    assert tags["GEOSEG_MODEL_SHA256"] == " + ".join(card["weights"]["sha256"] for card in cards)
    assert tags["GEOSEG_MODEL_LICENCE"] == "of second"
    made.job(model=["tiny", "third"])
    assert "models of an ensemble have the same classes" in made.plan().refusal("JobError")
    made.job(model=[])
    assert "model" in made.plan().refusal("JobError")
    made.job(model=["tiny", "fourth"])
    assert "no model is called 'fourth'" in made.plan().refusal("CatalogError")


@pytest.mark.parametrize("key", ["probabilities", "entropy", "margin"])
def test_what_is_made_of_scores_is_refused_for_a_callable(tmp_path, key):
    made = SmallJob.write(tmp_path)
    made.job(outputs={key: True})
    with pytest.raises(JobError, match=rf"outputs.{key} is made of the scores of a model"):
        resolve.resolve(job_spec.read(tmp_path / "job.yaml"), predict_halo=0, legend=BYTES)


def test_layers_are_counted_in_memory_and_on_disk(job):
    plain = plan_of(job)
    job.job(outputs={"probabilities": True, "entropy": True, "margin": True, "confidence": True})
    asked = plan_of(job)
    assert (plain.layers, asked.layers) == (1, 7)  # the map, its confidence, three classes, entropy, margin
    assert (job_plan.demand(plain.predictor).pixel, job_plan.demand(asked.predictor).pixel) == (0, 20)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"tta": "d9"}, "inference.tta: input should be 'none' or 'd4', found"),
        ({"temperature": 0}, "inference.temperature is 0; give a number above 0"),
        ({"classes": ["clas 3"]}, "inference.classes: no class 'clas 3' in legend 'three'; did you mean 'class 3'"),
        ({"classes": {"a": 1}}, "inference.classes: .*, found"),
        ({"thresholds": {"class 3": 2}}, r"inference.thresholds.class 3: input should be less than or equal to 1"),
        ({"thresholds": -0.5}, "inference.thresholds: input should be greater than or equal to 0, found -0.5"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused_in_a_sentence(tmp_path, asked, said):
    made = SmallJob.write(tmp_path)
    made.job(inference=asked)
    assert re.search(said, made.plan().refusal())


def test_options_are_told_before_and_after(tmp_path):
    made = SmallJob.write(tmp_path, shape=(20, 20))
    asked = {"tta": "d4", "temperature": 2, "classes": ["class 3", 7], "thresholds": {"7": 0.4}}
    told = "mean scores over the eight symmetries of the square; logits divided by 2; only class 3, class 7; "
    told += "no class where the share is too small: class 7 below 0.4"
    made.job(inference=asked, outputs={"quicklook": False})
    assert told in made.plan().out
    assert made.run().code == 0
    assert told in (made.out / "report.html").read_text("utf-8")
    with rasterio.open(made.out / "map.tif") as source:
        tags = json.loads(source.tags()["GEOSEG_OPTIONS"])
    assert tags == {"tta": "d4", "classes": [3, 7], "thresholds": {"7": 0.4}, "temperature": 2.0}


def test_a_job_without_a_catalog_beside_it_says_where_it_looked(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({"imagery": "a", "model": "b"}))
    with pytest.raises(JobError, match=r"no data_catalog\.yaml"):
        job_spec.read(tmp_path / "job.yaml")

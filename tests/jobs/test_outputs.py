"""Outputs: steps are data, made when what they are made from has changed, and notes of others do no harm."""

import json
import math
import os
import shutil

import numpy as np
import pytest
from farm import plan_of, small
from small_jobs import SmallJob, contents
from strategies import write

from geoseg.catalog.legend import Legend
from geoseg.jobs import block as job_block
from geoseg.jobs import mosaic, outputs
from geoseg.jobs import run as job_run
from geoseg.storage import ledger, staging
from geoseg.storage.store import Store

ASKED = {"report": False, "confidence": True, "quicklook": True, "vectors": ["fgb", "shp"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory, model):
    """A finished job of four blocks with all outputs but scores."""
    job = small(tmp_path_factory.mktemp("outputs"), model, 2, 2, outputs=ASKED)
    job_run.run(plan_of(job), job.out, threads=1)
    return job


@pytest.fixture
def ready(made):
    """Its plan, store, records and counts."""
    plan, store = plan_of(made), Store.at(made.out)
    return plan, store, *gathered(plan, store)


def gathered(plan, store):
    """Records of all blocks that stand in a folder, and the pixels of each class."""
    records = [record for _, record in sorted(ledger.records(store, plan.digest)[0].items())]
    counts: dict[int, int] = {}
    for record in records:
        for id, pixels in record.counts.items():
            counts[id] = counts.get(id, 0) + pixels
    return records, counts


def add_reference(job: SmallJob) -> None:
    """Score the job against a reference of two kinds."""
    with_truth(job, 0)
    classes = [{"id": id, "name": f"kind {id}", "colour": "#808080"} for id in (1, 2)]
    job.save(
        "data_catalog.yaml",
        job.load("data_catalog.yaml")
        | {
            "references": {"truth": {"file": "truth.tif", "legend": "kinds"}},
            "legends": {"kinds": {"classes": classes}},
            "crosswalks": {"forth": {"from": "kinds", "to": "three", "classes": {1: 3, 2: 7}}},
        },
    )
    job.job(reference="truth")


def with_truth(job: SmallJob, seed: int) -> None:
    shape = plan_of(job).layout.extent.shape
    write(job.folder / "truth.tif", np.random.default_rng(seed).integers(1, 3, (1, *shape), np.uint8))


def steps_of(plan, store, records, counts):
    with staging.opened(store) as staged:
        return outputs.steps(plan, staged, records, counts)


def test_listing_the_steps_builds_nothing_and_deletes_nothing(made, ready):
    before = contents(made.out)
    steps = steps_of(*ready)
    assert [step.name for step in steps] == ["map", "confidence", "style", "picture", "vectors"]
    assert contents(made.out) == before
    assert [step.key for step in steps_of(*ready)] == [step.key for step in steps]
    assert len({step.key for step in steps}) == len(steps)


def test_every_output_is_listed_in_the_order_it_is_written(made, ready):
    plan, store, records, counts = ready
    written, kept = outputs.write(plan, store, records, counts)
    assert written == kept
    assert set(written) == {
        *("map.tif", "map.tif.aux.xml", "confidence.tif", "map.qml", "confidence.qml", "map.png"),
        *("vectors/map.fgb", "vectors/map.shp"),
    }
    assert all((made.out / name).is_file() for name in written)


def changed(what, plan, records):
    """A plan, or records, of which one thing is other."""
    from dataclasses import replace

    first = records[0]
    if what == "a block's hash":
        return plan, [replace(first, hashes={**first.hashes, "labels": "0" * 64}), *records[1:]]
    if what == "a block that failed":
        return plan, [replace(first, state="failed", error="no luck", hashes={}), *records[1:]]
    if what in ("a class's name", "a class's colour"):
        key, value = ("name", "meadow") if what == "a class's name" else ("colour", "#123456")
        classes = (replace(plan.legend.classes[0], **{key: value}), *plan.legend.classes[1:])
        return replace(plan, legend=Legend(plan.legend.name, classes)), records
    if what == "the attribution":
        layer = replace(plan.scene.imagery, attribution="someone")
        return replace(plan, scene=replace(plan.scene, imagery=layer)), records
    other = {
        "the sheets": {"sheet_pixels": 512},
        "the formats of vectors": {"vectors": ("gpkg",)},
        "their least area": {"min_area": ("1ha",)},
        "their tolerance": {"simplify": "2px"},
        "their attributes": {"attributes": ("pixels",)},
        "their corners": {"smooth": True},
    }
    outputs_spec = plan.spec.outputs.model_copy(update=other[what])
    return replace(plan, spec=plan.spec.model_copy(update={"outputs": outputs_spec})), records


@pytest.mark.parametrize(
    ("what", "other"),
    [
        ("a block's hash", {"map", "confidence", "picture", "vectors"}),
        ("a block that failed", {"map", "confidence", "picture", "vectors", "failed blocks"}),
        ("a class's name", {"map", "style", "picture", "vectors"}),
        ("a class's colour", {"map", "style", "picture", "vectors"}),
        ("the attribution", {"map", "confidence", "picture", "vectors"}),
        ("the sheets", {"map", "confidence", "picture", "vectors"}),
        ("the formats of vectors", {"vectors"}),
        ("their least area", {"vectors"}),
        ("their tolerance", {"vectors"}),
    ],
)
def test_a_step_has_another_key_when_anything_that_it_is_made_from_is_other(ready, what, other):
    plan, store, records, counts = ready
    before = {step.name: step.key for step in steps_of(plan, store, records, counts)}
    after = {step.name: step.key for step in steps_of(*_with(changed(what, plan, records), store, counts))}
    assert {name for name in after if after[name] != before.get(name)} == other


def test_scores_alone_have_another_key_when_a_file_of_the_reference_is_other(tmp_path, model):
    job = small(tmp_path, model, 1, 2, outputs={"report": False, "quicklook": False, "vectors": ["fgb"]})
    add_reference(job)
    plan, store = plan_of(job), Store.at(job.out)
    job_run.run(plan, job.out, threads=1)

    def keys():
        return {step.name: step.key for step in steps_of(plan, store, *gathered(plan, store))}

    before = keys()
    assert set(before) == {"map", "style", "accuracy", "vectors"}
    with_truth(job, 1)
    after = keys()
    (job.folder / "truth.tif.aux.xml").write_text("<PAMDataset/>")
    assert {name for name in before if after[name] != before[name]} == {"accuracy"}
    assert {name for name in after if keys()[name] != after[name]} == {"accuracy"}
    scores = (job.out / "accuracy.json").read_bytes()
    assert set(job_run.run(plan, job.out, threads=1).kept) == {
        "map.tif",
        "map.tif.aux.xml",
        "map.qml",
        "vectors/map.fgb",
    }
    assert (job.out / "accuracy.json").read_bytes() != scores


def test_scores_of_a_run_that_keeps_confidence_tell_whether_it_is_right(tmp_path, model):
    job = small(tmp_path, model, 1, 2, outputs={"report": False, "quicklook": False, "confidence": True})
    add_reference(job)
    plan, store = plan_of(job), Store.at(job.out)
    job_run.run(plan, job.out, threads=1)
    scores = json.loads((job.out / "accuracy.json").read_text())
    assert scores["reliability"]["pixels"] == scores["pixels"]["compared"]
    step = next(each for each in steps_of(plan, store, *gathered(plan, store)) if each.name == "accuracy")
    assert step.reads == ("map", "confidence")
    assert step.made_from["confidence"]


def _with(pair, store, counts):
    return pair[0], store, pair[1], counts


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\0\0",
        b"7",
        b"[]",
        b'{"map": 7}',
        b'{"map": {"key": "x"}}',
        b'{"map": {"key": "x", "files": [1, 2]}}',
        b'{"map": {"key": null, "files": {"map.tif": "x"}}}',
        b"[" * 5000,
        b'{"a": {"key": "x", "files": {"../mine.txt": [1, 2], "/etc/hostname": [1], "a\\u0000b": [1], "": [1]}}}',
    ],
    ids=["empty", "nuls", "number", "list", "no note", "no files", "list of files", "odd", "deep", "names elsewhere"],
)
@pytest.mark.sampled(9)
def test_foreign_or_damaged_notes_do_no_harm(tmp_path, model, text):
    job = small(tmp_path, model, 1, 2, outputs=ASKED)
    plan = plan_of(job)
    job_run.run(plan, job.out, threads=1)
    wanted = {name: data for name, data in contents(job.out).items() if name.endswith((".tif", ".fgb", ".png"))}
    (job.folder / "mine.txt").write_text("a user's own")
    (job.out / outputs.DONE).write_bytes(text)
    job_run.run(plan, job.out, threads=1)
    found = {name: data for name, data in contents(job.out).items() if name.endswith((".tif", ".fgb", ".png"))}
    assert found == wanted
    assert (job.folder / "mine.txt").read_text() == "a user's own"
    assert set(json.loads((job.out / outputs.DONE).read_text())) == {"map", "confidence", "style", "picture", "vectors"}


def test_dropping_takes_what_was_noted_and_nothing_else(tmp_path, model):
    job = small(tmp_path, model, 1, 2, outputs=ASKED)
    job_run.run(plan_of(job), job.out, threads=1)
    (job.out / "mine.txt").write_text("a user's own")
    outputs.drop(Store.at(job.out))
    left = {name for name in contents(job.out) if not name.startswith(("blocks/", "log/"))}
    assert left == {"job.json", "status.json", "mine.txt"}


def test_a_step_that_fails_leaves_what_stood(tmp_path, model, monkeypatch):
    job = small(tmp_path, model, 1, 2, outputs={"report": False, "quicklook": False, "confidence": True})
    job_run.run(plan_of(job), job.out, threads=1)
    before = contents(job.out)
    job.imagery(attribution="someone else")
    monkeypatch.setattr(mosaic.cog, "assemble", lambda *_, **__: (_ for _ in ()).throw(OSError("no luck")))
    with pytest.raises(OSError, match="no luck"):
        job_run.run(plan_of(job), job.out, threads=1)
    after = contents(job.out)
    assert {
        name for name in before if name.endswith((".tif", ".qml", ".xml")) and before[name] != after.get(name)
    } == set()
    assert [name for name in after if ".new-" in name] == []


# --------------------------------------------------------------------------------- crashes amid writing

CHANGES = ("replace", "rename", "link", "unlink", "mkdir")
"""By these alone Python changes a job folder; whole files are written under names of something unfinished."""


class Crash(BaseException):
    """The process has ended: nothing catches it."""


@pytest.fixture(scope="module")
def half(tmp_path_factory, model):
    """A job whose outputs were made while a block had failed and whose block was made since, and what shall stand."""
    job = small(
        tmp_path_factory.mktemp("half"),
        model,
        1,
        2,
        outputs={"report": False, "quicklook": True, "vectors": ["shp"], "confidence": True},
    )
    add_reference(job)
    plan, refused = plan_of(job), iter([True])

    def once(pixels, tile):
        if next(refused, False):
            raise ValueError("not today")
        return plan.predictor(pixels, tile)

    (failed,) = job_run.run(plan, job.out, predict=once).failed
    old = made_of(job.out)
    assert job_block.finish(str(job.out), plan.digest, plan.variant, None, 1, failed.window).state == "done"
    job_run.run(plan, job.folder / "new", threads=1)
    return job, plan, old, made_of(job.folder / "new")


def made_of(folder):
    """The outputs in a folder, by name."""
    notes = ("blocks/", "log/", "job.json", "status.json", "outputs.json", ".new-")
    return {name: data for name, data in contents(folder).items() if not name.startswith(notes)}


def write_until(folder, plan, at, monkeypatch):
    """Write outputs in a process that ends before change number `at` of its files; whether it came to the end."""
    store, seen = Store.at(folder), []

    def counting(change):
        def counted(*given, **how):
            seen.append(change)
            if len(seen) > at:
                raise Crash
            return change(*given, **how)

        return counted

    with monkeypatch.context() as patch:
        for name in CHANGES:
            patch.setattr(os, name, counting(getattr(os, name)))
        try:
            store.sweep(math.inf)
            outputs.write(plan, store, *gathered(plan, store))
        except Crash:
            return False
    return True


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_at_no_point_does_what_was_made_of_an_old_map_stand_beside_a_new_one(tmp_path, half, monkeypatch):
    job, plan, old, new = half
    assert {name for name in new if old.get(name) != new[name]} >= {
        *("map.tif", "map.png", "accuracy.json", "vectors/map.shp", "confidence.tif")
    }
    of_the_map = {name for name in {*old, *new} if name.startswith(("accuracy", "vectors/", "map.png", "map.tif."))}
    for at in range(1000):
        folder = tmp_path / str(at)
        shutil.copytree(job.out, folder)
        ended = write_until(folder, plan, at, monkeypatch)
        found = made_of(folder)
        assert all(data in (old.get(name), new.get(name)) for name, data in found.items())
        assert "map.tif" in found
        if found["map.tif"] == new["map.tif"]:
            assert [name for name in of_the_map & found.keys() if found[name] != new.get(name)] == []
        assert write_until(folder, plan, math.inf, monkeypatch)
        assert made_of(folder) == new
        assert [path.name for path in folder.rglob(".new-*")] == []
        shutil.rmtree(folder)
        if ended:
            assert at > 40
            return
    raise AssertionError("it never came to the end")

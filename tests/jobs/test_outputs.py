"""Outputs: steps are data, made when what they are made from has changed, and notes of others do no harm."""

import json

import pytest
from farm import plan_of, small
from small_jobs import contents

from geoseg.catalog.legend import Legend
from geoseg.jobs import outputs
from geoseg.jobs import run as job_run
from geoseg.storage import ledger, staging
from geoseg.storage.store import Store

ASKED = {"confidence": True, "quicklook": True, "vectors": ["fgb", "shp"]}


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
    records = [record for _, record in sorted(ledger.records(store, plan.digest)[0].items())]
    counts: dict[int, int] = {}
    for record in records:
        for id, pixels in record.counts.items():
            counts[id] = counts.get(id, 0) + pixels
    return plan, store, records, counts


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
    outputs_spec = plan.spec.outputs.model_copy(
        update={"sheet_pixels": 512} if what == "the sheets" else {"vectors": ("gpkg",)}
    )
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
    ],
)
def test_a_step_has_another_key_when_anything_that_it_is_made_from_is_other(ready, what, other):
    plan, store, records, counts = ready
    before = {step.name: step.key for step in steps_of(plan, store, records, counts)}
    after = {step.name: step.key for step in steps_of(*_with(changed(what, plan, records), store, counts))}
    assert {name for name in after if after[name] != before.get(name)} == other


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
    job = small(tmp_path, model, 1, 2, outputs={"quicklook": False, "confidence": True})
    job_run.run(plan_of(job), job.out, threads=1)
    before = contents(job.out)
    job.imagery(attribution="someone else")
    monkeypatch.setattr(outputs.cog, "assemble", lambda *_, **__: (_ for _ in ()).throw(OSError("no luck")))
    with pytest.raises(OSError, match="no luck"):
        job_run.run(plan_of(job), job.out, threads=1)
    after = contents(job.out)
    assert {
        name for name in before if name.endswith((".tif", ".qml", ".xml")) and before[name] != after.get(name)
    } == set()
    assert [name for name in after if ".new-" in name] == []

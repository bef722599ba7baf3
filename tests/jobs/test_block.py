"""Block: labels of a window are those of the whole scene there, and what cannot be made is listed, never a class."""

import numpy as np
import pytest
from examples import share_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from painted_scenes import blur, coordinates, nir, red, resolved, scene

from geoseg import imagery, process
from geoseg.catalog.legend import NODATA
from geoseg.errors import ImageryChangedError, LedgerError, PredictionError, RasterError
from geoseg.grid import Window
from geoseg.jobs import block as job_block
from geoseg.jobs.block import finish, label, load_plan, task
from geoseg.jobs.claim import claim
from geoseg.rasters import masks
from geoseg.storage import block_file, ledger
from geoseg.storage import store as store_module
from geoseg.storage.record import block_name
from geoseg.storage.store import Store

few = settings(max_examples=share_of(20), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
AREA = {"bounds": [301000.0, 4197000.0, 304500.0, 4199500.0], "crs": "EPSG:32612"}
WINDOWS = st.builds(Window, st.integers(0, 120), st.integers(0, 190), st.integers(1, 60), st.integers(1, 60))


@pytest.fixture
def plan(tmp_path):
    """A scene with holes in each band, and a region that covers a part of it."""
    bands = [coordinates((137, 211), 0), coordinates((137, 211), 1)]
    bands[0][40:60, 50:90] = bands[1][70:75, :] = 0
    scene(tmp_path, bands=bands, nodata=0)
    return resolved(tmp_path, 2, region=AREA)


def whole(plan):
    """The map in one piece, by numpy alone."""
    extent, tile = plan.layout.extent, plan.layout.tile(plan.layout.extent)
    pixels = imagery.read(plan.scene, plan.grid, tile.read)
    labels = blur(pixels, tile)[extent.within(tile.read)]
    valid = np.isfinite(pixels[(slice(None), *extent.within(tile.read))]).all(axis=0)
    return np.where(valid & masks.inside(plan.geometry, plan.grid, extent), labels, NODATA)


@few
@given(at=WINDOWS)
def test_labels_of_any_window_are_those_of_the_whole_there(plan, at):
    extent = plan.layout.extent
    window = Window(extent.row + at.row, extent.col + at.col, *at.shape).meet(extent)
    if window is None:
        return
    made, wanted = label(plan, blur, window), whole(plan)[window.within(extent)]
    assert np.array_equal(np.full(window.shape, NODATA) if made.labels is None else made.labels, wanted)
    ids, counts = np.unique(wanted[wanted != NODATA], return_counts=True)
    assert dict(made.counts) == dict(zip(ids.tolist(), counts.tolist()))


def test_where_the_region_ends_nothing_is_read_and_nothing_labelled(plan, monkeypatch):
    extent = plan.layout.extent
    monkeypatch.setattr(imagery, "read", lambda *_: pytest.fail("pixels were read"))
    far = Window(extent.row_end + 1000, extent.col, 16, 16)
    made = label(plan, lambda *_: pytest.fail("a network was asked"), far)
    assert (made.labels, made.confidence, dict(made.counts)) == (None, None, {})


def test_a_window_without_a_whole_pixel_asks_no_network(plan):
    extent = plan.layout.extent
    row = plan.scene.window.row + 71
    made = label(plan, lambda *_: pytest.fail("a network was asked"), Window(row, extent.col + 20, 3, 16))
    assert made.labels is None
    assert made.attempts == 1


def test_confidence_comes_masked_like_the_labels(plan):
    def both(pixels, tile):
        return red(pixels, tile), np.full(tile.read.shape, 77, np.uint8)

    made = label(plan, both, plan.layout.extent)
    assert set(np.unique(made.confidence)) == {77, NODATA}
    assert ((made.confidence == NODATA) == (made.labels == NODATA)).all()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda pixels, _: pixels[0], "returned float32"),
        (lambda pixels, _: "words", "returned str"),
        (lambda *given: red(*given)[1:], "return integer labels of that shape"),
        (lambda *given: red(*given).astype(int) - 500, "they run from 0 to 254"),
        (lambda pixels, _: np.full(pixels.shape[1:], 254, "uint8"), "returned 254, which legend 'bytes' lacks"),
        (lambda pixels, _: np.full(pixels.shape[1:], NODATA, "uint8"), "returned 255, which legend 'bytes' lacks"),
    ],
)
def test_an_answer_that_is_no_label_is_refused(plan, answer, said):
    with pytest.raises(PredictionError, match=said):
        label(plan, answer, plan.layout.extent)


# ------------------------------------------------------------------------------------- committing


@pytest.fixture
def store(plan, tmp_path):
    found = Store.at(tmp_path / "out")
    claim(plan, found)
    process.renew()
    return found


def made(plan, store, predict, window=None):
    window = window or next(iter(plan.blocks()))
    return finish(store.root, plan.digest, plan.variant, predict, None, window)


def test_a_finished_block_is_committed_with_what_is_known_of_it(plan, store):
    record = made(plan, store, blur)
    assert record.state == "done"
    labels = block_file.decode(ledger.block(store, record))
    assert np.array_equal(labels, label(plan, blur, record.window).labels)
    assert record.device["busy"] > 0
    assert record.device["busy"] <= record.seconds["infer"] + 1e-3
    assert record.device["read"] <= record.seconds["read"] + 1e-3
    assert sum(record.counts.values()) == (labels != NODATA).sum()
    assert set(record.seconds) == {"read", "infer", "write"}
    assert ledger.records(store, plan.digest)[0][record.window].hashes == record.hashes


def test_a_block_without_data_is_empty_and_has_no_file(plan, store):
    row = plan.scene.window.row + 71
    record = made(plan, store, blur, Window(row, plan.layout.extent.col + 20, 3, 16))
    assert (record.state, record.bytes, dict(record.hashes)) == ("empty", 0, {})
    assert not store.exists(block_name(record.window))


@pytest.mark.parametrize("error", [ValueError("no\n  luck"), PredictionError("no luck"), ZeroDivisionError("no luck")])
def test_whatever_breaks_is_listed_with_its_reason(plan, store, error):
    def broken(*_):
        raise error

    record = made(plan, store, broken)
    assert record.state == "failed"
    assert "no luck" in record.error
    assert "\n" not in record.error
    assert not store.exists(block_name(record.window))


def test_reading_is_tried_again_and_then_given_up(plan, store, monkeypatch):
    monkeypatch.setattr(job_block, "_WAIT_S", 0.0)
    tries = []

    def flaky(*given):
        tries.append(given)
        if len(tries) < 3:
            raise RasterError("not now")
        return np.ones((2, *given[2].shape), np.float32)

    monkeypatch.setattr(imagery, "read", flaky)
    assert (made(plan, store, red).attempts, len(tries)) == (3, 3)
    tries.clear()
    monkeypatch.setattr(
        imagery, "read", lambda *given: tries.append(given) or (_ for _ in ()).throw(RasterError("never"))
    )
    record = made(plan, store, red)
    assert (record.state, record.attempts, len(tries)) == ("failed", job_block.READS, job_block.READS)
    assert record.error == "never"


@pytest.mark.parametrize("error", [LedgerError("the disk is full"), ImageryChangedError("it changed")])
def test_what_stops_every_block_stops_the_run(plan, store, monkeypatch, error):
    monkeypatch.setattr(imagery, "read", lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises(type(error), match=str(error)):
        made(plan, store, red)
    assert list(store.names("blocks")) == []


# ----------------------------------------------------------------------------- the plan on a worker


def test_the_plan_is_read_once_and_is_the_one_that_was_written(plan, store, monkeypatch):
    assert load_plan(store.root, plan.digest, plan.variant) == plan
    monkeypatch.setattr(Store, "get", lambda *_: pytest.fail("it was read again"))
    assert load_plan(store.root, plan.digest, plan.variant) is load_plan(store.root, plan.digest, plan.variant)


def test_a_folder_that_became_another_jobs_is_refused(plan, store, tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "PATIENCE_S", 0.2)
    other = resolved(tmp_path, 3, region=AREA)
    claim(other, store, overwrite=True)
    with pytest.raises(LedgerError, match="became another job while this one ran"):
        load_plan(store.root, plan.digest, "")


def test_another_cutting_of_the_job_is_refused_by_its_variant_and_taken_by_its_digest_alone(
    plan, store, tmp_path, monkeypatch
):
    monkeypatch.setattr(store_module, "PATIENCE_S", 0.2)
    again = resolved(tmp_path, 2, region=AREA, inference={"block": 64})
    assert (again.digest == plan.digest, again.variant == plan.variant) == (True, False)
    claim(again, store)
    with pytest.raises(LedgerError, match="became another job while this one ran"):
        load_plan(store.root, plan.digest, plan.variant)
    assert load_plan(store.root, plan.digest).layout.block == 64


def test_confidence_is_kept_where_the_job_asks_for_it(tmp_path):
    scene(tmp_path, (40, 50))

    def both(pixels, tile):
        return red(pixels, tile), nir(pixels, tile)

    for asked in (True, False):
        made_plan = resolved(tmp_path, outputs={"confidence": asked})
        held = Store.at(tmp_path / str(asked))
        claim(made_plan, held)
        record = made(made_plan, held, both)
        assert set(record.hashes) == ({"labels", "confidence"} if asked else {"labels"})
        assert record.bytes == sum(len(ledger.block(held, record, kind)) for kind in record.hashes)
        if asked:
            kept = block_file.decode(ledger.block(held, record, "confidence"))
            assert np.array_equal(kept, label(made_plan, both, record.window).confidence)


def test_a_plan_that_was_changed_since_is_refused(plan, store):
    text = store.get("job.json").decode()
    for old, new, said in (
        ('"core": 16', '"core": 32', "is damaged or of another version"),
        ('"margin": 2', '"margin": 3', "is damaged or of another version"),
    ):
        assert old in text
        store.put("job.json", text.replace(old, new).encode())
        with pytest.raises(LedgerError, match=said):
            load_plan(store.root, plan.digest, plan.variant)


def test_the_work_on_a_block_is_a_small_callable_of_its_window(plan, store):
    import pickle

    work = pickle.loads(pickle.dumps(task(store.root, plan, blur)))
    assert len(pickle.dumps(task(store.root, plan))) < 600
    window = next(iter(plan.blocks()))
    assert work(window).window == window


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RasterError("one sentence"), "one sentence"),
        (ValueError("a\n\tb"), "ValueError: a b"),
        (RuntimeError("x" * 999), "RuntimeError: " + "x" * 286),
    ],
)
def test_a_reason_is_one_line_of_bounded_length(error, said):
    assert job_block.reason(error) == said

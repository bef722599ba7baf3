"""Verify: blocks made again in other ways are compared pixel by pixel with what stands in the folder."""

from dataclasses import replace

import numpy as np
import pytest
from painted_scenes import blur, red, resolved, scene

from geoseg.errors import LedgerError
from geoseg.grid import Window
from geoseg.jobs import run as job_run
from geoseg.jobs import verify
from geoseg.jobs.block import label
from geoseg.storage import block_file
from geoseg.storage.record import block_name
from geoseg.storage.store import Store


@pytest.fixture
def made(tmp_path):
    """A finished job of many blocks and its store."""
    scene(tmp_path)
    plan = resolved(tmp_path, 2)
    job_run.run(plan, tmp_path / "out", predict=blur)
    return plan, Store.at(tmp_path / "out")


def test_equal_pixels_are_found_equal_in_every_way(made):
    plan, store = made
    windows = verify.sample(store, plan, 3)
    found = list(verify.verify(store.root, plan, windows, predict=blur))
    assert len(found) == len(windows) * len(verify.ways(plan))
    assert {each.way for each in found} == {each.name for each in verify.ways(plan)}
    assert not any(each.differing or each.first for each in found)


def test_another_predictor_is_found_out(made):
    plan, store = made
    found = list(verify.verify(store.root, plan, verify.sample(store, plan, 3), predict=red))
    assert all(each.differing for each in found)


@pytest.mark.parametrize(("row", "col"), [(0, 0), (5, 17), (31, 31)])
@pytest.mark.sampled(3)
def test_a_changed_pixel_is_named_by_its_row_and_column(made, row, col):
    plan, store = made
    window = next(each for each in verify.sample(store, plan, 99) if min(each.shape) == 32)
    pixels = block_file.decode(store.get(block_name(window)))
    pixels[row, col] = (int(pixels[row, col]) + 1) % 250
    store.put(block_name(window), block_file.encode(pixels, plan.grid, window))
    for way in verify.ways(plan):
        found = verify.check(store.root, plan.digest, blur, (way, window))
        assert (found.differing, found.first) == (1, (window.row + row, window.col + col))


@pytest.mark.parametrize("wanted", [1, 3, 1000])
@pytest.mark.sampled(3)
def test_a_sample_is_spread_over_the_finished_blocks(made, wanted):
    plan, store = made
    blocks = list(plan.blocks())
    found = verify.sample(store, plan, wanted)
    assert len(found) == min(wanted, len(blocks))
    assert set(found) <= set(blocks)
    if wanted == 3:
        assert found[0] == blocks[0]
        assert found[-1] == blocks[-1]


def test_a_folder_without_a_finished_block_is_refused(made, tmp_path):
    plan, _ = made
    empty = Store.at(tmp_path / "empty")
    with pytest.raises(LedgerError, match="has no finished block to verify; run the job first"):
        verify.sample(empty, plan, 3)


def test_any_window_can_be_made_any_way(made):
    plan, _ = made
    whole = label(plan, blur, plan.layout.extent).labels
    window = Window(plan.layout.extent.row + 7, plan.layout.extent.col + 13, 61, 45)
    for way in verify.ways(plan):
        labels = verify.made(plan, way, window, blur)
        assert np.array_equal(labels, whole[window.within(plan.layout.extent)])


def test_a_finding_can_go_by_another_name():
    found = verify.Finding("one", Window(0, 0, 1, 1), 0, None)
    assert verify.renamed(found, "two") == replace(found, way="two")

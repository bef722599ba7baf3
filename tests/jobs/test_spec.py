"""Job: specs, and how an extent is cut into cores and blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import JobError
from geoseg.grid import Layout, Window, block_bytes, block_edge
from geoseg.jobs import spec as job_spec
from geoseg.jobs.spec import JobSpec

EXTENTS = st.builds(Window, st.integers(-200, 200), st.integers(-200, 200), st.integers(1, 150), st.integers(1, 150))


@given(EXTENTS, st.integers(4, 40), st.integers(1, 4))
def test_blocks_partition_any_extent(extent, core, factor):
    layout = Layout(extent, core, 3, core * factor)
    seen = np.zeros(extent.shape, int)
    for window in layout.cut():
        seen[window.within(extent)] += 1
    assert (seen == 1).all()
    assert layout.blocks == len(list(layout.cut()))


@given(EXTENTS, st.integers(4, 40), st.integers(1, 4), st.integers(0, 9))
def test_a_block_reads_whole_cores_of_the_lattice_and_their_margin(extent, core, factor, margin):
    layout = Layout(extent, core, margin, core * factor)
    for window in layout.cut():
        inner = layout.reading(window).grown(-margin)
        assert inner.holds(window)
        assert not any(edge % core for edge in (inner.row, inner.col, inner.height, inner.width))


def test_a_block_that_is_no_multiple_of_the_core_is_refused():
    with pytest.raises(JobError, match="block 20 is no multiple of the core of 16 pixels"):
        Layout(Window(0, 0, 9, 9), 16, 0, 20)


@given(st.integers(1, 9), st.sampled_from([64, 256, 512]), st.integers(900_000_000, 8_000_000_000))
def test_a_block_fits_the_memory_allowed(bands, core, allowed):
    extent = Window(0, 0, 50_000, 50_000)
    if block_bytes(core, 40, bands) > allowed:
        with pytest.raises(JobError, match="raise it or choose a smaller"):
            block_edge(extent, core, 40, bands, allowed)
        return
    edge = block_edge(extent, core, 40, bands, allowed)
    assert edge % core == 0
    assert block_bytes(edge, 40, bands) <= allowed


def test_a_small_scene_still_gives_work_to_many():
    assert Layout(Window(0, 0, 1428, 1128), 256, 40, block_edge(Window(0, 0, 1428, 1128), 256, 40, 4, 2 * 10**9))


def test_the_catalog_beside_the_job_is_found_and_else_the_one_here(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    spec = tmp_path / "a" / "job.yaml"
    spec.write_text("imagery: x\nmodel: y\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JobError, match=r"no data_catalog\.yaml lies beside the job or in"):
        job_spec.read(spec)
    (tmp_path / "data_catalog.yaml").write_text("{}")
    assert job_spec.read(spec).catalog == str(tmp_path / "data_catalog.yaml")
    (tmp_path / "a" / "data_catalog.yaml").write_text("{}")
    assert job_spec.read(spec).catalog == str(tmp_path / "a" / "data_catalog.yaml")
    spec.write_text("imagery: x\nmodel: y\ncatalog: ../c.yaml\n")
    assert job_spec.read(spec).catalog == str(tmp_path / "a" / "../c.yaml")


def test_memory_is_written_as_people_write_it():
    assert int(JobSpec(imagery="x", model="y", memory_per_worker="3GB").memory_per_worker) == 3_000_000_000
    assert JobSpec(imagery="x", model="y", reference="z").reference.name == "z"

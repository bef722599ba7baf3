"""Lattice: blocks partition any extent, whatever was finished before, and a tile says where its pixels lie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import JobError
from geoseg.grid import Demand, Layout, Tile, Window, block_edge, cut, sheets_that_fit, windows_that_fit, worker_bytes

EXTENTS = st.builds(Window, st.integers(-200, 200), st.integers(-200, 200), st.integers(1, 150), st.integers(1, 150))


def painted(windows, extent):
    """How often each pixel of the extent lies in one of the windows; each must lie inside."""
    seen = np.zeros(extent.shape, int)
    for window in windows:
        assert extent.holds(window)
        seen[window.within(extent)] += 1
    return seen


@given(EXTENTS, st.integers(4, 40), st.integers(1, 4))
def test_blocks_partition_any_extent(extent, core, factor):
    layout = Layout(extent, core, 3, core * factor)
    assert (painted(layout.cut(), extent) == 1).all()
    assert layout.blocks == len(list(layout.cut()))


@given(EXTENTS, st.integers(4, 40), st.integers(1, 4), st.integers(0, 9))
def test_a_tile_reads_whole_cores_of_the_lattice_and_their_margin(extent, core, factor, margin):
    layout = Layout(extent, core, margin, core * factor)
    for window in layout.cut():
        tile = layout.tile(window)
        assert (tile.keep, tile.core, tile.margin) == (window, core, margin)
        assert tile.cores.holds(window)
        assert tile.cores == tile.read.grown(-margin)
        assert not any(edge % core for edge in (tile.cores.row, tile.cores.col, *tile.cores.shape))


@pytest.mark.parametrize(
    ("read", "keep"),
    [
        (Window(-3, -3, 22, 21), Window(0, 0, 10, 10)),
        (Window(-3, -2, 22, 22), Window(0, 0, 10, 10)),
        (Window(2, 2, 12, 12), Window(0, 0, 10, 10)),
        (Window(0, 0, 16, 16), Window(10, 0, 10, 10)),
    ],
    ids=["a column short", "shifted", "less than its cores", "elsewhere"],
)
def test_a_tile_that_is_no_frame_of_cores_is_refused(read, keep):
    with pytest.raises(ValueError, match="is no frame of whole cores of 16 pixels"):
        Tile(read, 16, keep)


def test_a_block_that_is_no_multiple_of_the_core_is_refused():
    with pytest.raises(JobError, match="block 20 is no multiple of the core of 16 pixels"):
        Layout(Window(0, 0, 9, 9), 16, 0, 20)


@st.composite
def cuttings(draw):
    """A layout, and blocks of one or two earlier cuttings of the same extent that do not overlap."""
    extent, core = draw(EXTENTS), draw(st.integers(4, 20))
    kept: list[Window] = []
    for factor in draw(st.lists(st.integers(1, 5), min_size=1, max_size=2)):
        for square in cut(extent, core * factor):
            window = square.meet(extent)
            if draw(st.booleans()) and not any(window.meet(each) for each in kept):
                kept.append(window)
    return Layout(extent, core, 2, core * draw(st.integers(1, 5))), kept


@given(cuttings())
def test_what_earlier_blocks_leave_is_cut_into_whole_cores_once(drawn):
    layout, kept = drawn
    rest = [part for block in layout.cut() for part in layout.left(block, [each for each in kept if each.meet(block)])]
    assert (painted([*kept, *rest], layout.extent) == 1).all()
    for part in rest:
        assert part.snapped(layout.core).meet(layout.extent) == part, "whole cores, clipped to the extent"
        assert max(part.shape) <= layout.block


def test_a_block_that_was_finished_leaves_nothing_and_one_that_was_not_is_whole():
    layout = Layout(Window(0, 0, 64, 64), 8, 2, 32)
    blocks = list(layout.cut())
    assert layout.left(blocks[0], blocks[:1]) == []
    assert layout.left(blocks[1], []) == [blocks[1]]
    hole = [Window(8, 8, 8, 8)]
    assert layout.left(blocks[0], hole) == [
        Window(0, 0, 8, 32),
        Window(8, 0, 8, 8),
        Window(8, 16, 8, 16),
        Window(16, 0, 16, 32),
    ]


@given(
    st.integers(1, 9),
    st.sampled_from([64, 256, 512]),
    st.builds(Demand, st.integers(1, 10**9), st.integers(0, 10**9)),
    st.integers(900_000_000, 8_000_000_000),
)
def test_blocks_and_windows_fit_the_memory_allowed(bands, core, demand, allowed):
    extent = Window(0, 0, 50_000, 50_000)
    if worker_bytes(core, 40, bands, demand) > allowed:
        with pytest.raises(JobError, match="or choose a smaller inference"):
            block_edge(extent, core, 40, bands, demand, allowed)
        return
    edge = block_edge(extent, core, 40, bands, demand, allowed)
    assert edge % core == 0
    windows = windows_that_fit(edge, 40, bands, demand, allowed)
    assert worker_bytes(edge, 40, bands, demand, windows) <= allowed
    assert worker_bytes(edge, 40, bands, demand, windows + 1) > allowed


def test_a_small_scene_still_gives_work_to_many():
    edge = block_edge(Window(0, 0, 1428, 1128), 256, 40, 4, Demand.unknown(40), 2 * 10**9)
    assert Layout(Window(0, 0, 1428, 1128), 256, 40, edge).blocks >= 9


def test_sheets_fit_as_far_as_memory_goes_and_larger_ones_or_blocks_take_more():
    def fitting(gb, width=16384, edge=2048, bands=1, loaded=0):
        return sheets_that_fit(width, edge, bands, Demand(1, loaded), int(gb * 1e9))

    assert [fitting(gb) for gb in (0.5, 1.1, 1.7, 6)] == [0, 0, 1, 23]
    assert fitting(6) > fitting(6, width=65536) > fitting(6, width=65536, bands=4) >= 1
    assert fitting(6) > fitting(6, edge=8192)
    assert fitting(6, loaded=int(4.8e9)) == 0

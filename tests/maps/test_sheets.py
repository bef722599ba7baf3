"""Sheets: judged by the map that they make up, and by rio-cogeo."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from painted_maps import GRID, LEGEND, TAGS, Gdal, block_of, blocks_of, classes, square, write
from rio_cogeo import cog_validate
from strategies import windows

from geoseg.catalog.legend import NODATA
from geoseg.errors import DamagedBlocksError, RasterError
from geoseg.grid import Window, cut
from geoseg.maps import sheets, view
from geoseg.maps.blocks import BlockFile


@given(
    row=st.integers(-500, 500),
    col=st.integers(-500, 500),
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    step=st.integers(40, 300),
)
def test_sheets_cover_every_pixel_once(row: int, col: int, height: int, width: int, step: int) -> None:
    extent = Window(row, col, height, width)
    hits = np.zeros(extent.shape, int)
    for sheet in sheets.sheets(extent, step):
        assert extent.holds(sheet)
        assert max(sheet.shape) <= step
        assert sheet.row // step == (sheet.row_end - 1) // step
        hits[sheet.within(extent)] += 1
    assert (hits == 1).all()


def test_sheets_and_their_virtual_mosaic_are_the_map(tmp_path: Path, extent: Window) -> None:
    folder = tmp_path / "job"
    (folder / "maps").mkdir(parents=True)
    (folder / "maps" / "map_9_9.tif").write_bytes(b"of an earlier run")
    (folder / "maps" / "notes_of_mine.tif").write_bytes(b"not ours")
    blocks = [
        each for each in blocks_of(tmp_path, square(extent, 512)) if each.window.row >= 0 or each.window.col >= 512
    ]
    wanted = np.full(extent.shape, NODATA, np.uint8)
    for block in blocks:
        inside = block.window.meet(extent)
        assert inside is not None
        wanted[inside.within(extent)] = classes(inside)
    counts = np.bincount(wanted.ravel(), minlength=256)
    paths = sheets.assemble_sheets(
        blocks,
        GRID,
        extent,
        LEGEND,
        folder / "map.vrt",
        sheet_pixels=512,
        tags=TAGS,
        counts={each: int(counts[each]) for each in LEGEND.ids},
    )
    names = ["map_0_1.tif", "map_0_2.tif", *(f"map_{row}_{col}.tif" for row in (1, 2, 3) for col in (0, 1, 2))]
    assert [path.name for path in paths] == names
    left = sorted(path.name for path in (folder / "maps").glob("*.tif"))
    assert left == [*names, "notes_of_mine.tif"]
    assert all(cog_validate(path, strict=True)[0] for path in paths)
    folder.rename(tmp_path / "moved")
    with rasterio.open(tmp_path / "moved" / "map.vrt") as source:
        assert np.array_equal(source.read(1), wanted)
        assert source.transform == GRID.transform_of(extent)
        assert source.colormap(1)[3] == (0, 100, 0, 255)
        assert source.tags()["GEOSEG_MODEL"] == TAGS["GEOSEG_MODEL"]
    gdal = Gdal(tmp_path / "moved" / "map.vrt")
    assert gdal.categories()[3] == LEGEND.classes[1].name
    assert [row["Count"] for row in gdal.table()] == [str(counts[value]) for value in sorted(LEGEND.ids)]
    gdal.close()
    assert view.legend_of(tmp_path / "moved" / "map.vrt") == LEGEND


def test_sheets_that_fail_leave_no_virtual_mosaic_over_a_mixture(tmp_path: Path, extent: Window) -> None:
    blocks = blocks_of(tmp_path, square(extent, 512))
    out = tmp_path / "map.vrt"
    out.write_text("of an earlier run")
    blocks[-1].path.unlink()
    with pytest.raises(RasterError, match="is missing"):
        sheets.assemble_sheets(blocks, GRID, extent, LEGEND, out, sheet_pixels=512, tags={})
    assert not out.exists()


@settings(max_examples=share_of(200), deadline=None)
@given(data=st.data(), step=st.integers(1, 60))
def test_each_sheet_gets_the_blocks_that_meet_it_in_their_order(data: st.DataObject, step: int) -> None:
    extent = data.draw(st.builds(Window, *[st.integers(-90, 90)] * 2, *[st.integers(1, 120)] * 2))
    inside = windows(extent.grown(30), 90)
    blocks = [BlockFile(each, Path(f"{index}.tif")) for index, each in enumerate(data.draw(st.lists(inside)))]
    held = sheets.held_by(blocks, extent, step)
    parts = sheets.sheets(extent, step)
    slow = {(p.row // step, p.col // step): [b for b in blocks if b.window.meet(p)] for p in parts}
    assert held == {position: found for position, found in slow.items() if found}


def test_finding_the_blocks_of_many_sheets_takes_no_longer_than_going_through_them_once() -> None:
    extent = Window(-70, 30, 10_000, 20_000)
    blocks = [BlockFile(each, Path("block.tif")) for each in cut(extent, 100)]
    begin = time.process_time()
    held = sheets.held_by(blocks, extent, 1000)
    took = time.process_time() - begin
    assert (len(blocks), len(held)) == (20_301, 231)
    assert sum(map(len, held.values())) >= len(blocks)
    assert took < 0.5  # seconds; all pairs of 20,301 and 231 take 4


def test_sheets_of_more_than_ten_rows_sort_by_name(tmp_path: Path) -> None:
    extent = Window(0, 0, 11, 2)
    block = block_of(write(tmp_path / "block.tif", classes(extent), extent), extent)
    paths = sheets.assemble_sheets([block], GRID, extent, LEGEND, tmp_path / "map.vrt", sheet_pixels=1, tags={})
    assert [path.name for path in paths][:3] == ["map_00_0.tif", "map_00_1.tif", "map_01_0.tif"]
    assert paths == sorted(paths)


def test_sheets_made_at_once_are_the_same_files(tmp_path: Path, extent: Window) -> None:
    blocks = blocks_of(tmp_path, square(extent, 512))
    found = []
    for threads in (1, 4):
        folder = tmp_path / str(threads)
        (folder / "maps").mkdir(parents=True)
        make = sheets.in_threads(GRID, LEGEND, tags=TAGS, threads=threads)
        paths = sheets.assemble_sheets(
            blocks, GRID, extent, LEGEND, folder / "map.vrt", sheet_pixels=300, tags=TAGS, make=make
        )
        found.append({path.name: path.read_bytes() for path in [*paths, folder / "map.vrt"]})
    assert len(found[0]) > 8
    assert found[0] == found[1]


def test_a_damaged_block_of_one_sheet_is_told_and_no_mosaic_stays(tmp_path: Path, extent: Window) -> None:
    blocks = blocks_of(tmp_path, square(extent, 512))
    bad = blocks[-1]
    bad.path.write_bytes(bad.path.read_bytes()[:-20])
    (tmp_path / "maps").mkdir()
    with pytest.raises(DamagedBlocksError) as told:
        sheets.assemble_sheets(blocks, GRID, extent, LEGEND, tmp_path / "map.vrt", sheet_pixels=300, tags={})
    assert list(told.value.windows) == [bad.window]
    assert not (tmp_path / "map.vrt").exists()

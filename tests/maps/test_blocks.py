"""Block files: whatever happens to one, before, while or after GDAL reads it, a wrong map never gets a name."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from painted_maps import GRID, LEGEND, block_of, blocks_of, classes, leftovers, painted, square, write

from geoseg.errors import RasterError
from geoseg.grid import Window
from geoseg.maps import blocks as block_files
from geoseg.maps import cog, sheets
from geoseg.maps.blocks import BlockFile, DamagedBlocksError
from geoseg.storage import block_file

EXTENT = Window(0, 0, 512, 768)
Harm = Callable[[Sequence[BlockFile]], tuple[int, ...]]
"""Damages some of the files and gives their positions."""


def exchange(blocks: Sequence[BlockFile]) -> tuple[int, ...]:
    aside = blocks[0].path.with_name("aside")
    blocks[0].path.rename(aside)
    blocks[1].path.rename(blocks[0].path)
    aside.rename(blocks[1].path)
    return 0, 1


def flip_a_bit(blocks: Sequence[BlockFile]) -> tuple[int, ...]:
    data = bytearray(blocks[2].path.read_bytes())
    data[-20] ^= 1
    blocks[2].path.write_bytes(data)
    return (2,)


def truncate(blocks: Sequence[BlockFile]) -> tuple[int, ...]:
    os.truncate(blocks[5].path, blocks[5].path.stat().st_size - 1)
    return (5,)


def rewrite_unseen(blocks: Sequence[BlockFile]) -> tuple[int, ...]:
    """Other pixels in the same inode, of the same size and time."""
    path, facts = blocks[3].path, blocks[3].path.stat()
    with rasterio.open(path, "r+") as source:
        source.write(np.roll(source.read(1), 50, axis=0), 1)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    now = path.stat()
    assert (now.st_ino, now.st_size, now.st_mtime_ns) == (facts.st_ino, facts.st_size, facts.st_mtime_ns)
    return (3,)


def remove(blocks: Sequence[BlockFile]) -> tuple[int, ...]:
    blocks[1].path.unlink()
    return (1,)


def several(blocks: Sequence[BlockFile]) -> tuple[int, ...]:
    return remove(blocks) + flip_a_bit(blocks) + truncate(blocks)


HARMS = [exchange, flip_a_bit, truncate, rewrite_unseen, remove, several]


@pytest.fixture
def blocks(tmp_path: Path) -> list[BlockFile]:
    """Not compressed, so that other pixels fit into the same bytes."""
    windows = square(EXTENT, 256)
    paths = [write(tmp_path / f"{each.row}_{each.col}.tif", classes(each), each, compress=None) for each in windows]
    return [block_of(path, window) for path, window in zip(paths, windows)]


def assemble(blocks: Sequence[BlockFile], out: Path) -> None:
    cog.assemble(blocks, GRID, EXTENT, LEGEND, out, tags={})


def during_the_copy(
    monkeypatch: pytest.MonkeyPatch, before: Callable[[], object], after: Callable[[], object] = lambda: None
) -> list[str]:
    """Have something happen right before GDAL reads the blocks, and right after; the list grows with each copy."""
    copies: list[str] = []
    real = rasterio.shutil.copy

    def copy(source: Path, out: Path, **options: str) -> None:
        before()
        try:
            real(source, out, **options)
        finally:
            copies.append(str(out))
            after()

    monkeypatch.setattr(rasterio.shutil, "copy", copy)
    return copies


@pytest.mark.parametrize("harm", HARMS)
def test_damage_before_stitching_is_named_and_costs_no_copy(
    tmp_path: Path, blocks: list[BlockFile], harm: Harm, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = during_the_copy(monkeypatch, lambda: None)
    which = harm(blocks)
    with pytest.raises(DamagedBlocksError, match=r"block file .*; run the same command again") as caught:
        assemble(blocks, tmp_path / "map.tif")
    assert set(caught.value.windows) == {blocks[each].window for each in which}
    assert copies == []
    assert not (tmp_path / "map.tif").exists()
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("late", [False, True], ids=["before GDAL reads", "after GDAL has read"])
@pytest.mark.sampled(3)
def test_damage_between_check_and_end_is_named_and_the_old_map_stays(
    tmp_path: Path, blocks: list[BlockFile], harm: Harm, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "map.tif"
    assemble(blocks, out)
    before = out.read_bytes()
    which: list[int] = []
    nothing, damage = (lambda: None), (lambda: which.extend(harm(blocks)))
    during_the_copy(monkeypatch, nothing if late else damage, damage if late else nothing)
    with pytest.raises(DamagedBlocksError, match=r"block file .*; run the same command again") as caught:
        assemble(blocks, out)
    assert set(caught.value.windows) == {blocks[each].window for each in which}
    assert out.read_bytes() == before
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("harm", [exchange, rewrite_unseen])
def test_damage_that_is_gone_when_it_is_looked_for_is_still_noticed(
    tmp_path: Path, blocks: list[BlockFile], harm: Harm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the copy sees other pixels; hashes are right before and after it."""
    whole = {block.path: block.path.read_bytes() for block in blocks}

    def mend() -> None:
        for path, data in whole.items():
            path.write_bytes(data)

    once = iter([True])
    copies = during_the_copy(monkeypatch, lambda: next(once, False) and harm(blocks), mend)
    assemble(blocks, tmp_path / "map.tif")
    assert len(copies) == 2
    with rasterio.open(tmp_path / "map.tif") as source:
        assert np.array_equal(source.read(1), classes(EXTENT))
    copies = during_the_copy(monkeypatch, lambda: harm(blocks), mend)
    before = (tmp_path / "map.tif").read_bytes()
    with pytest.raises(RasterError, match=r"differs from its blocks, though .* first at row \d+, column") as caught:
        assemble(blocks, tmp_path / "map.tif")
    assert not isinstance(caught.value, DamagedBlocksError)
    assert (tmp_path / "map.tif").read_bytes() == before


def test_damage_seen_by_the_overviews_alone_leaves_none_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pixels of the map are right then; only the identity of the file shows it."""
    extent = Window(0, 0, 1024, 1024)
    blocks = blocks_of(tmp_path, [extent])
    assemble_all = lambda: cog.assemble(blocks, GRID, extent, LEGEND, tmp_path / "map.tif", tags={})  # noqa: E731
    assemble_all()
    right = (tmp_path / "map.tif").read_bytes()
    real, done = rasterio.shutil.copy, []

    def copy(source: Path, out: Path, **options: str) -> None:
        real(source, out, **options)
        if not done:
            with rasterio.open(out, "r+", IGNORE_COG_LAYOUT_BREAK="YES", OVERVIEW_LEVEL=0) as small:
                small.write(np.zeros(small.shape, np.uint8), 1)
            os.utime(blocks[0].path)  # as putting the right file back would do
        done.append(out)

    monkeypatch.setattr(rasterio.shutil, "copy", copy)
    assemble_all()
    assert len(done) == 2
    assert (tmp_path / "map.tif").read_bytes() == right


def test_a_file_that_is_touched_all_the_time_still_makes_a_map(
    tmp_path: Path, blocks: list[BlockFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = during_the_copy(monkeypatch, lambda: [each.path.chmod(0o600) for each in blocks])
    assemble(blocks, tmp_path / "map.tif")
    assert len(copies) == 2
    with rasterio.open(tmp_path / "map.tif") as source:
        assert np.array_equal(source.read(1), classes(EXTENT))


@settings(max_examples=share_of(60), deadline=None)
@given(data=st.data())
def test_any_flipped_bit_is_found(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "bits"
    folder.mkdir(exist_ok=True)
    window = Window(0, 0, 30, 40)
    (folder / "block.tif").unlink(missing_ok=True)
    block = block_of(write(folder / "block.tif", painted(window), window), window)
    block_files.check([block])
    whole = bytearray(block.path.read_bytes())
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    block.path.write_bytes(whole)
    with pytest.raises(DamagedBlocksError, match=r"block\.tif has changed since it was written"):
        block_files.check([block])


def test_damage_in_any_sheet_is_found_before_the_first_is_made(tmp_path: Path, blocks: list[BlockFile]) -> None:
    which = several(blocks)
    with pytest.raises(
        DamagedBlocksError, match=r"is missing, and 2 more are damaged; .* makes those blocks"
    ) as caught:
        sheets.assemble_sheets(blocks, GRID, EXTENT, LEGEND, tmp_path / "map.vrt", sheet_pixels=256, tags={})
    assert set(caught.value.windows) == {blocks[each].window for each in which}
    assert list((tmp_path / "maps").iterdir()) == []


def test_damage_beyond_the_map_does_not_matter(tmp_path: Path, blocks: list[BlockFile]) -> None:
    blocks[-1].path.unlink()
    left = Window(0, 0, 256, 256)
    cog.assemble(blocks, GRID, left, LEGEND, tmp_path / "map.tif", tags={})
    sheets.assemble_sheets(blocks, GRID, left, LEGEND, tmp_path / "map.vrt", sheet_pixels=100, tags={})
    with rasterio.open(tmp_path / "map.vrt") as source:
        assert np.array_equal(source.read(1), classes(left))


def test_without_hashes_the_counts_do_not_notice_exchanged_blocks_but_hashes_do(
    tmp_path: Path, blocks: list[BlockFile]
) -> None:
    counts = np.bincount(classes(EXTENT).ravel(), minlength=256)
    counted = {each: int(counts[each]) for each in LEGEND.ids}
    exchange(blocks)
    bare = [replace(each, sha256=None) for each in blocks]
    cog.assemble(bare, GRID, EXTENT, LEGEND, tmp_path / "map.tif", tags={}, counts=counted)
    with rasterio.open(tmp_path / "map.tif") as source:
        assert not np.array_equal(source.read(1), classes(EXTENT))
    with pytest.raises(DamagedBlocksError, match="has changed since it was written, and 1 more"):
        cog.assemble(blocks, GRID, EXTENT, LEGEND, tmp_path / "map.tif", tags={}, counts=counted)


def test_a_right_hash_does_not_excuse_a_wrong_size(tmp_path: Path) -> None:
    window = Window(0, 0, 30, 40)
    block = block_of(write(tmp_path / "block.tif", painted(window), window), Window(0, 0, 30, 41))
    with pytest.raises(DamagedBlocksError, match=r"has shape and bands .*\(30, 40\)") as caught:
        cog.assemble([block], GRID, Window(0, 0, 30, 41), None, tmp_path / "map.tif", tags={})
    assert caught.value.windows == (block.window,)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_what_lies_beside_a_block_or_map_is_not_opened(tmp_path: Path, blocks: list[BlockFile]) -> None:
    """GDAL would open a mask by any driver, and wait for ever for a pipe."""
    for path in (blocks[0].path, tmp_path / "map.tif"):
        for ending in (".msk", ".ovr", ".aux.xml"):
            os.mkfifo(path.with_name(path.name + ending))
    program = f"""
        from pathlib import Path
        from geoseg.grid import Grid, Window
        from geoseg.maps import cog, view
        from geoseg.maps.blocks import BlockFile
        out = Path({str(tmp_path / "map.tif")!r})
        block = BlockFile({blocks[0].window!r}, Path({str(blocks[0].path)!r}), {blocks[0].sha256!r})
        cog.assemble([block], {GRID!r}, block.window, None, out, tags={{}})
        (out.parent / "map.tif.aux.xml").unlink(missing_ok=True)
        __import__("os").mkfifo(out.parent / "map.tif.aux.xml")
        print(view.overview(out).shape, view.legend_of(out))
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "(256, 256) None"


def test_a_pipe_in_place_of_a_block_is_missing(tmp_path: Path, blocks: list[BlockFile]) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("pipes with names are POSIX")
    blocks[0].path.unlink()
    os.mkfifo(blocks[0].path)
    with pytest.raises(DamagedBlocksError, match="is missing"):
        assemble(blocks, tmp_path / "map.tif")


def test_the_error_travels_with_its_windows() -> None:
    error = pickle.loads(pickle.dumps(DamagedBlocksError("gone", [Window(1, 2, 3, 4)])))
    assert (str(error), error.windows) == ("gone", (Window(1, 2, 3, 4),))


def banded(path: Path, window: Window, bands: int = 3) -> BlockFile:
    """A block of bands that are rolled against each other."""
    pixels = np.stack([np.roll(painted(window), band, axis=0) for band in range(bands)])
    path.write_bytes(block_file.encode(pixels, GRID, window))
    return block_of(path, window)


def test_several_bands_are_put_together_each_with_its_name(tmp_path: Path) -> None:
    blocks = [banded(tmp_path / f"{at}.tif", window) for at, window in enumerate(square(EXTENT, 256)) if at != 2]
    cog.assemble(blocks, GRID, EXTENT, None, tmp_path / "a.tif", tags={}, band_names="abc", scale=cog.CONFIDENCE_SCALE)
    with rasterio.open(tmp_path / "a.tif") as source:
        assert source.descriptions == ("a", "b", "c")
        assert source.scales == (1 / 254,) * 3
        for block in blocks:
            rows, cols = block.window.within(EXTENT)
            assert np.array_equal(source.read()[:, rows, cols], block_file.decode(block.path.read_bytes()))
        assert (source.read()[:, :256, 512:] == 255).all()


def test_a_band_that_is_not_its_blocks_is_noticed(tmp_path: Path) -> None:
    block = banded(tmp_path / "block.tif", Window(0, 0, 40, 50))
    (tmp_path / "made.tif").write_bytes(block.path.read_bytes())
    for band, wrong in ((None, []), (3, [block.window])):
        with rasterio.open(tmp_path / "made.tif", "r+") as source:
            if band is not None:
                source.write(np.roll(source.read(band), 1, axis=1), band)
        with rasterio.open(tmp_path / "made.tif") as source:
            assert block_files.differing([block], source, block.window) == wrong
    with pytest.raises(DamagedBlocksError, match="has shape and bands"):
        block_files.check_layout([block], 2)

"""COG: maps judged by rasterio, by GDAL itself and by rio-cogeo."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from painted_maps import GRID, LEGEND, TAGS, Gdal, block_of, blocks_of, classes, leftovers, painted, square, write
from rio_cogeo import cog_validate
from strategies import TRANSFORMS

from geoseg.catalog.legend import NODATA, LandClass, Legend
from geoseg.errors import CatalogError, RasterError
from geoseg.grid import Grid, Window
from geoseg.maps import cog

# ------------------------------------------------------------------------------------------- pixels and position


@st.composite
def partitions(draw: st.DrawFn, window: Window, depth: int = 3) -> list[Window]:
    """Cut a window in two, and each part again, anywhere."""
    if depth == 0 or window.pixels == 1 or draw(st.booleans()):
        return [window]
    rows = window.width == 1 or (window.height > 1 and draw(st.booleans()))
    at = draw(st.integers(1, (window.height if rows else window.width) - 1))
    if rows:
        first = Window(window.row, window.col, at, window.width)
        second = Window(window.row + at, window.col, window.height - at, window.width)
    else:
        first = Window(window.row, window.col, window.height, at)
        second = Window(window.row, window.col + at, window.height, window.width - at)
    return draw(partitions(first, depth - 1)) + draw(partitions(second, depth - 1))


@st.composite
def maps(draw: st.DrawFn) -> tuple[Grid, Window, list[Window]]:
    """A grid, an extent, and blocks that cover more than it with gaps, in any order."""
    transform = TRANSFORMS[draw(st.sampled_from(sorted(TRANSFORMS)))]
    grid = Grid("EPSG:32612", tuple(transform)[:6], draw(st.integers(-50, 50)), draw(st.integers(-50, 50)))
    extent = Window(*(draw(st.integers(-900, 900)) for _ in range(2)), *(draw(st.integers(1, 700)) for _ in range(2)))
    whole = extent.grown(draw(st.integers(0, 9)))
    parts = draw(st.permutations(draw(partitions(whole))))
    return grid, extent, parts[: draw(st.integers(0, len(parts)))]


@settings(max_examples=share_of(40), deadline=None)
@given(case=maps())
def test_any_partition_into_blocks_gives_the_same_pixels(
    case: tuple[Grid, Window, list[Window]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    grid, extent, parts = case
    folder = tmp_path_factory.mktemp("map")
    wanted = np.full(extent.shape, NODATA, np.uint8)
    for part in parts:
        inside = part.meet(extent)
        if inside is not None:
            wanted[inside.within(extent)] = painted(inside)
    counts = np.bincount(wanted.ravel(), minlength=256)
    cog.assemble(
        blocks_of(folder, parts, painted, grid),
        grid,
        extent,
        None,
        folder / "map.tif",
        tags={},
        counts={value: int(counts[value]) for value in range(255) if counts[value]},
    )
    with rasterio.open(folder / "map.tif") as source:
        assert np.array_equal(source.read(1), wanted)
        assert source.transform == grid.transform_of(extent)
        assert source.crs.to_epsg() == 32612
        assert (source.count, source.dtypes, source.nodata) == (1, ("uint8",), 255)
    assert leftovers(folder) == []
    shutil.rmtree(folder)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2100), (2100, 1), (2100, 3), (511, 513)])
def test_maps_one_pixel_wide_and_of_odd_size_are_whole(tmp_path: Path, shape: tuple[int, int]) -> None:
    extent = Window(-3, 5, *shape)
    cog.assemble(
        blocks_of(tmp_path, square(extent, 512)), GRID, extent, LEGEND, tmp_path / "map.tif", tags={}, counts=None
    )
    with rasterio.open(tmp_path / "map.tif") as source:
        assert np.array_equal(source.read(1), classes(extent))
    # rio-cogeo takes an overview's decimation from its width, so it cannot judge a single column
    if shape[1] > 1:
        assert cog_validate(tmp_path / "map.tif", strict=True)[0]


def test_no_blocks_give_a_map_of_nodata(tmp_path: Path) -> None:
    cog.assemble([], GRID, Window(0, 0, 30, 40), LEGEND, tmp_path / "map.tif", tags={}, counts={})
    with rasterio.open(tmp_path / "map.tif") as source:
        assert (source.read(1) == NODATA).all()


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3358", "+proj=sinu +R=6371007.181 +units=m", "ESRI:102003"])
def test_any_crs_comes_back(tmp_path: Path, crs: str) -> None:
    grid = Grid.regular(crs, 0.25)
    cog.assemble([], grid, Window(-30, 8, 20, 30), None, tmp_path / "map.tif", tags={})
    with rasterio.open(tmp_path / "map.tif") as source:
        assert source.crs == rasterio.CRS.from_user_input(grid.crs)
        assert source.bounds == (2.0, 2.5, 9.5, 7.5)


# ------------------------------------------------------------------------------------------- what a GIS sees


def test_rasterio_reads_colours_tags_nodata_and_tiles(made: Path, extent: Window) -> None:
    with rasterio.open(made) as source:
        assert np.array_equal(source.read(1), classes(extent))
        colours = source.colormap(1)
        assert {each.id: colours[each.id] for each in LEGEND.classes} == {
            each.id: (*each.rgb, 255) for each in LEGEND.classes
        }
        assert colours[NODATA][3] == 0
        assert source.tags()["GEOSEG_MODEL"] == TAGS["GEOSEG_MODEL"]
        assert source.tags()["TIFFTAG_COPYRIGHT"] == "somebody"
        assert source.descriptions == ("land cover",)
        assert source.block_shapes == [(512, 512)]
        assert source.compression.name == "deflate"
        assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_gdal_reads_class_names_and_attribute_table(made: Path, extent: Window) -> None:
    gdal = Gdal(made)
    counts = np.bincount(classes(extent).ravel(), minlength=256)
    assert gdal.categories() == ["water", "built-up", "", 'forêt "dense" <&>', "", "", "", "bare"]
    assert gdal.table() == [
        {
            "Value": str(each.id),
            "Class": each.name,
            "Red": str(each.rgb[0]),
            "Green": str(each.rgb[1]),
            "Blue": str(each.rgb[2]),
            "Count": str(counts[each.id]),
        }
        for each in sorted(LEGEND.classes, key=lambda each: each.id)
    ]
    gdal.close()


def test_a_map_tells_its_names_without_a_file_beside_it(made: Path) -> None:
    assert f"<F>{LEGEND.classes[0].name}</F>".encode() in made.read_bytes()
    with rasterio.open(made) as source:
        assert {name for name in source.tags() if name.startswith("GEOSEG")} == {"GEOSEG_LEGEND", *TAGS} - {
            "TIFFTAG_COPYRIGHT"
        }


def test_rio_cogeo_finds_a_valid_cog(made: Path) -> None:
    assert cog_validate(made, strict=True) == (True, [], [])


def test_overviews_keep_the_commonest_class_and_invent_none(tmp_path: Path) -> None:
    extent = Window(0, 0, 1024, 1024)
    labels = np.full(extent.shape, NODATA, np.uint8)
    labels[:, :512] = 3
    labels[::2, 1:512:2] = 0  # one pixel in four
    block = write(tmp_path / "block.tif", labels, extent)
    cog.assemble([block_of(block, extent)], GRID, extent, LEGEND, tmp_path / "map.tif", tags={})
    with rasterio.open(tmp_path / "map.tif") as source:
        assert source.overviews(1) == [2]
        small = source.read(1, out_shape=(512, 512))
    assert (small[:, :256] == 3).all()
    assert (small[:, 256:] == NODATA).all()


def test_confidence_shows_as_0_to_1_without_colours_or_names(tmp_path: Path) -> None:
    extent = Window(0, 0, 1024, 1024)
    values = np.full(extent.shape, NODATA, np.uint8)
    values[:, :511], values[::2, :511] = 100, 200
    block = write(tmp_path / "block.tif", values, extent)
    out = tmp_path / "confidence.tif"
    cog.assemble(
        [block_of(block, extent)],
        GRID,
        extent,
        None,
        out,
        tags={},
        band_names=["confidence"],
        scale=cog.CONFIDENCE_SCALE,
    )
    with rasterio.open(out) as source:
        assert source.scales == (1 / 254,)
        assert source.offsets == (0.0,)
        assert source.nodata == 255
        assert source.colorinterp[0].name == "gray"
        small = source.read(1, out_shape=(512, 512))
        assert set(np.unique(small)) == {150, NODATA}  # means of what is known; nodata does not weigh in
    gdal = Gdal(out)
    assert (gdal.categories(), gdal.table()) == ([], [])
    gdal.close()
    assert cog_validate(out, strict=True)[0]


# ------------------------------------------------------------------------------------------- trouble


def test_ids_above_254_are_refused(tmp_path: Path) -> None:
    legend = Legend("wide", (LandClass(255, "snow", "#ffffff"),))
    with pytest.raises(CatalogError, match="maps store ids 0 to 254"):
        cog.assemble([], GRID, Window(0, 0, 3, 3), legend, tmp_path / "map.tif", tags={})


def vanish(path: Path) -> None:
    path.unlink()


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def shrink(path: Path) -> None:
    write(path, np.zeros((512, 511), np.uint8), Window(0, 0, 512, 511))


def widen(path: Path) -> None:
    write(path, np.zeros((512, 512), np.uint16), Window(0, 0, 512, 512))


def disguise(path: Path) -> None:
    rasterio.shutil.copy(path, path.with_suffix(".vrt"), driver="VRT")
    path.with_suffix(".vrt").replace(path)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (vanish, r"block file .*r512_c512\.tif is missing; run the same command again"),
        (cut_short, r"block file .*r512_c512\.tif cannot be read"),
        (shrink, r"r512_c512.tif has shape and bands .*511.*, not \(\(512, 512\)"),
        (widen, "uint16"),
        (disguise, r"r512_c512\.tif cannot be read"),
    ],
)
@pytest.mark.sampled(3)
def test_a_bad_block_leaves_the_old_map_and_nothing_else(made: Path, harm: object, words: str) -> None:
    assert callable(harm)
    extent = Window(0, 0, 1024, 1024)
    blocks = [replace(each, sha256=None) for each in blocks_of(made.parent, square(extent, 512), painted)]
    harm(made.parent / "r512_c512.tif")
    before = made.read_bytes(), made.with_name("map.tif.aux.xml").read_bytes()
    with pytest.raises(RasterError, match=words):
        cog.assemble(blocks, GRID, extent, LEGEND, made, tags={})
    assert (made.read_bytes(), made.with_name("map.tif.aux.xml").read_bytes()) == before
    assert leftovers(made.parent) == []


def test_counts_that_differ_leave_the_old_map(made: Path, extent: Window) -> None:
    before = made.read_bytes()
    with pytest.raises(RasterError, match=r"has \d+ pixels of 0, its blocks 7; it was not kept"):
        cog.assemble(blocks_of(made.parent, square(extent, 512)), GRID, extent, LEGEND, made, tags={}, counts={0: 7})
    assert made.read_bytes() == before
    assert leftovers(made.parent) == []


def test_a_crash_leaves_the_old_map_and_the_next_run_tidies(
    made: Path, extent: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made.read_bytes()
    blocks = blocks_of(made.parent, square(extent, 512), lambda window: np.zeros(window.shape, np.uint8))

    def die(source: Path, out: Path, **options: str) -> None:
        out.write_bytes(b"II*\0half a map")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rasterio.shutil, "copy", die)
        with pytest.raises(KeyboardInterrupt):
            cog.assemble(blocks, GRID, extent, LEGEND, made, tags={})
    assert made.read_bytes() == before
    killed = made.parent / ".new-map.tif"  # what a killed process leaves
    killed.mkdir()
    (killed / "map.tif").write_bytes(b"II*\0half a map")
    cog.assemble(blocks, GRID, extent, LEGEND, made, tags={})
    with rasterio.open(made) as source:
        assert not source.read(1).any()
    assert leftovers(made.parent) == []


def test_a_map_without_legend_does_not_inherit_names(made: Path, extent: Window) -> None:
    cog.assemble(blocks_of(made.parent, square(extent, 512)), GRID, extent, None, made, tags={})
    gdal = Gdal(made)
    assert (gdal.categories(), gdal.table()) == ([], [])
    gdal.close()


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(RasterError, match=r"cannot be written \(No such file.*check its folder and the space left"):
        cog.assemble([], GRID, Window(0, 0, 3, 3), None, tmp_path / "no" / "map.tif", tags={})


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_full_disk_leaves_the_old_map(made: Path, extent: Window) -> None:
    before = made.read_bytes()
    noise = np.random.default_rng(0).integers(0, 4, extent.shape, dtype=np.uint8)
    write(made.parent / "noise.tif", noise, extent)
    program = f"""
        import resource, signal
        from pathlib import Path
        from geoseg.maps import cog
        from geoseg.maps.blocks import BlockFile
        from geoseg.errors import RasterError
        from geoseg.grid import Grid, Window
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        extent, folder = {extent!r}, Path({str(made.parent)!r})
        try:
            noise = BlockFile(extent, folder / "noise.tif")
            cog.assemble([noise], {GRID!r}, extent, None, folder / "map.tif", tags={{}})
        except RasterError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert "map.tif cannot be written" in done.stdout
    assert made.read_bytes() == before
    assert leftovers(made.parent) == []


@pytest.mark.slow
def test_a_map_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    # 400 Mpx from one 2048 x 2048 block named over and over
    write(tmp_path / "block.tif", classes(Window(0, 0, 2048, 2048)), Window(0, 0, 2048, 2048))
    program = f"""
        import hashlib
        from pathlib import Path
        from geoseg.maps import cog
        from geoseg.maps.blocks import BlockFile
        from geoseg.grid import Grid, Window, cut
        folder, extent = Path({str(tmp_path)!r}), Window(100, 200, 20000, 20000)
        sha256 = hashlib.sha256((folder / "block.tif").read_bytes()).hexdigest()
        blocks = [BlockFile(window, folder / "block.tif", sha256) for window in cut(extent, 2048)]
        cog.assemble(blocks, Grid.regular("EPSG:32612", 10), extent, None, folder / "map.tif", tags={{}})
        lines = Path("/proc/self/status").read_text().splitlines()  # getrusage would count the parent's memory too
        print(next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")))
    """
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of memory is read from /proc, which this system lacks")
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 550  # MB; 300 measured, 256 of them GDAL's cache

"""Mosaic: maps judged by rasterio, by GDAL itself and by rio-cogeo."""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import shutil
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from hypothesis import given, settings
from hypothesis import strategies as st
from rio_cogeo import cog_validate

from geoseg.catalog.legend import NODATA, LandClass, Legend
from geoseg.errors import CatalogError, RasterError
from geoseg.grid import Grid, Window
from geoseg.maps import mosaic
from tests.strategies import TRANSFORMS

GRID = Grid("EPSG:32612", (28.5, 0.0, 300000.1, 0.0, -28.5, 4199985.7))
LEGEND = Legend(
    "six & more",
    (
        LandClass(0, "water", "#0064c8"),
        LandClass(3, 'forêt "dense" <&>', "#006400"),
        LandClass(1, "built-up", "#fa0000"),
        LandClass(7, "bare", "#b4b4b4"),
    ),
)
TAGS = {"GEOSEG_MODEL": "größte <&>", "TIFFTAG_COPYRIGHT": "somebody"}


def painted(window: Window) -> np.ndarray:
    """Each pixel holds a number made of its place, 0..254."""
    rows, cols = np.mgrid[window.row : window.row_end, window.col : window.col_end]
    return ((rows * 7 + cols * 13) % 255).astype(np.uint8)


def classes(window: Window) -> np.ndarray:
    """Patches of the legend's classes, some pixels nodata."""
    rows, cols = np.mgrid[window.row : window.row_end, window.col : window.col_end]
    labels = np.array([0, 1, 3, 7], np.uint8)[(rows // 5 + cols // 9 + (rows * 31 + cols * 17) % 11 // 9) % 4]
    labels[(rows + cols) % 97 < 9] = NODATA
    return labels


def write(path: Path, pixels: np.ndarray, window: Window, grid: Grid = GRID) -> Path:
    rows, cols = pixels.shape
    facts = {"crs": grid.crs, "transform": grid.transform_of(window), "nodata": 255, "dtype": pixels.dtype}
    with rasterio.open(path, "w", driver="GTiff", count=1, height=rows, width=cols, compress="zstd", **facts) as out:
        out.write(pixels, 1)
    return path


def blocks_of(
    folder: Path, windows: Iterable[Window], paint: object = classes, grid: Grid = GRID
) -> list[tuple[Window, Path]]:
    assert callable(paint)
    return [(w, write(folder / f"r{w.row}_c{w.col}.tif", paint(w), w, grid)) for w in windows]


def square(extent: Window, step: int) -> list[Window]:
    return list(mosaic.cut(extent, step))


def leftovers(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir() if each.name.startswith(".new") or "ovr" in each.name)


# ------------------------------------------------------------------------------------------- pixels and place


@st.composite
def partitions(draw: st.DrawFn, window: Window, depth: int = 3) -> list[Window]:
    """Cut a window in two, and each part again, at any place."""
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


@settings(max_examples=40, deadline=None)
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
    mosaic.assemble(
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
    mosaic.assemble(
        blocks_of(tmp_path, square(extent, 512)), GRID, extent, LEGEND, tmp_path / "map.tif", tags={}, counts=None
    )
    with rasterio.open(tmp_path / "map.tif") as source:
        assert np.array_equal(source.read(1), classes(extent))
    # rio-cogeo takes an overview's decimation from its width, so it cannot judge a single column
    if shape[1] > 1:
        assert cog_validate(tmp_path / "map.tif", strict=True)[0]


def test_no_blocks_give_a_map_of_nodata(tmp_path: Path) -> None:
    mosaic.assemble([], GRID, Window(0, 0, 30, 40), LEGEND, tmp_path / "map.tif", tags={}, counts={})
    with rasterio.open(tmp_path / "map.tif") as source:
        assert (source.read(1) == NODATA).all()


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3358", "+proj=sinu +R=6371007.181 +units=m", "ESRI:102003"])
def test_any_crs_comes_back(tmp_path: Path, crs: str) -> None:
    grid = Grid.regular(crs, 0.25)
    mosaic.assemble([], grid, Window(-30, 8, 20, 30), None, tmp_path / "map.tif", tags={})
    with rasterio.open(tmp_path / "map.tif") as source:
        assert source.crs == rasterio.CRS.from_user_input(grid.crs)
        assert source.bounds == (2.0, 2.5, 9.5, 7.5)


# ------------------------------------------------------------------------------------------- what a GIS sees


class Gdal:
    """GDAL's own C interface, which a GIS reads names and tables by; rasterio has none for them."""

    def __init__(self, path: Path) -> None:
        places = sorted(Path(rasterio.__file__).parents[1].glob("rasterio.libs/libgdal-*"))
        name = str(places[0]) if places else ctypes.util.find_library("gdal")
        if name is None:
            pytest.skip("no libgdal that ctypes can load")
        self.lib = ctypes.CDLL(name)
        for function in ("GDALOpen", "GDALGetRasterBand", "GDALGetRasterCategoryNames", "GDALGetDefaultRAT"):
            getattr(self.lib, function).restype = ctypes.c_void_p
        for function in ("GDALRATGetValueAsString", "GDALRATGetNameOfCol"):
            getattr(self.lib, function).restype = ctypes.c_char_p
        with rasterio.Env():  # registers the drivers
            self.dataset = ctypes.c_void_p(self.lib.GDALOpen(str(path).encode(), 0))
        # GTiff reads its .aux.xml with the georeferencing, for which every GIS asks first.
        self.lib.GDALGetGeoTransform(self.dataset, (ctypes.c_double * 6)())
        self.band = ctypes.c_void_p(self.lib.GDALGetRasterBand(self.dataset, 1))

    def categories(self) -> list[str]:
        names = self.lib.GDALGetRasterCategoryNames(self.band)
        if not names:
            return []
        each, out = ctypes.cast(names, ctypes.POINTER(ctypes.c_char_p)), []
        while (text := each[len(out)]) is not None:
            out.append(text.decode())
        return out

    def table(self) -> list[dict[str, str]]:
        rat = ctypes.c_void_p(self.lib.GDALGetDefaultRAT(self.band))
        if not rat:
            return []
        columns = range(self.lib.GDALRATGetColumnCount(rat))
        usages = [self.lib.GDALRATGetUsageOfCol(rat, column) for column in columns]
        assert usages[:5] == [5, 2, 6, 7, 8]  # GFU_MinMax, GFU_Name, GFU_Red, GFU_Green, GFU_Blue
        titles = [self.lib.GDALRATGetNameOfCol(rat, column).decode() for column in columns]
        rows = range(self.lib.GDALRATGetRowCount(rat))
        return [
            {t: self.lib.GDALRATGetValueAsString(rat, row, c).decode() for c, t in zip(columns, titles)} for row in rows
        ]

    def close(self) -> None:
        self.lib.GDALClose(self.dataset)


@pytest.fixture
def extent() -> Window:
    return Window(-100, 37, 1300, 1100)


@pytest.fixture
def made(tmp_path: Path, extent: Window) -> Path:
    counts = np.bincount(classes(extent).ravel(), minlength=256)
    mosaic.assemble(
        blocks_of(tmp_path, square(extent, 512)),
        GRID,
        extent,
        LEGEND,
        tmp_path / "map.tif",
        tags=TAGS,
        counts={each: int(counts[each]) for each in LEGEND.ids},
    )
    return tmp_path / "map.tif"


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


def test_rio_cogeo_finds_a_valid_cog(made: Path) -> None:
    assert cog_validate(made, strict=True) == (True, [], [])


def test_overviews_keep_the_commonest_class_and_invent_none(tmp_path: Path) -> None:
    extent = Window(0, 0, 1024, 1024)
    labels = np.full(extent.shape, NODATA, np.uint8)
    labels[:, :512] = 3
    labels[::2, 1:512:2] = 0  # one pixel in four
    block = write(tmp_path / "block.tif", labels, extent)
    mosaic.assemble([(extent, block)], GRID, extent, LEGEND, tmp_path / "map.tif", tags={})
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
    mosaic.assemble(
        [(extent, block)], GRID, extent, None, out, tags={}, band_name="confidence", scale=mosaic.CONFIDENCE_SCALE
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
        mosaic.assemble([], GRID, Window(0, 0, 3, 3), legend, tmp_path / "map.tif", tags={})


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
def test_a_bad_block_leaves_the_old_map_and_nothing_else(made: Path, harm: object, words: str) -> None:
    assert callable(harm)
    extent = Window(0, 0, 1024, 1024)
    blocks = blocks_of(made.parent, square(extent, 512), painted)
    harm(made.parent / "r512_c512.tif")
    before = made.read_bytes(), made.with_name("map.tif.aux.xml").read_bytes()
    with pytest.raises(RasterError, match=words):
        mosaic.assemble(blocks, GRID, extent, LEGEND, made, tags={})
    assert (made.read_bytes(), made.with_name("map.tif.aux.xml").read_bytes()) == before
    assert leftovers(made.parent) == []


def test_counts_that_differ_leave_the_old_map(made: Path, extent: Window) -> None:
    before = made.read_bytes()
    with pytest.raises(RasterError, match=r"has \d+ pixels of 0, its blocks 7; it was not kept"):
        mosaic.assemble(blocks_of(made.parent, square(extent, 512)), GRID, extent, LEGEND, made, tags={}, counts={0: 7})
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
            mosaic.assemble(blocks, GRID, extent, LEGEND, made, tags={})
    assert made.read_bytes() == before
    killed = made.parent / ".new-map.tif"  # what a killed process leaves
    killed.mkdir()
    (killed / "map.tif").write_bytes(b"II*\0half a map")
    mosaic.assemble(blocks, GRID, extent, LEGEND, made, tags={})
    with rasterio.open(made) as source:
        assert not source.read(1).any()
    assert leftovers(made.parent) == []


def test_a_map_without_legend_does_not_inherit_names(made: Path, extent: Window) -> None:
    mosaic.assemble(blocks_of(made.parent, square(extent, 512)), GRID, extent, None, made, tags={})
    gdal = Gdal(made)
    assert (gdal.categories(), gdal.table()) == ([], [])
    gdal.close()


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(RasterError, match=r"cannot be written \(No such file.*check its folder and the space left"):
        mosaic.assemble([], GRID, Window(0, 0, 3, 3), None, tmp_path / "no" / "map.tif", tags={})


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_full_disk_leaves_the_old_map(made: Path, extent: Window) -> None:
    before = made.read_bytes()
    noise = np.random.default_rng(0).integers(0, 4, extent.shape, dtype=np.uint8)
    write(made.parent / "noise.tif", noise, extent)
    program = f"""
        import resource, signal
        from pathlib import Path
        from geoseg.maps import mosaic
        from geoseg.errors import RasterError
        from geoseg.grid import Grid, Window
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        extent, folder = {extent!r}, Path({str(made.parent)!r})
        try:
            mosaic.assemble([(extent, folder / "noise.tif")], {GRID!r}, extent, None, folder / "map.tif", tags={{}})
        except RasterError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert "map.tif cannot be written" in done.stdout
    assert made.read_bytes() == before
    assert leftovers(made.parent) == []


# ------------------------------------------------------------------------------------------- sheets


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
    for sheet in mosaic.sheets(extent, step):
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
    blocks = [each for each in blocks_of(tmp_path, square(extent, 512)) if each[0].row >= 0 or each[0].col >= 512]
    wanted = np.full(extent.shape, NODATA, np.uint8)
    for window, _ in blocks:
        inside = window.meet(extent)
        assert inside is not None
        wanted[inside.within(extent)] = classes(inside)
    counts = np.bincount(wanted.ravel(), minlength=256)
    paths = mosaic.assemble_sheets(
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
    assert mosaic.legend_of(tmp_path / "moved" / "map.vrt") == LEGEND


def test_sheets_that_fail_leave_no_virtual_mosaic_over_a_mixture(tmp_path: Path, extent: Window) -> None:
    blocks = blocks_of(tmp_path, square(extent, 512))
    out = tmp_path / "map.vrt"
    out.write_text("of an earlier run")
    blocks[-1][1].unlink()
    with pytest.raises(RasterError, match="is missing"):
        mosaic.assemble_sheets(blocks, GRID, extent, LEGEND, out, sheet_pixels=512, tags={})
    assert not out.exists()


# ------------------------------------------------------------------------------------------- reading maps


def test_the_map_carries_its_legend(made: Path) -> None:
    assert mosaic.legend_of(made) == LEGEND


def test_a_foreign_map_gives_its_attribute_table_or_categories_as_legend(made: Path) -> None:
    bare = made.with_name("bare.tif")
    labels, colours = np.zeros((5, 6), np.uint8), {each.id: each.rgb for each in LEGEND.classes}
    write(bare, labels, Window(0, 0, 5, 6))
    assert mosaic.legend_of(bare) is None
    with rasterio.open(bare, "r+") as source:
        source.write_colormap(1, colours)
    assert mosaic.legend_of(bare) is None
    side = bare.with_name("bare.tif.aux.xml")
    shutil.copy(made.with_name("map.tif.aux.xml"), side)
    by_id = tuple(sorted(LEGEND.classes, key=lambda each: each.id))
    assert mosaic.legend_of(bare) == Legend("bare", by_id)
    root = ET.parse(side).getroot()
    band = root.find("PAMRasterBand")
    table = root.find(".//GDALRasterAttributeTable")
    assert band is not None
    assert table is not None
    band.remove(table)
    side.write_bytes(ET.tostring(root))
    assert mosaic.legend_of(bare) == Legend("bare", by_id)


def test_a_broken_legend_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "map.tif", np.zeros((5, 6), np.uint8), Window(0, 0, 5, 6))
    for text in ("{", "[]", json.dumps({"name": "x", "classes": [{"id": -1, "name": "a", "colour": "#000000"}]})):
        with rasterio.open(path, "r+") as source:
            source.update_tags(GEOSEG_LEGEND=text)
        with pytest.raises(RasterError, match="carries a legend that cannot be read"):
            mosaic.legend_of(path)


def test_an_unreadable_map_is_told(tmp_path: Path) -> None:
    (tmp_path / "map.tif").write_bytes(b"nonsense")
    for read in (mosaic.legend_of, mosaic.overview, mosaic.ground_size):
        with pytest.raises(RasterError, match="cannot be read as a map"):
            read(tmp_path / "map.tif")


def test_overview_is_small_and_holds_only_codes_of_the_map(made: Path, extent: Window) -> None:
    view = mosaic.overview(made, longest_side=130)
    assert view.shape == (130, 110)
    assert set(np.unique(view)) <= set(np.unique(classes(extent)))
    assert np.array_equal(mosaic.overview(made), classes(extent))


def test_overview_of_a_real_worldcover_tile_holds_only_its_codes(shared_data: Path) -> None:
    view = mosaic.overview(shared_data / "maps/ESA_WorldCover_10m_2021_v200_N00E006_Map.tif", 1000)
    assert view.shape == (1000, 1000)
    assert set(np.unique(view)) <= {0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100}


def test_ground_size_is_in_metres(tmp_path: Path) -> None:
    mosaic.assemble([], GRID, Window(0, 0, 20, 40), None, tmp_path / "utm.tif", tags={})
    assert mosaic.ground_size(tmp_path / "utm.tif") == (20 * 28.5, 40 * 28.5)
    mosaic.assemble([], Grid.regular("EPSG:4326", 0.1), Window(-605, 0, 10, 10), None, tmp_path / "geo.tif", tags={})
    height, width = mosaic.ground_size(tmp_path / "geo.tif")
    assert height == pytest.approx(111_400, rel=0.01)  # 1 degree at 60 north: 111.4 km by 55.8 km (WGS 84)
    assert width == pytest.approx(55_800, rel=0.01)
    mosaic.assemble([], Grid.regular("EPSG:2264", 100), Window(0, 0, 10, 10), None, tmp_path / "feet.tif", tags={})
    assert mosaic.ground_size(tmp_path / "feet.tif") == pytest.approx((304.8, 304.8), rel=1e-4)


@pytest.mark.slow
def test_a_map_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    # 400 Mpx from one 2048 x 2048 block named over and over
    write(tmp_path / "block.tif", classes(Window(0, 0, 2048, 2048)), Window(0, 0, 2048, 2048))
    program = f"""
        from pathlib import Path
        from geoseg.maps import mosaic
        from geoseg.grid import Window
        folder, extent = Path({str(tmp_path)!r}), Window(100, 200, 20000, 20000)
        blocks = [(window, folder / "block.tif") for window in mosaic.cut(extent, 2048)]
        mosaic.assemble(blocks, mosaic.Grid.regular("EPSG:32612", 10), extent, None, folder / "map.tif", tags={{}})
        lines = Path("/proc/self/status").read_text().splitlines()  # getrusage would count the parent's memory too
        print(next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")))
    """
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of memory is read from /proc, which this system lacks")
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 550  # MB; 300 measured, 256 of them GDAL's cache

"""Datasets: a raster with its sidecars is what GDAL makes of them, where GDAL is let."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window as FileWindow
from strategies import NORTH_UP

from geoseg.catalog import Band
from geoseg.errors import RasterError
from geoseg.rasters import datasets
from geoseg.rasters.environment import environment
from geoseg.rasters.files import examine

PIXELS = np.random.default_rng(0).integers(1, 200, (2, 20, 30), np.uint8)
MASKS = np.random.default_rng(1).integers(0, 2, (2, 20, 30)).astype(np.uint8) * 255
WHOLE = FileWindow(0, 0, 30, 20)
DRIVERS = {".tif": "GTiff", ".jp2": "JP2OpenJPEG"}
PAM = {
    "crs": "<SRS>EPSG:32633</SRS>",
    "transform": "<GeoTransform>1, 2, 0.5, 9, 0.25, -3</GeoTransform>",
    "nodata": '<PAMRasterBand band="2"><NoDataValue>9</NoDataValue></PAMRasterBand>',
}
STATISTICS = """<PAMDataset><PAMRasterBand band="1"><Histograms><HistItem><HistMin>0</HistMin></HistItem></Histograms>
<Metadata><MDI key="STATISTICS_MAXIMUM">199</MDI></Metadata></PAMRasterBand></PAMDataset>"""
BAND = Band("b", (), 1, None, 1.0, 0.0)
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def raster(path: Path, *, placed: bool = True, nodata: float | None = None) -> Path:
    where = {"crs": "EPSG:32612", "transform": NORTH_UP} if placed else {}
    made = path if path.suffix == ".tif" else path.with_name("made.tif")
    with rasterio.open(
        made, "w", driver="GTiff", width=30, height=20, count=2, dtype="uint8", nodata=nodata, **where
    ) as out:
        out.write(PIXELS)
    if made != path:
        rasterio.shutil.copy(made, path, driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES")
        path.with_name(path.name + ".aux.xml").unlink(missing_ok=True)
    return path


def masked(path: Path, masks: np.ndarray, flags: dict[int, int], **how: object) -> None:
    profile = {"driver": "GTiff", "width": masks.shape[2], "height": masks.shape[1], "count": len(masks)}
    with rasterio.open(path.with_name(path.name + ".msk"), "w", dtype="uint8", **profile, **how) as out:
        out.write(masks)
        out.update_tags(**{f"INTERNAL_MASK_FLAGS_{band}": flag for band, flag in flags.items()})


def shown(file: object) -> tuple[object, ...]:
    """All that a dataset says of where its pixels lie and which hold data."""
    masks = [file.read_masks(band, window=WHOLE) for band in (1, 2)]
    known = [file.mask_flag_enums[i] for i in (0, 1)]
    values = [np.where(mask if "nodata" not in str(flags) else 1, 1, 0).tolist() for mask, flags in zip(masks, known)]
    return file.crs, tuple(file.transform), file.nodatavals, tuple(file.mask_flag_enums), values


def ours(path: Path) -> tuple[object, ...]:
    with environment(str(path)), datasets.opened(str(path), DRIVERS[path.suffix]) as file:
        np.testing.assert_array_equal(file.read(), PIXELS)
        return shown(file)


def gdals(path: Path) -> tuple[object, ...]:
    with rasterio.open(path, driver=DRIVERS[path.suffix]) as file:
        return shown(file)


CASES = [
    {"placed": placed, "pam": pam, "world": world, "nodata": nodata, "flags": flags}
    for placed, pam, world, nodata, flags in itertools.product(
        (False, True),
        ((), ("crs",), ("transform",), ("nodata",), ("crs", "transform", "nodata")),
        ("", "own", "WLD"),
        (None, 7),
        ({}, {1: 2, 2: 2}, {1: 0, 2: 0}, {2: 0}),
    )
]


@pytest.mark.parametrize("ending", DRIVERS)
@settings(max_examples=share_of(40), deadline=None)
@given(case=st.sampled_from(CASES))
def test_the_sidecars_say_what_gdal_reads_in_them(
    tmp_path_factory: pytest.TempPathFactory, ending: str, case: dict
) -> None:
    folder = tmp_path_factory.mktemp("beside")
    path = raster(folder / f"a{ending}", placed=case["placed"], nodata=case["nodata"] if ending == ".tif" else None)
    if case["pam"]:
        text = "".join(PAM[each] for each in case["pam"])
        path.with_name(path.name + ".aux.xml").write_text(f"<PAMDataset>{text}</PAMDataset>")
    if case["world"]:
        name = {"own": {".tif": "a.tfw", ".jp2": "a.j2w"}[ending], "WLD": "a.WLD"}[case["world"]]
        (folder / name).write_text("10.5\n0\n0.5\n-20\n500\n700\n")
    if case["flags"]:
        masked(path, MASKS, case["flags"])
    assert ours(path) == gdals(path)


def test_a_mask_inside_the_file_goes_before_one_beside_it(tmp_path: Path) -> None:
    path = raster(tmp_path / "a.tif")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as out:
        out.write_mask(MASKS[0])
    masked(path, MASKS[1:], {1: 2, 2: 2})
    assert ours(path) == gdals(path)
    assert ours(path)[4][0] == (MASKS[0] // 255).tolist()


def test_gdals_own_mask_overviews_and_statistics_change_nothing_else(tmp_path: Path) -> None:
    path = raster(tmp_path / "a.tif")
    before = ours(path)
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as out:
        out.build_overviews([2])
    Path(f"{path}.aux.xml").write_text(STATISTICS)
    assert (tmp_path / "a.tif.ovr").exists()
    assert ours(path) == before
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as out:
        out.write_mask(MASKS[0])
    assert ours(path) == gdals(path)
    assert ours(path)[4] == [(MASKS[0] // 255).tolist()] * 2


@pytest.mark.parametrize(
    ("shape", "said"),
    [((20, 31), r"20 x 31 pixels, the raster beside it 20 x 30"), ((19, 30), "19 x 30"), ((30, 20), "30 x 20")],
)
def test_a_mask_of_another_size_is_refused(tmp_path: Path, shape: tuple[int, int], said: str) -> None:
    path = raster(tmp_path / "a.tif")
    masked(path, np.zeros((1, *shape), np.uint8), {1: 2})
    with pytest.raises(RasterError, match=rf"a\.tif\.msk has {said}"):
        ours(path)


def test_a_mask_of_absurd_layout_or_size_is_refused(tmp_path: Path) -> None:
    path = raster(tmp_path / "a.tif")
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "sparse_ok": True, "bigtiff": "YES"}
    for size, how, said in (
        ((300, 100_000_016), {}, "claims 300 x 100000016 pixels"),
        ((20, 30), {"tiled": True, "blockxsize": 32_000, "blockysize": 32_000}, "1024 MB each"),
    ):
        with rasterio.open(f"{path}.msk", "w", height=size[0], width=size[1], **profile, **how):
            pass
        with pytest.raises(RasterError, match=said):
            ours(path)


def test_a_mask_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = raster(tmp_path / "a.tif")
    Path(f"{path}.msk").write_bytes(path.read_bytes()[:9])
    with pytest.raises(RasterError, match=r"a\.tif\.msk cannot be opened"):
        ours(path)


def test_a_mask_whose_last_rows_are_missing_is_refused_when_imagery_is_opened(tmp_path: Path) -> None:
    path = raster(tmp_path / "a.tif")
    masked(path, MASKS[:1], {1: 2, 2: 2}, blockysize=4)
    whole = Path(f"{path}.msk").read_bytes()
    assert examine(str(path), [BAND], None)[0].masked
    for end in range(len(whole) - 1, len(whole) - 60, -7):
        Path(f"{path}.msk").write_bytes(whole[:end])
        with pytest.raises(RasterError, match=r"a\.tif\.msk (is truncated|cannot be|does not say)"):
            examine(str(path), [BAND], None)


def test_a_crs_that_proj_cannot_use_is_named(tmp_path: Path) -> None:
    path = raster(tmp_path / "a.tif")
    Path(f"{path}.aux.xml").write_text("<PAMDataset><SRS>nowhere</SRS></PAMDataset>")
    with pytest.raises(RasterError, match=r"a\.tif\.aux\.xml has a CRS that PROJ cannot use"):
        ours(path)


def test_a_vrts_own_mask_is_read_and_those_of_its_sources_are_not(tmp_path: Path) -> None:
    path = raster(tmp_path / "a.tif")
    masked(path, MASKS[:1], {1: 2, 2: 2})
    vrt = tmp_path / "a.vrt"
    rasterio.shutil.copy(path, vrt, driver="VRT")
    Path(f"{vrt}.msk").unlink(missing_ok=True)
    name = '<SourceFilename relativeToVRT="1">a.tif</SourceFilename>'
    source = f"<SimpleSource>{name}<SourceBand>{{}}</SourceBand></SimpleSource>"
    bands = "".join(f'<VRTRasterBand dataType="Byte" band="{i}">{source.format(i)}</VRTRasterBand>' for i in (1, 2))
    mask = f'<MaskBand><VRTRasterBand dataType="Byte">{source.format("mask,1")}</VRTRasterBand></MaskBand>'
    for inside, beside, wanted in (("", True, MASKS[1]), (mask, False, None), ("", False, None)):
        vrt.write_text(f'<VRTDataset rasterXSize="30" rasterYSize="20">{bands}{inside}</VRTDataset>')
        Path(f"{vrt}.msk").unlink(missing_ok=True)
        if beside:
            masked(vrt, MASKS[1:], {1: 2, 2: 2})
        with environment(str(vrt)), datasets.opened(str(vrt), "VRT") as file:
            found = file.read_masks([1, 2], WHOLE)
        np.testing.assert_array_equal(found, np.ones((2, 20, 30)) if wanted is None else np.stack([wanted != 0] * 2))


def test_both_files_are_closed(tmp_path: Path) -> None:
    path = raster(tmp_path / "a.tif")
    masked(path, MASKS[:1], {1: 2, 2: 2})
    with datasets.opened(str(path), "GTiff") as file:
        assert file.mask is not None
        assert not file.mask.closed
        assert file.transform == Affine(*tuple(NORTH_UP)[:6])
    assert file.mask.closed
    assert file.file.closed

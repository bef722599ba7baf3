"""Validity: every way to say 'no data', alone and together, judged by the rule pixel by pixel and by GDAL's mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rasterio.windows import Window as FileWindow
from strategies import NORTH_UP, write

from geoseg.rasters import datasets
from geoseg.rasters.environment import environment
from geoseg.rasters.validity import equal, valid

ALL = FileWindow(0, 0, 5, 4)
LABELS = (np.arange(20, dtype=np.uint8) % 7).reshape(1, 4, 5)
MASK = np.indices((4, 5)).sum(axis=0) % 3 != 0
ALPHA = np.where(np.arange(20).reshape(4, 5) % 4, 200, 0).astype(np.uint8)


def found(path: str, band: int = 1, nodata: float | None = None, window: FileWindow = ALL) -> np.ndarray:
    with rasterio.open(path) as source:
        return valid(source, band, window, source.read(band, window=window), nodata)


def with_alpha(path: Path, labels: np.ndarray = LABELS, alpha: np.ndarray = ALPHA, **how: object) -> str:
    made = write(path, np.concatenate([labels, alpha[None]]), **how)
    with rasterio.open(made, "r+") as out:
        out.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
    return made


@pytest.mark.parametrize("nodata", [None, 3.0])
@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("alpha", [False, True])
def test_each_way_counts_also_beside_the_others(
    tmp_path: Path, nodata: float | None, mask: np.ndarray | None, alpha: bool
) -> None:
    how = {"nodata": nodata, "mask": mask}
    path = with_alpha(tmp_path / "map.tif", **how) if alpha else write(tmp_path / "map.tif", LABELS, **how)
    wanted = np.ones((4, 5), bool)
    if nodata is not None:
        wanted &= LABELS[0] != nodata
    if mask is not None:
        wanted &= mask
    if alpha:
        wanted &= ALPHA != 0
    np.testing.assert_array_equal(found(path), wanted)
    if [nodata is not None, mask is not None, alpha].count(True) <= 1:  # where GDAL has nothing to choose from
        with rasterio.open(path) as source:
            np.testing.assert_array_equal(found(path), source.read_masks(1) != 0)


def test_a_stated_nodata_replaces_the_declared_one_but_no_mask(tmp_path: Path) -> None:
    path = write(tmp_path / "map.tif", LABELS, nodata=3, mask=MASK)
    np.testing.assert_array_equal(found(path, nodata=5), MASK & (LABELS[0] != 5))


def test_a_mask_beside_the_file_counts_as_one_inside(tmp_path: Path) -> None:
    path = write(tmp_path / "map.tif", LABELS, nodata=3)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as out:
        out.write_mask(MASK)
    assert (tmp_path / "map.tif.msk").exists()
    np.testing.assert_array_equal(found(path), MASK & (LABELS[0] != 3))


def test_masks_beside_the_file_may_be_of_one_band_each(tmp_path: Path) -> None:
    path = write(tmp_path / "map.tif", np.concatenate([LABELS, LABELS]))
    profile = {"driver": "GTiff", "width": 5, "height": 4, "count": 2, "dtype": "uint8"}
    with rasterio.open(f"{path}.msk", "w", **profile, transform=NORTH_UP) as out:
        out.write(np.stack([MASK, ~MASK]).astype(np.uint8) * 255)
        out.update_tags(INTERNAL_MASK_FLAGS_1=0, INTERNAL_MASK_FLAGS_2=0)
    with rasterio.open(path) as judge:  # outside our environment
        judged = judge.read_masks() != 0
    np.testing.assert_array_equal(judged, np.stack([MASK, ~MASK]))
    with environment(path), datasets.opened(path, "GTiff") as source:
        for band, wanted in ((1, MASK), (2, ~MASK)):
            np.testing.assert_array_equal(valid(source, band, ALL, source.read(band, window=ALL)), wanted)


def test_an_alpha_band_that_is_asked_for_does_not_hide_itself(tmp_path: Path) -> None:
    path = with_alpha(tmp_path / "map.tif")
    assert found(path, 2).all()
    np.testing.assert_array_equal(found(path, 1), ALPHA != 0)


def test_each_band_has_its_own_nodata(tmp_path: Path) -> None:
    write(tmp_path / "both.tif", np.concatenate([LABELS, LABELS]))
    xml = (
        """<VRTDataset rasterXSize="5" rasterYSize="4"><GeoTransform>0, 1, 0, 9, 0, -1</GeoTransform>{}</VRTDataset>"""
    )
    band = (
        '<VRTRasterBand dataType="Byte" band="{0}"><NoDataValue>{1}</NoDataValue><SimpleSource><SourceFilename '
        'relativeToVRT="1">both.tif</SourceFilename><SourceBand>{0}</SourceBand></SimpleSource></VRTRasterBand>'
    )
    (tmp_path / "map.vrt").write_text(xml.format(band.format(1, 2) + band.format(2, 4)))
    for index, nodata in ((1, 2), (2, 4)):
        np.testing.assert_array_equal(found(str(tmp_path / "map.vrt"), index), LABELS[0] != nodata)


@settings(max_examples=share_of(60), deadline=None)
@given(
    row=st.integers(0, 3), col=st.integers(0, 4), height=st.integers(1, 4), width=st.integers(1, 5), alpha=st.booleans()
)
def test_a_window_gives_the_part_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, row: int, col: int, height: int, width: int, alpha: bool
) -> None:
    folder = tmp_path_factory.getbasetemp() / "validity"
    path = folder / f"{alpha}.tif"
    if not path.exists():
        how = {"nodata": 2, "mask": MASK}
        with_alpha(path, **how) if alpha else write(path, LABELS, **how)
    part = FileWindow(col, row, min(width, 5 - col), min(height, 4 - row))
    np.testing.assert_array_equal(found(str(path), window=part), found(str(path))[part.toslices()])


@pytest.mark.parametrize(
    ("dtype", "nodata", "hit"),
    [
        ("uint8", 255, True),
        ("uint8", -1, False),  # 255 if it wrapped
        ("uint8", 256 + 7, False),
        ("uint8", 7.5, False),
        ("uint8", float("nan"), False),
        ("int16", -9999, True),
        ("uint16", 65535, True),
        ("int32", -(2.0**31), True),
        ("float32", 0.1, True),  # the float32 nearest to it
        ("float32", -3.4028234663852886e38, True),
        ("float64", 0.1, True),
        ("float64", float("nan"), True),
    ],
)
def test_nodata_of_any_type_and_beyond_it(dtype: str, nodata: float, hit: bool) -> None:
    other = np.array([7, 1, 0], dtype)
    values = np.append(other, np.array([nodata]).astype(dtype) if hit else other[:1])
    assert equal(values, nodata).tolist() == [False, False, False, hit]

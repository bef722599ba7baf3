"""Block files: what any GIS opens as a georeferenced raster, with the very pixels that went in."""

import numpy as np
import pytest
import rasterio
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from geoseg.errors import LedgerError
from geoseg.grid import Grid, Window
from geoseg.storage import block_file

GRID = Grid("EPSG:32612", (30.0, 0.0, 300000.0, 0.0, -30.0, 4200000.0))


@given(pixels=arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))), data=st.data())
@settings(max_examples=share_of(30))
def test_pixels_come_back_and_the_same_pixels_give_the_same_bytes(pixels, data):
    row, col = data.draw(st.tuples(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6)))
    window = Window(row, col, *pixels.shape)
    encoded = block_file.encode(pixels, GRID, window)
    assert np.array_equal(block_file.decode(encoded), pixels)
    assert block_file.encode(pixels.copy(), GRID, window) == encoded


@pytest.mark.parametrize("shape", [(1, 3, 4), (3, 300, 270), (255, 2, 2)])
def test_several_bands_come_back_in_their_order(tmp_path, shape):
    pixels = np.random.default_rng(1).integers(0, 255, shape, np.uint8)
    data = block_file.encode(pixels, GRID, Window(0, 0, *shape[1:]))
    (tmp_path / "block.tif").write_bytes(data)
    with rasterio.open(tmp_path / "block.tif") as source:
        assert np.array_equal(source.read(), pixels)
        assert set(source.nodatavals) == {255}
    assert np.array_equal(block_file.decode(data), pixels.squeeze(0) if len(pixels) == 1 else pixels)


@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (255, 256), (256, 257)])
def test_a_block_is_a_georeferenced_tiff_of_its_own(tmp_path, shape):
    window = Window(-3, 40, *shape)
    pixels = np.random.default_rng(0).integers(0, 9, shape, np.uint8)
    (tmp_path / "block.tif").write_bytes(block_file.encode(pixels, GRID, window))
    with rasterio.open(tmp_path / "block.tif") as source:
        assert source.crs.to_epsg() == 32612
        assert source.nodata == 255
        assert source.transform[:6] == tuple(GRID.transform_of(window))[:6]
        assert np.array_equal(source.read(1), pixels)
        assert source.profile.get("tiled", False) is (min(shape) >= 256)
        assert source.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"] == "ZSTD"


def test_a_row_is_north_up_at_the_corner_worked_on_paper(tmp_path):
    (tmp_path / "block.tif").write_bytes(block_file.encode(np.zeros((2, 3), np.uint8), GRID, Window(10, 20, 2, 3)))
    with rasterio.open(tmp_path / "block.tif") as source:  # 300000 + 20 * 30, 4200000 - 10 * 30
        assert tuple(source.bounds) == (300600.0, 4199640.0, 300690.0, 4199700.0)


def test_no_credentials_are_asked_for(monkeypatch):
    boto3 = pytest.importorskip("boto3")

    def refuse(*_, **__):
        raise AssertionError("boto3 was asked for credentials")

    monkeypatch.setattr(boto3, "Session", refuse)
    encoded = block_file.encode(np.zeros((4, 4), np.uint8), GRID, Window(0, 0, 4, 4))
    assert block_file.decode(encoded).shape == (4, 4)


@pytest.mark.parametrize("data", [b"", b"II*\0", b"no tiff at all"])
def test_what_is_no_block_is_refused(data):
    with pytest.raises(LedgerError, match=r"the file of a block is damaged \(.*\); run the same command"):
        block_file.decode(data)

"""Checks: what is refused of a raster before its pixels are read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from strategies import NORTH_UP, coordinates, layer, write

from geoseg.catalog import Band
from geoseg.errors import RasterError
from geoseg.rasters import checks

PLAIN_NAMES = st.text("abcXYZ019 _-./é", min_size=1, max_size=20).filter(lambda text: "://" not in text)


def bands_of(path: str, number: int) -> tuple[Band, ...]:
    return layer(path, number).bands


# ------------------------------------------------------------------------------------- paths


@pytest.mark.slow
@given(PLAIN_NAMES, st.sampled_from(["/vsizip/", "/vsicurl/https://", "s3://", "https://", "ftp://"]))
def test_a_path_is_local_unless_it_names_a_store_or_gdals_file_systems(name: str, prefix: str) -> None:
    assert checks.is_local(name) == (not name.startswith("/vsi"))
    assert not checks.is_local(prefix + name)


@pytest.mark.parametrize(
    ("path", "driver"),
    [
        ("a.tif", "GTiff"), ("a.TIFF", "GTiff"), ("a", "GTiff"), ("a.vrt.tif", "GTiff"), ("a.img", "GTiff"),
        ("a.VRT", "VRT"), ("s3://b/a.vrt", "VRT"), ("a.jp2", "JP2OpenJPEG"),
        ("https://h/a.jp2?key=b.tif", "JP2OpenJPEG"),
        ("https://h/a.tif?x=.vrt", "GTiff"),
    ],
)  # fmt: skip
def test_the_ending_decides_on_the_driver(path: str, driver: str) -> None:
    assert checks.driver_by_ending(path) == driver


@pytest.mark.parametrize("system", ["stdin", "sparse", "subfile", "mem", "cached", "crypt", "stdout_redirect", ""])
def test_gdals_file_systems_that_read_no_file_are_refused(system: str) -> None:
    with pytest.raises(RasterError, match=f"read by GDAL's /vsi{system}/, which is refused; known: s3, gs"):
        checks.driver_of(f"/vsi{system}/a.tif")


def test_remote_files_pass_and_a_remote_vrt_does_only_when_trusted() -> None:
    assert checks.driver_of("/vsizip/a.zip/a.tif") == checks.driver_of("https://host/a.tif") == "GTiff"
    with pytest.raises(RasterError, match=r"is a VRT elsewhere, which may name any file; .*trust_vrt: true"):
        checks.driver_of("s3://bucket/a.vrt")
    assert checks.driver_of("s3://bucket/a.vrt", trust_vrt=True) == "VRT"


def test_what_is_no_plain_file_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    """To open a pipe would wait for a writer for ever."""
    os.mkfifo(tmp_path / "pipe.tif")
    (tmp_path / "folder.tif").mkdir()
    for path in (tmp_path / "pipe.tif", tmp_path / "folder.tif", Path("/dev/zero")):
        with pytest.raises(RasterError, match="is no plain file, but a folder, pipe or device; name a GeoTIFF"):
            checks.driver_of(path)


def test_gdals_own_words_take_the_place_of_rasterios_hint() -> None:
    hint = RasterioIOError("Read failed. See previous exception for details.")
    hint.__cause__ = OSError("TIFFReadEncodedTile()\n failed.")
    assert checks.gdal_message(hint) == "TIFFReadEncodedTile() failed"
    assert checks.gdal_message(RasterioIOError("No such  file.\n")) == "No such file"
    assert checks.gdal_message(MemoryError()) == "MemoryError"


# ------------------------------------------------------------------------------------- layout


@pytest.mark.parametrize(
    ("layout", "match"),
    [
        ({"width": 100_000_001}, "claims 3 x 100000001 pixels; a side may have 100000000 at most, so split it"),
        ({"count": 10_001, "height": 1, "width": 1}, "has 10001 bands; a file may have 10000 at most, so split it"),
        ({"height": 20_000, "width": 20_000, "tiled": True, "blockxsize": 20_000, "blockysize": 20_000},
         "stored in blocks of 20000 x 20000 pixels, 400 MB each; rewrite it with tiles"),
        ({"count": 2000, "height": 512, "width": 512, "tiled": True, "blockxsize": 512, "blockysize": 512,
          "interleave": "pixel"}, "stored in blocks of 512 x 512 pixels, 524 MB each"),
    ],
)  # fmt: skip
def test_an_absurd_layout_is_refused(tmp_path: Path, layout: dict, match: str) -> None:
    path = tmp_path / "a.tif"
    how = {"driver": "GTiff", "height": 3, "width": 4, "count": 1, "dtype": "uint8", "crs": "EPSG:32612"} | layout
    with rasterio.open(path, "w", **how, transform=NORTH_UP, sparse_ok=True, bigtiff="yes"):
        pass
    with rasterio.open(path) as file, pytest.raises(RasterError, match=match):
        checks.check_layout(file, path, [1])


def test_the_blocks_of_bands_that_are_not_asked_for_do_not_matter(tmp_path: Path) -> None:
    """Of 2,000 bands that lie apart a block costs one band's bytes."""
    how = {"driver": "GTiff", "height": 512, "width": 512, "count": 2000, "dtype": "uint8", "crs": "EPSG:32612"}
    with rasterio.open(
        tmp_path / "a.tif", "w", **how, transform=NORTH_UP, sparse_ok=True, tiled=True, interleave="band"
    ):
        pass
    with rasterio.open(tmp_path / "a.tif") as file:
        checks.check_layout(file, "a.tif", [1, 2000])


def test_a_band_that_the_file_lacks_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", coordinates(3, 4))
    with rasterio.open(path) as file:
        checks.check_bands(file, path, bands_of(path, 2))
        with pytest.raises(RasterError, match=r"band 'b3' is number 3 of .*a\.tif, which has 2; correct 'bands'"):
            checks.check_bands(file, path, bands_of(path, 3))


# -------------------------------------------------------------------------------------- whole


@pytest.mark.parametrize("layout", [{}, {"tiled": True, "blockxsize": 32, "blockysize": 16}, {"interleave": "pixel"}])
def test_a_whole_file_passes_and_one_without_its_last_byte_does_not(tmp_path: Path, layout: dict) -> None:
    path = write(tmp_path / "a.tif", coordinates(131, 97), compress="none", **layout)
    size = Path(path).stat().st_size
    with rasterio.open(path) as file:
        checks.check_whole(file, path, size, bands_of(path, 2))
        with pytest.raises(RasterError, match=rf"is truncated: it has {size // 2} bytes, but pixels .*; copy it again"):
            checks.check_whole(file, path, size // 2, bands_of(path, 2))


def test_a_corner_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    pixels = np.random.default_rng(5).integers(0, 60_000, (1, 64, 64), np.uint16)
    path = Path(write(tmp_path / "a.tif", pixels, compress="deflate", tiled=True, blockxsize=32, blockysize=32))
    with rasterio.open(path) as file:
        start = int(file.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", 1))
    data = bytearray(path.read_bytes())
    data[start : start + 64] = bytes(64)
    path.write_bytes(data)
    with rasterio.open(path) as file, pytest.raises(RasterError, match=r"cannot be read at row 63, column 63 .*trunc"):
        checks.check_whole(file, str(path), len(data), bands_of(str(path), 1))


# ----------------------------------------------------------------------------------- geobox


def test_a_file_says_where_it_lies_or_is_refused(tmp_path: Path) -> None:
    placed = write(tmp_path / "a.tif", coordinates(3, 4))
    with rasterio.open(placed) as file:
        found = checks.geobox_of(file, placed, None)
        assert (found.shape, found.affine, found.crs.epsg) == ((3, 4), NORTH_UP, 32612)
        assert checks.geobox_of(file, placed, "EPSG:32613").crs.epsg == 32613
    bare = write(tmp_path / "b.tif", coordinates(3, 4), crs=None)
    with rasterio.open(bare) as file, pytest.raises(RasterError, match=r"b\.tif has no CRS; state it as 'crs'"):
        checks.geobox_of(file, bare, None)
    with pytest.warns(NotGeoreferencedWarning):
        plain = write(tmp_path / "c.tif", coordinates(3, 4), Affine.identity())
    with rasterio.open(plain) as file, pytest.raises(RasterError, match=r"c\.tif has no georeference; give it an"):
        checks.geobox_of(file, plain, None)


def test_a_transform_without_inverse_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", coordinates(3, 4), Affine(30, 30, 5, 30, 30, 5))
    with rasterio.open(path) as file, pytest.raises(RasterError, match=r"of .*a\.tif cannot be inverted; correct it"):
        checks.geobox_of(file, path, None)


def test_ground_control_points_are_no_affine_georeference(tmp_path: Path) -> None:
    points = [rasterio.control.GroundControlPoint(r, c, c / 9, -r / 9) for r, c in ((0, 0), (0, 4), (3, 0), (3, 4))]
    how = {"driver": "GTiff", "height": 3, "width": 4, "count": 1, "dtype": "uint8", "crs": "EPSG:4326"}
    with rasterio.open(tmp_path / "a.tif", "w", **how, gcps=points):
        pass
    with (
        rasterio.open(tmp_path / "a.tif") as file,
        pytest.raises(RasterError, match="has ground control points or RPCs only; give it an affine one"),
    ):
        checks.geobox_of(file, "a.tif", None)

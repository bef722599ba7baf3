"""Files: what is accepted, what is refused, and what the stored numbers become."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning
from strategies import NORTH_UP, coordinates, layer, write

from geoseg import imagery
from geoseg.errors import CatalogError, RasterError
from geoseg.grid import Window


def whole(path: str, bands: int = 1, **how: object) -> np.ndarray:
    scene = imagery.open(layer(path, bands, **how))
    return imagery.read(scene, scene.grid, scene.window)


def vrt(path: Path, source: str, extra: str = "", subclass: str = "") -> str:
    path.write_text(
        '<VRTDataset rasterXSize="4" rasterYSize="3"><SRS>EPSG:32612</SRS>'
        "<GeoTransform>300015, 30, 0, 4199985, 0, -30</GeoTransform>"
        f'<VRTRasterBand dataType="UInt16" band="1"{subclass}>{extra}<SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{source}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    return str(path)


# ------------------------------------------------------------------------------------ examining


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RasterError, match=r"gone\.tif does not exist or cannot be reached; check the path"):
        imagery.open(layer(str(tmp_path / "gone.tif")))


@pytest.mark.parametrize("name", ["text.tif", "text.jp2", "text.vrt", "text"])
def test_a_file_that_is_no_raster_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("not a raster")
    with pytest.raises(RasterError, match=f"{name} cannot be opened as"):
        imagery.open(layer(str(tmp_path / name)))


def test_a_vrt_is_read_by_its_own_name_only(tmp_path: Path) -> None:
    pixels = coordinates(3, 4)[1:]
    write(tmp_path / "a.tif", pixels)
    np.testing.assert_array_equal(whole(vrt(tmp_path / "a.vrt", "a.tif")), pixels)
    with pytest.raises(RasterError, match=r"b\.tif cannot be opened as GeoTIFF .* see that its ending"):
        imagery.open(layer(vrt(tmp_path / "b.tif", "a.tif")))


@pytest.mark.parametrize("function", ["sum", "secret.read"])
def test_a_vrt_that_computes_is_refused(tmp_path: Path, function: str) -> None:
    write(tmp_path / "a.tif", coordinates(3, 4)[1:])
    extra = (
        f"<PixelFunctionType>{function}</PixelFunctionType>"
        + "<PixelFunctionLanguage>Python</PixelFunctionLanguage>" * ("." in function)
    )
    with pytest.raises(RasterError, match="computes its pixels by a function"):
        imagery.open(layer(vrt(tmp_path / "a.vrt", "a.tif", extra, ' subClass="VRTDerivedRasterBand"')))


def test_a_vrt_whose_file_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RasterError, match=r"names .gone.tif., which does not exist; bring the file back"):
        imagery.open(layer(vrt(tmp_path / "a.vrt", "gone.tif")))


@pytest.mark.parametrize("layout", [{}, {"tiled": True, "blockxsize": 32, "blockysize": 16}, {"driver": "COG"}])
@pytest.mark.parametrize("compress", ["none", "deflate"])
@pytest.mark.sampled(2)
def test_a_truncated_file_is_refused_wherever_it_was_cut(tmp_path: Path, layout: dict, compress: str) -> None:
    pixels = np.random.default_rng(5).integers(0, 60000, (2, 131, 97), np.uint16)
    path = Path(write(tmp_path / "a.tif", pixels, **{"compress": compress, **layout}))
    data = path.read_bytes()
    for share in np.linspace(0, 1, 25, endpoint=False):
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(RasterError, match=r"a\.tif .*copy it again"):
            imagery.open(layer(str(path), 2))
    path.write_bytes(data[:-1])
    if layout == {"driver": "COG"}:  # ends with four bytes that no pixel needs
        np.testing.assert_array_equal(whole(str(path), 2), pixels)
    else:
        with pytest.raises(RasterError, match=r"a\.tif .*copy it again"):
            imagery.open(layer(str(path), 2))


def test_a_damaged_block_is_told_with_file_and_place(tmp_path: Path) -> None:
    pixels = np.random.default_rng(5).integers(0, 60000, (1, 96, 96), np.uint16)
    path = Path(write(tmp_path / "a.tif", pixels, compress="deflate", tiled=True, blockxsize=32, blockysize=32))
    scene = imagery.open(layer(str(path)))
    with rasterio.open(path) as dataset:
        start = int(dataset.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", 1))
    data = bytearray(path.read_bytes())
    data[start : start + 64] = bytes(64)
    path.write_bytes(data)
    scene = imagery.open(layer(str(path)))  # only the corners are read
    with pytest.raises(RasterError, match=r"a\.tif cannot be read at rows 0\.\.96, columns 0\.\.96 .*copy it again"):
        imagery.read(scene, scene.grid, scene.window)


def test_a_huge_sparse_file_opens_and_costs_only_the_window_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.tif"
    how = {"driver": "GTiff", "height": 300_000, "width": 300_000, "count": 1, "dtype": "uint16", "nodata": 7}
    with rasterio.open(
        path,
        "w",
        **how,
        crs="EPSG:32612",
        transform=NORTH_UP,
        sparse_ok=True,
        tiled=True,
        blockxsize=512,
        blockysize=512,
    ):
        pass
    scene = imagery.open(layer(str(path), nodata=0))
    found = imagery.read(scene, scene.grid, Window(scene.window.row + 250_000, scene.window.col + 299_990, 20, 20))
    assert (found[0, :, :10] == 7).all()
    assert np.isnan(found[0, :, 10:]).all()


def test_absurd_blocks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "one_tile.tif"
    tiles = {"tiled": True, "blockxsize": 20_000, "blockysize": 20_000}
    how = {"driver": "GTiff", "height": 20_000, "width": 20_000, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", **how, crs="EPSG:32612", transform=NORTH_UP, sparse_ok=True, **tiles):
        pass
    with pytest.raises(RasterError, match="blocks of 20000 x 20000 pixels, 400 MB each; rewrite it with tiles"):
        imagery.open(layer(str(path)))


def test_a_band_that_the_file_lacks_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", coordinates(3, 4))
    with pytest.raises(RasterError, match=r"band 'b3' is number 3 of .*a\.tif, which has 2"):
        imagery.open(layer(path, 3))


def test_a_crs_comes_from_the_catalog_before_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", coordinates(3, 4), crs=None)
    with pytest.raises(RasterError, match=r"a\.tif has no CRS; state it as 'crs'"):
        imagery.open(layer(path))
    assert imagery.open(layer(path, crs="EPSG:32613")).grid.crs == "EPSG:32613"
    other = write(tmp_path / "b.tif", coordinates(3, 4), crs="EPSG:32612")
    assert imagery.open(layer(other, crs="EPSG:32613")).bands[0][0].crs == "EPSG:32613"


def test_files_without_an_affine_georeference_are_refused(tmp_path: Path) -> None:
    with pytest.warns(NotGeoreferencedWarning):
        plain = write(tmp_path / "plain.tif", coordinates(3, 4), Affine.identity())
    with pytest.raises(RasterError, match=r"plain\.tif has no georeference"):
        imagery.open(layer(plain))
    path = tmp_path / "points.tif"
    points = [GroundControlPoint(r, c, -110 + c / 9, 37 - r / 9) for r, c in ((0, 0), (0, 4), (3, 0), (3, 4))]
    how = {"driver": "GTiff", "height": 3, "width": 4, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", **how, gcps=points, crs="EPSG:4326"):
        pass
    with pytest.raises(RasterError, match=r"points\.tif has ground control points or RPCs only"):
        imagery.open(layer(str(path)))


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.ones((1, 3, 4), np.complex64))
    with pytest.raises(RasterError, match="holds complex numbers"):
        imagery.open(layer(path))


# --------------------------------------------------------------------------------- the numbers


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("uint16", 65535), ("uint8", 0), ("int16", -9999), ("float32", -99999), ("float32", np.nan), ("float32", 0.1),
     ("float32", -3.4028234663852886e38), ("float64", 1e300)],
)  # fmt: skip
@pytest.mark.parametrize("stated_by", ["file", "catalog"])
def test_nodata_of_any_kind_becomes_nan_and_nothing_else_does(
    tmp_path: Path, dtype: str, nodata: float, stated_by: str
) -> None:
    pixels = np.arange(1, 13).reshape(1, 3, 4).astype(dtype)
    pixels[0, 1, 2] = nodata
    path = write(tmp_path / "a.tif", pixels, **({"nodata": nodata} if stated_by == "file" else {}))
    found = whole(path, **({"nodata": nodata} if stated_by == "catalog" else {}))
    wanted = np.arange(1, 13).reshape(1, 3, 4).astype(np.float32)
    wanted[0, 1, 2] = np.nan
    np.testing.assert_array_equal(found, wanted)


def test_the_catalogs_nodata_replaces_the_files(tmp_path: Path) -> None:
    pixels = np.array([[[1, 2, 3]]], np.uint8)
    path = write(tmp_path / "a.tif", pixels, nodata=1)
    np.testing.assert_array_equal(whole(path, nodata=2), [[[1, np.nan, 3]]])
    np.testing.assert_array_equal(whole(path), [[[np.nan, 2, 3]]])


def test_a_nodata_that_cannot_occur_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", coordinates(3, 4))
    with pytest.raises(CatalogError, match=r"nodata -99999 of band 'b1' cannot occur in .* whose values are uint16"):
        imagery.open(layer(path, nodata=-99999))


def test_infinite_values_are_no_data(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.array([[[1, np.inf, -np.inf, np.nan, 2]]], np.float32))
    np.testing.assert_array_equal(whole(path), [[[1, np.nan, np.nan, np.nan, 2]]])


def test_mask_and_alpha_bands_are_heeded_unless_the_catalog_states_nodata(tmp_path: Path) -> None:
    pixels = coordinates(3, 4)
    mask = np.full((3, 4), 255, np.uint8)
    mask[1, 1] = 0
    path = write(tmp_path / "mask.tif", pixels, mask=mask)
    np.testing.assert_array_equal(np.isnan(whole(path, 2)), [mask == 0] * 2)
    assert np.isfinite(whole(path, 2, nodata=65535)).all()
    colours = np.concatenate([pixels, pixels[:1], mask[None]]).astype(np.uint8)
    alpha = write(tmp_path / "alpha.tif", colours, photometric="RGB", alpha="YES")
    np.testing.assert_array_equal(np.isnan(whole(alpha, 3)), [mask == 0] * 3)


def test_near_infrared_tagged_as_alpha_is_a_band_and_no_mask(tmp_path: Path) -> None:
    pixels = np.concatenate([coordinates(3, 4), coordinates(3, 4) * 0]).astype(np.uint8)
    path = write(tmp_path / "a.tif", pixels, photometric="RGB", alpha="YES")
    np.testing.assert_array_equal(whole(path, 4), pixels)


def test_a_pixel_without_one_band_is_without_all(tmp_path: Path) -> None:
    pixels = np.array([[[1, 0, 3]], [[4, 5, 0]]], np.uint8)
    path = write(tmp_path / "a.tif", pixels, nodata=0)
    np.testing.assert_array_equal(whole(path, 2), [[[1, np.nan, np.nan]], [[4, np.nan, np.nan]]])


def test_every_uint16_comes_through_exactly_and_scaled_to_the_nearest_float32(tmp_path: Path) -> None:
    pixels = np.arange(65536, dtype=np.uint16).reshape(1, 256, 256)
    path = write(tmp_path / "a.tif", pixels)
    np.testing.assert_array_equal(whole(path), pixels)
    wanted = (pixels.astype(np.float64) * 0.0001 - 0.1).astype(np.float32)
    np.testing.assert_array_equal(whole(path, scale=0.0001, offset=-0.1), wanted)


# ---------------------------------------------------------------------------------- many at once


def test_of_many_files_the_first_bad_one_is_named_and_their_order_is_kept(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{n:03}.tif", np.full((1, 2, 2), n, np.uint8)) for n in range(60)]
    assert [source.path for source in imagery.open(layer(tuple(paths))).bands[0]] == paths
    Path(paths[23]).write_text("no raster")
    Path(paths[24]).unlink()
    with pytest.raises(RasterError, match=r"023\.tif cannot be opened"):
        imagery.open(layer(tuple(paths)))


def test_files_without_a_georeference_are_refused_in_words_and_without_warnings(tmp_path: Path) -> None:
    paths = tuple(write(tmp_path / f"{n}.tif", np.ones((1, 2, 2), np.uint8)) for n in range(40))
    for path in paths[7:]:
        Path(path).write_bytes(_bare(tmp_path))
    with pytest.raises(RasterError, match=r"7\.tif has no georeference"):
        imagery.open(layer(paths))


def _bare(folder: Path) -> bytes:
    from rasterio.errors import NotGeoreferencedWarning

    with pytest.warns(NotGeoreferencedWarning):
        return Path(write(folder / "bare.tif", np.ones((1, 2, 2), np.uint8), Affine.identity())).read_bytes()

"""Guess: files of scenes as users have them, written here with a pixel size and a name each."""

import numpy as np
import pytest
import rasterio
from affine import Affine

from geoseg.errors import CatalogError, RasterError
from geoseg.imagery import guess


def raster(path, count=1, side=10.0, dtype="uint16", nodata=None, crs="EPSG:32633", names=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"height": 6, "width": 8, "count": count}
    place = {"crs": crs, "transform": Affine(side, 0, 500000, 0, -side, 5300000), "nodata": nodata}
    with rasterio.open(path, "w", driver="GTiff", dtype=dtype, photometric="MINISBLACK", **shape, **place) as file:
        file.write(np.ones((count, 6, 8), dtype))
        for at, name in enumerate(names, 1):
            file.set_band_description(at, name)
    return str(path)


def test_a_landsat_folder_gives_its_bands_and_leaves_out_quality_and_temperature(tmp_path):
    product = "LC08_L2SP_038034_20200815_20200919_02_T1"
    for ending in ("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "ST_B10", "QA_PIXEL"):
        raster(tmp_path / product / f"{product}_{ending}.TIF")
    found = guess.look([str(tmp_path / product)])
    assert list(found.bands) == ["coastal", "blue", "green", "red", "nir"]
    assert found.bands["nir"] == ((str(tmp_path / product / f"{product}_SR_B5.TIF"),), 1)
    assert (found.name, found.sure, found.nodata) == (product, True, 0)
    assert "Landsat 8 or 9" in found.source


def test_of_one_band_at_several_resolutions_the_finest_is_taken_and_fine_bands_come_first(tmp_path):
    for band, side in (("B01", 60), ("B02", 60), ("B02", 20), ("B02", 10), ("B8A", 20)):
        raster(tmp_path / f"R{side}m" / f"T33UWP_20230701T100031_{band}_{side}m.tif", side=side)
    found = guess.look([str(tmp_path)])
    assert {band: files[0][-10:-4] for band, (files, _) in found.bands.items()} == {
        "blue": "02_10m", "nir08": "8A_20m", "coastal": "01_60m",
    }  # fmt: skip
    assert list(found.bands) == ["blue", "nir08", "coastal"]  # the first gives the layer its grid


def test_two_scenes_of_one_sensor_become_files_of_each_band(tmp_path):
    for day in ("20200815", "20200831"):
        for band in ("B2", "B3"):
            raster(tmp_path / f"LC08_L1TP_038034_{day}_02_T1_{band}.TIF", nodata=0)
    found = guess.look([str(tmp_path / "*.TIF")])
    assert [len(files) for files, _ in found.bands.values()] == [2, 2]
    assert found.nodata is None  # the files say it
    assert found.name == "LC08_L1TP_038034_202008"


def test_stacked_files_of_one_kind_are_one_layer_and_of_two_kinds_are_refused(tmp_path):
    paths = [raster(tmp_path / f"m_4709963_se_14_1_201{i}0926.tif", 4, dtype="uint8") for i in range(3)]
    found = guess.look(paths)
    assert found.bands["nir"] == (tuple(paths), 4)
    three = raster(tmp_path / "three.tif", 3)
    with pytest.raises(CatalogError, match=r"has 4 bands and .*three.tif 3; give files of one kind"):
        guess.look([paths[0], three])


def test_names_given_go_before_all_guesses(tmp_path):
    stack = raster(tmp_path / "s.tif", 4, names=("red", "green", "blue", "nir"))
    assert guess.look([stack], ["nir", " red"]).bands == {"nir": ((stack,), 1), "red": ((stack,), 2)}
    singles = [raster(tmp_path / f"x{i}.tif") for i in range(2)]
    assert guess.look(singles, ["red", "nir"]).bands == {"red": ((singles[0],), 1), "nir": ((singles[1],), 1)}
    with pytest.raises(CatalogError, match=r"5 bands were named and .*s.tif has 4"):
        guess.look([stack], list("abcde"))


def test_zero_is_taken_for_nodata_only_where_the_product_has_it_so(tmp_path):
    names = ("B02", "B03")
    assert guess.look([raster(tmp_path / "a.tif", 2, names=names)]).nodata == 0
    assert guess.look([raster(tmp_path / "b.tif", 2, names=names, dtype="uint8")]).nodata is None  # stretched
    assert guess.look([raster(tmp_path / "c.tif", 2, names=names, nodata=9)]).nodata is None
    assert guess.look([raster(tmp_path / "d.tif", 2, names=("red", "nir"))]).nodata is None


@pytest.mark.parametrize(
    ("scene", "error", "match"),
    [
        ("gone.tif", RasterError, r"gone.tif does not exist; name files of the scene, their folder, or a pattern"),
        ("empty", RasterError, "holds no GeoTIFF, JPEG 2000 or VRT"),
        ("text.tif", RasterError, "text.tif cannot be opened .*; give a GeoTIFF"),
        ("five.tif", CatalogError, "nothing says which bands the 5 bands of .*; say it: --bands blue"),
        ("none.tif", CatalogError, "nothing says which bands the 1 band of"),
    ],
)
def test_what_is_no_scene_is_refused(tmp_path, scene, error, match):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.tif").write_text("no raster")
    raster(tmp_path / "five.tif", 5)
    raster(tmp_path / "none.tif", 1)
    with pytest.raises(error, match=match):
        guess.look([str(tmp_path / scene)])


def test_files_without_crs_are_noticed(tmp_path):
    assert not guess.look([raster(tmp_path / "a.tif", 3, crs=None)]).crs

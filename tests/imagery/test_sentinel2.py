"""Sentinel-2: bands of products of both levels, before and since baseline 04.00, judged by what their files hold."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import sentinel2_products as made
from affine import Affine
from odd_files import KINDS, put_in_place
from small_jobs import SmallJob, geoseg
from strategies import write

from geoseg import catalog, imagery
from geoseg.catalog import Imagery, products
from geoseg.errors import CatalogError, RasterError
from geoseg.grid import Grid, Window
from geoseg.imagery import guess, sentinel2

COMMON = {"blue": "B02", "rededge2": "B06", "nir": "B08", "nir08": "B8A", "coastal": "B01", "swir1": "B11"}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    folder = tmp_path_factory.mktemp("products")
    kinds = [("2A", "04.00"), ("2A", "03.01"), ("1C", "04.00"), ("1C", "02.09")]
    return {kind: made.write_product(folder, *kind) for kind in kinds}


@pytest.fixture
def safe(shelf: dict[tuple[str, str], Path], tmp_path: Path) -> Path:
    """A product to do harm to."""
    whole = shelf["2A", "04.00"]
    return Path(shutil.copytree(whole, tmp_path / whole.name))


def entry(folder: Path, **keys: object) -> Imagery:
    """Imagery as a catalog in that folder has it."""
    import yaml

    (folder / "data_catalog.yaml").write_text(yaml.safe_dump({"imagery": {"s": keys}}))
    return catalog.read(folder / "data_catalog.yaml").imagery("s")


def grid_of(metres: int) -> tuple[Grid, Window]:
    grid = Grid("EPSG:32612", tuple(Affine(metres, 0, made.CORNER[0], 0, -metres, made.CORNER[1]))[:6])
    return grid, Window(0, 0, made.SIDE_M // metres, made.SIDE_M // metres)


def meant(stored: np.ndarray, offset: float) -> np.ndarray:
    """Reflectance x 10,000, NaN where 0 is stored."""
    return np.where(stored == 0, np.nan, stored + np.float32(offset)).astype(np.float32)


@pytest.mark.parametrize("kind", [("2A", "04.00"), ("2A", "03.01"), ("1C", "04.00"), ("1C", "02.09")])
@pytest.mark.parametrize("by", ["folder", "metadata"])
@pytest.mark.sampled(9)
def test_each_band_is_what_its_finest_file_holds_less_the_offset(
    shelf: dict[tuple[str, str], Path], tmp_path: Path, kind: tuple[str, str], by: str
) -> None:
    safe = shelf[kind]
    path = safe if by == "folder" else next(safe.glob("MTD_*.xml"))
    layer = entry(tmp_path, files=str(path))
    assert [band.name for band in layer.bands] == list(products.listed())
    for code in made.CODES:
        if code == "B10":
            continue
        metres = made.METRES[code][0]
        for name in products.names_of(code):
            scene = imagery.open(layer.select((name,), "a model"))
            grid, window = grid_of(metres)
            wanted = meant(made.pixels(code, metres), -1000 if kind[1] == "04.00" else 0)
            np.testing.assert_array_equal(imagery.read(scene, grid, window)[0], wanted)
            assert scene.bands[0][0].transform == grid.transform


def test_cirrus_is_there_for_who_names_it_and_level_2a_has_none(
    shelf: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    scene = imagery.open(entry(tmp_path, files=str(shelf["1C", "04.00"]), bands={"c": "B10"}))
    grid, window = grid_of(60)
    np.testing.assert_array_equal(imagery.read(scene, grid, window)[0], meant(made.pixels("B10", 60), -1000))
    layer = entry(tmp_path, files=str(shelf["2A", "04.00"]), bands={"c": "B10"})
    with pytest.raises(RasterError, match=r"\.SAFE has no B10; it has B01, B02, .*SCL"):
        imagery.open(layer)


def test_two_products_of_two_baselines_have_one_scale(shelf: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    """The same ground before and after; the upper one's gaps show the other."""
    both = [str(shelf["2A", "04.00"]), str(shelf["2A", "03.01"])]
    stored = made.pixels("B04", 10)
    grid, window = grid_of(10)
    for files, offset in ((both, -1000), (both[::-1], 0)):
        scene = imagery.open(entry(tmp_path, files=files, bands={"red": "B04"}))
        np.testing.assert_array_equal(imagery.read(scene, grid, window)[0], meant(stored, offset))


def test_the_catalogs_scale_and_nodata_come_after_the_products(
    shelf: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    how = {"scale": 0.0001, "offset": 0.5, "nodata": int(made.pixels("B04", 10)[3, 3])}
    scene = imagery.open(entry(tmp_path, files=str(shelf["2A", "04.00"]), bands={"red": "B04"}, **how))
    grid, window = grid_of(10)
    stored = made.pixels("B04", 10).astype(np.float64)
    wanted = np.where(stored == how["nodata"], np.nan, (stored - 1000) * 0.0001 + 0.5)
    np.testing.assert_allclose(imagery.read(scene, grid, window)[0], wanted, rtol=1e-6)


def test_the_products_own_classes_mask_it(shelf: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    """20 m classes over 10 m pixels: each class lies over four of them."""
    scene = imagery.open(
        entry(tmp_path, files=str(shelf["2A", "04.00"]), bands={"red": "B04"}, mask={"values": [3, 8, 9, 10]})
    )
    assert Path(scene.masks[0].path).name.endswith("_SCL_20m.jp2")
    grid, window = grid_of(10)
    hidden = np.isin(made.scene_classes(), [3, 8, 9, 10]).repeat(2, 0).repeat(2, 1)
    wanted = np.where(hidden, np.nan, meant(made.pixels("B04", 10), -1000))
    np.testing.assert_array_equal(imagery.read(scene, grid, window)[0], wanted)
    layer = entry(tmp_path, files=str(shelf["1C", "04.00"]), mask={"values": [3]})
    with pytest.raises(RasterError, match="has no SCL"):
        imagery.open(layer)


def test_another_quantification_becomes_the_same_unit(safe: Path, tmp_path: Path) -> None:
    made.edit(safe, {'"none">10000</BOA': '"none">20000</BOA'})
    assert sentinel2.file_of(str(safe), "B04").scale == 0.5
    assert sentinel2.file_of(str(safe), "B04").offset == -500
    assert (sentinel2.file_of(str(safe), "SCL").scale, sentinel2.file_of(str(safe), "SCL").offset) == (1, 0)


def test_another_offset_is_another_scene(safe: Path, tmp_path: Path) -> None:
    before = imagery.open(entry(tmp_path, files=str(safe), bands={"red": "B04"}))
    made.edit(safe, {'band_id="3">-1000': 'band_id="3">-999'})
    after = imagery.open(entry(tmp_path, files=str(safe), bands={"red": "B04"}))
    assert imagery.identity(before).keys() == imagery.identity(after).keys()
    assert imagery.identity(before) != imagery.identity(after)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"<IMAGE_FILE>GRANULE": "<IMAGE_FILE>../GRANULE"}, "does not lie below it"),
        ({"<IMAGE_FILE>GRANULE": "<IMAGE_FILE>/vsicurl/http://127.0.0.1:9/GRANULE"}, "does not lie below it"),
        ({"IMAGE_FILE>": "IMAGE_ID>"}, "names no images as products since December 2016 do"),
        ({"_B": "_C", "_SCL": "_C"}, "names no images"),
        ({'"none">10000</BOA': '"none">0</BOA'}, "does not say what its numbers mean"),
        ({'"none">10000</BOA': '"none">much</BOA'}, "does not say what its numbers mean"),
        ({"BOA_QUANTIFICATION": "OTHER"}, "does not say what its numbers mean"),
        ({'band_id="3"': 'band_id="33"'}, "does not say what its numbers mean"),
        ({'band_id="3">-1000': 'band_id="3">nan'}, "does not say what its numbers mean"),
        ({"<n1:General_Info>": "<n1:General_Info"}, "cannot be read as XML"),
        ({"<n1:Level-2A_User_Product": "<!DOCTYPE a SYSTEM 'b'><n1:Level-2A_User_Product"}, "it has a document type"),
        ({"_B04_10m": "_B04_1m", "_B04_20m": "_B04_2m", "_B04_60m": "_B04_6m"}, "has no B04"),
    ],
)
def test_metadata_that_are_damaged_or_lead_elsewhere_are_refused(
    safe: Path, tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    made.edit(safe, changes)
    with pytest.raises(RasterError, match=said):
        imagery.open(entry(tmp_path, files=str(safe), bands={"red": "B04"}))


def test_an_image_that_is_missing_is_named(safe: Path, tmp_path: Path) -> None:
    next(safe.rglob("*_B04_10m.jp2")).unlink()
    with pytest.raises(RasterError, match=r"_B04_10m\.jp2 does not exist"):
        imagery.open(entry(tmp_path, files=str(safe), bands={"red": "B04"}))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", KINDS)
def test_metadata_that_are_no_plain_file_are_not_opened(tmp_path: Path, kind: str) -> None:
    put_in_place(kind, tmp_path / "a.SAFE" / "MTD_MSIL2A.xml")
    with pytest.raises(RasterError, match=r"is no plain file|cannot be read as XML|has no MTD_MSIL2A\.xml"):
        sentinel2.read(str(tmp_path / "a.SAFE"))


def test_a_product_elsewhere_or_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RasterError, match="is elsewhere; a Sentinel-2 product is read from a folder"):
        sentinel2.read("s3://bucket/a.SAFE")
    with pytest.raises(RasterError, match=r"b\.SAFE has no MTD_MSIL2A\.xml or MTD_MSIL1C\.xml, or does not exist"):
        sentinel2.read(str(tmp_path / "b.SAFE"))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"files": ["a.SAFE", "b.tif"]}, "mixes Sentinel-2 products and rasters"),
        ({"files": "a.SAFE", "bands": {"red": 4}}, "band 'red' is number 4; bands of a product have codes"),
        ({"files": "a.SAFE", "bands": {"red": "B13"}}, "band 'red' is 'B13', a code of Sentinel-2 .*which it is not"),
        ({"files": "a.tif", "bands": {"red": "B04"}}, "a code of Sentinel-2 such as 'B8A', and 'files' names none"),
        ({"bands": {"red": {"file": "a.SAFE"}}}, "has a product as its file"),
        ({"files": "a.tif"}, "name at least one band"),
        ({"files": "a.tif", "bands": {"red": 1}, "mask": {"values": [1]}}, "'mask' has no 'file'"),
        ({"files": "a.SAFE", "mask": {"values": []}}, "values"),
    ],
)
def test_entries_that_cannot_be_are_refused(tmp_path: Path, keys: dict, said: str) -> None:
    with pytest.raises(CatalogError, match=said):
        entry(tmp_path, **keys)


def test_a_product_is_guessed_and_its_catalog_reads_as_the_product(safe: Path, tmp_path: Path) -> None:
    guessed = guess.look([str(safe)])
    assert guessed.sure
    assert guessed.name == safe.stem
    assert {name: code for name, (_, code) in guessed.bands.items()} == dict(products.listed())
    assert guess.look([str(safe / "MTD_MSIL2A.xml")]).name == safe.stem
    for scene, names in (([str(safe), "b.tif"], ()), ([str(safe)], ("red",))):
        with pytest.raises(CatalogError, match="a Sentinel-2 product says what its bands are; give products alone"):
            guess.look(scene, names)
    assert geoseg("init", safe, "--out", tmp_path / "new").code == 0
    layer = catalog.read(tmp_path / "new" / "data_catalog.yaml").imagery(safe.stem)
    grid, window = grid_of(10)
    scene = imagery.open(layer.select(("red",), "a model"))
    np.testing.assert_array_equal(imagery.read(scene, grid, window)[0], meant(made.pixels("B04", 10), -1000))


def test_a_job_maps_a_product_as_it_maps_the_same_values_in_geotiffs(
    shelf: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    product = SmallJob.write(tmp_path / "product")
    plain = SmallJob(Path(shutil.copytree(product.folder, tmp_path / "plain")))
    product.imagery(files=str(shelf["2A", "04.00"]), bands={}, mask={"values": [3, 8]})
    hidden = np.isin(made.scene_classes(), [3, 8]).repeat(2, 0).repeat(2, 1)
    grid, _ = grid_of(10)
    for code in ("B04", "B08"):
        values = np.where(hidden, np.nan, meant(made.pixels(code, 10), -1000))
        write(plain.folder / f"{code}.tif", values[None].astype(np.float32), grid.affine)
    plain.imagery(files=None, bands={"red": {"file": "B04.tif"}, "nir": {"file": "B08.tif"}})
    for job in (product, plain):
        assert job.run().code == 0
    maps = [rasterio.open(job.out / "map.tif") for job in (product, plain)]
    assert maps[0].transform == maps[1].transform
    np.testing.assert_array_equal(maps[0].read(), maps[1].read())
    assert len(np.unique(maps[0].read(1)[~hidden])) > 1
    assert (maps[0].read(1)[hidden] == 255).all()
    for each in maps:
        each.close()

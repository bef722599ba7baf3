"""The command that starts a user off: what it writes passes `plan`, what it guesses it says, and nothing is lost."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine
from model_folders import write_model
from small_jobs import contents, geoseg

from geoseg import catalog

DATA = Path(__file__).parents[3] / "shared" / "data"
PLACE = {"crs": "EPSG:32633", "transform": Affine(30, 0, 500000, 0, -30, 5300000)}


def raster(path, count=4, dtype="uint8", **facts):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"height": 40, "width": 50, "count": count, "dtype": dtype}
    with rasterio.open(path, "w", driver="GTiff", photometric="MINISBLACK", **shape, **(PLACE | facts)) as file:
        file.write(np.random.default_rng(0).integers(1, 200, (count, 40, 50)).astype(dtype))
    return path


def passes(folder):
    said = geoseg("plan", folder / "job.yaml", "--no-probe")
    assert said.code == 0, said
    return said.out


@pytest.fixture
def naip(tmp_path):
    return raster(tmp_path / "scene" / "m_4709963_se_14_1_20150926.tif")


def test_what_is_written_is_planned_listed_and_run(naip, tmp_path):
    said = geoseg("init", naip, "--out", tmp_path / "new")
    assert said.code == 0, said
    assert "bands guessed from the file's name: NAIP" in said.out
    assert f"  nir: band 4 of {naip}" in said.out
    assert "40 x 50 pixels" in said.out
    assert said.out.endswith(f"next: geoseg plan {tmp_path / 'new' / 'job.yaml'}\n")
    assert "landsat-6class" in passes(tmp_path / "new")
    assert geoseg("catalog", tmp_path / "new" / "data_catalog.yaml").code == 0
    assert geoseg("run", tmp_path / "new" / "job.yaml", "--workers", 0, "--out", tmp_path / "out").code == 0


def test_paths_are_relative_so_that_folder_and_scene_can_move_together(naip, tmp_path):
    geoseg("init", naip, "--out", naip.parent)
    (layer,) = yaml.safe_load((naip.parent / "data_catalog.yaml").read_text())["imagery"].values()
    assert layer["files"] == naip.name
    naip.parent.rename(tmp_path / "moved")
    passes(tmp_path / "moved")


@pytest.mark.parametrize(
    ("place", "wanted"),
    [
        ({"transform": Affine(5, 0, 5e5, 0, -5, 53e5)}, {"crs": "EPSG:32633", "resolution": 30}),
        ({"crs": "EPSG:4326", "transform": Affine(3e-4, 0, 15, 0, -3e-4, 60)}, {"crs": "EPSG:32633", "resolution": 30}),
        ({}, None),
    ],
    ids=["finer", "degrees", "as it is"],
)
def test_a_scene_of_other_pixels_is_mapped_at_those_of_the_model(tmp_path, place, wanted):
    path = raster(tmp_path / "m_4709963_se_14_1_20150926.tif", **place)
    said = geoseg("init", path, "--out", tmp_path)
    assert yaml.safe_load((tmp_path / "job.yaml").read_text()).get("grid") == wanted
    assert ("the job maps at 30 m in EPSG:32633, as the model asks" in said.err) is (wanted is not None)
    passes(tmp_path)


def test_nothing_is_overwritten_unless_asked(naip, tmp_path):
    for name in ("data_catalog.yaml", "job.yaml"):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_text("mine")
        before = contents(folder)
        said = geoseg("init", naip, "--out", folder).refusal("JobError")
        assert f"{folder / name} exists; give --overwrite to replace it" in said
        assert contents(folder) == before
        assert geoseg("init", naip, "--out", folder, "--overwrite").code == 0
        passes(folder)


def test_several_files_of_one_band_a_folder_and_a_pattern_give_the_same_layer(tmp_path):
    files = [raster(tmp_path / "scene" / f"LC08_x_SR_B{i}.TIF", 1, "uint16") for i in (2, 3, 4, 5)]
    found = []
    for at, words in enumerate((files, [files[0].parent], [files[0].parent / "*.TIF"])):
        said = geoseg("init", *words, "--out", tmp_path / str(at))
        assert said.code == 0, said
        assert "bands guessed from the names of the files, as Landsat 8 or 9 numbers its bands" in said.out
        assert "declare no nodata; 0 is taken for it" in said.err
        passes(tmp_path / str(at))
        known = catalog.read(tmp_path / str(at) / "data_catalog.yaml")
        (name,) = known.spec.imagery
        found.append([(b.name, Path(*b.files).resolve(), b.index, b.nodata) for b in known.imagery(name).bands])
    assert found[0] == found[1] == found[2]
    assert [each[0] for each in found[0]] == ["blue", "green", "red", "nir"]


def test_a_guess_from_custom_alone_is_called_one_on_the_screen_and_in_the_file(tmp_path):
    said = geoseg("init", raster(tmp_path / "s.tif", dtype="uint16"), "--out", tmp_path)
    assert "from the number of bands alone, 4" in said.out
    assert "that is a guess only: look at the bands" in said.err
    assert "A guess only: look at them." in (tmp_path / "data_catalog.yaml").read_text()


@pytest.mark.parametrize(
    ("facts", "words", "kind", "sentence"),
    [
        ({"count": 3}, (), "CatalogError", "needs band 'nir'; the scene has red, green, blue, told from the number of"),
        ({"count": 5}, (), "CatalogError", "nothing says which bands the 5 bands of"),
        ({"crs": None}, (), "CatalogError", "do not say their CRS; give it by --crs, EPSG:32612 say"),
        ({}, ("--model", "landsat"), "CatalogError", "did you mean 'landsat-6class'"),
        (
            {},
            ("--bands", "red,green"),
            "CatalogError",
            "needs band 'blue', 'nir'; the scene has red, green, told from what",
        ),
        ({}, ("--crs", "EPSG:1"), "GridError", "EPSG:1"),
    ],
)
def test_what_cannot_work_is_refused_and_nothing_is_written(tmp_path, facts, words, kind, sentence):
    scene = raster(tmp_path / "s.tif", **facts)
    said = geoseg("init", scene, *words, "--out", tmp_path / "new")
    assert sentence in said.refusal(kind)
    assert not (tmp_path / "new").exists()


def test_bands_and_crs_can_be_said(tmp_path):
    scene = raster(tmp_path / "s.tif", 5, crs=None)
    said = geoseg("init", scene, "--bands", "nir,red,green,blue", "--crs", "EPSG:32633", "--out", tmp_path)
    assert said.out.splitlines()[4] == "bands as you named them"
    assert "EPSG:32633" in passes(tmp_path)
    assert "guess" not in said.err


def test_a_model_folder_of_ones_own_is_named_from_the_catalogs_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "models" / "tiny")
    raster(tmp_path / "s.tif", 3)
    said = geoseg("init", "s.tif", "--bands", "red,nir,x", "--model", "models/tiny", "--out", "new")
    assert said.code == 0, said
    assert yaml.safe_load((tmp_path / "new" / "job.yaml").read_text())["model"] == "../models/tiny"
    assert "tiny" in passes(tmp_path / "new")


@pytest.mark.parametrize("odd", ["a: b", "# hash", "- dash", "üñí 'q' \"d\"", "null", "{x}", "007"])
def test_names_that_yaml_would_take_for_something_else_are_quoted(tmp_path, odd):
    geoseg("init", raster(tmp_path / odd / "m_4709963_se_14_1_20150926.tif"), "--out", tmp_path)
    passes(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scene", "words", "said"),
    [
        ("zion", (), "as Landsat 8 or 9 numbers its bands"),
        ("naip", (), "the file's name: NAIP"),
        ("s2_india/images/000.tif", (), "the names that the file gives its bands (Sentinel-2)"),
        ("s2_austria", ("--bands", "red,green,blue,nir"), "bands as you named them"),
    ],
)
def test_real_scenes(tmp_path, scene, words, said):
    if not (DATA / scene).exists():
        pytest.skip(f"{scene} is not in the shared data")
    answer = geoseg("init", DATA / scene, *words, "--out", tmp_path)
    assert answer.code == 0, answer
    assert said in answer.out
    assert "blue, green, red, nir" in passes(tmp_path)


def test_of_a_real_scene_without_any_names_the_user_is_asked(tmp_path):
    if not (DATA / "s2_austria").exists():
        pytest.skip("s2_austria is not in the shared data")
    said = geoseg("init", DATA / "s2_austria", "--out", tmp_path / "new").refusal("CatalogError")
    assert "nothing says which bands the 8 bands of" in said
    assert "model 'landsat-6class' needs blue, green, red, nir" in said

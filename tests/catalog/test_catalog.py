"""Catalog: what exists, looked up by name, with one sentence for each trouble."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from model_folders import CARD

from geoseg import catalog
from geoseg.catalog.legend import IGNORED
from geoseg.errors import CatalogError, GeosegError, ModelError

EXAMPLE = """
imagery:
  zion:
    bands:
      blue: {file: b2.tif}
      green: {file: [north/b3.tif, "south/*.tif"], band: 2}
    nodata: 65535
    scale: {blue: 0.5, green: 2}
    offset: -1000
  stacked:
    files: /vsicurl/https://example.com/all.tif
    bands: {red: 3, nir: 4}
    crs: EPSG:32612
    order: last
references:
  strata: {file: strata.tif, legend: mine, nodata: 0}
legends:
  mine:
    classes:
      - {id: 3, name: wet, colour: "#0000FF"}
      - {id: 7, name: dry, colour: "#ffff00"}
crosswalks:
  mine-to-landsat:
    from: mine
    to: landsat-6class
    classes: {3: 1, 7: null}
    lossy: {3: may be marsh}
models:
  tiny: {path: models/tiny}
regions:
  box: {bounds: [0, 1, 2, 3], crs: EPSG:4326}
  park: {file: parks.gpkg, layer: parks, where: "name = 'Zion'"}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data_catalog.yaml").write_text(EXAMPLE)
    (tmp_path / "models/tiny").mkdir(parents=True)
    (tmp_path / "models/tiny/card.yaml").write_text(yaml.safe_dump(CARD))
    return tmp_path


@pytest.fixture
def known(folder):
    return catalog.read(folder / "data_catalog.yaml")


def test_bands_of_their_own_files_carry_paths_from_the_catalog(known, folder):
    blue, green = known.imagery("zion").bands
    assert blue == catalog.Band("blue", (str(folder / "b2.tif"),), 1, 65535, 0.5, -1000)
    assert green.files == (str(folder / "north/b3.tif"), str(folder / "south/*.tif"))
    assert (green.index, green.scale, green.offset) == (2, 2.0, -1000.0)


def test_bands_of_stacked_files_share_the_files(known):
    layer = known.imagery("stacked")
    assert [(band.name, band.index) for band in layer.bands] == [("red", 3), ("nir", 4)]
    assert {band.files for band in layer.bands} == {("/vsicurl/https://example.com/all.tif",)}
    assert (layer.crs, layer.order, layer.resampling) == ("EPSG:32612", "last", "bilinear")


@pytest.mark.parametrize("path", ["s3://bucket/a.tif", "https://host.example/a.tif", "/vsizip/a.zip", "/data/a.tif"])
def test_absolute_and_remote_paths_stay_as_they_are(tmp_path, path):
    (tmp_path / "data_catalog.yaml").write_text(f"imagery: {{a: {{files: '{path}', bands: {{red: 1}}}}}}")
    assert catalog.read(tmp_path / "data_catalog.yaml").imagery("a").bands[0].files == (path,)


def test_relative_paths_start_at_the_catalog_wherever_one_works(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    relative = catalog.read(Path(folder.name) / "data_catalog.yaml")
    assert relative.reference("strata").file == str(folder / "strata.tif")
    assert relative.region("park").file == str(folder / "parks.gpkg")
    assert relative.region("box").bounds == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("look", "name", "sentence"),
    [
        ("imagery", "zoin", r"no imagery is called 'zoin' in .*data_catalog\.yaml; did you mean 'zion'"),
        ("reference", "stratum", r"no reference is called 'stratum' .*did you mean 'strata'"),
        ("legend", "min", r"no legend is called 'min' .*did you mean 'mine'"),
        ("crosswalk", "mine-landsat", r"no crosswalk is called .*did you mean 'mine-to-landsat'"),
        ("model", "tinny", r"no model is called 'tinny' .*did you mean 'tiny'"),
        ("region", "bax", r"no region is called 'bax' .*did you mean 'box'"),
    ],
)
def test_an_unknown_name_gets_the_nearest_known_one(known, look, name, sentence):
    with pytest.raises(CatalogError, match=sentence):
        getattr(known, look)(name)


def test_reference_brings_its_legend(known):
    reference = known.reference("strata")
    assert (reference.band, reference.nodata, reference.legend.names) == (1, 0, ("wet", "dry"))
    assert reference.legend.classes[0].colour == "#0000ff"


def test_crosswalk_turns_ids_and_ignores_null(known):
    walk = known.crosswalk("mine-to-landsat")
    table = walk.table()
    assert (table[3], table[7], table[0]) == (1, IGNORED, IGNORED)
    assert walk.lossy == ((3, "may be marsh"),)


def test_crosswalk_between_finds_the_only_one_and_the_identity(known):
    mine, landsat = known.legend("mine"), known.legend("landsat-6class")
    assert known.crosswalk_between(mine, landsat).name == "mine-to-landsat"
    assert known.crosswalk_between(mine, mine).pairs == ((3, 3), (7, 7))
    with pytest.raises(CatalogError, match="no crosswalk leads from legend 'landsat-6class' to 'mine'; add one"):
        known.crosswalk_between(landsat, mine)


def test_two_crosswalks_between_the_same_legends_must_be_named(folder):
    path = folder / "data_catalog.yaml"
    path.write_text(
        EXAMPLE.replace("crosswalks:", "crosswalks:\n  other: {from: mine, to: landsat-6class, classes: {}}")
    )
    known = catalog.read(path)
    with pytest.raises(CatalogError, match=r"crosswalks other, mine-to-landsat all lead .*name the one to use"):
        known.crosswalk_between(known.legend("mine"), known.legend("landsat-6class"))


def test_a_crosswalk_to_a_class_that_does_not_exist_is_refused(folder):
    path = folder / "data_catalog.yaml"
    path.write_text(EXAMPLE.replace("{3: 1, 7: null}", "{3: 99, 7: null}"))
    with pytest.raises(CatalogError, match="names class 99, which legend 'landsat-6class' lacks; its ids are 1, 2"):
        catalog.read(path).crosswalk("mine-to-landsat")


def test_models_are_found_by_name_and_by_folder(known, folder):
    assert known.model("tiny").folder == str(folder / "models/tiny")
    assert known.model("models/tiny").card == known.model(str(folder / "models/tiny")).card
    assert known.legend("two").names == ("water", "land")


def test_a_model_folder_without_card_says_so(known, folder):
    (folder / "models/tiny/card.yaml").unlink()
    with pytest.raises(ModelError, match=r"has no card\.yaml"):
        known.model("tiny")


def test_own_entries_come_before_shipped_ones(known):
    assert known.names("legends")[0] == "mine"
    assert {"nlcd", "worldcover", "dynamic-world", "corine-1", "corine-3"} <= set(known.names("legends"))


def test_everything_shipped_can_be_looked_up():
    ours = catalog.shipped()
    for name in ours.names("legends"):
        assert ours.legend(name).name == name
    for name in ours.names("crosswalks"):
        walk = ours.crosswalk(name)
        assert np.isin(walk.table()[list(walk.source.ids)], (IGNORED, *walk.target.ids)).all()
    for name in ours.names("models"):
        assert ours.model(name).weights.is_file()


def test_a_catalog_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(GeosegError, match="does not exist; check the path"):
        catalog.read(tmp_path / "data_catalog.yaml")

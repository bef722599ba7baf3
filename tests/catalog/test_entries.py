"""Entries: each key of a catalog is checked, and the first trouble becomes one sentence."""

import pytest

from geoseg import catalog
from geoseg.errors import CatalogError


def refusal(tmp_path, text: str) -> str:
    path = tmp_path / "data_catalog.yaml"
    path.write_text(text)
    with pytest.raises(CatalogError) as caught:
        catalog.read(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("imagry: {}", "unknown key 'imagry'; did you mean 'imagery'?"),
        ("imagery: {a: {file: a.tif, bands: {red: 1}}}", "unknown key 'imagery.a.file'; did you mean 'files'?"),
        ("imagery: {a: {bands: {red: {fil: a.tif}}}}", "unknown key 'imagery.a.bands.red.fil'; did you mean 'file'?"),
        ("imagery: {a: {files: a.tif, bands: {}}}", "imagery.a: name at least one band"),
        ("imagery: {a: {bands: {red: 1}}}", "band 'red' is number 1 of 'files', but 'files' is not given"),
        ("imagery: {a: {files: a.tif, bands: {red: 0}}}", "band numbers start at 1"),
        ("imagery: {a: {bands: {red: {file: a.tif, band: 0}}}}", "imagery.a.bands.red.band: input should be greater"),
        ("imagery: {a: {files: a.tif, bands: {r: 1, g: 2}, scale: {r: 1}}}", "'scale' must be one number or name each"),
        ("imagery: {a: {files: a.tif, bands: {r: 1}, scale: 0}}", "'scale' must be finite and not 0"),
        ("imagery: {a: {files: a.tif, bands: {r: 1}, offset: .nan}}", "'offset' must be finite"),
        ("imagery: {a: {files: [], bands: {r: 1}}}", "imagery.a.files: list more of them, found []"),
        ("imagery: {a: {files: '', bands: {r: 1}}}", "'' is no path"),
        ('imagery: {a: {files: "a\\0b", bands: {r: 1}}}', "holds a character that no text has"),
        ("references: {a: {file: a.tif}}", "key 'legend' is missing under 'references.a'"),
        ("regions: {a: {}}", "regions.a: give either 'bounds' with 'crs', or 'file'"),
        ("regions: {a: {bounds: [0, 0, 1, 1], crs: 'EPSG:4326', file: a.shp}}", "give either 'bounds' with 'crs', or"),
        ("regions: {a: {bounds: [0, 0, 1, 1]}}", "'bounds' needs 'crs', for instance 'EPSG:4326'"),
        ("regions: {a: {bounds: [0, 0, 1, 1], crs: 'EPSG:4326', where: x}}", "'layer' and 'where' belong to 'file'"),
        ("legends: {a: {classes: []}}", "legend 'a' has no classes"),
        ("legends: {a: {classes: [{id: 1, name: x, colour: red}]}}", "class 'x' has colour 'red'"),
        ("crosswalks: {a: {from: nlcd, too: b, classes: {}}}", "unknown key 'crosswalks.a.too'; did you mean 'to'?"),
        ("imagery: {a: &x {files: a.tif, bands: {r: 1}}, b: *x}", "aliases"),
        ("imagery: {a: {files: a.tif, bands: {r: 1}}, a: {files: b.tif, bands: {r: 1}}}", "key 'a' is given twice"),
    ],
)
def test_a_wrong_catalog_is_refused_in_one_sentence(tmp_path, text, sentence):
    assert sentence in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        (
            "a = 99 UNION SELECT 1",
            "regions.a: the filter 'a = 99 UNION SELECT 1' does not work: at character 8, 'UNION'",
        ),
        ("a = (SELECT 1)", "regions.a: the filter 'a = (SELECT 1)' does not work"),
    ],
)
def test_a_filter_is_checked_before_its_file_is_opened(tmp_path, where, sentence):
    assert sentence in refusal(tmp_path, f'regions: {{a: {{file: gone.gpkg, where: "{where}"}}}}')


@pytest.mark.parametrize("character", ["\\x07", "\\ufffd", "\\x85", "\\n"])
def test_a_class_name_that_no_map_can_hold_is_refused(tmp_path, character):
    text = f'legends: {{a: {{classes: [{{id: 1, name: "wet{character}land", colour: "#0000ff"}}]}}}}'
    assert "class 1 has the character U+" in refusal(tmp_path, text)

"""Change between two maps: counted as numpy and scikit-learn count, written so that GDAL and QGIS can read it."""

import json

import numpy as np
import pytest
import rasterio
from affine import Affine
from painted_maps import leftovers
from sklearn.metrics import confusion_matrix
from strategies import NORTH_UP, write

from geoseg.accuracy import change
from geoseg.accuracy.change import compare
from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import CatalogError, GridError, RasterError
from geoseg.maps import view
from geoseg.vectors import zones

LEGEND = Legend(
    "mine", (LandClass(7, "wood", "#00ff00"), LandClass(1, "water", "#0000ff"), LandClass(2, "crop", "#ffff00"))
)
RANDOM = np.random.default_rng(8)
BEFORE = RANDOM.choice(np.array([1, 2, 7, 255], np.uint8), (70, 90), p=[0.2, 0.3, 0.4, 0.1])
AFTER = np.where(RANDOM.random((70, 90)) < 0.8, BEFORE, RANDOM.choice(np.array([1, 2, 7, 255], np.uint8), (70, 90)))
DEGREES = Affine(0.5, 0, 10, 0, -0.5, 70)


def maps(folder, before=BEFORE, after=AFTER, transform=NORTH_UP, shift=(0, 0), **how):
    write(folder / "a.tif", before[None], transform, nodata=255, **how)
    moved = transform @ Affine.translation(shift[1], shift[0])
    write(folder / "b.tif", after[None], moved, nodata=255, **how)
    return folder / "a.tif", folder / "b.tif"


def compared(paths, **how):
    return compare(*paths, legend=LEGEND, after_legend=LEGEND, **how)


def test_counts_are_those_of_scikit_learn(tmp_path, monkeypatch):
    known = (BEFORE != 255) & (AFTER != 255)
    wanted = confusion_matrix(BEFORE[known], AFTER[known], labels=LEGEND.ids)
    for step in (1024, 17):
        monkeypatch.setattr(change, "_STEP", step)
        found = compared(maps(tmp_path))
        assert (found.pixels == wanted).all()
        assert found.areas_m2 == pytest.approx(wanted * 900.0)
    assert found.only_before == ((BEFORE != 255) & (AFTER == 255)).sum()
    assert found.only_after == ((BEFORE == 255) & (AFTER != 255)).sum()
    assert found.gained_m2.sum() == pytest.approx(found.lost_m2.sum())
    assert found.gained_m2 - found.lost_m2 == pytest.approx(found.areas_m2.sum(0) - found.areas_m2.sum(1))


def test_areas_in_degrees_are_those_of_geoseg_areas(tmp_path):
    before, after = (np.where(each == 255, 1, each) for each in (BEFORE, AFTER))
    paths = maps(tmp_path, before, after, DEGREES, crs="EPSG:4326")
    found = compared(paths)
    for path, axis in zip(paths, (1, 0)):
        areas = {each.class_id: each.area_m2 for each in zones.measure(path)}
        assert dict(zip(LEGEND.ids, found.areas_m2.sum(axis))) == pytest.approx(areas, rel=1e-9)


@pytest.mark.parametrize("shift", [(3, -5), (-7, 4), (60, 70)])
def test_a_map_that_is_cut_otherwise_is_compared_where_both_are(tmp_path, shift):
    found = compared(maps(tmp_path, shift=shift))
    framed = np.full((300, 300), 255, np.uint8)
    framed[100 + shift[0] : 170 + shift[0], 100 + shift[1] : 190 + shift[1]] = AFTER
    there = framed[100:170, 100:190]
    known = (BEFORE != 255) & (there != 255)
    assert (found.pixels == confusion_matrix(BEFORE[known], there[known], labels=LEGEND.ids)).all()
    assert found.only_before == ((BEFORE != 255) & (there == 255)).sum()


@pytest.mark.parametrize("step", [1024, 512])
def test_the_raster_says_of_each_pixel_what_became_what(tmp_path, step, monkeypatch):
    monkeypatch.setattr(change, "_STEP", step)
    found = compared(maps(tmp_path), out=tmp_path / "c.tif")
    legend = view.legend_of(tmp_path / "c.tif")
    names = dict(zip(LEGEND.ids, LEGEND.names))
    by_id = dict(zip(legend.ids, legend.names))
    with rasterio.open(tmp_path / "c.tif") as file:
        values, colours = file.read(1), file.colormap(1)
        assert (file.nodata, file.crs.to_epsg(), file.transform, file.dtypes) == (65535, 32612, NORTH_UP, ("uint16",))
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    for a, b, value in zip(BEFORE.ravel().tolist(), AFTER.ravel().tolist(), values.ravel().tolist()):
        if 255 in (a, b):
            assert value == 65535
        else:
            assert by_id[value] == ("no change" if a == b else f"{names[a]} to {names[b]}")
    counts = np.bincount(values[values != 65535])
    assert counts[0] == np.trace(found.pixels)
    assert colours[legend.ids[1]][:3] == legend.classes[1].rgb
    assert leftovers(tmp_path) == []
    areas = {each.class_name: each.area_m2 for each in zones.measure(tmp_path / "c.tif")}
    assert areas["wood to crop"] == pytest.approx(found.areas_m2[0, 2])


@pytest.mark.parametrize(
    ("how", "kind", "sentence"),
    [
        ({"shift": (0.5, 0)}, GridError, "differ in size or position"),
        ({"shift": (500, 0)}, GridError, "have no pixel in common"),
        ({"after": np.full_like(AFTER, 255)}, RasterError, "no pixel that holds data in both"),
        ({"after": np.full_like(AFTER, 9)}, CatalogError, "9"),
    ],
)
def test_maps_that_cannot_be_compared_are_refused(tmp_path, how, kind, sentence):
    (tmp_path / "c.tif").write_text("older")
    paths = maps(tmp_path, **how)
    with pytest.raises(kind, match=sentence):
        compared(paths, out=tmp_path / "c.tif")
    assert (tmp_path / "c.tif").read_text() == "older"
    assert leftovers(tmp_path) == []


def test_other_crs_and_legends_are_refused(tmp_path):
    first, second = maps(tmp_path)
    write(second, AFTER[None], NORTH_UP, "EPSG:32613", nodata=255)
    with pytest.raises(GridError, match="have different CRSs"):
        compared((first, second))
    other = Legend("theirs", (*LEGEND.classes[:2], LandClass(2, "grass", "#ffff00")))
    with pytest.raises(CatalogError, match=r"'mine' and .* 'theirs', which differ in ids or names"):
        compare(first, second, legend=LEGEND, after_legend=other)
    with pytest.raises(RasterError, match=r"is written to \.tif"):
        compared((first, second), out=tmp_path / "c.png")
    many = Legend("many", tuple(LandClass(id, f"c{id}", "#000000") for id in range(256)))
    with pytest.raises(CatalogError, match="too many for a raster of change"):
        change.codes(many)


def test_table_and_json_hold_the_same_numbers_and_the_caveat(tmp_path):
    found = compared(maps(tmp_path))
    head, rows, feet = change.table(found)
    held = json.loads(change.as_json(found))
    for name, before, gained, lost, net, after in rows:
        facts = held["classes"][name]
        assert [before, gained, lost, after] == pytest.approx(
            [facts[key] / 1e6 for key in ("before_m2", "gained_m2", "lost_m2", "after_m2")]
        )
        assert net == pytest.approx(gained - lost)
    assert len(head) == 6
    assert feet[-1] == change.CAVEAT == held["notes"][0]
    assert held["change"]["pixels"] == found.pixels.tolist()

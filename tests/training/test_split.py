"""Split: each class in each division where that can be, and no ground on both sides, whatever divides it."""

import json
from dataclasses import replace

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from labelled_scenes import cropped, loaded
from scipy import ndimage

from geoseg import catalog
from geoseg.errors import JobError
from geoseg.models.receptive_field import Field
from geoseg.training import fit, recipe, scenes
from geoseg.training.division import BUFFER, TEST, TRAIN, VALIDATION, Squares
from geoseg.training.recipe import Recipe
from geoseg.training.split import split, spread

FIELD = Field(8, 2, "bounded")


def asked(folder, **changes):
    """The recipe of a folder, changed."""
    text = recipe.read(folder / "training.yaml").model_dump(mode="json", exclude_none=True)
    return Recipe.model_validate({**text, **changes})


def divided(folder, spec, squares=None, field=FIELD):
    """Its scenes, divided."""
    known = catalog.read(folder / "data_catalog.yaml")
    legend = known.legend("plain")
    squares = squares or Squares.of(spec.chips, spec.seed, field, spec.split)
    found = [scenes.load(known, each, spec.bands, legend, squares, spec.normalisation) for each in spec.all_scenes]
    return split(found, spec, squares, legend, field)


counts = st.integers(1, 12).flatmap(
    lambda units: st.lists(
        st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=units, max_size=units
    ).map(np.array)
)  # fmt: skip


@given(counts, st.randoms(use_true_random=False))
def test_spreading_gives_each_group_each_class_that_enough_units_have_and_takes_none_away(found, chance):
    groups = [chance.randrange(3) for _ in found]
    after = np.array(spread(found, groups, [0, 1, 2], [chance.random() for _ in found]))
    before = np.array(groups)
    for kind in range(4):
        has = found[:, kind] > 0
        held = set(after[has])
        assert set(before[has]) <= held
    lone = (found > 0).sum(axis=1) <= 1  # units of one class alone can go wherever it lacks
    for kind in range(4):
        alone = (found[:, kind] > 0) & lone
        if alone.all() and len(found) >= 3:
            assert set(after[alone]) == {0, 1, 2}


def test_spreading_moves_nothing_where_nothing_lacks():
    assert spread(np.ones((6, 2)), [0, 0, 1, 1, 2, 2], [0, 1, 2], [0.0] * 6) == [0, 0, 1, 1, 2, 2]


def test_a_rare_class_is_in_each_division(folder):
    """Which chance alone does for some seeds only."""
    spec, found = asked(folder), loaded(folder)
    rare = np.zeros(found.labels.shape, bool)
    for row, col in ((0, 16), (32, 32), (64, 80)):  # in three squares
        rare[row + 4 : row + 10, col + 4 : col + 10] = True
    labels = np.where(rare, np.int16(1), np.where(found.labels == 1, np.int16(0), found.labels))
    known = catalog.read(folder / "data_catalog.yaml")
    moved = 0
    for seed in range(10):
        made = split(
            [replace(found, labels=labels)], spec, Squares(16, 0.15, 0.15, 0, seed), known.legend("plain"), FIELD
        )
        moved += bool(made.squares.moved)
        assert all(made.scenes[0].counts(kind, 3)[1] for kind in (TRAIN, VALIDATION, TEST)), seed
        assert ("moved" in made.said) == bool(made.squares.moved)
    assert 3 <= moved < 10


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_each_pixel_is_for_validation_in_one_fold_and_test_squares_stay(folder, folds):
    made = [
        divided(
            folder, asked(folder, split={"folds": folds, "fold": fold}, chips={"size": 16, "square": 16, "buffer": 0})
        )
        for fold in range(folds)
    ]
    kinds = np.array([each.scenes[0].division for each in made])
    assert (kinds == TEST).all(axis=0).sum() == (kinds == TEST).any(axis=0).sum() > 0
    assert (((kinds == VALIDATION).sum(axis=0) == 1) | (kinds == TEST).all(axis=0)).all()
    assert all(f"fold {fold} of {folds}" in each.said for fold, each in enumerate(made))


@pytest.fixture
def five(folder):
    """A folder with four more scenes, cut out of the first one."""
    text = (folder / "data_catalog.yaml").read_text()
    for number in range(4):
        cropped(folder, 24 * number, 0, 24, 100)
        for name in ("crop", "crop_truth"):
            (folder / f"{name}.tif").rename(folder / f"{name}{number}.tif")
    images = "".join(f"  s{n}: {{files: crop{n}.tif, bands: {{red: 1, nir: 2}}}}\n" for n in range(4))
    truths = "".join(f"  s{n}: {{file: crop_truth{n}.tif, legend: codes}}\n" for n in range(4))
    text = text.replace("references:", images + "references:").replace("legends:", truths + "legends:", 1)
    (folder / "data_catalog.yaml").write_text(text)
    return folder


def scenes_of(five, **changes):
    names = [{"imagery": f"s{n}", "reference": f"s{n}"} for n in range(4)]
    return {"imagery": None, "reference": None, "scenes": names, **changes}


def test_whole_scenes_go_to_divisions(five):
    made = divided(five, asked(five, **scenes_of(five, split={"by": "scenes"}, chips={"size": 16, "buffer": 0})))
    kinds = [set(np.unique(each.division).tolist()) for each in made.scenes]
    assert all(len(each) == 1 for each in kinds)
    assert set.union(*kinds) == {TRAIN, VALIDATION, TEST}
    again = divided(five, asked(five, **scenes_of(five, split={"by": "scenes"}, chips={"size": 16, "buffer": 0})))
    assert [each.division[0, 0] for each in made.scenes] == [each.division[0, 0] for each in again.scenes]


def test_each_scene_is_for_validation_in_one_fold(five):
    chips = {"size": 16, "buffer": 0, "test": 0}
    found = [
        divided(five, asked(five, **scenes_of(five, split={"by": "scenes", "folds": 4, "fold": fold}, chips=chips)))
        for fold in range(4)
    ]
    kinds = np.array([[scene.division[0, 0] for scene in each.scenes] for each in found])
    assert ((kinds == VALIDATION).sum(axis=0) == 1).all()
    assert ((kinds == VALIDATION).sum(axis=1) == 1).all()


def test_a_scene_goes_where_the_spec_says(five):
    names = scenes_of(five)["scenes"]
    names[2] = {**names[2], "division": "test"}
    names[1] = {**names[1], "division": "validation"}
    made = divided(five, asked(five, imagery=None, reference=None, scenes=names, split={"by": "scenes"}))
    assert (made.scenes[2].division == TEST).all()
    assert (made.scenes[1].division == VALIDATION).all()


@pytest.mark.parametrize("buffer", [0, 3, 9])
def test_labels_near_ground_that_another_scene_holds_out_are_not_learnt_from(five, buffer):
    """Scenes 0 to 3 lie side by side from north to south."""
    names = scenes_of(five)["scenes"]
    names[2] = {**names[2], "division": "validation"}
    names = [{**each, "division": each.get("division", "train")} for each in names]
    chips = {"size": 16, "buffer": buffer}
    made = divided(five, asked(five, imagery=None, reference=None, scenes=names, split={"by": "scenes"}, chips=chips))
    first, above, held, below = (each.division for each in made.scenes)
    assert (first == TRAIN).all()
    assert (held == VALIDATION).all()
    assert (above[24 - buffer :] == BUFFER).all()
    assert (above[: 24 - buffer] == TRAIN).all()
    assert (below[:buffer] == BUFFER).all()
    assert (below[buffer:] == TRAIN).all()


def layer(folder, crs="EPSG:32633", **kinds):
    """A layer of polygons: bounds in pixels (row, col, row end, col end) by division."""
    shapes = [
        shapely.box(500000 + 30 * col, 4000000 - 30 * down, 500000 + 30 * across, 4000000 - 30 * row)
        for row, col, down, across in kinds.values()
    ]
    frame = geopandas.GeoDataFrame({"division": list(kinds)}, geometry=shapes, crs="EPSG:32633").to_crs(crs)
    frame.to_file(folder / "held.gpkg")
    return {"by": "polygons", "file": str(folder / "held.gpkg")}


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326"])
def test_polygons_say_what_is_held_out(folder, crs):
    how = layer(folder, crs, validation=(0, 0, 40, 40), test=(60, 50, 96, 90))
    made = divided(folder, asked(folder, split=how, chips={"size": 16, "buffer": 4})).scenes[0]
    edge = 0 if crs == "EPSG:32633" else 1
    expected = np.full((96, 112), TRAIN)
    expected[:40, :40], expected[60:96, 50:90] = VALIDATION, TEST
    near = ndimage.distance_transform_cdt(expected == TRAIN, "chessboard")
    expected[(near > 0) & (near <= 4)] = BUFFER
    assert (made.division != expected).mean() <= 0.02 * edge


def test_with_polygons_for_training_nothing_else_is_learnt_from(folder):
    how = layer(folder, train=(0, 50, 40, 90), validation=(50, 0, 90, 40))
    made = divided(folder, asked(folder, split=how, chips={"size": 16, "buffer": 0})).scenes[0]
    assert (made.labels >= 0)[:40, 50:90].all()
    assert (made.labels >= 0).sum() == 2 * 40 * 40


def test_polygons_without_a_validation_or_with_other_names_are_refused(folder):
    how = layer(folder, test=(0, 0, 40, 40))
    with pytest.raises(JobError, match="has no polygon whose division is 'validation'; the best epoch is chosen there"):
        divided(folder, asked(folder, split=how))
    how = layer(folder, validation=(0, 0, 40, 40), tset=(50, 50, 60, 60))
    with pytest.raises(JobError, match=r"division is 'tset' for a polygon; did you mean 'test'.*, one of train"):
        divided(folder, asked(folder, split=how))


def test_a_buffer_that_leaves_nothing_to_learn_from_is_refused(folder):
    said = (
        r"every label of reference 'truth' on train squares of imagery 'scene' lies within 90 pixels of what is held "
        r"out; make chips.square \(16\) larger, chips.buffer smaller or change the seed"
    )
    with pytest.raises(JobError, match=said):
        divided(folder, asked(folder), Squares(16, 0.15, 0.15, 90, 1))


@pytest.mark.parametrize("kind", ["validation", "train"])
def test_a_scene_without_labels_in_a_division_is_refused(folder, kind):
    said = (
        rf"no label of reference 'truth' falls on {kind} squares of imagery 'scene'; check that they overlap, make "
        r"chips.square \(4000\) smaller or change the seed"
    )
    seed = next(n for n in range(99) if (Squares(4000, 0.5, 0, 0, n).drawn(-34, 4) == VALIDATION) == (kind == "train"))
    with pytest.raises(JobError, match=said):
        divided(folder, asked(folder), Squares(4000, 0.5, 0, 0, seed))


def test_a_buffer_narrower_than_what_the_network_sees_is_said(folder):
    spec = asked(folder, chips={"size": 16, "square": 16, "buffer": 2})
    (said,) = divided(folder, spec).notes
    assert said == (
        "the network sees 8 pixels far, but chips.buffer is 2: it was shown what it is judged on, and its scores "
        "flatter"
    )
    assert not divided(folder, asked(folder)).notes


def test_what_was_held_out_is_written_as_geojson_that_other_tools_place(folder):
    fit.train(asked(folder, epochs=1, out=str(folder / "tiny")))
    frame = geopandas.read_file(folder / "tiny" / "division.geojson")
    assert frame.crs == "EPSG:4326"
    assert set(frame.division) >= {"train", "validation", "test"}
    areas = frame.to_crs("EPSG:32633").set_index("division").geometry
    made = divided(folder, asked(folder)).scenes[0].division
    for kind, name in ((TRAIN, "train"), (VALIDATION, "validation"), (TEST, "test"), (BUFFER, "buffer")):
        assert areas[name].area == pytest.approx((made == kind).sum() * 900, rel=2e-3), name
    held = json.loads((folder / "tiny" / "division.geojson").read_text())
    assert all(each["properties"]["imagery"] == "scene" for each in held["features"])

"""Seen: the share of what is scored that a model was trained on, pixel by pixel, on any map's grid."""

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.accuracy import counting, score, seen, tables
from geoseg.accuracy.seen import Trained
from geoseg.catalog import Reference, shipped
from geoseg.catalog.card import AreasSpec
from geoseg.catalog.legend import LandClass, Legend
from geoseg.grid import Grid, Region, Window

LEFT, TOP = 300_000.0, 4_200_000.0
GRID = Grid.regular("EPSG:32612", 30)
EXTENT = Window(-140_000, 10_000, 40, 50)
"""Of a map whose corner is (LEFT, TOP)."""
LEGEND = Legend("two", (LandClass(1, "green", "#00ff00"), LandClass(2, "grey", "#888888")))


def areas(crs="EPSG:32612", **kinds):
    """Rectangles (row, col, height, width) of the map's pixels, as a card has them."""
    found = {
        kind: [(LEFT + 30 * col, TOP - 30 * (row + height), LEFT + 30 * (col + width), TOP - 30 * row)]
        for kind, (row, col, height, width) in kinds.items()
    }
    return AreasSpec.model_validate({"crs": crs, **found})


def masks_of(*found, grid=GRID, extent=EXTENT):
    return seen.on(Trained("net", found), grid, extent).within(extent)


def drawn(row, col, height, width, shape=(40, 50)):
    out = np.zeros(shape, bool)
    out[max(row, 0) : max(row + height, 0), max(col, 0) : max(col + width, 0)] = True
    return out


boxes = st.tuples(st.integers(-20, 45), st.integers(-20, 55), st.integers(1, 40), st.integers(1, 40))


@given(first=boxes, second=boxes, held=boxes)
@settings(max_examples=share_of(60), deadline=None)
def test_pixels_are_those_of_the_rectangles_and_training_goes_before_validation(first, second, held):
    found = masks_of(areas(train=first, validation=held), areas(train=second, test=(0, 0, 40, 50)))
    train = drawn(*first) | drawn(*second)
    np.testing.assert_array_equal(found["train"], train)
    np.testing.assert_array_equal(found["validation"], drawn(*held) & ~train)


def test_areas_in_another_crs_are_where_proj_puts_them():
    there = pyproj.Transformer.from_crs("EPSG:32612", "EPSG:26911", always_xy=True)
    x, y = there.transform(LEFT + 900, TOP - 600)
    bounds = (x - 300, y - 300, x + 300, y + 300)
    found = masks_of(AreasSpec(crs="EPSG:26911", train=(bounds,)))["train"]
    rows, cols = np.mgrid[:40, :50]
    xs, ys = there.transform(LEFT + 30 * (cols + 0.5), TOP - 30 * (rows + 0.5))
    expected = (abs(xs - x) < 300) & (abs(ys - y) < 300)
    np.testing.assert_array_equal(found, expected)
    assert 300 < expected.sum() < 500


@pytest.mark.parametrize(
    ("crs", "bounds"),
    [
        ("EPSG:32733", (500_000, 8_000_000, 510_000, 8_010_000)),  # Angola
        ("EPSG:32660", (500_000, 0, 600_000, 100_000)),  # the other side of the Earth
        ("EPSG:3031", (-2e6, -2e6, 2e6, 2e6)),  # Antarctica
        ("EPSG:4326", (5.0, 45.0, 6.0, 46.0)),
        ("EPSG:32612", (LEFT - 3000, TOP, LEFT, TOP + 3000)),  # touches the map's corner
        ("EPSG:32612", (LEFT - 3000, TOP + 300, LEFT + 3000, TOP + 3000)),
    ],
)
def test_areas_elsewhere_on_earth_are_not_on_the_map(crs, bounds):
    found = masks_of(AreasSpec(crs=crs, train=(bounds,), validation=(bounds,)))
    assert not found["train"].any()
    assert not found["validation"].any()


@pytest.mark.parametrize("bounds", [(-180.0, -90.0, 180.0, 90.0), (-120.0, 30.0, 20.0, 60.0)])
def test_an_area_of_half_the_earth_holds_a_map_in_metres(bounds):
    assert masks_of(AreasSpec(crs="EPSG:4326", train=(bounds,)))["train"].all()


def test_a_map_of_the_earth_finds_a_scene_in_metres():
    grid, extent = Grid.regular("EPSG:4326", 0.5), Window(-180, -360, 360, 720)
    scene = AreasSpec(crs="EPSG:32612", train=((200_000.0, 3_900_000.0, 800_000.0, 4_500_000.0),))
    found = seen.on(Trained("net", (scene,)), grid, extent).within(extent)["train"]
    lon, lat = np.meshgrid(-180 + 0.5 * (np.arange(720) + 0.5), 90 - 0.5 * (np.arange(360) + 0.5))
    x, y = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32612", always_xy=True).transform(lon, lat)
    inside = (abs(x - 500_000) < 300_000) & (abs(y - 4_200_000) < 300_000) & (abs(lon + 111) < 20)
    np.testing.assert_array_equal(found, inside)


@pytest.mark.parametrize(
    ("train", "validation", "said"),
    [
        (380, 0, "38% of the scored pixels lie in areas that the model net was trained on (training.scenes of its "),
        (380, 120, "38% of the scored pixels lie in areas that the model net was trained on, and another 12% where its "
         "weights were chosen (training.scenes of its card)"),
        (0, 0, "no scored pixel lies in an area that the model net was trained on (training.scenes of its card)"),
        (0, 10, "0% of the scored pixels lie in areas that the model net was trained on, and another 1% where its"),
        (1, 0, "less than 1% of the scored pixels lie"),
        (999, 0, "more than 99% of the scored pixels lie"),
        (1000, 0, "100% of the scored pixels lie"),
    ],
)  # fmt: skip
def test_the_sentence_says_how_much(train, validation, said):
    assert seen.sentence("net", {"train": train, "validation": validation}, 1000).startswith(said)


def test_a_card_without_areas_says_nothing():
    card = shipped().model("landsat-6class").card
    assert seen.of_cards([card]) == Trained("landsat-6class", card.areas)
    silent = card.model_copy(update={"training": {}, "name": "silent"})
    assert seen.of_cards([silent]) is None
    assert seen.of_cards([card.model_copy(update={"training": {"scenes": ["zion"]}})]) is None
    other = card.model_copy(update={"name": "other"})
    assert seen.of_cards([card, silent, other]) == Trained("landsat-6class + other", card.areas * 2)


# ------------------------------------------------------------------------------ with scores


def write(path, ids, **tags):
    profile = {"driver": "GTiff", "height": ids.shape[0], "width": ids.shape[1], "count": 1, "dtype": "uint8"}
    affine = Affine(30, 0, LEFT, 0, -30, TOP)
    with rasterio.open(path, "w", **profile, crs="EPSG:32612", transform=affine, nodata=255) as file:
        file.write(ids, 1)
        file.update_tags(**tags)
    return path


@pytest.fixture
def pair(tmp_path):
    """A map and its reference, each with holes."""
    random = np.random.default_rng(0)
    mapped, truth = (random.choice(np.array([1, 2, 255], np.uint8), (40, 50), p=(0.4, 0.5, 0.1)) for _ in range(2))
    write(tmp_path / "map.tif", mapped)
    reference = Reference("truth", str(write(tmp_path / "truth.tif", truth)), 1, LEGEND, None)
    return tmp_path / "map.tif", reference, (mapped < 255) & (truth < 255)


@pytest.mark.parametrize("region", [None, (0, 5, 33, 22)])
def test_only_scored_pixels_count(pair, region, monkeypatch):
    monkeypatch.setattr(counting, "STEP", 16)
    path, reference, scored = pair
    trained = Trained("net", (areas(train=(3, 4, 20, 30), validation=(10, 0, 30, 50)),))
    where = None
    if region is not None:
        (bounds,) = areas(train=region).train
        where = Region.of_bounds(bounds, "EPSG:32612")
        scored = scored & drawn(*region)
    found = score.score(path, reference, legend=LEGEND, region=where, trained=trained)
    train = scored & drawn(3, 4, 20, 30)
    expected = {"train": int(train.sum()), "validation": int((scored & drawn(10, 0, 30, 50) & ~train).sum())}
    assert found.provenance["seen_in_training"] == {"model": "net", "pixels": expected}
    assert tables.plain(found)["seen_in_training"] == {"model": "net", "pixels": expected}
    share = f"{expected['train'] / scored.sum():.0%} of the scored pixels lie in areas that the model net was trained"
    assert found.notes[-1].startswith(share)


def test_scores_are_the_same_with_and_without(pair):
    path, reference, _ = pair
    plain = score.score(path, reference, legend=LEGEND)
    more = score.score(path, reference, legend=LEGEND, trained=Trained("net", (areas(train=(0, 0, 9, 9)),)))
    np.testing.assert_array_equal(plain.confusion.matrix, more.confusion.matrix)
    assert more.notes[:-1] == plain.notes
    assert "seen_in_training" not in plain.provenance

"""The network that comes with geoseg: small, whole, as good as its card says, and the same on every machine."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
import yaml

from geoseg import catalog, demo, imagery
from geoseg.catalog import SHIPPED
from geoseg.catalog.card import read_model
from geoseg.models import loading, networks, receptive_field
from geoseg.training import folder, recipe, scenes, scoring
from geoseg.training.division import TEST, Squares, divide

FOLDER = SHIPPED / "models" / "landsat-6class"
GOLDEN = Path(__file__).parents[1] / "data" / "landsat-6class.npz"
"""Input of 4 x 32 x 32 and the scores that the network gave for it when it was shipped."""


@pytest.fixture(scope="module")
def model():
    return read_model(FOLDER)


@pytest.fixture(scope="module")
def network(model):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield loading.load(model, "cpu")
    torch.set_num_threads(before)


def test_it_is_in_the_shipped_catalog_and_small(model):
    assert catalog.shipped().model("landsat-6class").card == model.card
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 2_000_000
    assert not [file for file in FOLDER.iterdir() if file.suffix in (".pt", ".pth", ".pkl", ".ckpt", ".bin")]


def test_its_card_is_that_of_its_weights_and_legend(model):
    card = model.card
    loading.load(model, "cpu")  # refuses a wrong hash, name, shape or number
    assert card.bands == ("blue", "green", "red", "nir")
    assert card.legend == catalog.shipped().legend("landsat-6class")
    fresh = networks.build(card.architecture, 4, 6)
    assert receptive_field.probe(fresh, 4) == receptive_field.Field(card.halo, card.stride, card.field)


def test_its_scores_are_what_they_were_when_it_was_shipped(network):
    golden = np.load(GOLDEN)
    with torch.no_grad():
        found = network(torch.from_numpy(golden["pixels"])[None])[0].numpy()
    np.testing.assert_allclose(found, golden["scores"], rtol=0, atol=1e-4)


def test_its_scores_are_those_of_plain_arithmetic(model):
    golden, weight = np.load(GOLDEN), safetensors.numpy.load_file(model.weights)
    weight = {name: each.astype(np.float64) for name, each in weight.items()}
    np.testing.assert_allclose(by_hand(weight, golden["pixels"].astype(float), 3), golden["scores"], atol=1e-4)


def by_hand(weight, x, depth):
    """The network written out in numpy: (band, row, col) to (class, row, col)."""

    def convolved(x, name, pad):
        kernel = weight[f"{name}.weight"]
        size = kernel.shape[-1]
        x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
        views = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))
        return np.einsum("irckl,oikl->orc", views, kernel, optimize=True)

    def scaled(x, name):
        mean, var, gain, offset = (
            weight[f"{name}.{each}"][:, None, None] for each in ("running_mean", "running_var", "weight", "bias")
        )
        return np.maximum((x - mean) / np.sqrt(var + 1e-5) * gain + offset, 0)

    def once(x, name):
        return scaled(convolved(x, f"{name}.0", 1), f"{name}.1")

    kept = []
    for level in range(depth + 1):
        if level:
            kept.append(x)
            x = scaled(convolved(x, f"downs.{level - 1}.0", 0)[:, ::2, ::2], f"downs.{level - 1}.1")
        x = once(once(x, f"encoders.{level}.0"), f"encoders.{level}.1")
    for level in reversed(range(depth)):
        x = convolved(x, f"ups.{level}.0", 0) + weight[f"ups.{level}.0.bias"][:, None, None]
        x = once(x.repeat(2, 1).repeat(2, 2) + kept[level], f"decoders.{level}")
    return convolved(x, "head", 0) + weight["head.bias"][:, None, None]


def test_it_beats_the_random_forest_on_what_neither_saw(model):
    ours, forest = model.card.scores, model.card.scores["baselines"]["random forest"]
    assert ours["raleigh"]["beyond"]["mean_iou"] > forest["raleigh"]["beyond"]["mean_iou"]
    assert ours["all unseen"]["mean_iou"] > forest["all unseen"]["mean_iou"]
    for scene, division in (("zion", "test"), ("raleigh", "beyond")):
        assert ours[scene][division]["pixels"] == forest[scene][division]["pixels"]


def test_it_has_seen_no_label_of_the_demo_s_eastern_half(model):
    (west,) = [each for each in model.card.training["scenes"] if each["imagery"] == "raleigh"]
    assert west["part"] == {"west": 0.5}
    assert model.card.scores["raleigh"]["beyond"]["pixels"] == west["labelled_pixels"]["beyond"] > 90_000


def test_its_card_says_where_it_was_trained(model):
    zion, raleigh = model.card.areas
    scenes = model.card.training["scenes"]
    for areas, scene, pixel in ((zion, scenes[0], 30.0), (raleigh, scenes[1], 28.5)):
        for kind in ("train", "validation", "test"):
            found = sum((right - left) * (top - bottom) for left, bottom, right, top in getattr(areas, kind)) / pixel**2
            labelled = scene["labelled_pixels"][kind]
            assert found == pytest.approx(round(found), abs=0.01)  # whole pixels
            assert labelled <= round(found)
            assert labelled > 0.7 * found
    left, _, right, _ = yaml.safe_load(demo.CATALOG)["regions"]["east"]["bounds"]
    assert left < right
    assert max(edges[2] for edges in (*raleigh.train, *raleigh.validation, *raleigh.test)) <= left


@pytest.mark.slow
def test_its_areas_are_those_of_the_squares_it_was_trained_on(model, shared_data, tmp_path):
    text = (FOLDER / "data_catalog.yaml").read_text().replace("data/zion", str(shared_data / "zion"))
    (tmp_path / "data_catalog.yaml").write_text(text)
    spec = recipe.read(FOLDER / "training.yaml")
    scene = imagery.open(catalog.read(tmp_path / "data_catalog.yaml").imagery("zion").select(spec.bands, "test"))
    squares = Squares.of(spec.chips, spec.seed, receptive_field.Field(40, 8, "bounded"))
    division = divide(scene.window, {}, squares)
    nothing = np.zeros(0)
    loaded = scenes.LabelledScene("zion", scene.window, nothing, nothing, division, 1.0)
    assert folder.areas_of(loaded, scene.grid) == model.card.areas[0]


@pytest.mark.slow
def test_its_score_on_zion_s_test_squares_is_what_the_card_says(model, network, shared_data, tmp_path):
    text = (FOLDER / "data_catalog.yaml").read_text().replace("data/zion", str(shared_data / "zion"))
    (tmp_path / "data_catalog.yaml").write_text(text)
    spec = recipe.read(FOLDER / "training.yaml")
    known = catalog.read(tmp_path / "data_catalog.yaml")
    field = receptive_field.Field(model.card.halo, model.card.stride, model.card.field)
    squares = Squares.of(spec.chips, spec.seed, field)
    scene = scenes.load(known, spec.all_scenes[0], spec.bands, model.card.legend, squares, spec.normalisation)
    found = scoring.scores_of(scoring.confusion(network, field, scene, TEST, 6), model.card.legend)
    said = model.card.scores["zion"]["test"]
    assert found["pixels"] == said["pixels"]
    assert found["mean_iou"] == pytest.approx(said["mean_iou"], abs=1e-3)

"""What training promises: it learns, from nothing it should not see, and the same again from the same seed."""

import csv
import hashlib
import json
import math
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import geopandas
import large_scenes
import numpy as np
import pytest
import rasterio
import safetensors.numpy
import shapely
import torch
from affine import Affine
from labelled_scenes import RECIPE, cropped, loaded
from rasterio import features

from geoseg import catalog
from geoseg.catalog.card import read_model
from geoseg.errors import GeosegError, JobError, ModelError
from geoseg.training import fit, recipe
from geoseg.training.division import BUFFER, TRAIN
from geoseg.training.recipe import Recipe, SceneSpec


def test_training_learns_and_writes_a_whole_model_folder(trained):
    folder, heard, model = trained
    assert Path(model.folder) == folder / "tiny"
    assert heard[-1][:2] == (48, 48)
    assert [row["epoch"] for _, _, row in heard if row] == [1, 2, 3, 4, 5, 6]

    card = read_model(folder / "tiny").card
    assert card == model.card
    assert hashlib.sha256(model.weights.read_bytes()).hexdigest() == card.weights.sha256
    assert safetensors.numpy.load_file(model.weights)["head.weight"].shape == (3, 4, 1, 1)
    assert (card.stride, card.halo, card.field, card.bands) == (2, 8, "bounded", ("nir", "red"))
    assert (card.normalisation.kind, card.gsd_m, card.licence) == ("scene", 30, "CC0-1.0")
    assert card.legend == catalog.read(folder / "data_catalog.yaml").legend("plain")
    assert card.scores["all unseen"]["mean_iou"] > 0.8
    assert card.training["scenes"][0]["attribution"] == "made here"
    assert card.training["recipe"]["seed"] == 1
    assert "/" not in json.dumps(card.training)  # no path of this machine

    with (folder / "tiny" / "learning_curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["mean_iou"]) > float(rows[0]["mean_iou"])
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert (folder / "tiny" / "learning_curves.png").read_bytes()[:4] == b"\x89PNG"
    assert not list((folder / "tiny").glob(".new-*"))
    assert not (folder / "tiny" / "checkpoint.safetensors").exists()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_does_not(folder):
    spec = recipe.read(folder / "training.yaml").model_copy(update={"epochs": 1})
    state = torch.random.get_rng_state()
    hashes = [
        fit.train(spec.model_copy(update={"seed": seed}), folder / f"m{number}").card.weights.sha256
        for number, seed in enumerate((1, 1, 3))
    ]
    assert hashes[0] == hashes[1] != hashes[2]
    assert torch.equal(state, torch.random.get_rng_state())


def with_fields(folder):
    """The reference as polygons of another CRS, and another raster of it with pixels of 20 m, as references."""
    with rasterio.open(folder / "truth.tif") as file:
        codes = file.read(1)
        found = features.shapes(codes, codes > 0, transform=file.transform)
        shapes = [(shapely.geometry.shape(each), int(code)) for each, code in found]
        profile = file.profile | {"width": 150, "height": 144, "transform": Affine(20, 0, 500003, 0, -20, 4000007)}
    frame = geopandas.GeoDataFrame({"id": [code for _, code in shapes]}, geometry=[each for each, _ in shapes],
                                   crs="EPSG:32633")  # fmt: skip
    frame.to_crs("EPSG:4326").to_file(folder / "fields.gpkg")
    with rasterio.open(folder / "fine.tif", "w", **profile) as file:
        file.write(np.kron(codes[::2, ::2], np.ones((3, 3), np.uint8)), 1)
    text = (folder / "data_catalog.yaml").read_text()
    entry = "  fields: {file: fields.gpkg, column: id, legend: codes}\n  fine: {file: fine.tif, legend: codes}\n"
    (folder / "data_catalog.yaml").write_text(text.replace("legends:", entry + "legends:", 1))


@pytest.mark.slow
@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"reference": ("fields", "fine")},
        {"split": {"by": "polygons", "file": "held.gpkg"}, "reference": "fine"},
        {"scenes": [{"imagery": "scene", "reference": "truth", "part": {"west": 0.7}},
                    {"imagery": "crop", "reference": "crop"}], "imagery": None, "reference": None},
    ],
)  # fmt: skip
def test_weights_are_the_same_whether_scenes_are_held_or_read_by_windows(folder, change):
    with_fields(folder)
    cropped(folder, 20, 10, 64, 80)
    place = shapely.box(500000, 3999000, 501300, 4000000)
    geopandas.GeoDataFrame({"division": ["validation"]}, geometry=[place], crs="EPSG:32633").to_file(
        folder / "held.gpkg"
    )
    text = recipe.read(folder / "training.yaml").model_dump(mode="json", exclude_none=True)
    spec = Recipe.model_validate({**text, "epochs": 1, **change})
    if spec.split.file:
        spec = spec.model_copy(update={"split": spec.split.model_copy(update={"file": str(folder / "held.gpkg")})})
    found = []
    for memory in (10**9, 60_000, 0):
        fit.train(spec.model_copy(update={"memory": memory}), folder / str(memory))
        names = ("weights.safetensors", "division.geojson")
        text = re.sub(r"\n *seconds: .*", "", (folder / str(memory) / "card.yaml").read_text())
        found.append([text, *((folder / str(memory) / name).read_bytes() for name in names)])
    assert found[0] == found[1] == found[2]


TRAINING = """
    import sys
    import torch
    torch.set_num_threads(2)
    from geoseg.training import fit, reading, recipe
    def most_kb(process):  # ru_maxrss of a process is at least what its parent had when it was started
        return int(open(f"/proc/{process}/status").read().partition("VmHWM:")[2].split()[0])
    of_readers, close = [], reading._Reader.close
    def closing(reader):
        of_readers.append(most_kb(reader.process.pid))
        close(reader)
    reading._Reader.close = closing
    fit.train(recipe.read(sys.argv[1]))
    print(most_kb("self"), *of_readers)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_virtual_scene_of_10_gb_trains_in_2_gb(tmp_path):
    edge = 25_000
    large_scenes.make(tmp_path, edge, memory="300 MB")
    with rasterio.open(tmp_path / "scene.vrt") as file:
        assert file.width * file.height * file.count * 4 == 10e9
    command = [sys.executable, "-c", textwrap.dedent(TRAINING), str(tmp_path / "training.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    most_kb, reader_kb = map(int, done.stdout.split())
    assert most_kb * 1024 < 2e9, f"{most_kb / 1e6:.2f} GB"
    assert reader_kb * 1024 < 0.6e9, f"{reader_kb / 1e6:.2f} GB"
    card = read_model(tmp_path / "tiny").card
    labelled = card.training["scenes"][0]["labelled_pixels"]
    assert sum(labelled.values()) == edge * edge - 25 * 25 * 40 * 90
    assert card.scores["all unseen"]["mean_iou"] > 0.5


@pytest.mark.slow
def test_a_model_is_not_replaced_unasked(folder):
    spec = recipe.read(folder / "training.yaml").model_copy(update={"epochs": 1})
    before = fit.train(spec).card
    with pytest.raises(ModelError, match="holds a model already"):
        fit.train(spec)
    after = fit.train(spec.model_copy(update={"seed": 3}), overwrite=True).card
    assert after.weights.sha256 != before.weights.sha256


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("epochs: 6", "epoch: 6"), "unknown key 'epoch'; did you mean 'epochs'"),
        (("imagery: scene", "scenes: [{imagery: scene, reference: truth}]"), "give either 'imagery' with 'reference'"),
        (("reference: truth", ""), "belong together"),
        (("size: 16", "size: 17"), "chips.size is 17; the network takes multiples of 2 pixels, for instance 18"),
        (("square: 16", "square: 16, test: 0.9"), "leave nothing to train on"),
        (
            ("square: 16", "square: 16, buffer: 200"),
            r"lies within 200 pixels of what is held out; make chips",
        ),
        (("square: 16", "square: 4000"), "no label of reference 'truth' falls on (train|validation) squares"),
        (("[nir, red]", "[nir, green]"), "training needs band 'green'"),
        (("learning_rate: 0.02", "learning_rate: 1.0e+38"), "no network learns above 1, so make learning_rate smaller"),
        (("size: 16", "size: 128"), "chips.size is 128 pixels, but imagery 'scene' has only 96 x 112; make it smaller"),
        (("seed: 1", "split: {by: scene}"), "split.by: input should be 'squares', 'scenes' or 'polygons'"),
        (
            ("seed: 1", "split: {by: scenes}"),
            "no label of any scene is for validation by the split of 1 scene by scenes",
        ),
        (("seed: 1", "split: {by: squares, folds: 3, fold: 3}"), "fold 3 is asked for; folds are numbered from 0 to 2"),
        (("seed: 1", "split: {by: polygons}"), "'file' belongs to by: polygons, which needs it"),
        (
            ("seed: 1", "split: {by: polygons, file: none.gpkg}"),
            "none.gpkg does not exist; check the path of the file of polygons",
        ),
        (("reference: truth", "reference: truth\ncrosswalk: nlcd-to-landsat-6class"), "'plain' is to be learnt"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_sentence(folder, change, said):
    (folder / "training.yaml").write_text(RECIPE.replace(*change))
    with pytest.raises(GeosegError, match=said):
        fit.train(recipe.read(folder / "training.yaml"))
    assert not (folder / "tiny" / "card.yaml").exists()


def test_a_full_disk_is_told_before_the_first_epoch(folder, monkeypatch):
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=9_000_000))
    with pytest.raises(JobError, match="tiny needs 10 MB on its disk, where 9 MB are free; make room or name another"):
        fit.train(recipe.read(folder / "training.yaml"), progress=lambda *_: pytest.fail("an epoch began"))


def relabelled(folder, where):
    """Give each pixel of a (row, col) mask the next class."""
    with rasterio.open(folder / "truth.tif", "r+") as file:
        codes = file.read(1)
        following = np.zeros(256, np.uint8)
        following[[0, 10, 20, 30, 99]] = (0, 20, 30, 10, 99)
        file.write(np.where(where[:, :100], following[codes], codes), 1)


@pytest.mark.slow
@pytest.mark.parametrize("part", [{}, {"west": 0.6}])
@pytest.mark.sampled(2)
def test_weights_do_not_depend_on_labels_held_out_or_near_them(folder, part):
    scene = loaded(folder, part, buffer=8)
    spec = recipe.read(folder / "training.yaml")
    one = SceneSpec(imagery="scene", reference="truth", part=part)
    spec = spec.model_copy(update={"epochs": 1, "imagery": None, "reference": None, "scenes": (one,)})
    hashes = [fit.train(spec, folder / "before").card.weights.sha256]
    relabelled(folder, scene.division != TRAIN)
    hashes.append(fit.train(spec, folder / "after").card.weights.sha256)
    learnt = np.argwhere((scene.division == TRAIN) & (scene.labels >= 0))
    some = np.zeros(scene.division.shape, bool)
    some[tuple(learnt[: len(learnt) // 4].T)] = True
    relabelled(folder, some)
    hashes.append(fit.train(spec, folder / "other").card.weights.sha256)
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.slow
def test_without_a_buffer_labels_beside_held_out_squares_are_learnt_from(folder):
    near = loaded(folder, buffer=8).division == BUFFER
    spec = recipe.read(folder / "training.yaml")
    spec = spec.model_copy(update={"epochs": 1, "chips": spec.chips.model_copy(update={"buffer": 0})})
    before = fit.train(spec, folder / "before").card
    relabelled(folder, near)
    assert fit.train(spec, folder / "after").card.weights.sha256 != before.weights.sha256
    assert before.training["scenes"][0]["labelled_pixels"]["buffer"] == 0


def test_curves_hold_what_the_card_and_the_scene_say(trained):
    folder, heard, model = trained
    rows, card = [row for _, _, row in heard if row], model.card
    best = max(rows, key=lambda row: row["mean_iou"])
    assert card.training["best_epoch"] == best["epoch"]
    assert card.scores["all validation"]["mean_iou"] == pytest.approx(best["mean_iou"], abs=1e-4)
    assert all(math.isfinite(row["validation_loss"]) for row in rows)
    assert rows[-1]["validation_loss"] < rows[0]["validation_loss"]
    with (folder / "tiny" / "learning_curves.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [float(each["validation_loss"]) for each in read] == pytest.approx(
        [row["validation_loss"] for row in rows], rel=1e-5
    )

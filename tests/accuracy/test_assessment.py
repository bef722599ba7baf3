"""Assessment: maps and references by file and by name, in a folder as a user has it; scores against scikit-learn."""

import json
from dataclasses import asdict
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
import yaml
from affine import Affine
from sklearn.metrics import accuracy_score, confusion_matrix

from geoseg.accuracy import assessment
from geoseg.accuracy.confusion import pixel_accuracy
from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import CatalogError, GeosegError, RasterError

FINE = Legend("fine", tuple(LandClass(id, f"fine {id}", "#00ff00") for id in (10, 11, 20)))
COARSE = Legend("coarse", (LandClass(1, "green", "#00ff00"), LandClass(2, "grey", "#888888")))
WEST, NORTH = 300_000.0, 4_200_000.0

CATALOG = {
    "legends": {
        legend.name: {"classes": [asdict(each) for each in legend.classes]} for legend in (FINE, COARSE)
    },
    "crosswalks": {
        "fine-to-coarse": {"from": "fine", "to": "coarse", "classes": {10: 1, 11: 1, 20: 2}},
    },
    "references": {"truth": {"file": "truth.tif", "legend": "fine"}},
    "regions": {"west": {"bounds": [WEST, NORTH - 30 * 40, WEST + 30 * 25, NORTH], "crs": "EPSG:32612"}},
}  # fmt: skip


def write(path: Path, ids: np.ndarray, legend: Legend | None = None) -> Path:
    profile = {"driver": "GTiff", "height": ids.shape[0], "width": ids.shape[1], "count": 1, "dtype": "uint8"}
    affine = Affine(30, 0, WEST, 0, -30, NORTH)
    with rasterio.open(path, "w", **profile, crs="EPSG:32612", transform=affine, nodata=255) as file:
        file.write(ids, 1)
        if legend is not None:
            held = {"name": legend.name, "classes": [asdict(each) for each in legend.classes]}
            file.update_tags(GEOSEG_LEGEND=json.dumps(held))
    return path


MAPPED = np.random.default_rng(0).choice(np.array([1, 2], np.uint8), (40, 50))
TRUTH = np.random.default_rng(1).choice(np.array([10, 11, 20], np.uint8), (40, 50))
TRUTH_COARSE = np.where(TRUTH == 20, 2, 1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's working folder."""
    (tmp_path / "data_catalog.yaml").write_text(yaml.safe_dump(CATALOG))
    write(tmp_path / "map.tif", MAPPED, COARSE)
    write(tmp_path / "truth.tif", TRUTH)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_map_that_carries_its_legend_against_a_reference_of_the_catalog(folder: Path) -> None:
    found = assessment.score(folder / "map.tif", "truth")
    assert found.legend == COARSE
    assert found.crosswalk.name == "fine-to-coarse"
    assert pixel_accuracy(found.confusion.matrix) == accuracy_score(TRUTH_COARSE.ravel(), MAPPED.ravel())


def test_the_catalog_may_lie_elsewhere(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    here = assessment.score(folder / "map.tif", "truth")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        there = assessment.score(folder / "map.tif", "truth", catalog_file=folder / "data_catalog.yaml")
        assert np.array_equal(here.confusion.matrix, there.confusion.matrix)
        with pytest.raises(CatalogError, match="truth"):
            assessment.score(folder / "map.tif", "truth")


def test_only_the_region_counts(folder: Path) -> None:
    found = assessment.score(folder / "map.tif", "truth", region="west")
    assert found.confusion.matrix.sum() == 40 * 25
    assert pixel_accuracy(found.confusion.matrix) == accuracy_score(
        TRUTH_COARSE[:, :25].ravel(), MAPPED[:, :25].ravel()
    )
    with pytest.raises(GeosegError, match=r"no region is called 'wets'.*did you mean 'west'"):
        assessment.score(folder / "map.tif", "truth", region="wets")


def test_a_file_serves_as_reference_by_its_own_legend_or_one_named(folder: Path) -> None:
    write(folder / "carried.tif", TRUTH, FINE)
    wanted = assessment.score(folder / "map.tif", "truth").confusion.matrix
    for name, legend in (("carried.tif", None), (str(folder / "carried.tif"), None), ("truth.tif", "fine")):
        found = assessment.score(folder / "map.tif", name, reference_legend=legend)
        assert np.array_equal(found.confusion.matrix, wanted)
    with pytest.raises(CatalogError, match=r"truth\.tif does not say what its classes are; .* with --reference-legend"):
        assessment.score(folder / "map.tif", "truth.tif")


def test_a_crosswalk_from_the_map_to_the_reference_is_found_as_well(folder: Path) -> None:
    found = assessment.score(folder / "truth.tif", "map.tif", legend="fine")
    assert found.direction == "map to reference"
    assert found.legend == COARSE
    named = assessment.score(folder / "truth.tif", "map.tif", legend="fine", crosswalk="fine-to-coarse")
    assert np.array_equal(named.confusion.matrix, found.confusion.matrix)


def test_a_map_without_a_legend_needs_one_by_name(folder: Path) -> None:
    write(folder / "bare.tif", MAPPED)
    with pytest.raises(CatalogError, match=r"bare\.tif does not say what its classes are; .* with --legend, for inst"):
        assessment.score(folder / "bare.tif", "truth")
    named = assessment.score(folder / "bare.tif", "truth", legend="coarse")
    assert np.array_equal(named.confusion.matrix, assessment.score(folder / "map.tif", "truth").confusion.matrix)


def test_a_legend_by_name_goes_before_the_one_carried(folder: Path) -> None:
    write(folder / "wrong.tif", MAPPED, FINE)
    assert assessment.score(folder / "wrong.tif", "truth", legend="coarse").legend == COARSE
    with pytest.raises(CatalogError, match=r"map .*wrong\.tif holds id 1, 2, which legend 'fine' lacks"):
        assessment.score(folder / "wrong.tif", "truth")


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"reference": "truht"}, CatalogError, r"'truht'.*did you mean 'truth'"),
        ({"crosswalk": "fine-to-corase"}, CatalogError, r"'fine-to-corase'.*did you mean 'fine-to-coarse'"),
        ({"legend": "caorse"}, CatalogError, r"'caorse'.*did you mean 'coarse'"),
        ({"map_file": Path("gone.tif")}, RasterError, r"gone\.tif"),
        ({"legend": "worldcover"}, CatalogError, r"worldcover"),
        ({"crosswalk": "nlcd-to-worldcover"}, CatalogError, r"leads from legend 'nlcd' to 'worldcover'"),
    ],
)
def test_what_is_not_there_is_named(folder: Path, change: dict, error: type[GeosegError], match: str) -> None:
    with pytest.raises(error, match=match):
        assessment.score(**{"map_file": folder / "map.tif", "reference": "truth"} | change)


def test_without_a_catalog_there_is_what_geoseg_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "worldcover" in assessment.open_catalog(None).names("legends")
    (tmp_path / "data_catalog.yaml").write_text(yaml.safe_dump(CATALOG))
    assert "coarse" in assessment.open_catalog(None).names("legends")


def model(folder, name, digest, scale=30.0):
    """A model folder with a card that says where it was trained: the western 20 columns of the map."""
    areas = {"crs": "EPSG:32612", "train": [[WEST, NORTH - 40 * scale, WEST + 20 * scale, NORTH]]}
    classes = [asdict(each) for each in COARSE.classes]
    card = {
        "name": name, "architecture": {"name": "compact"}, "weights": {"file": "w.safetensors", "sha256": digest},
        "bands": ["red"], "halo": 0, "legend_name": "coarse", "classes": classes,
        "training": {"scenes": [{"areas": areas}]},
    }  # fmt: skip
    (folder / name).mkdir()
    (folder / name / "card.yaml").write_text(yaml.safe_dump(card))


def tagged(folder, name="net", digest="a" * 64):
    with rasterio.open(folder / "map.tif", "r+") as file:
        file.update_tags(GEOSEG_MODEL=name, GEOSEG_MODEL_SHA256=digest)
    return folder / "map.tif"


@pytest.mark.parametrize("where", ["in the catalog", "in the catalog by another name", "beside the catalog"])
def test_scores_say_what_share_was_seen_in_training(folder, where):
    model(folder, "net", "a" * 64)
    if where != "beside the catalog":
        models = {"broken": {"path": "nowhere"}, ("net" if where == "in the catalog" else "mine"): {"path": "net"}}
        (folder / "data_catalog.yaml").write_text(yaml.safe_dump({**CATALOG, "models": models}))
    map_file = tagged(folder, "net" if where != "in the catalog by another name" else "renamed")
    found = assessment.score(map_file, "truth")
    assert found.provenance["seen_in_training"] == {"model": "net", "pixels": {"train": 800, "validation": 0}}
    assert found.notes[-1].startswith("40% of the scored pixels lie in areas that the model net was trained on")
    west = assessment.score(map_file, "truth", region="west")
    assert west.notes[-1].startswith("80% of the scored pixels")


def test_nothing_is_said_of_a_model_that_is_not_known(folder):
    model(folder, "net", "a" * 64)
    for map_file in (folder / "map.tif", tagged(folder, "net", "b" * 64), tagged(folder, "gone")):
        found = assessment.score(map_file, "truth")
        assert "seen_in_training" not in found.provenance
        assert not [note for note in found.notes if "trained" in note]


def test_a_map_by_the_shipped_model_elsewhere_says_that_nothing_was_seen(folder):
    card = assessment.open_catalog(None).model("landsat-6class").card
    found = assessment.score(tagged(folder, card.name, card.weights.sha256), "truth", catalog_file=None)
    assert found.provenance["seen_in_training"]["model"] == "landsat-6class"
    assert found.provenance["seen_in_training"]["pixels"]["train"] == 0
    assert found.notes[-1].startswith("no scored pixel lies in an area that the model landsat-6class was trained on")


@pytest.mark.parametrize("points", [False, True])
def test_a_map_is_scored_against_polygons_and_points_as_scikit_learn_does(tmp_path, points):
    random = np.random.default_rng(3)
    mapped = random.choice(np.array([10, 11, 20, 255], np.uint8), (60, 80))
    write(tmp_path / "map.tif", mapped, FINE)
    affine = Affine(30, 0, WEST, 0, -30, NORTH)
    rows, cols = random.permutation(60)[:40], random.integers(0, 76, 40)
    kinds = random.choice([10, 11, 20], 40)
    corners = [affine @ (col, row) for row, col in zip(rows, cols)]
    shapes = [shapely.Point(x + 4, y - 4) if points else shapely.box(x, y - 30, x + 120, y) for x, y in corners]
    frame = geopandas.GeoDataFrame({"seen": [f"Fine {kind}" for kind in kinds]}, geometry=shapes, crs="EPSG:32612")
    frame.to_crs("EPSG:4326" if points else "EPSG:32612").to_file(tmp_path / "seen.gpkg")
    found = assessment.score(tmp_path / "map.tif", str(tmp_path / "seen.gpkg"), column="seen")
    truth = np.zeros((60, 80), int)
    for row, col, kind in zip(rows, cols, kinds):
        truth[row, col : col + (1 if points else 4)] = kind
    both = (truth > 0) & (mapped < 255)
    np.testing.assert_array_equal(
        found.confusion.matrix, confusion_matrix(truth[both], mapped[both], labels=[10, 11, 20])
    )

"""Bad input: one clear sentence, exit status 2, and nothing that stood before is damaged."""

import json
import os
import pickle
import resource
import shutil
import signal
from functools import partial

import numpy as np
import pytest
import rasterio
import shapely
import yaml
from affine import Affine
from model_folders import sha256, write_model
from small_jobs import SmallJob, contents, geoseg, process
from strategies import write

from geoseg.cluster import kinds
from geoseg.process import renew

UTM = {"crs": "EPSG:32612"}
INSIDE = [300100, 4199200, 300900, 4199800]


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """A job and the folder that it filled."""
    job = SmallJob.write(tmp_path_factory.mktemp("ready") / "job")
    assert job.run().code == 0
    return job


@pytest.fixture
def job(ready, tmp_path):
    """A fresh copy: what is bad is made bad here, after a run had filled `out`."""
    renew()
    return SmallJob(shutil.copytree(ready.folder, tmp_path / "job"))


def refused(job, *options):
    """The sentence with which `run` and `plan` refuse; the folder's contents are as they were."""
    before = contents(job.folder)
    planned, ran = job.plan(), job.run(*options)
    assert contents(job.folder) == before
    assert planned.refusal() == ran.refusal()
    return ran.refusal()


# ----------------------------------------------------------------------------------------- imagery


def test_a_missing_file_is_named(job):
    (job.folder / "scene.tif").unlink()
    assert "RasterError" in refused(job)
    assert "scene.tif does not exist or cannot be reached; check the path" in refused(job)


def test_a_pattern_without_files_is_named(job):
    job.imagery(files="none/*.tif")
    assert "imagery 'scene' wants files like" in refused(job)


@pytest.mark.parametrize("data", [b"", b"II*\0", b"not a raster", b"II*\0" + bytes(300)])
def test_an_unreadable_file_is_refused(job, data):
    (job.folder / "scene.tif").write_bytes(data)
    assert "scene.tif cannot be opened as GeoTIFF" in refused(job)


def test_a_truncated_file_is_refused(job):
    path = job.folder / "scene.tif"
    path.write_bytes(path.read_bytes()[:-200])
    assert "copy it again" in refused(job)


def test_a_folder_is_no_file(job):
    (job.folder / "folder.tif").mkdir()
    job.imagery(files="folder.tif")
    assert "folder.tif is no plain file, but a folder" in refused(job)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(job):
    (job.folder / "scene.tif").chmod(0)
    assert "Permission denied" in refused(job)


def test_a_missing_band_is_named(job):
    job.imagery(bands={"red": 1, "nir": 3})
    assert "band 'nir' is number 3 of" in refused(job)
    assert "which has 2; correct 'bands'" in refused(job)


def test_a_missing_crs_says_where_to_state_it(job):
    write(job.folder / "scene.tif", np.ones((2, 40, 50), np.uint8), crs=None)
    assert "scene.tif has no CRS; state it as 'crs'" in refused(job)
    job.imagery(crs="EPSG:32612")
    assert job.plan().code == 0


@pytest.mark.parametrize("crs", ["EPSG:999999", "nonsense", ""])
def test_an_unknown_crs_is_refused(job, crs):
    job.imagery(crs=crs)
    assert "crs" in refused(job).lower()


def test_a_file_without_georeference_is_refused(job):
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        write(job.folder / "scene.tif", np.ones((2, 40, 50), np.uint8), Affine.identity())
    assert "scene.tif has no georeference" in refused(job)


def test_imagery_that_is_not_in_the_catalog_names_the_nearest(job):
    job.job(imagery="scenes")
    assert "no imagery is called 'scenes'" in refused(job)
    assert "did you mean 'scene'?" in refused(job)


def test_scene_statistics_of_nothing_but_nodata_are_refused(job):
    write_model(job.folder / "model", normalisation={"kind": "scene"})
    write(job.folder / "scene.tif", np.zeros((2, 40, 50), np.uint8), nodata=0)
    assert "imagery 'scene' has no pixel with data" in refused(job)


# ------------------------------------------------------------------------------------------ region


@pytest.mark.parametrize(
    ("region", "sentence"),
    [
        ({"bounds": [0, 0, 1, 1], **UTM}, "do not meet, so check the region's coordinates and CRS"),
        ({"bounds": [-70, 30, -69, 31], "crs": "EPSG:4326"}, "do not meet"),
        ({"bounds": [500, 0, 500, 9], **UTM}, "left"),
        ({"bounds": [9, 9, 0, 0], **UTM}, "left"),
        ({"bounds": [0, 0, float("nan"), 9], **UTM}, "finite"),
        ({"bounds": [0, 0, float("inf"), 9], **UTM}, "finite"),
        ({"bounds": INSIDE}, "'bounds' needs 'crs'"),
        ({"bounds": INSIDE, "crs": "EPSG:0"}, "EPSG:0"),
        ({"bounds": INSIDE[:3], **UTM}, "value number 4 is missing"),
        ({"file": "gone.gpkg"}, "gone.gpkg does not exist"),
        ({"file": "job.yaml"}, "job.yaml is no GeoPackage, Shapefile, FlatGeobuf"),
        ({"file": "scene.tif"}, "scene.tif"),
        ("nowhere", "no region is called 'nowhere'"),
        ({"bounds": INSIDE, "where": "a = 1", **UTM}, "'layer' and 'where' belong to 'file'"),
    ],
)
@pytest.mark.sampled(3)
def test_a_region_that_cannot_be_used_is_refused(job, region, sentence):
    job.job(region=region)
    assert sentence in refused(job)


def outline(*points):
    return {"type": "Polygon", "coordinates": [[*points, points[0]]]}


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        ([], "there is no feature"),
        ([outline((0, 0), (1, 1), (1, 0), (0, 1))], "is not valid"),
        ([None], "has no geometry"),
        ([{"type": "Point", "coordinates": [0, 0]}], "is a Point"),
        ([{"type": "Polygon", "coordinates": []}], "is an empty polygon"),
    ],
)
def test_an_empty_or_self_crossing_region_is_refused(job, features, sentence):
    features = [{"type": "Feature", "properties": {"a": 1}, "geometry": each} for each in features]
    (job.folder / "r.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    job.job(region={"file": "r.geojson"})
    assert sentence in refused(job)


@pytest.mark.parametrize("where", ["a = 2", "b = 1", "a = ", "1; DROP TABLE r"])
def test_a_filter_that_selects_nothing_or_is_wrong_is_refused(job, where):
    shape = shapely.to_geojson(shapely.box(-113, 37, -112, 38))
    (job.folder / "r.geojson").write_text(f'{{"type": "Feature", "properties": {{"a": 1}}, "geometry": {shape}}}')
    job.job(region={"file": "r.geojson", "where": where})
    assert "the filter" in refused(job)


# ------------------------------------------------------------------------------- specs and catalogs


def test_a_missing_job_is_named_by_every_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in ("run", "plan"):
        assert "gone.yaml does not exist; check the path" in geoseg(command, tmp_path / "gone.yaml").refusal()
    assert "gone is no job folder" in geoseg("verify", tmp_path / "gone.yaml").refusal()
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "expected keys such as catalog, imagery, model, found nothing"),
        ("- a", "found list"),
        ("a: b: c", "is not plain YAML"),
        ("imagery: [", "is not plain YAML"),
        ("\t", "is not plain YAML"),
        ("imagery: scene", "key 'model' is missing; add it"),
        ("imagry: scene\nmodel: tiny", "unknown key 'imagry'; did you mean 'imagery'?"),
        ("imagery: scene\nmodel: tiny\ngrid: {crs: 'EPSG:32612', resolution: 0}", "grid.resolution"),
        ("imagery: scene\nmodel: tiny\ngrid: {crs: 'EPSG:32612', resolution: .nan}", "grid.resolution"),
        ("imagery: scene\nmodel: tiny\ngrid: {crs: 'EPSG:32612', resolution: .inf}", "grid.resolution"),
        ("imagery: scene\nmodel: tiny\ngrid: {crs: 'EPSG:32612', resolution: 1.0e-9}", "choose another grid"),
        ("imagery: scene\nmodel: tiny\ngrid: {crs: moon, resolution: 30}", "moon"),
        ("imagery: scene\nmodel: tiny\nmemory_per_worker: lots", "memory_per_worker"),
        (
            "imagery: scene\nmodel: tiny\nmemory_per_worker: 1MB",
            "leaves 0.00 GB for blocks, but one window",
        ),
        ("imagery: scene\nmodel: tiny\nmemory_per_worker: -1", "memory_per_worker"),
        ("imagery: scene\nmodel: tiny\ninference: {window: 7}", "window"),
        ("imagery: scene\nmodel: tiny\ninference: {window: 1.0e+300}", "window"),
        ("imagery: scene\nmodel: tiny\ninference: {window: 1000000000000}", "window"),
        ("imagery: scene\nmodel: tiny\ninference: {halo: 1000000000000}", "with a margin of 1000000000000"),
        ("imagery: scene\nmodel: tiny\ninference: {batch: 0}", "batch is 0; give a positive number"),
        ("imagery: scene\nmodel: tiny\ninference: {block: 1000000000000}", "inference.block"),
        ("imagery: scene\nmodel: tiny\ninference: {device: tpu}", "inference.device is 'tpu'"),
        ("imagery: scene\nmodel: tiny\noutputs: {vectors: [exe]}", "outputs.vectors"),
        ("imagery: scene\nmodel: tiny\noutputs: {sheet_pixels: 1}", "outputs.sheet_pixels"),
        ("imagery: scene\nmodel: tiny\noutputs: {simplify: 30m}", "list formats under 'vectors'"),
        ("imagery: scene\nmodel: tiny\noutputs: {vectors: [gpkg], simplify: 30}", "outputs.simplify"),
        ("imagery: scene\nmodel: tiny\noutputs: {vectors: [gpkg], attributes: [size]}", "outputs.attributes"),
        ("imagery: scene\nmodel: tiny\noutputs: {vectors: [gpkg], attributes: confidence}", "add 'confidence: true'"),
        ("imagery: scene\nmodel: tiny\noutputs: {vectors: [gpkg], simplify: 30 feet}", "is no tolerance to simplify"),
        ("imagery: scene\nmodel: tiny\noutputs: {vectors: [gpkg], min_area: 30}", "outputs.min_area"),
        ("imagery: scene\nmodel: tiny\noutputs: {vectors: [gpkg], min_area: 30 acres}", "is no least area"),
        ("imagery: scene\nmodel: tiny\noutputs: {vectors: [gpkg], min_area: lake=1ha}", "no class 'lake'"),
        ("imagery: scene\nmodel: tiny\nreference: nothing", "no reference is called 'nothing'"),
        ("imagery: scene\nmodel: tiny\ncatalog: gone.yaml", "gone.yaml does not exist"),
        ("imagery: scene\nmodel: 12", "model: input should be a valid string, found 12"),
    ],
)
@pytest.mark.sampled(3)
def test_a_wrong_job_is_refused(job, text, sentence):
    (job.folder / "job.yaml").write_text(text)
    assert sentence in refused(job)


def test_a_device_that_is_not_here_is_refused_by_runs_on_this_machine(job):
    job.job(inference={"device": "cuda:99"})
    assert job.plan().code == 0  # it may be there where the job will run
    assert "inference.device is 'cuda:99', but torch finds" in job.run("--overwrite").refusal("ModelError")


def test_a_job_that_is_a_folder_or_binary_is_refused(job):
    assert "is a folder; give a job spec, a YAML file" in geoseg("plan", job.folder).refusal()
    (job.folder / "job.yaml").write_bytes(b"\xff\xfe\0")
    assert "cannot be read as text" in refused(job)


def test_a_missing_catalog_is_named(job, tmp_path, monkeypatch):
    (job.folder / "data_catalog.yaml").unlink()
    monkeypatch.chdir(tmp_path)
    assert "no data_catalog.yaml lies beside the job" in refused(job)
    assert "data_catalog.yaml does not exist" in geoseg("catalog").refusal()


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"file": "scene.tif"}, "unknown key 'imagery.scene.file'; did you mean 'files'?"),
        ({"bands": {}}, "name at least one band"),
        ({"bands": {"red": 0}}, "band numbers start at 1"),
        ({"bands": {"red": 10**12, "nir": 1}}, "band 'red' is number 1000000000000"),
        ({"nodata": "x"}, "imagery.scene.nodata"),
        ({"nodata": -99999}, "nodata -99999 of band 'red' cannot occur"),
        ({"scale": 0}, "'scale' must be finite and not 0"),
        ({"files": []}, "imagery.scene.files"),
        ({"files": ""}, "imagery.scene.files"),
        ({"order": "middle"}, "imagery.scene.order"),
    ],
)
def test_a_wrong_catalog_is_refused(job, keys, sentence):
    job.imagery(**keys)
    assert sentence in refused(job)


# ------------------------------------------------------------------------------------------- models


def test_a_model_whose_bands_the_imagery_lacks_says_what_to_add(job):
    job.imagery(bands={"red": 1, "green": 2})
    said = refused(job)
    assert "model 'tiny' needs band 'nir'; imagery 'scene' has green, red" in said
    assert "Add 'nir' under imagery.scene.bands in data_catalog.yaml" in said


def test_an_unknown_model_names_the_nearest(job):
    job.job(model="tny")
    assert "no model is called 'tny'" in refused(job)


def test_weights_with_a_wrong_hash_are_refused(job):
    path = job.folder / "model" / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "but the card says" in refused(job)


def test_missing_weights_are_named(job):
    (job.folder / "model" / "weights.safetensors").unlink()
    assert "weights.safetensors cannot be read: No such file" in refused(job)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_pickled_weights_are_refused(job, name):
    model = job.folder / "model"
    (model / name).write_bytes(pickle.dumps({"a": 1}))
    card = yaml.safe_load((model / "card.yaml").read_text())
    card["weights"] = {"file": name, "sha256": sha256(model / name)}
    (model / "card.yaml").write_text(yaml.safe_dump(card))
    assert "is a pickle, which can run code when it is read" in refused(job)


# ----------------------------------------------------------------------------------- the job folder


def test_the_folder_of_another_job_is_kept_until_overwrite(job):
    job.job(region={"bounds": INSIDE, **UTM})
    before = contents(job.out)
    said = job.run().refusal("LedgerError")
    assert "out holds another job: " in said
    assert "start over in this one with --overwrite" in said
    assert contents(job.out) == before
    assert job.run("--overwrite").code == 0
    with rasterio.open(job.out / "map.tif") as found:
        assert found.shape == (20, 27)


def test_a_folder_with_files_of_ones_own_is_kept(job):
    shutil.rmtree(job.out)
    job.out.mkdir()
    (job.out / "thesis.txt").write_text("years of work")
    assert "holds files but no job" in job.run().refusal("LedgerError")
    assert contents(job.out) == {"thesis.txt": b"years of work"}
    assert job.run("--overwrite").code == 0
    assert (job.out / "thesis.txt").read_text() == "years of work"


def test_output_among_the_imagery_is_refused(job):
    shutil.move(job.folder / "scene.tif", job.out / "scene.tif")
    job.imagery(files="out/scene.tif")
    before = contents(job.out)
    assert "holds the imagery" in job.run("--overwrite").refusal("JobError")
    assert contents(job.out) == before


def test_a_file_in_place_of_the_folder_is_kept(job):
    shutil.rmtree(job.out)
    job.out.write_text("a file")
    assert "out is a file" in job.run().refusal("LedgerError")
    assert job.out.read_text() == "a file"


@pytest.mark.parametrize("place", ["scene.tif/out", "/proc/nothing/out"])
def test_a_folder_that_cannot_be_made_is_refused(job, place):
    said = geoseg("run", job.folder / "job.yaml", "--workers", "0", "--out", job.folder / place)
    assert "cannot be" in said.refusal("LedgerError")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_refused(job):
    job.job(region={"bounds": INSIDE, **UTM})
    job.out.chmod(0o500)
    assert "cannot be written" in job.run("--overwrite").refusal("LedgerError")
    job.out.chmod(0o700)


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"digest": 1}', b"\xff"])
def test_a_damaged_job_folder_is_refused(job, damage):
    (job.out / "job.json").write_bytes(damage)
    assert "job.json is damaged" in job.run().refusal("LedgerError")


@pytest.mark.slow
def test_no_space_left_ends_in_one_sentence_and_keeps_what_stood(job):
    """A file size limit stands for a full disk: the map does not fit, the small files before it do."""
    assert job.run("--overwrite").code == 0
    before = (job.out / "map.tif").read_bytes()
    (job.out / "outputs.json").unlink()  # the map is to be put together again
    words = ["run", job.folder / "job.yaml", "--workers", "0", "--out", job.out]
    room = (job.out / "job.json").stat().st_size + 1
    said = process(*words, preexec_fn=lambda: limit_file_size(room))
    assert "the space left" in said.refusal()
    assert (job.out / "map.tif").read_bytes() == before
    assert not [each for each in job.out.rglob("*") if "new-" in each.name or each.suffix == ".tmp"]
    assert job.run().code == 0


def limit_file_size(size):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_job_larger_than_the_disk_is_refused_before_it_runs(job, monkeypatch):
    shutil.rmtree(job.out)
    job.job(grid={"crs": "EPSG:32612", "resolution": 0.01}, memory_per_worker="4GB")
    full = shutil._ntuple_diskusage(10**12, 10**12, 10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    assert "no space left: the map may need" in job.run().refusal("LedgerError")


# -------------------------------------------------------------------------------------- the cluster


def test_workers_and_scheduler_exclude_each_other(job):
    said = geoseg("run", job.folder / "job.yaml", "--workers", "1", "--scheduler", "tcp://127.0.0.1:1").refusal()
    assert "--workers and --scheduler exclude each other" in said


@pytest.mark.parametrize("address", ["127.0.0.1:1", "tcp://127.0.0.1:1", "nonsense://x", "tcp://", "no where"])
@pytest.mark.sampled(3)
def test_a_scheduler_that_is_not_there_is_told_with_the_command_to_go_on(job, address, monkeypatch):
    before = contents(job.out)
    monkeypatch.setattr(kinds, "running", partial(kinds.running, timeout_s=0.3))
    said = geoseg("run", job.folder / "job.yaml", "--out", job.folder / "fresh", "--scheduler", address)
    *notes, first, second = [line for line in said.err.splitlines() if line]
    assert said.code == 75
    assert all(note.startswith("note: ") for note in notes)
    assert first.startswith("ClusterError: ")
    assert second.startswith("go on with: ")
    assert contents(job.out) == before


# -------------------------------------------------------------------------------- the other commands


def test_maps_that_cannot_be_scored_or_traced_are_refused(job, tmp_path):
    write(tmp_path / "float.tif", np.ones((1, 9, 9), np.float32))
    (tmp_path / "text.tif").write_text("text")
    target = tmp_path / "out.shp"
    for name, sentence in (("gone", "does not exist"), ("text.tif", "cannot be read"), ("float.tif", "integer class")):
        assert sentence in geoseg("vectorize", tmp_path / name, "--out", target).refusal()
    assert "not to '.exe'" in geoseg("vectorize", job.out / "map.tif", "--out", tmp_path / "out.exe").refusal()
    assert "no class" in geoseg("vectorize", job.out / "map.tif", "--classes", "sea", "--out", target).refusal()
    for name in ("gone", "text.tif", "float.tif"):
        geoseg("evaluate", tmp_path / name, job.out / "map.tif").refusal()
        geoseg("evaluate", job.out / "map.tif", tmp_path / name, "--reference-legend", "nlcd").refusal()
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("command", ["status", "logs", "cancel", "resume"])
def test_jobs_that_are_not_there_are_refused(command, tmp_path, monkeypatch):
    for place in ("DATA", "STATE", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{place}_HOME", str(tmp_path / place))
    geoseg(command, tmp_path / "gone").refusal()


def test_training_from_nothing_is_refused(tmp_path):
    geoseg("train", tmp_path / "gone.yaml").refusal()


@pytest.mark.slow
def test_a_real_process_says_one_sentence_too(job, tmp_path):
    (job.folder / "scene.tif").unlink()
    said = process("run", job.folder / "job.yaml", "--workers", "0", "--out", tmp_path / "out")
    assert "scene.tif does not exist" in said.refusal("RasterError")
    assert not (tmp_path / "out").exists()

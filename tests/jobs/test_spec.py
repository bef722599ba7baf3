"""Spec: what a job asks for, as YAML has it."""

import pytest

from geoseg.errors import JobError
from geoseg.jobs import spec as job_spec
from geoseg.jobs.spec import JobSpec


def test_the_catalog_beside_the_job_is_found_and_else_the_one_here(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    spec = tmp_path / "a" / "job.yaml"
    spec.write_text("imagery: x\nmodel: y\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JobError, match=r"no data_catalog\.yaml lies beside the job or in"):
        job_spec.read(spec)
    (tmp_path / "data_catalog.yaml").write_text("{}")
    assert job_spec.read(spec).catalog == str(tmp_path / "data_catalog.yaml")
    (tmp_path / "a" / "data_catalog.yaml").write_text("{}")
    assert job_spec.read(spec).catalog == str(tmp_path / "a" / "data_catalog.yaml")
    spec.write_text("imagery: x\nmodel: y\ncatalog: ../c.yaml\n")
    assert job_spec.read(spec).catalog == str(tmp_path / "a" / "../c.yaml")


def test_memory_is_written_as_people_write_it():
    assert int(JobSpec(imagery="x", model="y", memory_per_worker="3GB").memory_per_worker) == 3_000_000_000
    assert JobSpec(imagery="x", model="y", reference="z").reference.name == "z"

"""Batch systems: what their jobs start, judged by dask-jobqueue's own job scripts."""

from __future__ import annotations

import pytest

from geoseg.cluster import batch


@pytest.mark.parametrize("kind", batch.CLASSES)
def test_batch_jobs_start_workers_that_leave_in_peace(kind: str) -> None:
    """dask-jobqueue's own script for the job is what the batch system would be given."""
    queues = pytest.importorskip("dask_jobqueue")
    own = {"htcondor": {"disk": "1GB"}, "oar": {"memory_per_core_property_name": "memcore"}}.get(kind, {})
    asked = {"cores": 8, "memory": "16GB", "worker_extra_args": ["--lifetime", "55m"], **own}
    one_job = getattr(queues, batch.CLASSES[kind]).job_cls("tcp://10.0.0.1:8786", name="w1", **batch.options(asked))
    assert "tcp://10.0.0.1:8786 --name w1" in one_job.job_script()
    assert "--worker-class geoseg.cluster.worker.BlockWorker --nthreads 2 --lifetime 55m" in one_job.job_script()


def test_the_options_of_the_user_go_first_and_are_left_as_they_were() -> None:
    asked = {"processes": 4, "queue": "gpu", "worker_extra_args": ["--lifetime", "55m"]}
    made = batch.options(asked)
    assert asked == {"processes": 4, "queue": "gpu", "worker_extra_args": ["--lifetime", "55m"]}
    assert (made["processes"], made["queue"]) == (4, "gpu")
    assert made["worker_extra_args"][-2:] == ["--lifetime", "55m"]
    assert batch.options({})["processes"] == 1


def test_every_class_is_one_of_dask_jobqueue() -> None:
    queues = pytest.importorskip("dask_jobqueue")
    assert all(hasattr(queues, name) for name in batch.CLASSES.values())

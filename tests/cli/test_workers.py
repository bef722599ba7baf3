"""Workers: how commands reach a cluster, and what they refuse before one starts."""

import re
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import typer
from small_jobs import SmallJob, geoseg

from geoseg import process
from geoseg.cli.workers import mapped
from geoseg.cluster import local
from geoseg.cluster import mapper as mapper_module
from geoseg.errors import ModelError
from geoseg.jobs import resolve
from geoseg.jobs import spec as job_spec
from geoseg.jobs.ahead import map_ahead
from geoseg.models import devices


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return SmallJob.write(tmp_path_factory.mktemp("workers") / "job")


def plan_of(job, **keys):
    job.job(**keys)
    return resolve.resolve(job_spec.read(job.folder / "job.yaml"))


def test_no_workers_is_this_process(job):
    with mapped(plan_of(job), 0, None) as (mapper, threads):
        assert mapper is map_ahead
        assert threads == process.cores()


def test_workers_and_a_scheduler_exclude_each_other(job, capsys):
    with pytest.raises(typer.Exit) as caught, mapped(plan_of(job), 1, "tcp://127.0.0.1:9"):
        pass
    assert caught.value.exit_code == 2
    assert "--workers and --scheduler exclude each other" in capsys.readouterr().err


def test_a_device_that_is_not_here_is_refused_before_any_cluster_starts(job):
    plan = plan_of(job, inference={"device": "cuda:99"})
    job.job(inference={})
    with pytest.raises(ModelError, match=r"inference\.device is 'cuda:99', but torch finds"), mapped(plan, 1, None):
        raise AssertionError("started")


def test_no_cluster_starts_for_nothing_to_do(job):
    with mapped(plan_of(job), 2, None) as (mapper, threads):
        assert list(mapper(len, [])) == []
        assert threads == local.threads_per_worker(2)


def test_one_cluster_serves_blocks_made_again_and_sheets_too(job, monkeypatch):
    """A damaged block is found when the map is put together, when the cluster has run for long."""
    started = []

    class Over(list):
        def __call__(self, function, items):
            return map(function, items)

        def of(self, noun, lost, stall_s):
            return lambda function, items: [(noun, lost, stall_s, function(each)) for each in items]

    def over(client, lost, **how):
        started.append(client)
        return Over()

    monkeypatch.setattr(local, "cpu_cluster", lambda *_: nullcontext(SimpleNamespace(dashboard_link="here")))
    monkeypatch.setattr(mapper_module, "map_over", over)
    with mapped(plan_of(job), 2, None) as (mapper, _):
        assert list(mapper(abs, iter([-1, -2]))) == [1, 2]
        assert list(mapper(abs, [-3])) == [3]
        assert list(mapper.of("sheet", print, 9.0)(abs, [-4])) == [("sheet", print, 9.0, 4)]
    assert len(started) == 1


def test_a_worker_that_cannot_start_is_refused(monkeypatch):
    monkeypatch.setattr(devices, "gpus", lambda: 0)
    said = geoseg("worker", "tcp://127.0.0.1:9", "--gpu", "all").refusal("JobError")
    assert "--gpu all, but torch finds no CUDA device here" in said
    for memory in ("lots", "8 apples", "-1 GB x"):
        said = geoseg("worker", "tcp://127.0.0.1:9", "--memory", memory).refusal("JobError")
        assert re.search("--memory is .*; give bytes with a unit, '8GB' say", said)


@pytest.mark.parametrize("option", [("--workers", "0"), ("--threads", "0"), ("--leave", "-1")])
def test_numbers_out_of_range_are_a_usage_error(option):
    answer = geoseg("worker", "tcp://127.0.0.1:9", *option)
    assert answer.code == 2
    assert option[0] in answer.err


@pytest.mark.parametrize("word", ["worker", "run", "submit", "resume"])
def test_help_names_the_certificates(word):
    answer = geoseg(word, "--help")
    assert answer.code == 0
    assert {"--tls-ca", "--tls-cert", "--tls-key"} <= set(re.findall(r"--[a-z-]+", answer.out))

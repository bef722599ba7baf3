"""Scaling: simulated runs keep the bounds that arithmetic gives, and are made of what a real job measured."""

import numpy as np
import pytest
from examples import share_of
from farm import plan_of
from hypothesis import given, settings
from hypothesis import strategies as st
from small_jobs import SmallJob

from geoseg.errors import LedgerError
from geoseg.jobs import run as job_run
from geoseg.jobs import scaling
from geoseg.jobs.scaling import Assumed, Measured, measured, simulate

EVEN = Measured(np.array([0.1]), np.array([1.0]), np.array([0.05]))
FREE = Assumed(block_mpx=1, storage_gb_s=1e6, scheduler_ms=0, deaths_per_hour=0, start_s=0, finish_mpx_s=1e6)


def free(**other):
    return Assumed(**{name: getattr(FREE, name) for name in FREE.__slots__} | other)


@pytest.mark.parametrize("workers", [1, 4, 100])
def test_without_limits_time_is_work_by_workers(workers):
    found = simulate(EVEN, 1000, workers, FREE)
    assert found.made_s == pytest.approx(0.1 + 1000 / workers * 1.0 + 0.05, abs=1.0)
    assert found.busy == pytest.approx(1, abs=0.15 if workers == 100 else 0.01)


parts = st.floats(0.01, 3)


@settings(deadline=None, max_examples=share_of(60))
@given(parts, parts, parts, st.integers(1, 60), st.floats(0.01, 5), st.floats(0, 50), st.floats(0, 20))
def test_no_run_beats_any_of_its_parts(read, infer, write, workers, storage, scheduler, deaths):
    found = Measured(np.array([read, read]), np.array([infer, 2 * infer]), np.array([write, write]))
    assumed = free(storage_gb_s=storage, scheduler_ms=scheduler, deaths_per_hour=deaths, start_s=5)
    told = simulate(found, 200, workers, assumed)
    made = told.made_s - 5
    assert made >= 200 * infer / workers * 0.999
    assert made >= 200 * scheduler / 1000 * 0.999
    assert made >= 200 * 8e6 / (storage * 1e9) * 0.999
    assert made >= read + infer + write - 1e-9
    assert 0 < told.busy <= 1 + 1e-9


@pytest.mark.parametrize(
    ("limit", "assumed", "mpx", "workers"),
    [
        ("network", FREE, 2000, 10),
        ("storage", free(storage_gb_s=0.008), 2000, 100),
        ("scheduler", free(scheduler_ms=100), 2000, 100),
        ("few blocks", FREE, 250, 100),
        ("finish", free(finish_mpx_s=1.0), 2000, 100),
    ],
)
def test_what_limits_is_named(limit, assumed, mpx, workers):
    told = simulate(EVEN, mpx, workers, assumed)
    assert told.limit == limit
    assert limit in scaling.ADVICE


def test_sheets_are_put_together_side_by_side_and_one_sheet_by_one_worker():
    assumed = free(finish_mpx_s=2.0, sheet_pixels=10_000)
    assert [scaling.finishing(1000, workers, assumed) for workers in (1, 3, 10, 100)] == [500, 200, 50, 50]
    assert scaling.finishing(90, 100, assumed) == 45
    assert scaling.finishing(1000, 7, assumed) >= 1000 / 2 / 7


def test_twice_the_storage_halves_what_storage_limits():
    one, two = (simulate(EVEN, 2000, 200, free(storage_gb_s=rate)).made_s for rate in (0.01, 0.02))
    assert one / two == pytest.approx(2, rel=0.05)


def test_deaths_cost_time_and_the_seed_decides():
    def runs(seed, deaths):
        return simulate(EVEN, 1000, 10, free(deaths_per_hour=deaths, start_s=10, seed=seed)).made_s

    assert runs(1, 50) == runs(1, 50) != runs(2, 50)
    assert runs(1, 50) > runs(1, 0) * 1.05


def test_a_finished_job_is_what_is_drawn_from(tmp_path, model):
    job = SmallJob.write(tmp_path / "job", model)
    plan = plan_of(job)
    job_run.run(plan, job.out, threads=1)
    found = measured(job.out)
    assert len(found.infer_s) == len(list(plan.blocks()))
    assert (found.infer_s > 0).all()
    rows = scaling.table([simulate(found, 1000, workers) for workers in (1, 10)])
    assert [row[0] for row in rows] == ["workers", "1", "10"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(LedgerError):
        measured(tmp_path / "empty")

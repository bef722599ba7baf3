"""Events: TensorBoard reads the curves, and where it is not installed that is one sentence before the first epoch."""

import importlib.util

import pytest
from small_jobs import geoseg

from geoseg.training import events, fit, recipe


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is not None, reason="tensorboard is installed")
def test_without_tensorboard_it_is_told_before_the_first_epoch(folder, monkeypatch):
    monkeypatch.chdir(folder)
    answer = geoseg("train", "training.yaml", "--tensorboard")
    assert answer.code == 2
    assert "tensorboard is not installed; install it (pip install tensorboard), or leave it out" in " ".join(
        answer.err.split()
    )
    assert not (folder / "tiny").exists()


def test_tensorboard_reads_each_epoch(folder):
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    rows = []
    fit.train(
        recipe.read(folder / "training.yaml"),
        tensorboard=True,
        progress=lambda done, total, row: rows.append(row) if row else None,
    )
    found = reading.EventAccumulator(str(folder / "tiny" / events.FOLDER))
    found.Reload()
    assert [each.value for each in found.Scalars("mean_iou")] == pytest.approx([row["mean_iou"] for row in rows])
    assert [each.step for each in found.Scalars("iou/water")] == [row["epoch"] for row in rows]

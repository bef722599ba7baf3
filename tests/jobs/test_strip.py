"""Strip: polygons traced on a cluster are those of one process; a file that is another one there ends it."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from clusters import client_of
from farm import Farm, plan_of
from small_jobs import SmallJob, contents

from geoseg.cluster.mapper import map_over
from geoseg.errors import RasterError
from geoseg.jobs import run as job_run
from geoseg.jobs import strip
from geoseg.rasters import identity
from geoseg.storage import store


class Here:
    """Spreads work over nothing, in an order of its own."""

    def of(self, noun: str, lost: Callable[[Any, str], Any], stall_s: float) -> Callable[..., Iterable[Any]]:
        return lambda function, items: [function(item) for item in reversed(list(items))]


def test_work_is_done_while_files_are_those_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PATIENCE_S", 0.0)
    file = tmp_path / "map.tif"
    file.write_bytes(b"one")
    over = strip.over(Here(), [file])
    assert list(over(functools.partial(pow, 2), [1, 2, 3])) == [8, 4, 2]
    os.utime(file, (1, 1))
    with pytest.raises(RasterError, match="is not the one that the command began with"):
        over(str, [1])
    file.unlink()
    with pytest.raises(RasterError, match="does not exist there"):
        over(str, [1])


def test_a_worker_that_sees_the_file_late_waits_for_it(tmp_path: Path) -> None:
    file = tmp_path / "map.tif"
    file.write_bytes(b"one")
    known = {str(file): identity.stamp(str(file))}
    late = file.rename(tmp_path / "late")
    threading.Timer(0.2, late.rename, [file]).start()
    assert strip.traced(known, str, 5) == "5"


def test_strips_that_kill_workers_end_the_run_in_one_sentence() -> None:
    with pytest.raises(RasterError, match=r"workers died over one part of the map \(3 deaths\).*--workers 0"):
        strip.lost(None, "3 deaths")


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("sheet_pixels", [512, 65536], ids=["sheets", "one"])
def test_polygons_of_a_run_on_a_cluster_are_those_of_one_process(
    farm: Farm, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sheet_pixels: int
) -> None:
    job = SmallJob.write(tmp_path / "job", model, (1400, 600))
    outputs = {"vectors": ["shp", "parquet"], "min_area": "1ha", "confidence": True, "attributes": "confidence"}
    job.job(
        inference={"window": 256, "block": 512},
        outputs={**outputs, "sheet_pixels": sheet_pixels, "quicklook": False, "report": False},
    )
    plan = plan_of(job)
    job_run.run(plan, tmp_path / "alone", threads=2)
    monkeypatch.setattr(strip, "LEAST_PIXELS", 0)
    sent: list[str] = []
    monkeypatch.setattr(strip, "over", lambda *how, over=strip.over: sent.append("") or over(*how))
    farm.scale(2)
    with client_of(farm, 2) as client:
        job_run.run(plan, tmp_path / "there", mapper=map_over(client, job_run.lost(plan.digest)))
    assert sent
    found = [
        {name: data for name, data in contents(tmp_path / each).items() if name.startswith("vectors/")}
        for each in ("alone", "there")
    ]
    assert found[0]
    assert found[1] == found[0]

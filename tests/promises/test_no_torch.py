"""Commands that label nothing themselves start without torch, and so does the scheduler that leads a job."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from clusters import PATHS, Processes, client_of
from farm import small

COMMAND = """
import sys
from geoseg.cli import main
try:
    main()
finally:
    heavy = sorted({"torch", "torchvision", "segmentation_models_pytorch", "onnxruntime"} & set(sys.modules))
    print("loaded:", heavy, file=sys.stderr)
"""


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """Cache and state folders of an account of its own."""
    return {f"XDG_{kind}_HOME": str(tmp_path / kind.lower()) for kind in ("CACHE", "STATE")}


def said(home: dict[str, str], *words: object) -> str:
    """What a command says in a process of its own, and what it had loaded when it ended."""
    env = {**os.environ, **home, "PYTHONPATH": os.pathsep.join(PATHS)}
    command = [sys.executable, "-c", COMMAND, *map(str, words)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.slow
def test_plan_submit_and_status_load_no_torch_and_neither_does_the_scheduler(
    tmp_path: Path, model: Path, home: dict[str, str]
) -> None:
    made = small(tmp_path, model, 2, 2)
    job = made.folder / "job.yaml"
    said(home, "plan", job, "--no-probe")  # the network is tried once, in a process of its own
    assert [*(tmp_path / "cache/geoseg/models").glob("*.json")], "the trial is noted"
    assert "loaded: []" in said(home, "plan", job, "--no-probe")
    processes = Processes(tmp_path, env=home)  # not forked: those have torch from the beginning
    try:
        processes.scheduler()
        processes.worker("--no-nanny", "--nthreads", "2")
        with client_of(processes, 1) as client:
            handed = ("submit", job, "--scheduler", processes.address, "--name", "light", "--out", made.out)
            assert "loaded: []" in said(home, *handed, "--watch")
            assert (made.out / "map.tif").is_file()
            # A lambda travels by value; a function of this module would have the scheduler import it, and torch.
            there = client.run_on_scheduler(lambda: sorted({"torch", "geoseg"} & set(sys.modules)))
            assert there == ["geoseg"]
            assert "loaded: []" in said(home, "status", made.out)
    finally:
        processes.end()

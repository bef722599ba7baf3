"""SLURM for real: one machine with munged, slurmctld and slurmd of its own, and workers that are batch jobs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from clusters import PATHS, gone, wait_until

from geoseg.cluster import kinds
from geoseg.cluster.mapper import map_over
from geoseg.cluster.spec import ClusterSpec

pytestmark = pytest.mark.slow
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")


def on_worker(item: int) -> tuple[int, str]:
    time.sleep(0.5)
    return item, os.environ["SLURM_JOB_ID"]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """SLURM with one node of two CPUs, for as long as the test runs."""
    missing = [each for each in PROGRAMS if shutil.which(each) is None]
    if missing:
        pytest.skip(f"SLURM is not installed, {missing[0]} is missing: apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("only root can start slurmd")
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    paths = PATHS
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    key = tmp_path / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    (tmp_path / "slurm.conf").write_text(settings(tmp_path))
    munge = {"key-file": key, "socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log"}
    files = [f"--{name}={tmp_path / file}" for name, file in {**munge, "seed-file": "munge.seed"}.items()]
    daemons = []
    try:
        for command in ["munged", "--foreground", "--force", *files], ["slurmctld", "-D", "-c"], ["slurmd", "-D", "-c"]:
            with (tmp_path / f"{command[0]}.out").open("wb") as log:
                daemons.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path))
            wait_until((tmp_path / "munge.socket").exists)
        wait_until(lambda: "idle" in ask("sinfo", "--noheader", "--format=%T"), 30)
        yield
    finally:
        for daemon in reversed(daemons):
            for each in [*psutil.Process(daemon.pid).children(recursive=True), daemon]:
                each.kill()
            daemon.wait()


def settings(folder: Path) -> str:
    """A slurm.conf for this machine alone."""
    host = socket.gethostname().partition(".")[0]
    megabytes = psutil.virtual_memory().total // 2**20
    controller, node = free_ports(2)
    return f"""
ClusterName=geoseg
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} RealMemory={megabytes} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout


def test_map_survives_a_cancelled_batch_job(slurm: None, tmp_path: Path) -> None:
    options = {
        "cores": 1,
        "memory": "1GB",
        "walltime": "00:10:00",
        "interface": "lo",
        "python": sys.executable,
        "log_directory": str(tmp_path / "logs"),
        "scheduler_options": {"dashboard_address": "127.0.0.1:0"},
    }
    notes: list[str] = []
    spec = ClusterSpec(kind="slurm", workers=2, options=options)
    with kinds.opened(spec, 1_000_000_000, note=notes.append) as client:
        wait_until(lambda: len(client.nthreads()) == 2, 120)
        results = map_over(client, gone, note=notes.append)(on_worker, range(80))
        done = [next(results) for _ in range(12)]
        cancelled, _ = sorted({job_id for _, job_id in done})
        ask("scancel", cancelled)
        begin = time.monotonic()
        done += results
        left = time.monotonic() - begin
        assert ask("squeue", "--noheader", "--format=%A", "--states=running").split() != []
    assert sorted(item for item, _ in done) == list(range(80))
    shares = Counter(job_id for _, job_id in done)
    print(f"blocks of each batch job: {dict(shares)}; {left:.1f} s after scancel; notes: {notes}")
    assert notes == []
    assert shares[cancelled] < 30

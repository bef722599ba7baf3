"""Clusters of every kind: what cannot be started here is checked as far as it can be."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import certificate
from clusters import Processes, gone, nap

from geoseg.cluster import batch, kinds, kubernetes, tls
from geoseg.cluster.mapper import map_over
from geoseg.cluster.spec import ClusterSpec
from geoseg.errors import ClusterError
from geoseg.jobs import spec as job_spec

ROOT = Path(__file__).parents[2]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    all_of_them = Processes(tmp_path, warm=True)
    yield all_of_them
    all_of_them.end()


@pytest.mark.slow
def test_map_runs_over_tls_and_strangers_are_refused(processes: Processes, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    flags = ("--tls-ca-file", str(cert), "--tls-cert", str(cert), "--tls-key", str(key), "--protocol", "tls")
    processes.scheduler(*flags)
    address = processes.address
    assert address.startswith("tls://127.0.0.1")
    ours = ("--tls-ca", str(cert), "--tls-cert", str(cert), "--tls-key", str(key))
    processes.start("-c", "from geoseg.cli import main; main()", "worker", address, *ours)
    with kinds.running(address, security=tls.certificates(cert, cert, key)) as client:
        assert sorted(map_over(client, gone, patience_s=60)(nap, range(5))) == list(range(5))
    with pytest.raises(ClusterError, match="certificates"), kinds.running(address, 2):
        pass


@pytest.mark.slow
def test_nobody_at_the_address_is_an_error() -> None:
    with pytest.raises(ClusterError, match="no Dask scheduler answers"), kinds.running("tcp://127.0.0.1:1", 1):
        pass


@pytest.mark.slow
def test_a_port_that_takes_connections_and_never_answers_is_an_error_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ClusterError, match="it took the connection and said nothing"), kinds.running(address, 1.0):
            pass
        assert time.monotonic() - begin < 5


@pytest.mark.slow
def test_a_scheduler_that_is_stopped_is_an_error_in_time(processes: Processes) -> None:
    scheduler = processes.scheduler()
    address = processes.address
    os.kill(scheduler.pid, signal.SIGSTOP)
    begin = time.monotonic()
    with pytest.raises(ClusterError, match="no Dask scheduler answers"), kinds.running(address, 1.0):
        pass
    assert time.monotonic() - begin < 5
    os.kill(scheduler.pid, signal.SIGCONT)
    with kinds.running(address, 20.0) as client:
        assert client.nthreads() == {}


@pytest.mark.parametrize(
    "address", ["nonsense://x", "tcp://127.0.0.1", "tcp://127.0.0.1:notaport", "tcp://[::1", "tcp://"]
)
def test_what_is_no_address_is_said_at_once(address: str) -> None:
    begin = time.monotonic()
    with pytest.raises(ClusterError, match="no Dask scheduler answers"), kinds.running(address, 5):
        pass
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize("file", sorted((ROOT / "workflows/clusters").glob("*.yaml")), ids=lambda file: file.stem)
def test_example_of_each_kind_is_understood(file: Path) -> None:
    """Read as a job; and what a batch system or Kubernetes would be given can be made from it."""
    assert f"geoseg run workflows/clusters/{file.name}" in file.read_text("utf-8")
    spec = job_spec.read(file)
    assert spec.cluster is not None
    assert file.stem in (spec.cluster.kind, "gpus", "running")
    if spec.cluster.kind in batch.CLASSES:
        queues = pytest.importorskip("dask_jobqueue")
        made = getattr(queues, batch.CLASSES[spec.cluster.kind]).job_cls
        script = made("tcp://10.0.0.1:8786", name="w1", **batch.options(spec.cluster.options)).job_script()
        assert "--nworkers" not in script
        assert "--lifetime" in script
    if spec.cluster.kind == "kubernetes":
        options = {key: value for key, value in spec.cluster.options.items() if key != "namespace"}
        assert kubernetes.manifest(workers=4, **options)["metadata"]["name"] == "geoseg"


def test_missing_package_names_what_to_install() -> None:
    spec = ClusterSpec(kind="gateway")
    with pytest.raises(ClusterError, match="pip install dask-gateway"), kinds.opened(spec, 10**9):
        pass


def test_their_complaints_become_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: object) -> None:
        raise RuntimeError(f"no account for {options}")

    monkeypatch.setitem(sys.modules, "coiled", types.SimpleNamespace(Cluster=refuse))
    spec = ClusterSpec(kind="coiled", workers=2, options={"region": "mars"})
    sentence = "the coiled cluster could not be started .RuntimeError: no account for .*'region': 'mars'"
    with pytest.raises(ClusterError, match=sentence), kinds.opened(spec, 10**9):
        pass

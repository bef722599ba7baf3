"""Clusters on this machine: on loopback, each process with its share, each GPU with a process."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import dask
import psutil
import pytest
from clusters import Processes, client_of
from distributed import Client
from hypothesis import given
from hypothesis import strategies as st

from geoseg import process
from geoseg.cluster import local
from geoseg.cluster.worker import BlockWorker
from geoseg.errors import ClusterError


def visible_device() -> str:
    return os.environ["CUDA_VISIBLE_DEVICES"]


def kind_of_worker(dask_worker: object) -> str:
    return type(dask_worker).__name__


def environment() -> tuple[str | None, str | None]:
    return os.environ.get("GDAL_CACHEMAX"), os.environ.get("MALLOC_ARENA_MAX")


@pytest.mark.slow
def test_each_gpu_gets_a_process_that_sees_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    with local.gpu_cluster(2, 1_000_000_000) as client:
        assert sorted(client.run(visible_device).values()) == ["3", "5"]
        assert set(client.nthreads().values()) == {2}
        every = [client.scheduler.address, *client.nthreads(), *nannies(client)]
        assert all(each.startswith("tls://127.0.0.1:") for each in every)
        assert len(every) == 5
        assert attempt(every, tmp_path) == "refused"


def test_no_gpu_is_an_error() -> None:
    with pytest.raises(ClusterError, match="no CUDA device"), local.gpu_cluster(0, 1_000_000_000):
        pass


@pytest.mark.parametrize(
    ("visible", "gpus", "names"),
    [
        (None, 3, ("0", "1", "2")),
        ("3,5", 2, ("3", "5")),
        ("3, 5 ,7", 2, ("3", "5")),
        ("GPU-8f", 1, ("GPU-8f",)),
        ("", 0, ()),
        (None, 0, ()),
    ],
)
def test_gpus_are_named_as_cuda_names_them(
    visible: str | None, gpus: int, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert local.devices(gpus) == names


@given(st.integers(0, 10_000))
def test_threads_of_all_workers_fit_the_cores_and_each_has_one(workers: int) -> None:
    threads = local.threads_per_worker(workers)
    assert threads >= 1
    assert threads == 1 or threads * workers <= process.cores() < (threads + 1) * max(1, workers)


def test_cores_are_those_that_this_process_may_use() -> None:
    assert process.cores() == len(os.sched_getaffinity(0)) <= (os.cpu_count() or 1)


def test_workers_are_set_up_for_blocks_and_the_scheduler_leaves_counting_to_the_map(tmp_path: Path) -> None:
    with local.cpu_cluster(1, 1_000_000_000) as client:
        assert set(client.run(kind_of_worker).values()) == {BlockWorker.__name__}
        assert set(client.nthreads().values()) == {2}
        assert set(client.run(environment).values()) == {(os.environ.get("GDAL_CACHEMAX", "256"), "2")}
        assert client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.allowed_failures) == 10
        limits = {each["memory_limit"] for each in client.scheduler_info()["workers"].values()}
    assert limits == {1_000_000_000}


@pytest.mark.slow
def test_a_cluster_on_this_machine_listens_on_loopback_alone() -> None:
    with local.cpu_cluster(1, 1_000_000_000) as client:
        addresses = {*listening(), *client.run(listening).popitem()[1], *client.run(listening, nanny=True).popitem()[1]}
    assert len(addresses) >= 4  # scheduler, dashboard, nanny, worker
    assert {host for host, _ in addresses} <= {"127.0.0.1", "::1"}


def listening() -> list[tuple[str, int]]:
    """Where this process listens, as the system has it."""
    found = psutil.Process().net_connections(kind="tcp")
    return [tuple(each.laddr) for each in found if each.status == psutil.CONN_LISTEN]


# ------------------------------------------------------------------------- other accounts of the machine

NOBODY = 65534
STRANGER = f"""
import asyncio, os, sys
from distributed.core import rpc
from distributed.protocol.pickle import dumps
from distributed.security import Security
target, *addresses = sys.argv[1:]
if os.geteuid() == 0:
    os.setgroups([]), os.setgid({NOBODY}), os.setuid({NOBODY})
own = Security.temporary().get_connection_args("client")

def harm(target):
    open(target, "w").close()

async def attempt(address, args, operation):
    try:
        there = rpc(address, connection_args=args, timeout=2)
        call = getattr(there, operation)(function=dumps(harm), args=dumps((target,)), wait=True)
        await asyncio.wait_for(call, 2)
        return "answered"
    except AttributeError:
        return "answered"
    except (OSError, TimeoutError, RuntimeError):
        return "refused"

async def attempts():
    plain = ["tcp://" + each.partition("://")[2] for each in addresses]
    doors = [(each, {{}}) for each in plain] + [(each, own) for each in addresses]
    said = await asyncio.gather(*(attempt(*door, each) for door in doors for each in ("run", "run_function")))
    print(*sorted(set(said)), "and code ran" * os.path.exists(target))

asyncio.run(attempts())
"""


def attempt(addresses: list[str], folder: Path) -> str:
    """What comes of another account's attempts to run code there: without a certificate, and with one of its own."""
    folder.chmod(0o777)
    for each in folder.parents[:3]:
        each.chmod(each.stat().st_mode | 0o011)
    command = [sys.executable, "-c", STRANGER, str(folder / "harm"), *addresses]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def nannies(client: Client) -> list[str]:
    return [each["nanny"] for each in client.scheduler_info(n_workers=-1)["workers"].values()]


@pytest.mark.slow
def test_another_account_runs_no_code_on_a_cluster_of_this_machine(tmp_path: Path) -> None:
    with local.cpu_cluster(1, 1_000_000_000) as client:
        every = [client.scheduler.address, *client.nthreads(), *nannies(client)]
        assert len(every) == 3
        assert attempt(every, tmp_path) == "refused"
        assert client.submit(abs, -3).result() == 3


@pytest.mark.slow
def test_without_certificates_another_account_does_run_code(tmp_path: Path) -> None:
    """The attempts above are no shots in the dark."""
    processes = Processes(tmp_path, warm=True)
    try:
        processes.scheduler()
        processes.workers(1)
        with client_of(processes, 1) as client:
            addresses = [client.scheduler.address, *client.nthreads()]
            assert any(attempt(addresses, tmp_path).endswith("and code ran") for _ in range(3))  # each waits 2 s
    finally:
        processes.end()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try what another account may read")
def test_no_other_account_reads_the_key_while_openssl_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = f"import os, sys; os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY}); open(sys.argv[1])"
    load, tried = ssl.SSLContext.load_cert_chain, []

    def loaded(context: ssl.SSLContext, cert: str, key: str) -> None:
        for file in (cert, key):
            as_nobody = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=False)
            tried.append(as_nobody.stderr.strip().rpartition("\n")[2])
        load(context, cert, key)

    tmp_path.chmod(0o755)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", loaded)
    for each in tmp_path.parents[:3]:
        each.chmod(each.stat().st_mode | 0o011)
    with local.cpu_cluster(1, 1_000_000_000) as client:
        assert client.submit(abs, -3).result() == 3
        assert not [each for each in tmp_path.rglob("*.pem") if b"PRIVATE" in each.read_bytes()], "none is left"
        family = [psutil.Process(), *psutil.Process().children(recursive=True)]
        assert not any("PRIVATE" in word for one in family for word in (*one.cmdline(), *one.environ().values()))
    assert len(tried) >= 4
    assert all(each.startswith("PermissionError") for each in tried)


@pytest.mark.slow
def test_every_run_has_a_certificate_of_its_own() -> None:
    with local.cpu_cluster(1, 1_000_000_000) as one, local.cpu_cluster(1, 1_000_000_000) as other:
        keys = {each.security.tls_client_key for each in (one, other)}
        assert len(keys) == 2
        with pytest.raises(OSError, match=r"Timed out|certificate|handshake"):
            Client(one.scheduler.address, security=other.security, timeout=1)


@pytest.mark.slow
def test_the_dashboard_shows_and_does_nothing() -> None:
    """Neither what dask's configuration may ask for, nor a way through to other ports."""
    more = ["distributed.http.scheduler.api", "distributed.http.proxy"]
    routes = [*dask.config.get("distributed.scheduler.http.routes"), *more]
    with dask.config.set({"distributed.scheduler.http.routes": routes}), local.cpu_cluster(1, 10**9) as client:
        root = client.dashboard_link.removesuffix("/status")
        assert asked(f"{root}/health") == 200
        assert asked(f"{root}/status") == 200
        acting = ("api/v1/retire_workers", "api/v1/adaptive_target", "proxy/80/127.0.0.1/", "jupyter/")
        assert {asked(f"{root}/{each}", method) for each in acting for method in ("GET", "POST")} == {404}
        pages = ("status", "info/main/workers.html", "json/counts.json", "metrics", "health", "statics/css/base.css")
        refused = {asked(f"{root}/{each}", method) for each in pages for method in ("POST", "PUT", "DELETE", "PATCH")}
        assert refused <= {404, 405, 403}
        assert client.nthreads()


def asked(url: str, method: str = "GET") -> int:
    """The status of a request."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code

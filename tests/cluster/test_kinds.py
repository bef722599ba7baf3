"""Clusters of every kind: what cannot be started here is checked as far as it can be."""

from __future__ import annotations

import datetime
import importlib.resources
import json
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from clusters import Processes, gone, nap, wait_until

from geoseg.catalog.yaml import parse
from geoseg.cluster import kinds, tls, worker
from geoseg.cluster.mapper import map_over
from geoseg.cluster.spec import ClusterSpec
from geoseg.errors import ClusterError, JobError
from geoseg.jobs import spec as job_spec

ROOT = Path(__file__).parents[2]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    all_of_them = Processes(tmp_path, warm=True)
    yield all_of_them
    all_of_them.end()


def visible_device() -> str:
    return os.environ["CUDA_VISIBLE_DEVICES"]


def slow(item: int) -> tuple[int, int, float]:
    begin = time.time()
    time.sleep(1.0)
    return item, os.getpid(), begin


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for this machine, which is also its own authority, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "geoseg")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    key_file.write_bytes(pem)
    return cert_file, key_file


def address_of(processes: Processes) -> str:
    wait_until(lambda: processes.file.exists() and processes.file.read_text().strip().endswith("}"))
    return str(json.loads(processes.file.read_text())["address"])


def test_each_gpu_gets_a_process_that_sees_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    with kinds.cuda(2, 1_000_000_000) as client:
        assert sorted(client.run(visible_device).values()) == ["3", "5"]
        assert set(client.nthreads().values()) == {2}
        assert client.scheduler.address.startswith("tcp://127.0.0.1")


def test_no_gpu_is_told() -> None:
    with pytest.raises(ClusterError, match="no CUDA device"), kinds.cuda(0, 1_000_000_000):
        pass


def test_worker_told_to_leave_finishes_its_block_and_hands_over_the_rest(processes: Processes) -> None:
    processes.scheduler()
    command = ("-c", "from geoseg.cli import main; main()", "worker", address_of(processes))
    leaving, staying = (processes.start(*command, "--memory", "1GB") for _ in range(2))
    notes: list[str] = []
    with kinds.running(address_of(processes)) as client:
        wait_until(lambda: len(client.nthreads()) == 2)
        results = map_over(client, gone, note=notes.append)(slow, range(16))
        done = [next(results)]
        os.kill(leaving.pid, signal.SIGTERM)
        told = time.time()
        done += results
    assert leaving.wait(timeout=25) == 0
    assert sorted(item for item, _, _ in done) == list(range(16))
    assert notes == [], "nothing was counted as a death"
    finished_late = {pid for _, pid, begin in done if begin < told < begin + 1}
    assert len(finished_late) == 2, "both workers finished what they had in hand at the signal"
    assert len({pid for _, pid, begin in done if begin > told + 1}) == 1
    assert staying.poll() is None


def test_worker_abandons_a_block_that_takes_too_long(processes: Processes) -> None:
    processes.scheduler()
    command = ("-c", "from geoseg.cli import main; main()", "worker", address_of(processes), "--leave", "0.5")
    process = processes.start(*command)
    with kinds.running(address_of(processes)) as client:
        wait_until(client.nthreads)
        client.submit(time.sleep, 120, pure=False)
        time.sleep(0.5)
        os.kill(process.pid, signal.SIGTERM)
        begin = time.monotonic()
        assert process.wait(timeout=25) == 0
        assert time.monotonic() - begin < 10
        assert client.nthreads() == {}


def test_map_runs_over_tls_and_strangers_are_refused(processes: Processes, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    flags = ("--tls-ca-file", str(cert), "--tls-cert", str(cert), "--tls-key", str(key), "--protocol", "tls")
    processes.scheduler(*flags)
    address = address_of(processes)
    assert address.startswith("tls://127.0.0.1")
    ours = ("--tls-ca", str(cert), "--tls-cert", str(cert), "--tls-key", str(key))
    processes.start("-c", "from geoseg.cli import main; main()", "worker", address, *ours)
    with kinds.running(address, security=tls.certificates(cert, cert, key)) as client:
        assert sorted(map_over(client, gone, patience_s=60)(nap, range(5))) == list(range(5))
    with pytest.raises(ClusterError, match="certificates"), kinds.running(address, 2):
        pass


def test_tls_files_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="does not exist"):
        tls.certificates(tmp_path / "ca.pem", tmp_path / "cert.pem")
    with pytest.raises(ClusterError, match="--tls-ca and --tls-cert"):
        tls.certificates(ca=tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("tcp://10.0.0.7:8786", True),
        ("cluster.example.org:8786", True),
        ("tls://10.0.0.7:8786", False),
        ("tcp://127.0.0.1:8786", False),
        ("tcp://[::1]:8786", False),
        ("localhost:8786", False),
    ],
)
def test_plain_tcp_beyond_this_machine_is_told(address: str, told: bool) -> None:
    notes: list[str] = []
    tls.reachable(address, tls.certificates(), notes.append)
    assert bool(notes) is told


def test_nobody_at_the_address_is_told() -> None:
    with pytest.raises(ClusterError, match="no Dask scheduler answers"), kinds.running("tcp://127.0.0.1:1", 1):
        pass


def test_processes_share_the_cores() -> None:
    mine = sorted(os.sched_getaffinity(0))
    assert worker.shares(1) == [tuple(mine)]
    each = worker.shares(len(mine))
    assert sorted(core for cores in each for core in cores) == mine
    assert [len(cores) for cores in worker.shares(3, threads=1)] == [1, 1, 1]


@pytest.mark.parametrize("kind", kinds.QUEUES)
def test_batch_jobs_start_workers_that_leave_well(kind: str) -> None:
    """dask-jobqueue's own script for the job is what the batch system would be given."""
    queues = pytest.importorskip("dask_jobqueue")
    own = {"htcondor": {"disk": "1GB"}, "oar": {"memory_per_core_property_name": "memcore"}}.get(kind, {})
    asked = {"cores": 8, "memory": "16GB", "worker_extra_args": ["--lifetime", "55m"], **own}
    one_job = getattr(queues, kinds.QUEUES[kind]).job_cls(
        "tcp://10.0.0.1:8786", name="w1", **kinds.queue_options(asked)
    )
    assert "tcp://10.0.0.1:8786 --name w1" in one_job.job_script()
    assert "--worker-class geoseg.cluster.worker.BlockWorker --nthreads 2 --lifetime 55m" in one_job.job_script()


@pytest.mark.parametrize("file", sorted((ROOT / "workflows/clusters").glob("*.yaml")), ids=lambda file: file.stem)
def test_example_of_each_kind_is_understood(file: Path) -> None:
    """Read as a job; and what a batch system or Kubernetes would be given can be made from it."""
    assert f"geoseg run workflows/clusters/{file.name}" in file.read_text("utf-8")
    spec = job_spec.read(file)
    assert spec.cluster is not None
    assert file.stem in (spec.cluster.kind, "gpus", "running")
    if spec.cluster.kind in kinds.QUEUES:
        queues = pytest.importorskip("dask_jobqueue")
        made = getattr(queues, kinds.QUEUES[spec.cluster.kind]).job_cls
        script = made("tcp://10.0.0.1:8786", name="w1", **kinds.queue_options(spec.cluster.options)).job_script()
        assert "--nworkers" not in script
        assert "--lifetime" in script
    if spec.cluster.kind == "kubernetes":
        options = {key: value for key, value in spec.cluster.options.items() if key != "namespace"}
        assert kinds.manifest(workers=4, **options)["metadata"]["name"] == "geoseg"


def check(value: Any, schema: dict[str, Any], place: str = "manifest") -> None:
    """Every key known, every required one there, every type right: what the API server would refuse otherwise."""
    kinds_of = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    if "type" in schema and not schema.get("x-kubernetes-int-or-string"):
        assert isinstance(value, kinds_of[schema["type"]]), place
    if isinstance(value, dict) and "properties" in schema:
        unknown = value.keys() - schema["properties"].keys()
        assert not unknown or schema.get("x-kubernetes-preserve-unknown-fields"), f"{place}: {unknown}"
        assert set(schema.get("required", ())) <= value.keys(), place
        for key in value.keys() & schema["properties"].keys():
            check(value[key], schema["properties"][key], f"{place}.{key}")
    if isinstance(value, list) and "items" in schema:
        for at, each in enumerate(value):
            check(each, schema["items"], f"{place}[{at}]")


def test_kubernetes_manifest_is_what_the_operator_knows() -> None:
    """Judged by the operator's own schema of a DaskCluster, and by its own maker of manifests."""
    maker = pytest.importorskip("dask_kubernetes.operator")
    made = kinds.manifest("map", 3, image="example.org/geoseg:1", gpus=1, env={"AWS_REGION": "eu-west-1"})
    files = importlib.resources.files("dask_kubernetes") / "operator/deployment/helm/dask-kubernetes-operator/crds"
    definition = yaml.safe_load((files / "daskcluster.yaml").read_text())
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    check(yaml.safe_load(yaml.safe_dump(made["spec"])), schema["properties"]["spec"])
    theirs = maker.make_cluster_spec("map", image="example.org/geoseg:1", n_workers=3)
    assert made.keys() == theirs.keys()
    assert made["spec"]["scheduler"]["service"] == theirs["spec"]["scheduler"]["service"]
    (container,) = made["spec"]["worker"]["spec"]["containers"]
    assert container["args"][:3] == ["geoseg", "worker", "$(DASK_SCHEDULER_ADDRESS)"]
    with pytest.raises(AssertionError, match="replica"):
        check({"replica": 1}, schema["properties"]["spec"]["properties"]["worker"])


def test_missing_package_names_what_to_install() -> None:
    spec = ClusterSpec(kind="gateway")
    with pytest.raises(ClusterError, match="pip install dask-gateway"), kinds.opened(spec, 10**9):
        pass


def test_their_complaints_become_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: object) -> None:
        raise RuntimeError(f"no account for {options}")

    monkeypatch.setitem(sys.modules, "coiled", types.SimpleNamespace(Cluster=refuse))
    spec = ClusterSpec(kind="coiled", workers=2, options={"region": "mars"})
    told = "the coiled cluster could not be started .RuntimeError: no account for .*'n_workers': 2, 'region': 'mars'"
    with pytest.raises(ClusterError, match=told), kinds.opened(spec, 10**9):
        pass


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"kind": "slrum"}, "kind"),
        ({"kind": "address"}, "go together"),
        ({"kind": "slurm", "minimum": 1}, "minimum and maximum go together"),
        ({"kind": "local", "options": {"queue": "x"}}, "takes no options"),
        ({"kind": "kubernetes"}, "options.image"),
    ],
)
def test_impossible_cluster_sections_are_refused(section: dict[str, object], sentence: str) -> None:
    with pytest.raises(JobError, match=sentence):
        parse(ClusterSpec, section, "job.yaml", JobError)


def test_worker_command_refuses_what_it_cannot_start() -> None:
    command = [sys.executable, "-c", "from geoseg.cli import main; main()", "worker", "tcp://127.0.0.1:1"]
    said = subprocess.run([*command, "--memory", "much"], capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 2
    assert "give bytes with a unit" in said.stderr


@pytest.mark.slow
def test_a_cluster_on_this_machine_listens_on_loopback_alone() -> None:
    with kinds.local(1, 1_000_000_000) as client:
        places = {*listening(), *client.run(listening).popitem()[1], *client.run(listening, nanny=True).popitem()[1]}
    assert len(places) >= 4  # scheduler, dashboard, nanny, worker
    assert {host for host, _ in places} <= {"127.0.0.1", "::1"}


def listening() -> list[tuple[str, int]]:
    """Where this process listens, as the system has it."""
    found = psutil.Process().net_connections(kind="tcp")
    return [tuple(each.laddr) for each in found if each.status == psutil.CONN_LISTEN]

"""Kubernetes: the manifest, judged by the operator's own schema of a DaskCluster."""

from __future__ import annotations

import importlib.resources
import sys
from typing import Any

import pytest
import yaml

from geoseg.cluster import kubernetes, worker
from geoseg.errors import ClusterError


def check(value: Any, schema: dict[str, Any], at: str = "manifest") -> None:
    """Every key known, every required one there, every type right: what the API server would refuse otherwise."""
    kinds_of = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    if "type" in schema and not schema.get("x-kubernetes-int-or-string"):
        assert isinstance(value, kinds_of[schema["type"]]), at
    if isinstance(value, dict) and "properties" in schema:
        unknown = value.keys() - schema["properties"].keys()
        assert not unknown or schema.get("x-kubernetes-preserve-unknown-fields"), f"{at}: {unknown}"
        assert set(schema.get("required", ())) <= value.keys(), at
        for key in value.keys() & schema["properties"].keys():
            check(value[key], schema["properties"][key], f"{at}.{key}")
    if isinstance(value, list) and "items" in schema:
        for index, each in enumerate(value):
            check(each, schema["items"], f"{at}[{index}]")


@pytest.fixture
def schema() -> dict[str, Any]:
    """Of a DaskCluster's spec, as it is installed with the operator."""
    pytest.importorskip("dask_kubernetes")
    files = importlib.resources.files("dask_kubernetes") / "operator/deployment/helm/dask-kubernetes-operator/crds"
    definition = yaml.safe_load((files / "daskcluster.yaml").read_text())
    known: dict[str, Any] = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return known


@pytest.mark.parametrize("gpus", [0, 1])
@pytest.mark.parametrize("env", [None, {}, {"AWS_REGION": "eu-west-1", "GDAL_CACHEMAX": "64"}])
@pytest.mark.sampled(5)
def test_manifest_is_what_the_operator_knows(gpus: int, env: dict[str, str] | None, schema: dict[str, Any]) -> None:
    made = kubernetes.manifest("map", 3, image="example.org/geoseg:1", gpus=gpus, env=env)
    check(yaml.safe_load(yaml.safe_dump(made["spec"])), schema)
    assert "&" not in yaml.safe_dump(made), "for kubectl, without YAML's references"
    with pytest.raises(AssertionError, match="replica"):
        check({"replica": 1}, schema["properties"]["worker"])


def test_manifest_is_the_one_of_dask_kubernetes_but_for_our_patch() -> None:
    """All that is ours is taken out again; what remains is theirs."""
    maker = pytest.importorskip("dask_kubernetes.operator")
    env = {"AWS_REGION": "eu-west-1"}
    made = kubernetes.manifest("map", 3, image="example.org/geoseg:1", memory="8Gi", cpu="3", gpus=1, env=env)
    theirs = maker.make_cluster_spec("map", image="example.org/geoseg:1", n_workers=3, env=env, resources={})
    pod, their_pod = made["spec"]["worker"]["spec"], theirs["spec"]["worker"]["spec"]
    assert pod.pop("terminationGracePeriodSeconds") > worker.LEAVE_S + 5
    (container,), (their_container,) = pod["containers"], their_pod["containers"]
    limits = {"memory": "8Gi", "cpu": "3", "nvidia.com/gpu": "1"}
    assert container.pop("resources") == {"limits": limits, "requests": limits}
    assert container.pop("args")[:3] == ["geoseg", "worker", "$(DASK_SCHEDULER_ADDRESS)"]
    for key in ("args", "resources", "ports"):
        del their_container[key]
    scheduler = made["spec"]["scheduler"]["spec"]["containers"][0]
    assert scheduler["env"].pop() == {"name": "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "value": "10"}
    assert made == theirs


def test_two_manifests_share_nothing() -> None:
    pytest.importorskip("dask_kubernetes")
    first = kubernetes.manifest("map", 3, image="a")
    first["spec"]["worker"]["spec"]["containers"][0]["args"].append("--gpu")
    first["spec"]["scheduler"]["spec"]["containers"][0]["env"][0]["value"] = "3"
    second = kubernetes.manifest("map", 3, image="a")
    assert "--gpu" not in second["spec"]["worker"]["spec"]["containers"][0]["args"]
    assert second["spec"]["scheduler"]["spec"]["containers"][0]["env"][0]["value"] == "10"


def test_without_dask_kubernetes_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask_kubernetes.operator", None)
    with pytest.raises(ClusterError, match=r"pip install 'geoseg\[kubernetes\]'"):
        kubernetes.manifest("map", 3, image="a")

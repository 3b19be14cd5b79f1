"""The Kubernetes API as typed calls: what the real API server answers, and what becomes of answers that are none."""

from __future__ import annotations

import secrets
import socket
from base64 import b64decode
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from devstack.cluster import DevCluster, faults
from devstack.processes import free_port, wait_until
from pytest_httpserver import HTTPServer

from provisioning.adapters import kubernetes as adapter
from provisioning.adapters.kubernetes import Kubernetes, Pod
from provisioning.adapters.kubernetes_errors import (
    AdmissionDeniedError,
    ClusterUnreachableError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidObjectError,
    NamespaceTerminatingError,
    NotFoundError,
    QuotaExceededError,
    ThrottledError,
    UnauthorizedError,
)
from tests.provisioning.conftest import connect, kubeconfig_for

_PATIENCE = timedelta(seconds=20)
_STRICT = {"pod-security.kubernetes.io/enforce": "restricted"}


@pytest.fixture
def kubernetes(dev_cluster: DevCluster) -> Kubernetes:
    return connect(dev_cluster.kubeconfig)


@pytest.fixture
def make_namespace(dev_cluster: DevCluster) -> Iterator[Callable[..., str]]:
    """Makes namespaces that go after the test."""
    made: list[str] = []

    def make(**labels: str) -> str:
        made.append(f"adapter-{secrets.token_hex(4)}")
        dev_cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": made[-1], "labels": labels}})
        return made[-1]

    yield make
    for name in made:
        dev_cluster.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def namespace(make_namespace: Callable[..., str]) -> str:
    return make_namespace()


def with_token(cluster: DevCluster, folder: Path, token: str) -> Kubernetes:
    """The same cluster, asked by somebody else."""
    told = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]
    return connect(kubeconfig_for(folder, told["server"], token=token, authority=told["certificate-authority"]))


# --- what the API server answers ----------------------------------------------------------------------------------


def test_what_is_not_there_is_none(kubernetes: Kubernetes, namespace: str) -> None:
    assert kubernetes.namespace("nowhere") is None
    assert kubernetes.service(namespace, "nothing") is None
    assert kubernetes.ready_endpoints(namespace, "nothing") == 0
    assert kubernetes.pod_log_tail(namespace, "nothing", container=None, lines=5) == ""
    kubernetes.delete_revision(namespace, "store", 1)
    kubernetes.delete_namespace("nowhere", uid="1")


def test_an_object_in_a_namespace_that_is_not_there_is_not_found(kubernetes: Kubernetes) -> None:
    with pytest.raises(NotFoundError, match='namespaces "nowhere" not found') as raised:
        kubernetes.put_secret("nowhere", "keys", data={}, labels={})

    assert not raised.value.retryable


def test_a_secret_holds_what_was_put_last(kubernetes: Kubernetes, dev_cluster: DevCluster, namespace: str) -> None:
    kubernetes.put_secret(namespace, "keys", data={"password": "first"}, labels={"a": "b"})
    kubernetes.put_secret(namespace, "keys", data={"password": "second"}, labels={"a": "b"})
    before = dev_cluster.request("GET", f"/api/v1/namespaces/{namespace}/secrets/keys")

    kubernetes.put_secret(namespace, "keys", data={"password": "second"}, labels={"a": "b"})

    kept = dev_cluster.request("GET", f"/api/v1/namespaces/{namespace}/secrets/keys")
    assert b64decode(kept["data"]["password"]) == b"second"
    assert kept["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_a_change_of_an_object_that_somebody_else_changed_meanwhile_is_a_conflict(
    kubernetes: Kubernetes, namespace: str
) -> None:
    stale = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": namespace, "resourceVersion": "1", "labels": {"a": "b"}},
    }

    with pytest.raises(ConflictError, match="modified") as raised:
        kubernetes.apply(stale)

    assert raised.value.retryable


def test_a_namespace_of_the_same_name_but_another_identity_is_left_alone(
    kubernetes: Kubernetes, namespace: str
) -> None:
    kubernetes.delete_namespace(namespace, uid="00000000-0000-0000-0000-000000000000")

    found = kubernetes.namespace(namespace)
    assert found is not None
    assert not found.terminating

    kubernetes.delete_namespace(namespace, uid=found.uid)

    later = kubernetes.namespace(namespace)
    assert later is None or later.terminating


def test_a_limited_account_is_forbidden_what_it_has_no_right_to(
    dev_cluster: DevCluster, namespace: str, tmp_path: Path
) -> None:
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    dev_cluster.request("POST", accounts, {"metadata": {"name": "limited"}})
    token = dev_cluster.request("POST", f"{accounts}/limited/token", {"spec": {"expirationSeconds": 600}})
    limited = with_token(dev_cluster, tmp_path, token["status"]["token"])

    for ask in (
        limited.nodes,
        lambda: limited.namespace(namespace),
        lambda: limited.put_secret(namespace, "keys", data={}, labels={}),
    ):
        with pytest.raises(ForbiddenError, match=f"system:serviceaccount:{namespace}:limited") as raised:
            ask()
        assert not raised.value.retryable


def test_credentials_that_are_not_accepted_are_unauthorized(dev_cluster: DevCluster, tmp_path: Path) -> None:
    with pytest.raises(UnauthorizedError) as raised:
        with_token(dev_cluster, tmp_path, "not-the-token").nodes()

    assert not raised.value.retryable
    assert "not-the-token" not in str(raised.value)


def test_an_object_that_is_malformed_is_invalid(kubernetes: Kubernetes, namespace: str) -> None:
    ports = [{"port": 80, "nodePort": 5}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "shop", "namespace": namespace},
        "spec": {"type": "NodePort", "ports": ports},
    }

    with pytest.raises(InvalidObjectError, match="not in the valid range"):
        kubernetes.apply(service)


def test_an_object_beyond_the_quota_is_told_from_other_refusals(
    kubernetes: Kubernetes, dev_cluster: DevCluster, namespace: str
) -> None:
    quotas = f"/api/v1/namespaces/{namespace}/resourcequotas"
    dev_cluster.request("POST", quotas, {"metadata": {"name": "quota"}, "spec": {"hard": {"count/secrets": "0"}}})
    wait_until(
        lambda: "used" in dev_cluster.request("GET", f"{quotas}/quota")["status"], timeout=_PATIENCE, what="the quota"
    )

    with pytest.raises(QuotaExceededError, match="exceeded quota"):
        kubernetes.put_secret(namespace, "keys", data={}, labels={})


def test_an_object_that_admission_refuses_is_told_from_other_refusals(
    kubernetes: Kubernetes, make_namespace: Callable[..., str]
) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", "namespace": make_namespace(**_STRICT)},
        "spec": {"containers": [{"name": "main", "image": "probe:1"}]},
    }

    with pytest.raises(AdmissionDeniedError, match="violates PodSecurity"):
        kubernetes.apply(pod)


@pytest.fixture(scope="module", autouse=True)
def held(dev_cluster: DevCluster) -> Iterator[str]:
    """A namespace whose deletion one object keeps from ending; its controller takes seconds, so it is begun first."""
    namespace = f"held-{secrets.token_hex(4)}"
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    dev_cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    dev_cluster.request("POST", maps, {"metadata": {"name": "held", "finalizers": ["example.com/held"]}})
    dev_cluster.request("DELETE", f"/api/v1/namespaces/{namespace}")
    yield namespace
    dev_cluster.request("PATCH", f"{maps}/held", {"metadata": {"finalizers": None}})


def test_a_snapshot_tells_why_a_namespace_is_not_ready(
    kubernetes: Kubernetes, dev_cluster: DevCluster, namespace: str
) -> None:
    faults.set_fault(dev_cluster.request, "image-missing", namespace=namespace)
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "main", "image": "shop:none"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    dev_cluster.request("POST", deployments, {"metadata": {"name": "shop"}, "spec": spec})

    def reasons() -> list[str]:
        pods = kubernetes.snapshot(namespace).pods
        return [container.waiting_reason for pod in pods for container in pod.containers]

    try:
        wait_until(lambda: reasons() == ["ImagePullBackOff"], timeout=_PATIENCE, what="the waiting container")
    finally:
        faults.clear_fault(dev_cluster.request, "image-missing", namespace=namespace)

    snapshot = kubernetes.snapshot(namespace)
    [workload] = snapshot.workloads
    assert (workload.kind, workload.name, workload.desired, workload.ready) == ("Deployment", "shop", 1, 0)
    assert "shop:none" in snapshot.pods[0].containers[0].waiting_message


@pytest.mark.parametrize(("reason", "told"), [("Unschedulable", "no room"), ("SchedulerError", "")])
def test_a_pod_lacks_a_node_only_where_the_scheduler_says_so_and_not_where_it_lost_a_race(
    reason: str, told: str
) -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": "no room"}

    pod = Pod.read({"metadata": {"name": "db"}, "spec": {}, "status": {"conditions": [condition]}})

    assert pod.unschedulable_message == told


def test_a_long_list_is_read_to_its_end_and_revisions_are_in_the_order_of_their_numbers(
    kubernetes: Kubernetes, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "_PAGE", 3)
    for number in range(1, 12):
        labels = {"owner": "helm", "name": "store", "version": str(number), "status": "superseded"}
        kubernetes.put_secret(namespace, f"sh.helm.release.v1.store.v{number}", data={}, labels=labels)

    assert [revision.number for revision in kubernetes.revisions(namespace, "store")] == list(range(1, 12))
    kubernetes.delete_revision(namespace, "store", 11)
    assert len(kubernetes.revisions(namespace, "store")) == 10


# --- answers that are none ------------------------------------------------------------------------------------------


def test_a_cluster_where_nothing_listens_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(ClusterUnreachableError) as raised:
        connect(kubeconfig_for(tmp_path, f"https://127.0.0.1:{free_port()}")).nodes()

    assert raised.value.retryable


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_cluster_that_hangs_costs_no_more_than_the_time_out(tmp_path: Path, scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
        hanging = connect(kubeconfig_for(tmp_path, server), timeout=timedelta(seconds=0.5))

        with pytest.raises(ClusterUnreachableError, match=r"timeout=0\.5"):
            hanging.nodes()


def test_a_certificate_that_is_not_trusted_is_an_unreachable_cluster(dev_cluster: DevCluster, tmp_path: Path) -> None:
    stranger = str(dev_cluster.state / "kubelet.crt")

    with pytest.raises(ClusterUnreachableError, match="certificate verify failed"):
        connect(kubeconfig_for(tmp_path, dev_cluster.api_url, authority=stranger)).nodes()


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_in_trouble_is_unreachable(httpserver: HTTPServer, played: Kubernetes, status: int) -> None:
    httpserver.expect_request("/api/v1/nodes").respond_with_data("<h1>trouble</h1>", status=status)

    with pytest.raises(ClusterUnreachableError, match="trouble"):
        played.nodes()


@pytest.mark.parametrize(
    ("header", "expected"), [("7", timedelta(seconds=7)), (None, None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)]
)
def test_a_server_that_asks_for_patience_says_how_long(
    httpserver: HTTPServer, played: Kubernetes, header: str | None, expected: timedelta | None
) -> None:
    headers = {"Retry-After": header} if header else {}
    httpserver.expect_request("/api/v1/nodes").respond_with_data("slow down", status=429, headers=headers)

    with pytest.raises(ThrottledError) as raised:
        played.nodes()

    assert raised.value.retryable
    assert raised.value.retry_after == expected


def test_a_place_in_history_that_is_gone_is_told_from_what_is_not_found(
    httpserver: HTTPServer, played: Kubernetes
) -> None:
    httpserver.expect_request("/api/v1/nodes").respond_with_json({"message": "the continue token expired"}, status=410)

    with pytest.raises(GoneError, match="expired"):
        played.nodes()


def test_a_long_complaint_is_cut(httpserver: HTTPServer, played: Kubernetes) -> None:
    httpserver.expect_request("/api/v1/nodes").respond_with_json({"message": "x" * 5000}, status=403)

    with pytest.raises(ForbiddenError) as raised:
        played.nodes()

    assert len(str(raised.value)) == 2000


@pytest.mark.parametrize("body", ["<html>log in first</html>", "", "[]"])
def test_an_answer_that_no_api_server_gives_is_an_unreachable_cluster(
    httpserver: HTTPServer, played: Kubernetes, body: str
) -> None:
    httpserver.expect_request("/version").respond_with_data(body)

    with pytest.raises(ClusterUnreachableError):
        played.version()


def test_what_a_controller_writes_while_an_object_is_compared_is_no_drift(
    httpserver: HTTPServer, played: Kubernetes
) -> None:
    path = "/apis/apps/v1/namespaces/store/deployments/web"

    def at(version: str, **annotations: str) -> dict[str, Any]:
        return {"metadata": {"name": "web", "resourceVersion": version, "annotations": annotations}}

    for reading in (at("1"), at("2", revision="1")):
        httpserver.expect_ordered_request(path, method="GET").respond_with_json(reading)
        httpserver.expect_ordered_request(path, method="PATCH").respond_with_json(at("2", revision="1"))
    wished = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}

    assert played.changed_fields(wished, namespace="store", manager="helm") == []


def test_an_object_that_is_written_to_all_the_time_is_compared_another_time(
    httpserver: HTTPServer, played: Kubernetes
) -> None:
    path = "/apis/apps/v1/namespaces/store/deployments/web"
    for method, version in (("GET", "1"), ("PATCH", "2")):
        answer = {"metadata": {"name": "web", "resourceVersion": version}}
        httpserver.expect_request(path, method=method).respond_with_json(answer)
    wished = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}

    with pytest.raises(ConflictError) as raised:
        played.changed_fields(wished, namespace="store", manager="helm")

    assert raised.value.retryable


# --- where the server is --------------------------------------------------------------------------------------------


def test_an_api_server_below_a_path_is_asked_there(httpserver: HTTPServer, tmp_path: Path) -> None:
    httpserver.expect_request("/k8s/clusters/c-1/version").respond_with_json({"gitVersion": "v1.36.3"})

    below = connect(kubeconfig_for(tmp_path, httpserver.url_for("/k8s/clusters/c-1/")))

    assert below.version() == "v1.36.3"


def test_an_api_server_behind_a_proxy_is_asked_through_it(httpserver: HTTPServer, tmp_path: Path) -> None:
    asked = httpserver.expect_request("/version", headers={"Host": "api.example.com"})
    asked.respond_with_json({"gitVersion": "v1.36.3"})

    behind = connect(kubeconfig_for(tmp_path, "http://api.example.com", proxy=httpserver.url_for("")))

    assert behind.version() == "v1.36.3"


# --- kubeconfig files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="no file"),
        pytest.param("", id="empty"),
        pytest.param("just words", id="a word"),
        pytest.param("a: [b", id="no YAML"),
        pytest.param("current-context: elsewhere\ncontexts: []\nclusters: []\nusers: []", id="no such context"),
        pytest.param("clusters: 5\ncontexts: 5\ncurrent-context: it", id="another shape"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_an_unreachable_cluster(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content)

    with pytest.raises(ClusterUnreachableError, match="the kubeconfig cannot be used"):
        connect(path)


def test_a_certificate_authority_whose_file_is_missing_is_an_unreachable_cluster(tmp_path: Path) -> None:
    path = kubeconfig_for(tmp_path, "https://127.0.0.1:1", authority="/nonexistent/ca.crt")

    with pytest.raises(ClusterUnreachableError):
        connect(path).nodes()


def test_a_namespace_that_is_being_deleted_takes_nothing_and_says_what_keeps_it(
    kubernetes: Kubernetes, held: str
) -> None:
    with pytest.raises(NamespaceTerminatingError) as raised:
        kubernetes.put_secret(held, "keys", data={}, labels={})
    assert raised.value.retryable

    def blockers() -> str:
        found = kubernetes.namespace(held)
        return " ".join(found.blockers) if found else ""

    wait_until(lambda: "example.com/held" in blockers(), timeout=_PATIENCE, what="what keeps it")

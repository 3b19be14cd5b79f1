"""The API server as clients see it through a bad network: each fault meets Helm, kubectl and the platform's client."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from devstack import programs
from devstack.cluster import DevCluster
from devstack.faults import FAULTS, ApiProxy, made
from devstack.processes import DevstackError, wait_until

from provisioning.adapters.kubernetes import Kubernetes
from provisioning.adapters.kubernetes_errors import ClusterUnreachableError, KubernetesError, ThrottledError
from provisioning.adapters.kubernetes_watch import Change, Watch

_PATIENCE = timedelta(seconds=20)
_LABEL = "proxy-test"


@pytest.fixture(scope="module")
def proxy(dev_cluster: DevCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProxy]:
    with ApiProxy(dev_cluster.kubeconfig, tmp_path_factory.mktemp("proxy")) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_wrong(proxy: ApiProxy) -> Iterator[None]:
    yield
    for name in FAULTS:
        proxy.clear(name)
    wait_until(proxy.is_ready, timeout=_PATIENCE, what="the proxy")


@pytest.fixture
def client(proxy: ApiProxy) -> Kubernetes:
    return Kubernetes.connect(proxy.kubeconfig, context=None, timeout=timedelta(seconds=5))


def kubectl(proxy: ApiProxy, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(programs.kubectl()), "--kubeconfig", str(proxy.kubeconfig), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def creating(proxy: ApiProxy, namespace: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [str(programs.kubectl()), "--kubeconfig", str(proxy.kubeconfig), "create", "namespace", namespace]
    with subprocess.Popen(command) as running:
        try:
            yield running
        finally:
            running.kill()


def helm(proxy: ApiProxy, binary: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(binary), "--kubeconfig", str(proxy.kubeconfig), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_calls_and_large_bodies_pass_unchanged(proxy: ApiProxy, helm_binary: Path, tmp_path: Path) -> None:
    text, name = "x" * 300_000, f"large-{uuid4().hex[:8]}"
    (tmp_path / "text").write_text(text)

    made = kubectl(proxy, "create", "configmap", name, "--from-file", str(tmp_path / "text"))

    assert made.returncode == 0, made.stderr
    assert kubectl(proxy, "get", "configmap", name, "--output", "jsonpath={.data.text}").stdout == text
    assert helm(proxy, helm_binary, "list", "--all-namespaces").returncode == 0
    assert kubectl(proxy, "delete", "configmap", name).returncode == 0


def test_a_throttled_call_says_when_to_come_back_and_only_so_many_calls_are_throttled(
    proxy: ApiProxy, client: Kubernetes
) -> None:
    proxy.set("throttle", calls=2, path="/api/v1/namespaces/default")

    for _ in range(2):
        with pytest.raises(ThrottledError) as caught:
            client.namespace("default")
        assert caught.value.retry_after == timedelta(seconds=1)

    assert client.namespace("default") is not None


def test_a_server_error_reaches_helm_and_the_client_until_it_is_cleared(
    proxy: ApiProxy, client: Kubernetes, helm_binary: Path
) -> None:
    proxy.set("error")

    with pytest.raises(KubernetesError):
        client.namespace("default")
    failed = helm(proxy, helm_binary, "list", "--all-namespaces")
    assert failed.returncode != 0
    assert "an error on the server" in failed.stderr

    proxy.clear("error")
    assert client.namespace("default") is not None


def test_only_calls_of_the_named_method_are_met(proxy: ApiProxy, client: Kubernetes) -> None:
    proxy.set("error", method="delete")

    assert client.namespace("default") is not None


def test_a_refused_connection_is_refused_by_the_machine_and_taken_again_afterwards(
    proxy: ApiProxy, client: Kubernetes, helm_binary: Path
) -> None:
    assert client.namespace("default") is not None  # a line that stands is cut, too
    proxy.set("refuse")
    wait_until(lambda: not proxy.is_ready(), timeout=_PATIENCE, what="the refusal")

    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", proxy.port))
    with pytest.raises(ClusterUnreachableError):
        client.namespace("default")
    assert "connection refused" in helm(proxy, helm_binary, "list").stderr

    proxy.clear("refuse")
    wait_until(proxy.is_ready, timeout=_PATIENCE, what="the proxy")
    assert client.namespace("default") is not None


def test_a_refusal_for_a_time_ends_by_itself(proxy: ApiProxy, client: Kubernetes) -> None:
    proxy.set("refuse", seconds=0.5)
    wait_until(lambda: not proxy.is_ready(), timeout=_PATIENCE, what="the refusal")
    wait_until(proxy.is_ready, timeout=_PATIENCE, what="the end of the refusal")

    assert client.namespace("default") is not None


def test_calls_can_be_cut_one_by_one(proxy: ApiProxy) -> None:
    once = Kubernetes.connect(proxy.kubeconfig, context=None, timeout=timedelta(seconds=5))
    proxy.set("refuse", calls=1)

    with pytest.raises(ClusterUnreachableError):
        once.namespace("default")
    assert once.namespace("default") is not None
    assert proxy.faults.active() == []


def test_a_call_is_held_until_its_fault_is_lifted_and_others_pass(proxy: ApiProxy, client: Kubernetes) -> None:
    held, other = (made("hold", path=f"/api/v1/namespaces/{name}") for name in ("default", "kube-public"))
    proxy.faults.set(held)
    proxy.faults.set(other)
    found: list[object] = []
    caller = threading.Thread(target=lambda: found.append(client.namespace("default")))
    caller.start()
    wait_until(lambda: proxy.faults.is_held(held), timeout=_PATIENCE, what="the held call")

    assert client.namespace("kube-system") is not None
    assert (found, proxy.faults.is_held(other)) == ([], False)

    proxy.faults.lift(held)
    caller.join(timeout=10)
    assert len(found) == 1
    assert proxy.faults.active() == [other]


def test_a_held_call_whose_caller_dies_never_reaches_the_api_server(proxy: ApiProxy, dev_cluster: DevCluster) -> None:
    name = f"dead-{uuid4().hex[:8]}"
    held = made("hold", method="POST", path="/api/v1/namespaces")
    proxy.faults.set(held)
    with creating(proxy, name) as caller:
        wait_until(lambda: proxy.faults.is_held(held), timeout=_PATIENCE, what="the held call")
        caller.kill()

    wait_until(lambda: not proxy.faults.is_held(held), timeout=_PATIENCE, what="the end of the line")
    proxy.faults.lift(held)
    assert dev_cluster.request("GET", f"/api/v1/namespaces/{name}") is None


def test_a_call_stays_held_when_the_caller_of_another_one_dies(proxy: ApiProxy, dev_cluster: DevCluster) -> None:
    dead, alive = (f"{word}-{uuid4().hex[:8]}" for word in ("dead", "alive"))
    held = made("hold", method="POST", path="/api/v1/namespaces")
    proxy.faults.set(held)
    with creating(proxy, dead) as first, creating(proxy, alive) as second:
        wait_until(lambda: proxy.faults.held(held) == 2, timeout=_PATIENCE, what="both held calls")
        first.kill()
        wait_until(lambda: proxy.faults.held(held) == 1, timeout=_PATIENCE, what="the end of the line")

        assert proxy.faults.is_held(held)
        proxy.faults.lift(held)
        assert second.wait(timeout=30) == 0

    assert dev_cluster.request("GET", f"/api/v1/namespaces/{dead}") is None
    assert dev_cluster.request("GET", f"/api/v1/namespaces/{alive}") is not None


def test_a_late_answer_is_a_time_out_for_the_client_and_late_for_kubectl(proxy: ApiProxy) -> None:
    hasty = Kubernetes.connect(proxy.kubeconfig, context=None, timeout=timedelta(milliseconds=500))
    proxy.set("latency", delay=timedelta(seconds=1.5), path="/api/v1/namespaces/default")

    with pytest.raises(ClusterUnreachableError):
        hasty.namespace("default")
    begun = time.monotonic()
    assert kubectl(proxy, "get", "namespace", "default").returncode == 0
    assert time.monotonic() - begun >= 1.5


def test_a_watch_lives_until_it_is_cut_and_a_new_one_goes_on(proxy: ApiProxy, client: Kubernetes) -> None:
    seen = Watched(client)
    watching = threading.Thread(target=seen.follow, daemon=True)
    watching.start()
    first = labelled_namespace(proxy)
    wait_until(lambda: first in seen.names, timeout=_PATIENCE, what="the first change")

    proxy.set("cut-watches", calls=1)

    wait_until(lambda: not watching.is_alive(), timeout=_PATIENCE, what="the end of the watch")
    proxy.clear("cut-watches")
    again = Watched(client)
    threading.Thread(target=again.follow, daemon=True).start()
    second = labelled_namespace(proxy)
    wait_until(lambda: second in again.names, timeout=_PATIENCE, what="the second change")
    again.stop.set()
    kubectl(proxy, "delete", "namespace", first, second, "--wait=false")


def test_a_fault_that_nobody_knows_is_refused(proxy: ApiProxy) -> None:
    with pytest.raises(DevstackError, match="there is no fault 'gremlins'"):
        proxy.set("gremlins")
    with pytest.raises(DevstackError, match="one call or more"):
        proxy.set("error", calls=0)


def test_faults_are_set_listed_and_cleared_by_command(dev_cluster: DevCluster, proxy: ApiProxy) -> None:
    def command(*arguments: str) -> str:
        argv = [sys.executable, "-m", "devstack.cluster", "fault", *arguments, "--state", str(dev_cluster.state)]
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60, cwd="platform").stdout

    command("set", "throttle", "--calls", "3", "--path", "/api/v1/pods")
    assert "the API server answers 429" in command("list")
    command("clear", "throttle")
    assert "429" not in command("list")


class Watched:
    """The names of the namespaces that one watch told of."""

    def __init__(self, client: Kubernetes) -> None:
        self._client = client
        self.names: set[str] = set()
        self.stop = threading.Event()

    def follow(self) -> None:
        try:
            watch = Watch("Namespace", {"labelSelector": _LABEL})
            for change in watch.everything(self._client).changes:
                self._note(change)
            for change in watch.changes(self._client, stop=self.stop, timeout=timedelta(minutes=2)):
                self._note(change)
        except KubernetesError:
            return

    def _note(self, change: Change) -> None:
        self.names.add(change.labels[_LABEL])


def labelled_namespace(proxy: ApiProxy) -> str:
    name = f"proxied-{uuid4().hex[:8]}"
    assert kubectl(proxy, "create", "namespace", name).returncode == 0
    assert kubectl(proxy, "label", "namespace", name, f"{_LABEL}={name}").returncode == 0
    return name

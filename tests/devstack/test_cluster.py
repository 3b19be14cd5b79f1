"""The embedded cluster keeps its objects, and its faults look as they do on any cluster and can be undone."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from devstack.cluster import DevCluster, faults
from devstack.cluster import programs as cluster_programs
from devstack.cluster.cluster import duration, node_name
from devstack.processes import DevstackError, answers, wait_until

_PATIENCE = timedelta(seconds=30)
Object = dict[str, Any]


@dataclass(frozen=True)
class World:
    """One namespace of a cluster."""

    cluster: DevCluster
    name: str

    def make(self, prefix: str, plural: str, kind: str, name: str, **fields: Any) -> None:
        api = prefix.removeprefix("/api/").removeprefix("/apis/")
        body = {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **fields}
        assert self.cluster.request("POST", f"{prefix}/namespaces/{self.name}/{plural}", body) is not None

    def get(self, path: str) -> Object:
        prefix, plural, name = path.rsplit("/", 2)
        found: Object = self.cluster.request("GET", f"{prefix}/namespaces/{self.name}/{plural}/{name}") or {}
        return found

    def pod(self, name: str, **spec: Any) -> None:
        self.make("/api/v1", "pods", "Pod", name, spec={"containers": [{"name": "main", "image": "shop:1"}], **spec})

    def job(self, name: str) -> None:
        pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "setup:1"}]}
        self.make("/apis/batch/v1", "jobs", "Job", name, spec={"backoffLimit": 0, "template": {"spec": pod}})

    def claim(self, name: str) -> None:
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        self.make("/api/v1", "persistentvolumeclaims", "PersistentVolumeClaim", name, spec=spec)

    def phase(self, path: str) -> str:
        return str(self.get(path).get("status", {}).get("phase", ""))

    def condition(self, path: str, kind: str) -> Object:
        return condition(self.get(path), kind)

    def is_ready(self, pod: str) -> bool:
        return self.condition(f"/api/v1/pods/{pod}", "Ready").get("status") == "True"

    def waiting_reason(self, pod: str) -> str:
        told = self.get(f"/api/v1/pods/{pod}").get("status", {}).get("containerStatuses") or [{}]
        return str(told[0].get("state", {}).get("waiting", {}).get("reason", ""))

    def events_of(self, name: str) -> set[str]:
        items = self.cluster.request("GET", f"/api/v1/namespaces/{self.name}/events")["items"]
        return {item["reason"] for item in items if item["involvedObject"]["name"] == name}


@contextmanager
def refused_status(world: World) -> Iterator[None]:
    """Within the block the API server writes down no status of a pod of this world."""
    api, name = "/apis/admissionregistration.k8s.io/v1", f"refused-{world.name}"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods/status"]}
    policy = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": f"object.metadata.namespace != {world.name!r}"}],
    }
    binding = {"policyName": name, "validationActions": ["Deny"]}
    parts = {
        "validatingadmissionpolicies": ("ValidatingAdmissionPolicy", policy),
        "validatingadmissionpolicybindings": ("ValidatingAdmissionPolicyBinding", binding),
    }
    for plural, (kind, spec) in parts.items():
        body = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        assert world.cluster.request("POST", f"{api}/{plural}", body) is not None

    def is_refused() -> bool:
        path = f"/api/v1/namespaces/{world.name}/pods/early/status?dryRun=All"
        try:
            world.cluster.request("PATCH", path, {"status": {"message": "a try"}})
        except DevstackError:
            return True
        return False

    wait(is_refused, "the refusal")
    yield
    for plural in reversed(parts):
        world.cluster.request("DELETE", f"{api}/{plural}/{name}")
    wait(lambda: not is_refused(), "the end of the refusal")


def condition(item: Object, kind: str) -> Object:
    found: list[Object] = [one for one in item.get("status", {}).get("conditions") or [] if one["type"] == kind]
    return found[0] if found else {}


def make_world(cluster: DevCluster) -> World:
    name = f"faults-{secrets.token_hex(4)}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    cluster.request("POST", "/api/v1/namespaces", body)
    world = World(cluster, name)
    # Pods need it, and a controller makes it a moment later.
    wait_until(lambda: bool(world.get("/api/v1/serviceaccounts/default")), timeout=_PATIENCE, what="service account")
    return world


@pytest.fixture
def world(dev_cluster: DevCluster) -> Iterator[World]:
    """A namespace of its own; whatever fault is in force afterwards is undone."""
    made = make_world(dev_cluster)
    yield made
    for place, fault in in_force(dev_cluster).items():
        faults.clear_fault(dev_cluster.request, fault, namespace=None if place in ("node", "everywhere") else place)
    dev_cluster.request("DELETE", f"/api/v1/namespaces/{made.name}")


@pytest.fixture(scope="module", autouse=True)
def held(dev_cluster: DevCluster) -> World:
    """A held namespace that is being deleted; its content takes seconds to go, so it is begun before all else."""
    made = make_world(dev_cluster)
    faults.set_fault(dev_cluster.request, "namespace-held", namespace=made.name)
    dev_cluster.request("DELETE", f"/api/v1/namespaces/{made.name}")
    return made


def in_force(cluster: DevCluster) -> dict[str, str]:
    """Return the faults, but not those of namespaces that are held for the whole module."""
    found = faults.list_faults(cluster.request).items()
    return {place: fault for place, fault in found if fault != "namespace-held"}


def wait(condition: Any, what: str) -> None:
    wait_until(condition, timeout=_PATIENCE, what=what)


# --- faults -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "reason", "phase", "event"),
    [
        ("image-missing", "ImagePullBackOff", "Pending", "Failed"),
        ("crash-loop", "CrashLoopBackOff", "Running", "BackOff"),
    ],
)
def test_a_pod_that_cannot_start_says_why_and_starts_once_the_fault_is_cleared(
    world: World, fault: str, reason: str, phase: str, event: str
) -> None:
    world.pod("present")
    wait(lambda: world.is_ready("present"), "a ready pod")

    faults.set_fault(world.cluster.request, fault, namespace=world.name)
    world.pod("new")

    for pod in ("present", "new"):
        wait(lambda pod=pod: world.waiting_reason(pod) == reason, f"{reason} of the {pod} pod")
        assert world.phase(f"/api/v1/pods/{pod}") == phase
        assert not world.is_ready(pod)
    wait(lambda: event in world.events_of("new"), "the event")

    faults.clear_fault(world.cluster.request, fault, namespace=world.name)

    wait(lambda: world.is_ready("present") and world.is_ready("new"), "both pods ready")
    assert world.waiting_reason("new") == ""


def test_a_fault_stays_in_its_namespace(world: World) -> None:
    faults.set_fault(world.cluster.request, "image-missing", namespace=world.name)
    neighbour = make_world(world.cluster)

    world.pod("broken")
    neighbour.pod("fine")

    wait(lambda: neighbour.is_ready("fine"), "the neighbour's pod ready")
    wait(lambda: world.waiting_reason("broken") == "ImagePullBackOff", "the broken pod")
    world.cluster.request("DELETE", f"/api/v1/namespaces/{neighbour.name}")


def test_a_fault_without_a_namespace_is_everywhere_until_it_is_cleared(world: World) -> None:
    world.pod("present")
    faults.set_fault(world.cluster.request, "crash-loop")
    world.pod("new")

    wait(lambda: {world.waiting_reason(pod) for pod in ("present", "new")} == {"CrashLoopBackOff"}, "crashing pods")
    assert in_force(world.cluster) == {"everywhere": "crash-loop"}

    faults.clear_fault(world.cluster.request, "crash-loop")

    wait(lambda: world.is_ready("present") and world.is_ready("new"), "both pods ready")


def test_a_held_volume_keeps_its_claim_pending_and_the_pod_without_a_node(world: World) -> None:
    faults.set_fault(world.cluster.request, "volume-pending", namespace=world.name)
    world.claim("data")
    world.pod("db", volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}])

    wait(lambda: bool(world.condition("/api/v1/pods/db", "PodScheduled")), "a word of the scheduler")
    scheduled = world.condition("/api/v1/pods/db", "PodScheduled")
    assert (scheduled["status"], scheduled["reason"]) == ("False", "Unschedulable")
    assert "unbound immediate PersistentVolumeClaims" in scheduled["message"]
    assert world.phase("/api/v1/persistentvolumeclaims/data") == "Pending"

    faults.clear_fault(world.cluster.request, "volume-pending", namespace=world.name)

    wait(lambda: world.phase("/api/v1/persistentvolumeclaims/data") == "Bound", "a bound claim")
    wait(lambda: world.is_ready("db"), "the pod ready")


def test_a_job_that_is_set_to_fail_fails_and_the_next_one_succeeds_once_the_fault_is_cleared(world: World) -> None:
    faults.set_fault(world.cluster.request, "job-fails", namespace=world.name)
    world.job("doomed")

    wait(lambda: world.condition("/apis/batch/v1/jobs/doomed", "Failed").get("status") == "True", "the failed Job")
    assert world.condition("/apis/batch/v1/jobs/doomed", "Failed")["reason"] == "BackoffLimitExceeded"
    assert world.get("/apis/batch/v1/jobs/doomed")["status"]["failed"] == 1

    faults.clear_fault(world.cluster.request, "job-fails", namespace=world.name)
    world.job("fine")

    wait(lambda: world.condition("/apis/batch/v1/jobs/fine", "Complete").get("status") == "True", "the complete Job")


def test_no_pod_finds_a_node_while_none_takes_pods(world: World) -> None:
    faults.set_fault(world.cluster.request, "unschedulable")
    world.pod("homeless")

    wait(lambda: bool(world.condition("/api/v1/pods/homeless", "PodScheduled")), "a word of the scheduler")
    scheduled = world.condition("/api/v1/pods/homeless", "PodScheduled")
    assert (scheduled["status"], scheduled["reason"]) == ("False", "Unschedulable")
    assert "unschedulable" in scheduled["message"]

    faults.clear_fault(world.cluster.request, "unschedulable")

    wait(lambda: world.is_ready("homeless"), "the pod ready")


def test_a_node_that_is_gone_is_not_ready_and_takes_no_pods_until_it_is_back(world: World) -> None:
    def node_is(status: str) -> bool:
        node = world.cluster.request("GET", f"/api/v1/nodes/{node_name()}")
        # The taint is what keeps pods away; a controller sets it a moment later.
        tainted = any(taint["key"] == "node.kubernetes.io/not-ready" for taint in node["spec"].get("taints") or [])
        return bool(condition(node, "Ready").get("status") == status and tainted == (status == "False"))

    faults.set_fault(world.cluster.request, "node-gone")
    wait(lambda: node_is("False"), "a node in trouble")
    world.pod("homeless")
    wait(lambda: bool(world.condition("/api/v1/pods/homeless", "PodScheduled")), "a word of the scheduler")
    assert world.condition("/api/v1/pods/homeless", "PodScheduled")["status"] == "False"

    faults.clear_fault(world.cluster.request, "node-gone")

    wait(lambda: node_is("True"), "a ready node")
    wait(lambda: world.is_ready("homeless"), "the pod ready")


def test_the_faults_in_force_are_listed_by_place(world: World) -> None:
    faults.set_fault(world.cluster.request, "crash-loop", namespace=world.name)
    faults.set_fault(world.cluster.request, "unschedulable")

    assert in_force(world.cluster) == {world.name: "crash-loop", "node": "unschedulable"}

    faults.clear_fault(world.cluster.request, "crash-loop", namespace=world.name)
    faults.clear_fault(world.cluster.request, "unschedulable")

    assert in_force(world.cluster) == {}


def test_a_held_namespace_stays_terminating_until_it_is_let_go(held: World) -> None:
    path = f"/api/v1/namespaces/{held.name}"
    # The namespace's own controller is done, and still it does not go.
    wait(lambda: not held.cluster.request("GET", path)["spec"].get("finalizers"), "the end of the content")
    assert held.cluster.request("GET", path)["status"]["phase"] == "Terminating"
    assert faults.list_faults(held.cluster.request)[held.name] == "namespace-held"

    faults.clear_fault(held.cluster.request, "namespace-held", namespace=held.name)

    wait(lambda: held.cluster.request("GET", path) is None, "the end of the namespace")


def test_an_unknown_fault_is_refused(world: World) -> None:
    for change in (faults.set_fault, faults.clear_fault):
        with pytest.raises(KeyError):
            change(world.cluster.request, "bad-weather", namespace=world.name)


# --- stopped and hurt ------------------------------------------------------------------------------------------------


def test_parts_that_were_killed_are_started_again_and_pods_start_again(world: World) -> None:
    for _, child in world.cluster.children:
        child.kill()
        child.wait()

    revived = world.cluster.revive()

    assert sorted(revived) == ["apiserver", "controller-manager", "etcd", "kwok", "scheduler"]

    def serves() -> bool:
        world.cluster.revive()  # some end once more while the API server starts
        try:
            return bool(world.cluster.request("GET", "/readyz", text=True) == "ok")
        except OSError:
            return False

    wait(serves, "the API server")
    world.pod("new")

    def is_ready() -> bool:
        world.cluster.revive()
        return world.is_ready("new")

    wait(is_ready, "a new pod ready")


def test_what_the_node_failed_to_write_down_is_written_once_etcd_is_back(world: World) -> None:
    world.pod("early")
    wait(lambda: world.is_ready("early"), "a ready pod")
    with refused_status(world):
        world.pod("late")
        log = world.cluster.state / "logs" / "kwok.log"
        wait(lambda: f'"pod":"{world.name}/late","stage":"pod-ready"' in log.read_text(), "the node's failure")
    assert not world.is_ready("late")

    etcd = dict(world.cluster.children)["etcd"]
    etcd.kill()
    etcd.wait()

    def is_ready() -> bool:
        world.cluster.revive()
        try:
            return world.is_ready("late")
        except (OSError, HTTPException, DevstackError):
            return False  # the API server finds etcd again in its own time

    wait(is_ready, "the pod ready")
    assert world.is_ready("early")


def test_a_restart_keeps_the_objects_even_when_its_ports_were_taken_meanwhile(world: World) -> None:
    world.pod("kept")
    wait(lambda: world.is_ready("kept"), "a ready pod")
    uid, before = world.get("/api/v1/pods/kept")["metadata"]["uid"], world.cluster.api_url

    world.cluster.stop()
    assert world.cluster.children == []
    with ExitStack() as stack:
        for port in json.loads((world.cluster.state / "ports.json").read_text()).values():
            assert not answers(port)
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        world.cluster.start()

    assert world.cluster.api_url != before
    assert world.get("/api/v1/pods/kept")["metadata"]["uid"] == uid
    world.pod("new")
    wait(lambda: world.is_ready("new") and world.is_ready("kept"), "old and new pod ready")


def test_a_part_that_cannot_start_is_reported_and_the_others_are_ended(tmp_path: Path) -> None:
    cluster = DevCluster(cluster_programs(), tmp_path / "cluster", node_ports=(9, 1))

    with pytest.raises(DevstackError, match="the API server ended with status"):
        cluster.start()

    assert cluster.children == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30s", timedelta(seconds=30)),
        ("500ms", timedelta(milliseconds=500)),
        (" 1.5m ", timedelta(seconds=90)),
    ],
)
def test_a_duration_is_read(text: str, expected: timedelta) -> None:
    assert duration(text) == expected


@pytest.mark.parametrize("text", ["", "5", "-1s", "1h", "s", "1s2"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(DevstackError, match="is no duration"):
        duration(text)


@contextmanager
def with_a_node_that(says: str, folder: Path) -> Iterator[DevCluster]:
    """A cluster, not started yet, whose KWOK is preceded by a line of shell."""
    programs, real = folder / "programs", cluster_programs()
    programs.mkdir()
    (programs / "devcluster").symlink_to(real / "devcluster")
    (programs / "kwok").write_text(f'#!/bin/sh\n{says}\nexec {real / "kwok"} "$@"\n')
    (programs / "kwok").chmod(0o755)
    cluster = DevCluster(programs, folder / "cluster")
    try:
        yield cluster
    finally:
        cluster.stop()


def test_a_node_that_dies_once_at_its_start_is_started_again(tmp_path: Path) -> None:
    died = tmp_path / "died"
    with with_a_node_that(f"[ -e {died} ] || {{ touch {died}; exit 2; }}", tmp_path) as cluster:
        cluster.start()

        node = cluster.request("GET", f"/api/v1/nodes/{node_name()}")
        assert condition(node, "Ready")["status"] == "True"
        assert [name for name, _ in cluster.children].count("kwok") == 1


def test_a_node_that_cannot_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    with (
        with_a_node_that("echo no more room; exit 2", tmp_path) as cluster,
        pytest.raises(DevstackError, match=r"the simulated node ended with status 2(.|\n)*no more room"),
    ):
        cluster.start()

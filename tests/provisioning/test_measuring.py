"""How much room a cluster has is measured, and what stores count for follows what is seen."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from devstack.cluster import DevCluster
from django.utils import timezone
from pytest_httpserver import HTTPServer

from provisioning import clients, doorbell, measuring, rooms, services
from provisioning.adapters.kubernetes import Kubernetes
from provisioning.adapters.kubernetes_usage import Usage, read_usage
from provisioning.measuring import Measurer
from provisioning.models import Cluster, ClusterCapacity, Placement, Room
from stores.audit import PLATFORM
from stores.models import StoreStatus
from tests.conftest import NOON
from tests.factories import make_capacity, make_cluster, make_store
from tests.provisioning.conftest import kubeconfig_for, work_until, work_until_reason
from tests.provisioning.test_life_of_a_store import delete, order

MINUTE = timedelta(minutes=1)


def measure(cluster: Cluster) -> ClusterCapacity:
    return Measurer(clients=clients.for_cluster, clock=timezone.now).measure(cluster)


# --- what is asked of a cluster ------------------------------------------------------------------------------------


def node(name: str, *, ready: str = "True", **spec: Any) -> dict[str, Any]:
    status = {
        "allocatable": {"cpu": "3920m", "memory": "8126Mi", "pods": "110"},
        "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}],
    }
    return {"metadata": {"name": name}, "spec": spec, "status": status}


def pod(namespace: str, on: str | None, cpu: str = "100m") -> dict[str, Any]:
    requests = {"cpu": cpu, "memory": "64Mi"}
    spec = {"containers": [{"resources": {"requests": requests}}], **({"nodeName": on} if on else {})}
    return {"metadata": {"name": "p", "namespace": namespace}, "spec": spec}


def service(namespace: str, *ports: int | None, **spec: Any) -> dict[str, Any]:
    told = [{"port": 80, **({"nodePort": port} if port else {})} for port in ports]
    return {"metadata": {"name": "s", "namespace": namespace}, "spec": {"ports": told, **spec}}


def play(server: HTTPServer, **items: list[dict[str, Any]]) -> None:
    for plural in ("nodes", "pods", "services"):
        server.expect_request(f"/api/v1/{plural}").respond_with_json({"metadata": {}, "items": items.get(plural, [])})


def test_only_nodes_that_stores_pods_get_to_have_room_to_give(httpserver: HTTPServer, played: Kubernetes) -> None:
    repelled = [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]
    play(
        httpserver,
        nodes=[
            node("one"),
            node("two", taints=[{"key": "cheap", "effect": "PreferNoSchedule"}]),
            node("cordoned", unschedulable=True),
            node("control-plane", taints=repelled),
            node("lost", ready="Unknown"),
        ],
        pods=[pod("shop", "one"), pod("shop", "lost", "9"), pod("other", "control-plane", "9"), pod("other", None)],
    )

    usage = read_usage(played)

    assert (usage.nodes, usage.allocatable) == (2, {"cpu_millicores": 7840, "memory_mib": 16252, "pods": 220})
    # A pod without a node will want one; those on nodes that do not count do not count either.
    assert {name: taken["cpu_millicores"] for name, taken in usage.by_namespace.items()} == {"shop": 100, "other": 100}


def test_every_node_port_is_counted(httpserver: HTTPServer, played: Kubernetes) -> None:
    play(
        httpserver,
        services=[service("shop", 30001), service("other", 30002, None, 30003, healthCheckNodePort=30004)],
    )

    usage = read_usage(played)

    assert {name: taken["node_ports"] for name, taken in usage.by_namespace.items()} == {"shop": 1, "other": 3}


def test_ended_pods_and_services_without_ports_are_not_even_asked_for(
    httpserver: HTTPServer, played: Kubernetes
) -> None:
    play(httpserver)

    read_usage(played)

    asked = {request.path: request.args.get("fieldSelector") for request, _ in httpserver.log}
    assert asked == {
        "/api/v1/nodes": None,
        "/api/v1/pods": "status.phase!=Succeeded,status.phase!=Failed",
        "/api/v1/services": "spec.type!=ClusterIP",
    }


# --- what is written down ------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_cluster_is_measured_with_the_platforms_own_rights_and_what_others_take_is_told(
    dev_cluster: DevCluster, platform_kubeconfig: Path
) -> None:
    cluster = make_cluster(name="measured", kubeconfig=str(platform_kubeconfig))
    foreign = f"foreign-{timezone.now():%H%M%S%f}"
    dev_cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": foreign}})
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "7", "memory": "1Gi"}}}
    stranger = {"metadata": {"name": "stranger"}, "spec": {"containers": [container], "nodeName": "node-1"}}
    ports = {"metadata": {"name": "ports"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
    before = measure(cluster)
    assert before.error == ""

    dev_cluster.request("POST", f"/api/v1/namespaces/{foreign}/serviceaccounts", {"metadata": {"name": "default"}})
    dev_cluster.request("POST", f"/api/v1/namespaces/{foreign}/pods", {**stranger, "spec": {"containers": [container]}})
    dev_cluster.request("POST", f"/api/v1/namespaces/{foreign}/services", ports)
    usage = read_usage(clients.for_cluster(cluster).kubernetes)
    after = measure(cluster)

    assert usage.by_namespace[foreign] == {"cpu_millicores": 7000, "memory_mib": 1024, "pods": 1, "node_ports": 1}
    assert (after.nodes, after.allocatable["cpu_millicores"], after.error) == (1, 64_000, "")
    assert after.others["cpu_millicores"] >= 7000
    dev_cluster.request("DELETE", f"/api/v1/namespaces/{foreign}")


@pytest.mark.django_db
def test_a_cluster_that_cannot_be_asked_keeps_what_was_measured_before_and_says_why(tmp_path: Path) -> None:
    cluster = make_cluster(kubeconfig=str(kubeconfig_for(tmp_path, "http://127.0.0.1:1")))
    make_capacity(cluster, cpu_millicores=4000)

    told = measure(cluster)

    assert "127.0.0.1:1" in told.error
    assert (told.allocatable["cpu_millicores"], told.measured_at) == (4000, NOON)
    assert told.tried_at is not None
    assert told.tried_at > NOON


def usage_of(**by_namespace: int) -> Usage:
    taken = {name: {"cpu_millicores": amount, "memory_mib": 1, "pods": 1} for name, amount in by_namespace.items()}
    return Usage(1, {"cpu_millicores": 64_000}, taken)


@pytest.mark.django_db
def test_a_store_counts_for_its_plan_or_for_what_it_was_seen_to_take_if_that_is_more() -> None:
    cluster = make_cluster()
    statuses = {"new": StoreStatus.PROVISIONING, "ready": StoreStatus.READY, "grown": StoreStatus.READY}
    stores = {name: make_store(cluster=cluster, status=status) for name, status in statuses.items()}
    for name, store in stores.items():
        Placement.objects.filter(store=store).update(namespace=f"store_{name}")

    others = measuring.note_usage(cluster, usage_of(store_ready=150, store_grown=900, kube_system=450, store_lost=50))

    counts = {name: Placement.objects.get(store=store).cpu_millicores for name, store in stores.items()}
    # A set-up counts until it has ended.
    assert counts == {"new": 250, "ready": 200, "grown": 900}
    assert others["cpu_millicores"] == 500


@pytest.mark.django_db
def test_a_deleted_store_from_before_rooms_were_counted_gives_its_room_back() -> None:
    cluster = make_cluster()
    gone, there = make_store(cluster=cluster, status=StoreStatus.DELETED), make_store(cluster=cluster)

    measuring.note_usage(cluster, usage_of())

    assert Placement.objects.get(store=gone).room == Room.GIVEN_BACK
    assert Placement.objects.get(store=there).room == Room.HELD


@pytest.mark.django_db
def test_a_cluster_is_measured_when_it_is_new_then_now_and_then_and_again_where_nobody_did() -> None:
    cluster = make_cluster()

    def rung(at: timedelta) -> bool:
        before = doorbell.unheard("errands") or 0
        measuring.ring_for_due(now=NOON + at, period=MINUTE)
        return (doorbell.unheard("errands") or 0) > before

    assert rung(timedelta())
    assert not rung(timedelta(seconds=20))
    assert rung(timedelta(seconds=30))
    ClusterCapacity.objects.filter(cluster=cluster).update(tried_at=NOON + MINUTE, rung_at=None)
    assert not rung(1.9 * MINUTE)
    assert rung(2 * MINUTE)


# --- the whole way -------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("storefront")
def test_stores_fill_two_clusters_and_one_that_waits_becomes_ready_where_another_one_was_deleted(
    kubeconfig: Path, cluster: Cluster
) -> None:
    """Two rows lead to the one real cluster: each holds one store."""
    Cluster.objects.filter(pk=cluster.pk).update(stores_at_most=1)
    make_cluster(name="other", kubeconfig=str(kubeconfig), stores_at_most=1)
    first = order(name="first")
    second = order(name="second")
    third = order(name="third", wait_for_room=True)
    places = [Placement.objects.get(store=store).cluster.name for store in (first, second)]
    assert sorted(places) == ["other", "real"]

    work_until(first, StoreStatus.READY)
    work_until(second, StoreStatus.READY)
    work_until_reason(third, "NO_ROOM")
    work_until(delete(first), StoreStatus.DELETED)
    assert rooms.settle(clock=timezone.now) == 1

    work_until(third, StoreStatus.READY)
    assert Placement.objects.get(store=third).cluster.name == places[0]
    for store in (second, third):
        store.refresh_from_db()
        work_until(
            services.delete_store(store=store, version=None, actor=PLATFORM, now=timezone.now()), StoreStatus.DELETED
        )

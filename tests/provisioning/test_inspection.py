"""A store that was ready: it says so when shoppers can no longer buy, and when they can again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from devstack import shop as stand_in
from devstack.cluster import DevCluster, faults
from django.utils import timezone
from pytest_django import Settings

from provisioning import clients, inspection, tasks
from provisioning.inspection import Inspector
from provisioning.models import Cluster, Event, Job, JobKind, Placement
from stores.models import AuditEntry, Store, StoreStatus
from tests.conftest import NOON
from tests.factories import make_store
from tests.provisioning.conftest import eventually, work_until
from tests.provisioning.test_life_of_a_store import delete, order

pytestmark = [pytest.mark.usefixtures("storefront"), pytest.mark.django_db(transaction=True)]


def look(store: Store, *, repairs: bool = False, grace: timedelta = timedelta()) -> Store:
    inspector = Inspector(clients=clients.for_cluster, clock=timezone.now, grace=grace, repairs=repairs)
    inspector.inspect(store.pk)
    store.refresh_from_db()
    return store


def test_a_store_whose_pods_crash_is_degraded_with_the_reason_and_ready_again_by_itself(
    cluster: Cluster, dev_cluster: DevCluster
) -> None:
    store = work_until(order(), StoreStatus.READY)
    namespace = store.placement.namespace
    assert look(store).status == StoreStatus.READY

    faults.set_fault(dev_cluster.request, "crash-loop", namespace=namespace)
    eventually(lambda: look(store).reason == "CRASH_LOOP", what="the reason CRASH_LOOP")
    assert (store.status, "keeps crashing" in store.message) == (StoreStatus.DEGRADED, True)

    faults.clear_fault(dev_cluster.request, "crash-loop", namespace=namespace)
    eventually(lambda: look(store).status == StoreStatus.READY, what="the recovery")
    assert (store.reason, store.message, store.hint) == ("", "", "")
    actions = AuditEntry.objects.filter(object_id=str(store.pk)).order_by("id").values_list("action", flat=True)
    assert list(actions)[1:] == ["store.ready", "store.degraded", "store.ready"]
    work_until(delete(store), StoreStatus.DELETED)


@pytest.mark.parametrize(
    ("fault", "reason"), [(None, "STOREFRONT_UNREACHABLE"), ("no-plugin", "STOREFRONT_INCOMPLETE")]
)
def test_a_store_whose_pods_are_well_and_whose_storefront_is_not_is_degraded_until_it_sells_again(
    cluster: Cluster, dev_cluster: DevCluster, fault: str | None, reason: str
) -> None:
    store = work_until(order(), StoreStatus.READY)
    url = store.url
    if fault:
        stand_in.set_fault(dev_cluster.request, store.placement.namespace, fault)
    else:
        Store.objects.filter(pk=store.pk).update(url="http://127.0.0.1:1")

    eventually(lambda: look(store).reason == reason, what=f"the reason {reason}")
    assert store.status == StoreStatus.DEGRADED

    if fault:
        stand_in.set_fault(dev_cluster.request, store.placement.namespace, None)
    else:
        Store.objects.filter(pk=store.pk).update(url=url)
    eventually(lambda: look(store).status == StoreStatus.READY, what="the recovery")
    assert store.reason == ""
    work_until(delete(store), StoreStatus.DELETED)


def test_a_removed_workload_is_made_again_if_that_is_set(
    cluster: Cluster, dev_cluster: DevCluster, settings: Settings
) -> None:
    store = work_until(order(), StoreStatus.READY)
    path = f"/apis/apps/v1/namespaces/{store.placement.namespace}/deployments/store-web"
    dev_cluster.request("DELETE", path)
    eventually(lambda: dev_cluster.request("GET", path) is None, what="the removal")

    settings.INSPECT_GRACE, settings.DRIFT = timedelta(), "report"
    tasks.inspect(store_id=str(store.pk))
    store.refresh_from_db()
    assert store.reason == "DRIFTED"
    assert "Deployment/store-web" in store.message
    assert not Job.objects.live().filter(store=store).exists()

    settings.DRIFT = "repair"
    tasks.inspect(store_id=str(store.pk))
    store.refresh_from_db()
    assert store.status == StoreStatus.UPDATING
    assert Job.objects.live().get(store=store).kind == JobKind.UPGRADE
    work_until(store, StoreStatus.READY)
    assert dev_cluster.request("GET", path) is not None
    work_until(delete(store), StoreStatus.DELETED)


def test_a_store_that_is_unwell_for_a_moment_stays_ready(cluster: Cluster) -> None:
    store = make_store(cluster=cluster, status=StoreStatus.READY)

    look(store, grace=timedelta(minutes=1))
    assert store.status == StoreStatus.READY
    Placement.objects.filter(store=store).update(unwell_since=timezone.now() - timedelta(minutes=2))
    look(store, grace=timedelta(minutes=1), repairs=True)

    # Its namespace is gone: a new one would be an empty shop, so nothing is begun.
    assert (store.status, store.reason) == (StoreStatus.DEGRADED, "DRIFTED")
    assert Event.objects.filter(store=store, code="DRIFTED").count() == 1
    assert not Job.objects.filter(store=store).exists()


def test_a_cluster_that_is_away_makes_no_store_degraded(db: None) -> None:
    store = make_store(status=StoreStatus.READY)

    assert look(store).status == StoreStatus.READY


def test_each_ready_store_is_asked_for_once_a_period_and_at_once_after_a_change() -> None:
    store = make_store(status=StoreStatus.READY)
    make_store(status=StoreStatus.FAILED)
    minute = timedelta(minutes=1)

    assert inspection.ring_for_due(now=NOON, period=minute, at_most=9) == 1
    assert inspection.ring_for_due(now=NOON + timedelta(seconds=59), period=minute, at_most=9) == 0
    assert inspection.ring_for_due(now=NOON + minute, period=minute, at_most=9) == 1
    Placement.objects.filter(store=store).update(unwell_since=NOON)
    assert inspection.ring_for_due(now=NOON + minute + timedelta(seconds=5), period=minute, at_most=9) == 1


def test_however_many_are_due_only_so_many_are_asked_for_and_those_with_news_first() -> None:
    stores = [make_store(status=StoreStatus.READY) for _ in range(5)]
    Placement.objects.update(inspected_at=NOON)
    Placement.objects.filter(store=stores[3]).update(inspected_at=None)
    later = NOON + timedelta(hours=1)

    assert inspection.ring_for_due(now=later, period=timedelta(minutes=1), at_most=2) == 2

    asked = set(Placement.objects.filter(inspected_at=later).values_list("store", flat=True))
    assert stores[3].pk in asked
    assert len(asked) == 2
